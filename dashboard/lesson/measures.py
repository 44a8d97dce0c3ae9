"""The lesson's numbers, from frames of examples. Pure: nothing here reads a run or calls Streamlit.

Frames are those of `dashboard.reading.data.explanations`, one row an example, effects and f in nats. Intervals are 95%
bootstraps by cue and entity, else by group, paired over all numbers of one frame.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from dashboard.reading.agreement import Estimate, explained, resamples
from engine.stats.correlation import Resamples, bootstrap_pearson, interval, pearson

DRAWS, MANY, DRAWS_OF_MANY = 400, 20_000, 100
"""Of more examples than `MANY` fewer draws: they take as much memory, and their intervals are narrow."""


def estimate(value: float, draws: np.ndarray) -> Estimate:
    """A value with the interval of its draws; what is not finite becomes None."""
    low, high = interval(draws)
    numbers = [float(v) if np.isfinite(v) else None for v in (value, low, high)]
    return Estimate(*numbers)


def drawn(rows: pd.DataFrame, seed: int) -> Resamples:
    """Weights of the draws."""
    return resamples(rows, DRAWS if len(rows) <= MANY else DRAWS_OF_MANY, seed)


def correlation(rows: pd.DataFrame, a: str, b: str, seed: int = 0) -> Estimate:
    """r of two columns."""
    if len(rows) < 3:
        return Estimate(None)
    x, y = rows[a].to_numpy(np.float64), rows[b].to_numpy(np.float64)
    weights = drawn(rows, seed)
    return estimate(pearson(x, y)[0], bootstrap_pearson(weights, x, y)[:, 0, 0])


@dataclass(frozen=True)
class Move:
    """One quantity before and after: how far it moved, and how much of its order was kept."""

    name: str
    spread: Estimate
    """sd of the change over examples, nats."""
    kept: Estimate
    """r of before and after."""


@dataclass(frozen=True)
class Stillness:
    """Moves of f(x), f(x'), the effect and, where asked for, the explanation, on the same examples."""

    n: int
    n_groups: int
    moves: tuple[Move, ...]
    excess: Estimate
    """r(Δ before, after) − r(explanation before, after), paired: above 0 the explanation moved more than the effect."""

    def __getitem__(self, name: str) -> Move:
        return next(m for m in self.moves if m.name == name)


PAIRS = (
    ("f", "f_target", "f_current"),
    ("f_edited", "f_edited_target", "f_edited_current"),
    ("effect", "effect_target", "effect_current"),
    ("explanation", "explanation_first", "explanation"),
)


def stillness(last: pd.DataFrame, first: pd.DataFrame, seed: int = 0) -> Stillness:
    """What moved from the first checkpoint, where the explainer was trained, to the last one.

    last, first: explained examples at both checkpoints; those in both count.
    """
    before = explained(first)[["example_id", "explanation"]].rename(columns={"explanation": "explanation_first"})
    rows = explained(last).merge(before, on="example_id", how="inner")
    n, n_groups = len(rows), int(rows["group"].nunique(dropna=False))
    if n < 3:
        return Stillness(n, n_groups, tuple(Move(p[0], Estimate(None), Estimate(None)) for p in PAIRS), Estimate(None))
    weights = drawn(rows, seed)
    moves, kept_draws, kept = [], {}, {}
    for name, then, now in PAIRS:
        before_, after = rows[then].to_numpy(np.float64), rows[now].to_numpy(np.float64)
        kept[name] = pearson(before_, after)[0]
        kept_draws[name] = bootstrap_pearson(weights, before_, after)[:, 0, 0]
        change = after - before_
        spread = estimate(float(change.std()), _spread_draws(weights, change))
        moves.append(Move(name, spread, estimate(kept[name], kept_draws[name])))
    excess = estimate(kept["effect"] - kept["explanation"], kept_draws["effect"] - kept_draws["explanation"])
    return Stillness(n, n_groups, tuple(moves), excess)


def _spread_draws(weights: Resamples, values: np.ndarray) -> np.ndarray:
    """The weighted sd of values [n] in every draw: [draws]."""
    centred = values - values.mean()  # of the same spread, and squares lose no digits
    sums = weights.sums(np.column_stack([np.ones_like(centred), centred, centred**2]))
    with np.errstate(invalid="ignore", divide="ignore"):
        mean, square = sums[:, 1] / sums[:, 0], sums[:, 2] / sums[:, 0]
        return np.sqrt(np.maximum(square - mean**2, 0.0))


@dataclass(frozen=True)
class Contest:
    """The explanation against −f(x), which never saw an edit, on the same examples of one checkpoint."""

    n: int
    n_groups: int
    self: Estimate
    output_self: Estimate
    gap: Estimate
    output_gap: Estimate
    self_difference: Estimate
    """Self of the explanation − Self of −f(x), paired."""
    gap_difference: Estimate


def contest(rows: pd.DataFrame, seed: int = 0) -> Contest:
    """rows: explanation, f_current, effect_current and effect_target of each example."""
    rows = explained(rows)
    n, n_groups = len(rows), int(rows["group"].nunique(dropna=False))
    if n < 3:
        return Contest(n, n_groups, *(Estimate(None) for _ in range(6)))
    said = np.column_stack([rows["explanation"], -rows["f_current"]]).astype(np.float64)
    effects = rows[["effect_current", "effect_target"]].to_numpy(np.float64)
    draws = bootstrap_pearson(drawn(rows, seed), said, effects)  # [draws, said, effects]
    r = np.array([pearson(np.column_stack([s, s]), effects) for s in said.T])
    gap, gap_draws = r[:, 0] - r[:, 1], draws[:, :, 0] - draws[:, :, 1]
    return Contest(
        n,
        n_groups,
        self=estimate(r[0, 0], draws[:, 0, 0]),
        output_self=estimate(r[1, 0], draws[:, 1, 0]),
        gap=estimate(gap[0], gap_draws[:, 0]),
        output_gap=estimate(gap[1], gap_draws[:, 1]),
        self_difference=estimate(r[0, 0] - r[1, 0], draws[:, 0, 0] - draws[:, 1, 0]),
        gap_difference=estimate(gap[0] - gap[1], gap_draws[:, 0] - gap_draws[:, 1]),
    )


SHOWN_EXAMPLES = 12
LONGEST_PROMPT = 320
"""Characters: what a class can read on the wall."""


def readable(rows: pd.DataFrame, count: int = SHOWN_EXAMPLES) -> pd.DataFrame:
    """Examples to read aloud, the best first. rows: example_id, prompt, f_target and effect_target.

    Short prompts before long ones; among those, prompts whose answer turns over with the edit come first, the
    larger the effect the earlier, at most one a cue. The second is one of small effect: that happens too.
    """
    if rows.empty:
        return rows
    length = rows["prompt"].str.len()
    short = rows[length <= max(LONGEST_PROMPT, length.min())]
    f, effect = short["f_target"].to_numpy(np.float64), short["effect_target"].to_numpy(np.float64)
    turns = np.sign(f) != np.sign(f + effect)
    ranked = short.assign(_turns=turns, _size=np.abs(effect)).sort_values(
        ["_turns", "_size"], ascending=False, kind="stable"
    )
    large = ranked.drop_duplicates("cue") if ranked["cue"].notna().all() else ranked
    small = ranked.sort_values("_size", kind="stable").head(1)
    picked = pd.concat([large.head(count - 1), small]).drop_duplicates("example_id")
    order = [0, len(picked) - 1, *range(1, len(picked) - 1)] if len(picked) > 2 else list(range(len(picked)))
    return picked.iloc[order].drop(columns=["_turns", "_size"]).reset_index(drop=True)


def likelier(f: float) -> float:
    """The share of answer a among both answers, from f = log p(a) − log p(b) in nats."""
    return float(1 / (1 + np.exp(-f)))
