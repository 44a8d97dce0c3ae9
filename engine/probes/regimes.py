"""The regimes of an explainer over later checkpoints: frozen, online or refit, always on the same fixed targets.

Cross-validation at the first checkpoint chooses the penalty, by the correlation with the targets, never by a gap.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from engine.config import ExplainerKind, ExplainerSpec, Regime
from engine.probes.kinds import EXPLAINERS, Fitted, Penalty
from engine.probes.ridge import Folds, Ridge
from engine.stats.correlation import as_columns

Hidden = tuple[np.ndarray | None, np.ndarray]
"""(X_train [n, d], X_eval [n_eval, d]) at one checkpoint; X_train may be None if nothing is trained there."""


def explain(
    kind: ExplainerKind,
    regime: Regime,
    hidden: Iterable[Hidden],
    targets: np.ndarray,
    *,
    penalty: Penalty,
    spec: ExplainerSpec,
    seed: int = 0,
) -> list[np.ndarray]:
    """Explanations [n_eval, k] at every checkpoint, by explainers trained on fixed targets Y [n, k].

    frozen: trained once, on the first checkpoint's X_train (later ones may be None). refit: trained from scratch at
    each checkpoint. online: continues from the previous checkpoint. penalty: one for all columns, or (linear, mlp) one
    for each column. Every column has its own initial weights: repeat a column to get several initialisations.

    Raises ValueError for a regime that the kind lacks, and for a missing X_train.
    """
    explainer = EXPLAINERS.get(kind)
    if explainer is None or regime not in explainer.regimes:
        raise ValueError(f"{kind!r} has no regime {regime!r}")
    targets = as_columns(targets)
    out: list[np.ndarray] = []
    fitted: Fitted | None = None
    for x_train, x_eval in hidden:
        if fitted is None or regime != "frozen":
            if x_train is None:
                raise ValueError(f"regime {regime!r} trains at this checkpoint and needs its X_train")
            warm = fitted if regime == "online" else None
            fitted = explainer.fit(x_train, targets, penalty, spec, seed, warm)
        out.append(fitted.predict(x_eval))
    return out


def cross_validate(
    kind: ExplainerKind, x: np.ndarray, targets: np.ndarray, folds: Folds | None, spec: ExplainerSpec, seed: int = 0
) -> dict[float, float]:
    """Penalty → correlation of out-of-fold explanations with the targets [n], pooled over folds.

    folds None: each row is held out by itself (ridge only).
    """
    return EXPLAINERS[kind].cross_validate(x, np.asarray(targets, dtype=np.float64).ravel(), folds, spec, seed)


def best(scores: dict[float, float]) -> float:
    """The penalty with the highest correlation; among equals, or if none is defined, the largest penalty."""
    return max(scores, key=lambda penalty: (np.nan_to_num(scores[penalty], nan=-2.0), penalty))


def ceiling(
    hidden: Iterable[tuple[np.ndarray, np.ndarray]], effects: Iterable[np.ndarray], penalty: float
) -> list[np.ndarray]:
    """The control `ceiling`: at every checkpoint a ridge on the current model's own effects [n]: list of [n_eval]."""
    return [
        Ridge.fit(x_train).predict(effect, [penalty], x_eval)[0, :, 0]
        for (x_train, x_eval), effect in zip(hidden, effects, strict=True)
    ]
