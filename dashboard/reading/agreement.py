"""Agreement of explanations with effects on any set of examples, with intervals and a null.

Intervals are pointwise percentile bootstraps by cue and entity, or by group if the data have neither. The null breaks
the pairing of explanations and effects by moving whole groups. These numbers are for slices; the numbers of a whole
split, with simultaneous intervals, are in the run's metrics.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd

from engine.records import Behavior
from engine.stats.bootstrap import Resamples, bootstrap_pearson, interval
from engine.stats.correlation import pearson
from engine.stats.noise import shuffled_targets
from engine.stats.unseen import Design, score_unseen, unseen_run

FEW = 30
"""With fewer examples or groups than this an interval is not to be trusted."""

Band = tuple[float | None, float | None]
"""Low and high end; None if not defined."""


class Estimate(NamedTuple):
    """A number with its interval; None for a part that is not defined."""

    value: float | None
    low: float | None = None
    high: float | None = None

    def __neg__(self) -> Estimate:
        return Estimate(*(None if v is None else -v for v in (self.value, self.high, self.low)))


@dataclass(frozen=True)
class Agreement:
    """The numbers beside a pair of scatters."""

    n: int
    n_groups: int
    self: Estimate
    orig: Estimate
    gap: Estimate
    unseen: Estimate
    target_current: Estimate
    null: Band
    """Of Self, when whole groups of explanations change places."""
    why_not: str | None
    """Why `unseen` can't be tested; None where it can."""

    @property
    def few(self) -> bool:
        """Whether there are too few examples or groups for an interval."""
        return self.n < FEW or self.n_groups < FEW


def band(draws: np.ndarray) -> Band:
    """The 95% interval of draws [n]."""
    low, high = (float(end) for end in interval(draws))
    return (low, high) if np.isfinite(low) and np.isfinite(high) else (None, None)


def estimate(value: float, draws: np.ndarray) -> Estimate:
    """A value with the 95% interval of its draws [n]."""
    return Estimate(float(value), *band(draws)) if np.isfinite(value) else Estimate(None)


MOST_UNSEEN = 5000
"""Rows of which `unseen` is measured; of more, a seeded sample is taken."""

Measured = dict[str, tuple[float, np.ndarray]]
"""Each number with its bootstrap draws; `unseen` is absent where it can't be tested."""


def measure(rows: pd.DataFrame, weights: Resamples) -> tuple[Measured, str | None]:
    """self, orig, gap, target_current and unseen of rows, with draws that are paired by `weights`; and why `unseen` is
    missing, if it is.

    rows: explanation, effect_…, f_… and f_edited_… of target and current, group, cue, entity; every explanation is a
    number.
    """
    explanation = rows["explanation"].to_numpy(np.float64)
    effects = rows[["effect_current", "effect_target"]].to_numpy(np.float64)
    r = pearson(np.column_stack([explanation] * 2), effects)
    drawn = bootstrap_pearson(weights, explanation, effects)[:, 0]
    rho = pearson(effects[:, :1], effects[:, 1:])[0]
    made: Measured = {
        "self": (r[0], drawn[:, 0]),
        "orig": (r[1], drawn[:, 1]),
        "gap": (r[0] - r[1], drawn[:, 0] - drawn[:, 1]),
        "target_current": (rho, bootstrap_pearson(weights, effects[:, 0], effects[:, 1])[:, 0, 0]),
    }
    if len(rows) > MOST_UNSEEN:
        rows = rows.iloc[np.sort(np.random.default_rng(0).choice(len(rows), MOST_UNSEEN, replace=False))]
        weights = resamples(rows, len(weights.weights), 0)
        explanation = rows["explanation"].to_numpy(np.float64)
    run = unseen_run(behavior(rows, "current"), behavior(rows, "target"), design(rows), outputs=False)
    if run.why_not:
        return made, run.why_not
    unseen = score_unseen(explanation, run, weights).statistics["unseen"]
    if np.isnan(unseen.estimate[0]):
        return made, "the explanations say nothing beyond this prompt's outputs"
    return made | {"unseen": (float(unseen.estimate[0]), unseen.draws[:, 0])}, None


def behavior(rows: pd.DataFrame, who: str) -> Behavior:
    return Behavior(*(rows[f"{name}_{who}"].to_numpy(np.float64) for name in ("f", "f_edited")))


def design(rows: pd.DataFrame) -> Design:
    """Groups, and cues and entities if every row has both."""
    factors = [rows[name].to_numpy(object) if name in rows else None for name in ("cue", "entity")]
    if any(values is None or pd.isna(values).any() for values in factors):
        factors = [None, None]
    return Design(rows["group"].to_numpy(object), *factors)


def resamples(rows: pd.DataFrame, draws: int, seed: int) -> Resamples:
    """Bootstrap weights by cue and entity if the rows have them, else by group."""
    return design(rows).resamples(np.random.default_rng(seed), draws)


def weighted_means(weights: Resamples, values: np.ndarray) -> np.ndarray:
    """The weighted mean of values [n] in every draw, [draws]."""
    sums = weights.sums(np.column_stack([values, np.ones(len(values))]))
    return np.divide(sums[:, 0], sums[:, 1], out=np.full(len(sums), np.nan), where=sums[:, 1] > 0)


def explained(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows whose explanation is a number."""
    return rows[np.isfinite(rows["explanation"].to_numpy(np.float64))]


def shuffled(rows: pd.DataFrame, shuffles: int, seed: int) -> np.ndarray | None:
    """Explanations [n, shuffles] after whole groups have changed places; None with fewer than two groups."""
    if rows["group"].nunique(dropna=False) < 2:
        return None
    return shuffled_targets(rows["explanation"].to_numpy(np.float64), rows["group"], shuffles, seed)


def null_band(explanations: np.ndarray | None, effect: np.ndarray) -> Band:
    """The 95% band of r of `shuffled` explanations with an effect [n]."""
    if explanations is None:
        return None, None
    return band(pearson(explanations, np.broadcast_to(effect[:, None], explanations.shape)))


def agreement(rows: pd.DataFrame, *, draws: int = 400, shuffles: int = 200, seed: int = 0) -> Agreement:
    """Agreement of rows as `measure` takes them, with group, cue and entity. Not defined for fewer than three rows."""
    rows = explained(rows)
    enough = len(rows) >= 3
    made, why_not = measure(rows, resamples(rows, draws, seed)) if enough else ({}, f"{len(rows)} examples")
    names = ("self", "orig", "gap", "unseen", "target_current")
    moved = shuffled(rows, shuffles, seed) if enough else None
    return Agreement(
        n=len(rows),
        n_groups=int(rows["group"].nunique(dropna=False)),
        **{name: estimate(*made[name]) if name in made else Estimate(None) for name in names},
        null=null_band(moved, rows["effect_current"].to_numpy(np.float64)),
        why_not=why_not,
    )


def by_edit(rows: pd.DataFrame, **options: int) -> tuple[Agreement, dict[str, Agreement]]:
    """Agreement of all rows, and kind of edit → that of its examples alone, the most frequent kind first."""
    pooled, kinds = agreement(rows, **options), rows["edit"].value_counts().loc[lambda count: count > 0].index
    if len(kinds) == 1:
        return pooled, {str(kinds[0]): pooled}
    return pooled, {str(kind): agreement(rows[rows["edit"] == kind], **options) for kind in kinds}
