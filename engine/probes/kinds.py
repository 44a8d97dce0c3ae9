"""The kinds of probe: ridge in closed form, linear and mlp by Adam.

To add a kind, write a class that follows `Explainer`, enter it in `EXPLAINERS` and in `config.ExplainerKind`.
Torch is imported only when a kind that needs it is fitted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np

from engine.config import ExplainerKind, ExplainerSpec, Regime
from engine.probes.ridge import Folds, Ridge, cross_validated_correlation
from engine.probes.scatter import Cells, cross_validated, scatters
from engine.stats.correlation import pearson

Penalty = float | Sequence[float]
"""One for all columns of targets, or one for each column if the kind allows it."""


class Fitted(Protocol):
    """A trained explainer of k columns of targets."""

    def predict(self, x: np.ndarray, /) -> np.ndarray:
        """Explanations [rows, k] (nats) of inputs X [rows, d]."""


class Explainer(Protocol):
    """One kind of probe. Its penalty is any regularisation; cross-validation chooses it."""

    regimes: tuple[Regime, ...]
    """The regimes that this kind supports."""
    cheap: bool
    """True: it is fitted at every edit and mode, with all draws of label noise.

    False: only in direct mode at the headline edits, with at most `spec.seeds` draws.
    """
    linear_in_targets: bool
    """True: predictions for a sum of targets are the sum of predictions, and the fit has no random start."""

    def fit(
        self, x: np.ndarray, targets: np.ndarray, penalty: Penalty, spec: ExplainerSpec, seed: int, warm: Fitted | None
    ) -> Fitted:
        """Train on X [n, d] and targets [n, k]. `warm`: an explainer to continue from (regime `online`)."""

    def cross_validate(
        self, x: np.ndarray, targets: np.ndarray, folds: Folds | None, spec: ExplainerSpec, seed: int
    ) -> dict[float, float]:
        """Penalty → correlation of out-of-fold explanations with targets [n]. Folds None: leave one out."""


@dataclass(frozen=True)
class FittedRidge:
    ridge: Ridge
    targets: np.ndarray
    penalty: float

    def predict(self, x: np.ndarray) -> np.ndarray:
        return self.ridge.predict(self.targets, [self.penalty], x)[0]


class RidgeExplainer:
    """Ridge regression. A closed form can't continue training, so there is no regime `online`."""

    regimes: tuple[Regime, ...] = ("frozen", "refit")
    cheap: bool = True
    linear_in_targets: bool = True

    def fit(
        self, x: np.ndarray, targets: np.ndarray, penalty: Penalty, spec: ExplainerSpec, seed: int, warm: Fitted | None
    ) -> Fitted:
        return FittedRidge(Ridge.fit(x), targets, float(np.ravel(penalty)[0]))

    def cross_validate(
        self, x: np.ndarray, targets: np.ndarray, folds: Folds | None, spec: ExplainerSpec, seed: int
    ) -> dict[float, float]:
        if folds is None:
            held_out = Ridge.fit(x).leave_groups_out(targets, spec.penalties, np.arange(len(targets)))[..., 0]
            scores = pearson(held_out.T, targets)
        elif min(len(train) for train, _ in folds) < x.shape[1]:  # then the n × n dual is smaller
            scores = cross_validated_correlation(x, targets, folds, spec.penalties)[:, 0]
        else:
            cells = Cells.of(folds, len(x))
            scores = cross_validated(scatters(x, targets, cells.of_row, len(cells)), cells, spec.penalties)
        return dict(zip(spec.penalties, scores.tolist(), strict=True))


@dataclass
class NeuralExplainer:
    """A linear map or a one-layer MLP, trained by Adam. `penalty` is its weight decay, one or one for each column."""

    kind: Literal["linear", "mlp"]
    regimes: tuple[Regime, ...] = ("frozen", "online", "refit")
    cheap: bool = False
    linear_in_targets: bool = False

    def fit(
        self, x: np.ndarray, targets: np.ndarray, penalty: Penalty, spec: ExplainerSpec, seed: int, warm: Fitted | None
    ) -> Fitted:
        if warm is None:
            return self._new(x, targets.shape[1], penalty, spec, seed).train(x, targets, spec.steps)
        return warm.train(x, targets, spec.online_steps)  # type: ignore[attr-defined]

    def cross_validate(
        self, x: np.ndarray, targets: np.ndarray, folds: Folds | None, spec: ExplainerSpec, seed: int
    ) -> dict[float, float]:
        """All folds × weight decays are trained at once, each on its own rows."""
        assert folds is not None, "a spec offers leave_one_out for ridge alone"
        decays = spec.weight_decays
        replicates = len(folds) * len(decays)
        rows = np.zeros((len(x), replicates), dtype=bool)
        for f, (train, _) in enumerate(folds):
            rows[train, f * len(decays) : (f + 1) * len(decays)] = True
        probes = self._new(x, replicates, list(decays) * len(folds), spec, seed)
        probes.train(x, np.repeat(targets[:, None], replicates, axis=1), spec.steps, rows)
        predicted = probes.predict(x).reshape(len(x), len(folds), len(decays))
        held_out = np.concatenate([predicted[test, f] for f, (_, test) in enumerate(folds)])
        truth = np.concatenate([targets[test] for _, test in folds])
        return dict(zip(decays, pearson(held_out, truth).tolist(), strict=True))

    def _new(self, x: np.ndarray, replicates: int, decay: Penalty, spec: ExplainerSpec, seed: int) -> Any:
        from engine.probes.neural import NeuralExplainers

        options: dict[str, Any] = {"width": spec.width, "learning_rate": spec.learning_rate, "batch": spec.batch}
        return NeuralExplainers(self.kind, x.shape[1], replicates, weight_decays=decay, seed=seed, **options)


EXPLAINERS: dict[ExplainerKind, Explainer] = {
    "ridge": RidgeExplainer(),
    "linear": NeuralExplainer("linear"),
    "mlp": NeuralExplainer("mlp"),
}
"""In the order in which pages list them."""

REFERENCE: ExplainerKind = "ridge"
"""The kind that the controls and the null use. Other kinds are compared with it."""
