"""How an explainer meets later checkpoints: frozen, online or refit, always on the same fixed targets.

`explain` and `cross_validate` treat ridge, linear and mlp alike; torch is imported only for the
last two. The setting (penalty or weight decay) is chosen by cross-validation at the first
checkpoint, for the correlation with the targets, never for a gap.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from engine.config import ExplainerSpec
from engine.probes.ridge import Folds, Ridge, cross_validated_correlation
from engine.stats.correlation import pearson

if TYPE_CHECKING:
    from engine.probes.neural import NeuralExplainers

REGIMES: dict[str, tuple[str, ...]] = {
    "ridge": ("frozen", "refit"),
    "linear": ("frozen", "online", "refit"),
    "mlp": ("frozen", "online", "refit"),
}
"""Which regimes a kind of explainer has: a closed form has no next step, so ridge is never online."""

Hidden = tuple[np.ndarray | None, np.ndarray]
"""(X_train [n, d], X_eval [n_eval, d]) at one checkpoint; X_train may be None where it is not read."""


def explain(
    kind: str,
    regime: str,
    hidden: Iterable[Hidden],
    targets: np.ndarray,
    *,
    penalty: float | Sequence[float],
    spec: ExplainerSpec,
    seed: int = 0,
) -> list[np.ndarray]:
    """Explanations [n_eval, k] at every checkpoint, of explainers trained on fixed targets Y [n, k].

    frozen: trained once, on the first checkpoint's X_train (that of later ones may be None).
    refit: from scratch at each checkpoint. online: goes on from the checkpoint before, with
    `spec.online_steps` Adam steps. penalty: ridge's α, or the weight decay of linear and mlp (then
    also one for each column). Every column has its own initial weights: repeat a column for more.
    Raises ValueError for a kind × regime that REGIMES does not hold.
    """
    if regime not in REGIMES.get(kind, ()):
        raise ValueError(f"{kind!r} has no regime {regime!r}")
    targets = np.asarray(targets, dtype=np.float64)
    targets = targets[:, None] if targets.ndim == 1 else targets
    out: list[np.ndarray] = []
    fitted: Ridge | NeuralExplainers | None = None
    for x_train, x_eval in hidden:
        if fitted is None or regime != "frozen":
            if x_train is None:
                raise ValueError(f"regime {regime!r} trains at this checkpoint and needs its X_train")
            if kind == "ridge":
                fitted = Ridge.fit(x_train)
            elif fitted is None or regime == "refit":
                fitted = _neural(kind, x_train, targets.shape[1], penalty, spec, seed)
                fitted.train(x_train, targets, spec.steps)
            else:
                fitted.train(x_train, targets, spec.online_steps)  # type: ignore[union-attr]
        if isinstance(fitted, Ridge):
            out.append(fitted.predict(targets, [float(np.ravel(penalty)[0])], x_eval)[0])
        else:
            out.append(fitted.predict(x_eval))
    return out


def _neural(
    kind: str, x: np.ndarray, replicates: int, decay: float | Sequence[float], spec: ExplainerSpec, seed: int
) -> NeuralExplainers:
    from engine.probes.neural import NeuralExplainers

    return NeuralExplainers(
        kind,
        x.shape[1],
        replicates,
        weight_decays=decay,
        width=spec.width,
        learning_rate=spec.learning_rate,
        batch=spec.batch,
        seed=seed,
    )


def penalties_of(kind: str, spec: ExplainerSpec) -> tuple[float, ...]:
    """What is chosen among: ridge's penalties, or the weight decays of linear and mlp."""
    return spec.penalties if kind == "ridge" else spec.weight_decays


def cross_validate(
    kind: str, x: np.ndarray, targets: np.ndarray, folds: Folds | None, spec: ExplainerSpec, seed: int = 0
) -> dict[float, float]:
    """Penalty → correlation of out-of-fold explanations with the targets [n], pooled over folds; without folds each
    row is held out by itself, which ridge alone can do.

    Linear and mlp: all folds × weight decays are trained at once, each on its own rows.
    """
    penalties = penalties_of(kind, spec)
    targets = np.asarray(targets, dtype=np.float64).ravel()
    if folds is None:
        alone = Ridge.fit(x).leave_groups_out(targets, penalties, np.arange(len(targets)))[..., 0]
        return dict(zip(penalties, pearson(alone.T, targets).tolist(), strict=True))
    if kind == "ridge":
        scores = cross_validated_correlation(x, targets, folds, penalties)[:, 0]
        return dict(zip(penalties, scores.tolist(), strict=True))
    replicates = len(folds) * len(penalties)
    rows = np.zeros((len(x), replicates), dtype=bool)
    for f, (train, _) in enumerate(folds):
        rows[train, f * len(penalties) : (f + 1) * len(penalties)] = True
    probes = _neural(kind, x, replicates, list(penalties) * len(folds), spec, seed)
    probes.train(x, np.repeat(targets[:, None], replicates, axis=1), spec.steps, rows)
    predicted = probes.predict(x).reshape(len(x), len(folds), len(penalties))
    held_out = np.concatenate([predicted[test, f] for f, (_, test) in enumerate(folds)])
    truth = np.concatenate([targets[test] for _, test in folds])
    return dict(zip(penalties, pearson(held_out, truth).tolist(), strict=True))


def best(scores: dict[float, float]) -> float:
    """The penalty with the highest cross-validated correlation; ties and undefined ones go to the larger penalty."""
    return max(scores, key=lambda penalty: (np.nan_to_num(scores[penalty], nan=-2.0), penalty))


def ceiling(
    hidden: Iterable[tuple[np.ndarray, np.ndarray]], effects: Iterable[np.ndarray], penalty: float
) -> list[np.ndarray]:
    """The control `ceiling`: at every checkpoint a ridge on the current model's own effects [n]: list of [n_eval]."""
    return [
        Ridge.fit(x_train).predict(effect, [penalty], x_eval)[0, :, 0]
        for (x_train, x_eval), effect in zip(hidden, effects, strict=True)
    ]
