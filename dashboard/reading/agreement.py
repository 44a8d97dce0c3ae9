"""How well explanations agree with effects on whatever rows are on the screen, with interval and null.

Intervals are pointwise percentile bootstraps by group (by cue and entity where the data have them); the
null breaks the pairing of explanations and effects by whole groups. Numbers of a whole split stand in the
run's metrics with simultaneous intervals; these are for slices, and say so.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from engine.stats.correlation import (
    Resamples,
    bootstrap_partial,
    bootstrap_pearson,
    bootstrap_weights,
    interval,
    partial,
    pearson,
    spline_basis,
)
from engine.stats.faithfulness import TESTABLE_BELOW
from engine.stats.noise import shuffled_targets

FEW = 30
"""Below so many examples or groups an interval is not to be trusted."""


@dataclass(frozen=True)
class Estimate:
    """A number with its interval; None for what is not defined."""

    value: float | None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Agreement:
    """What is shown beside a pair of scatters."""

    n: int
    n_groups: int
    self: Estimate
    orig: Estimate
    gap: Estimate
    counterfactual_gap: Estimate
    target_current: Estimate
    null_low: float | None
    null_high: float | None
    testable: bool

    @property
    def few(self) -> bool:
        return self.n < FEW or self.n_groups < FEW


def _defined(value: float) -> float | None:
    return None if not np.isfinite(value) else float(value)


def _estimate(value: float, draws: np.ndarray) -> Estimate:
    low, high = interval(draws)
    return Estimate(_defined(value), _defined(float(low)), _defined(float(high)))


Measured = dict[str, tuple[float, np.ndarray]]
"""A number and its bootstrap draws; the counterfactual gap is absent where it can't be tested."""


def measure(rows: pd.DataFrame, weights: Resamples) -> Measured:
    """self, orig, gap, target_current and counterfactual_gap of rows, with draws that are paired by `weights`.

    rows: explanation, effect_…, f_… and f_edited_… of target and current; all explanations are numbers.
    """
    explanation = rows["explanation"].to_numpy(np.float64)
    effects = rows[["effect_current", "effect_target"]].to_numpy(np.float64)
    r = pearson(np.column_stack([explanation] * 2), effects)
    drawn = bootstrap_pearson(weights, explanation, effects)[:, 0]
    made: Measured = {
        "self": (r[0], drawn[:, 0]),
        "orig": (r[1], drawn[:, 1]),
        "gap": (r[0] - r[1], drawn[:, 0] - drawn[:, 1]),
        "target_current": (
            pearson(effects[:, :1], effects[:, 1:])[0],
            bootstrap_pearson(weights, effects[:, 0], effects[:, 1])[:, 0, 0],
        ),
    }
    z = spline_basis(rows["f_current"].to_numpy(np.float64), rows["f_target"].to_numpy(np.float64))
    unseen = rows[["f_edited_current", "f_edited_target"]].to_numpy(np.float64)
    apart = partial(unseen[:, :1], unseen[:, 1:], z)[0, 0]
    if np.isfinite(apart) and apart <= TESTABLE_BELOW:
        given, given_drawn = (
            partial(explanation, unseen, z)[0],
            bootstrap_partial(weights, explanation, unseen, z)[:, 0],
        )
        made["counterfactual_gap"] = (given[0] - given[1], given_drawn[:, 0] - given_drawn[:, 1])
    return made


def resamples(rows: pd.DataFrame, draws: int, seed: int) -> Resamples:
    """Bootstrap weights by cue and entity where the rows have them, else by group."""
    return bootstrap_weights(
        np.random.default_rng(seed), draws, rows["group"], rows.get("cue"), rows.get("entity")
    )  # fmt: skip


def weighted_means(weights: Resamples, values: np.ndarray) -> np.ndarray:
    """Weighted means in every draw, [draws]."""
    sums = weights.sums(np.column_stack([values, np.ones(len(values))]))
    return np.divide(sums[:, 0], sums[:, 1], out=np.full(len(sums), np.nan), where=sums[:, 1] > 0)


def explained(rows: pd.DataFrame) -> pd.DataFrame:
    return rows[np.isfinite(rows["explanation"].to_numpy(np.float64))]


def agreement(rows: pd.DataFrame, *, draws: int = 400, shuffles: int = 200, seed: int = 0) -> Agreement:
    """Of rows as `measure` takes them, with group, cue and entity."""
    rows = explained(rows)
    n, n_groups = len(rows), int(rows["group"].nunique(dropna=False))
    nothing = Estimate(None)
    if n < 3:
        return Agreement(n, n_groups, nothing, nothing, nothing, nothing, nothing, None, None, False)
    made = measure(rows, resamples(rows, draws, seed))
    found = {name: _estimate(*pair) for name, pair in made.items()}
    low, high = _null(
        rows["explanation"].to_numpy(np.float64), rows["effect_current"].to_numpy(np.float64), rows["group"],
        shuffles, seed,
    )  # fmt: skip
    return Agreement(
        n=n,
        n_groups=n_groups,
        self=found["self"],
        orig=found["orig"],
        gap=found["gap"],
        counterfactual_gap=found.get("counterfactual_gap", nothing),
        target_current=found["target_current"],
        null_low=low,
        null_high=high,
        testable="counterfactual_gap" in found,
    )


def _null(
    explanation: np.ndarray, effect: np.ndarray, groups: pd.Series, shuffles: int, seed: int
) -> tuple[float | None, float | None]:
    """The 95% band of r when whole groups of explanations change places."""
    if groups.nunique(dropna=False) < 2:
        return None, None
    shuffled = shuffled_targets(explanation, groups, shuffles, seed)
    low, high = interval(pearson(shuffled, np.broadcast_to(effect[:, None], shuffled.shape)))
    return _defined(float(low)), _defined(float(high))


def by_edit(rows: pd.DataFrame, **options: int) -> dict[str, Agreement]:
    """Each kind of edit by itself, the commonest first."""
    kinds = rows["edit"].value_counts().index
    return {str(kind): agreement(rows[rows["edit"] == kind], **options) for kind in kinds}
