"""The lesson's numbers, from frames of examples. Pure: nothing here reads a run or calls Streamlit.

Frames are those of `dashboard.reading.data.explanations`, one row an example, effects and f in nats. Intervals are 95%
bootstraps by cue and entity, else by group, paired over all numbers of one frame.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from dashboard.reading.agreement import Estimate, explained, resamples
from engine.stats.bootstrap import Resamples, bootstrap_pearson, interval
from engine.stats.correlation import pearson

DRAWS, MANY, DRAWS_OF_MANY = 400, 20_000, 100
"""Frames of more than `MANY` rows get fewer draws: these need as much memory, and the intervals are narrow."""
UNDEFINED = Estimate(None)


def from_draws(value: float, draws: np.ndarray) -> Estimate:
    """A value with the interval of its draws; None for what is not finite."""
    numbers = (value, *interval(draws))
    return Estimate(*(float(v) if np.isfinite(v) else None for v in numbers))


def weights_of(rows: pd.DataFrame) -> Resamples:
    """Bootstrap weights of the rows."""
    return resamples(rows, DRAWS if len(rows) <= MANY else DRAWS_OF_MANY, seed=0)


def group_count(rows: pd.DataFrame) -> int:
    """How many groups the rows come from."""
    return int(rows["group"].nunique(dropna=False))


def correlation(rows: pd.DataFrame, a: str, b: str) -> Estimate:
    """Pearson r of two columns; undefined for fewer than 3 rows."""
    if len(rows) < 3:
        return UNDEFINED
    x, y = rows[a].to_numpy(np.float64), rows[b].to_numpy(np.float64)
    return from_draws(pearson(x, y)[0], bootstrap_pearson(weights_of(rows), x, y)[:, 0, 0])


@dataclass(frozen=True)
class Move:
    """One quantity before and after: how far it moved, and how much of its order was kept."""

    spread: Estimate = UNDEFINED
    """sd of the change over examples, nats."""
    kept: Estimate = UNDEFINED
    """r of before and after."""


@dataclass(frozen=True)
class Stillness:
    """Moves of the quantities in `PAIRS` on the same examples."""

    n: int
    n_groups: int
    moves: dict[str, Move]
    excess: Estimate = UNDEFINED
    """r(Δ before, after) − r(explanation before, after), paired: above 0 the explanation moved more than the effect."""


PAIRS = {
    "f": ("f_target", "f_current"),
    "f_edited": ("f_edited_target", "f_edited_current"),
    "effect": ("effect_target", "effect_current"),
    "explanation": ("explanation_first", "explanation"),
}
"""Columns of each quantity before and after."""


def stillness(last: pd.DataFrame, first: pd.DataFrame) -> Stillness:
    """How far behavior and explanations moved from the first checkpoint, where the explainer was trained, to the last.

    last, first: explained examples at both checkpoints; examples that are in both count.
    """
    before = explained(first)[["example_id", "explanation"]].rename(columns={"explanation": "explanation_first"})
    rows = explained(last).merge(before, on="example_id", how="inner")
    n, n_groups = len(rows), group_count(rows)
    if n < 3:
        return Stillness(n, n_groups, dict.fromkeys(PAIRS, Move()))
    weights = weights_of(rows)
    moves, kept, kept_draws = {}, {}, {}
    for name, (then, now) in PAIRS.items():
        a, b = rows[then].to_numpy(np.float64), rows[now].to_numpy(np.float64)
        kept[name], kept_draws[name] = pearson(a, b)[0], bootstrap_pearson(weights, a, b)[:, 0, 0]
        spread = from_draws(float((b - a).std()), _spread_draws(weights, b - a))
        moves[name] = Move(spread, from_draws(kept[name], kept_draws[name]))
    excess = from_draws(kept["effect"] - kept["explanation"], kept_draws["effect"] - kept_draws["explanation"])
    return Stillness(n, n_groups, moves, excess)


def _spread_draws(weights: Resamples, values: np.ndarray) -> np.ndarray:
    """The weighted sd of values [n] in every draw: [draws]."""
    centred = values - values.mean()  # the sd stays the same, and squares lose no digits
    sums = weights.sums(np.column_stack([np.ones_like(centred), centred, centred**2]))
    with np.errstate(invalid="ignore", divide="ignore"):
        mean, square = sums[:, 1] / sums[:, 0], sums[:, 2] / sums[:, 0]
        return np.sqrt(np.maximum(square - mean**2, 0.0))


@dataclass(frozen=True)
class Contest:
    """The explanation against −f(x), which never saw an edit, on the same examples of one checkpoint."""

    n: int
    n_groups: int
    self: Estimate = UNDEFINED
    output_self: Estimate = UNDEFINED
    gap: Estimate = UNDEFINED
    output_gap: Estimate = UNDEFINED
    self_difference: Estimate = UNDEFINED
    """Self of the explanation − Self of −f(x), paired."""
    gap_difference: Estimate = UNDEFINED


def contest(rows: pd.DataFrame) -> Contest:
    """rows: explanation, f_current, effect_current and effect_target of each example."""
    rows = explained(rows)
    n, n_groups = len(rows), group_count(rows)
    if n < 3:
        return Contest(n, n_groups)
    said = np.column_stack([rows["explanation"], -rows["f_current"]]).astype(np.float64)
    effects = rows[["effect_current", "effect_target"]].to_numpy(np.float64)
    draws = bootstrap_pearson(weights_of(rows), said, effects)  # [draws, said, effects]
    r = np.array([pearson(np.column_stack([s, s]), effects) for s in said.T])
    gap, gap_draws = r[:, 0] - r[:, 1], draws[:, :, 0] - draws[:, :, 1]
    return Contest(
        n,
        n_groups,
        self=from_draws(r[0, 0], draws[:, 0, 0]),
        output_self=from_draws(r[1, 0], draws[:, 1, 0]),
        gap=from_draws(gap[0], gap_draws[:, 0]),
        output_gap=from_draws(gap[1], gap_draws[:, 1]),
        self_difference=from_draws(r[0, 0] - r[1, 0], draws[:, 0, 0] - draws[:, 1, 0]),
        gap_difference=from_draws(gap[0] - gap[1], gap_draws[:, 0] - gap_draws[:, 1]),
    )


SHOWN_EXAMPLES = 12
LONGEST_PROMPT = 320
"""Characters: what a class can read on the wall."""


def readable(rows: pd.DataFrame) -> pd.DataFrame:
    """Examples to read aloud, the best first. rows: example_id, cue, prompt, f_target and effect_target.

    Only short prompts are taken, where there are any. Prompts whose answer turns over with the edit come first, then
    the larger effect, at most one for each cue. The second example is the one of the smallest effect.
    """
    if rows.empty:
        return rows
    length = rows["prompt"].str.len()
    short = rows[length <= max(LONGEST_PROMPT, length.min())]
    f, effect = short["f_target"].to_numpy(np.float64), short["effect_target"].to_numpy(np.float64)
    ranked = short.assign(_turns=np.sign(f) != np.sign(f + effect), _size=np.abs(effect))
    ranked = ranked.sort_values(["_turns", "_size"], ascending=False, kind="stable")
    large = ranked.drop_duplicates("cue") if ranked["cue"].notna().all() else ranked
    small = ranked.sort_values("_size", kind="stable").head(1)
    picked = pd.concat([large.head(1), small, large.iloc[1 : SHOWN_EXAMPLES - 1]]).drop_duplicates("example_id")
    return picked.drop(columns=["_turns", "_size"]).reset_index(drop=True)


def likelier(f: float) -> float:
    """The share of answer a among both answers, from f = log p(a) − log p(b) in nats."""
    return float(1 / (1 + np.exp(-f)))
