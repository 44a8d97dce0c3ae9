"""Two runs on the examples they share, paired: the same draws weigh both."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import streamlit as st

from dashboard.reading import agreement, data
from dashboard.reading.agreement import Estimate, Measured
from dashboard.selection import on_screen
from engine.stats.correlation import bootstrap_pearson, interval, pearson

NAMES = {
    "self": "Self",
    "orig": "Orig",
    "gap": "Gap",
    "counterfactual_gap": "Counterfactual gap",
    "target_current": "Target–current ρ",
}
NUMBERS = ("explanation", "effect_current", "effect_target", "f_current", "f_target", "f_edited_current",
           "f_edited_target", "error")  # fmt: skip


@dataclass(frozen=True)
class Compared:
    """One number in both runs, and their difference with a paired interval. A counterfactual gap without a value can't
    be tested: the two models' unseen runs can't be told apart."""

    name: str
    first: Estimate
    second: Estimate
    difference: Estimate


@dataclass(frozen=True)
class Comparison:
    n: int
    n_groups: int
    numbers: tuple[Compared, ...]
    explanations: Estimate
    """r of the two runs' explanations with each other."""
    errors: Estimate
    """Mean of |error| in the first, less the second, nats."""
    nearer: float | None
    """Share of examples whose explanation is nearer to its own current model in the first run."""
    same_effects: bool
    """Whether both runs explain the same current effects."""


@dataclass(frozen=True)
class Pairing:
    """Two runs' explanations of the same examples. Shared by all sessions: not to be written to."""

    rows: pd.DataFrame
    """What `shared` finds."""
    examples: int
    """Explained in both runs, in numbers or in words."""
    found: Comparison | None
    """Above `on_screen.MEASURED` rows, of a seeded sample."""


def in_both(first: pd.DataFrame, second: pd.DataFrame) -> pd.DataFrame:
    """Examples explained in both runs, in numbers or in words: the first run's columns, and the second's numbers with
    the ending `_2`. Arrow compares the ids: as Python's own text they would be the largest column of all."""
    mine, theirs = (pa.array(rows["example_id"], pa.large_string()) for rows in (first, second))
    at = pc.fill_null(pc.index_in(mine, value_set=theirs), -1).to_numpy()
    here = np.flatnonzero(at >= 0)
    numbers = {f"{c}_2": second[c].to_numpy()[at[here]] for c in NUMBERS}
    return first.iloc[here].reset_index(drop=True).assign(**numbers)


def shared(first: pd.DataFrame, second: pd.DataFrame) -> pd.DataFrame:
    """Those of `in_both` with a number in both runs."""
    return _with_numbers(in_both(first, second))


def _with_numbers(rows: pd.DataFrame) -> pd.DataFrame:
    keep = np.isfinite(rows[["explanation", "explanation_2"]].to_numpy(np.float64)).all(axis=1)
    return rows if keep.all() else rows[keep].reset_index(drop=True)


def as_second(rows: pd.DataFrame) -> pd.DataFrame:
    """The second run's numbers under their plain names."""
    return rows.assign(**{c: rows[f"{c}_2"] for c in NUMBERS})


def compare(rows: pd.DataFrame, *, draws: int = 1000, seed: int = 0) -> Comparison | None:
    """Paired statistics of `shared` rows; None below three of them."""
    if len(rows) < 3:
        return None
    weights = agreement.resamples(rows, draws, seed)
    mine, theirs = agreement.measure(rows, weights), agreement.measure(as_second(rows), weights)
    explanations = rows[["explanation", "explanation_2"]].to_numpy(np.float64)
    r = pearson(explanations[:, :1], explanations[:, 1:])[0]
    r_drawn = bootstrap_pearson(weights, explanations[:, 0], explanations[:, 1])[:, 0, 0]
    errors = rows["error"].to_numpy(np.float64) - rows["error_2"].to_numpy(np.float64)
    effects = rows[["effect_current", "effect_current_2"]].to_numpy(np.float64)
    return Comparison(
        n=len(rows),
        n_groups=int(rows["group"].nunique(dropna=False)),
        numbers=tuple(_compared(name, mine, theirs) for name in NAMES),
        explanations=_estimate(r, r_drawn),
        errors=_estimate(float(errors.mean()), agreement.weighted_means(weights, errors)),
        nearer=float((errors < 0).mean()),
        same_effects=bool(np.allclose(effects[:, 0], effects[:, 1], atol=1e-4)),
    )


def _compared(name: str, mine: Measured, theirs: Measured) -> Compared:
    nothing = Estimate(None)
    both = name in mine and name in theirs
    return Compared(
        name,
        _estimate(*mine[name]) if name in mine else nothing,
        _estimate(*theirs[name]) if name in theirs else nothing,
        _estimate(mine[name][0] - theirs[name][0], mine[name][1] - theirs[name][1]) if both else nothing,
    )


def _estimate(value: float, draws: np.ndarray) -> Estimate:
    low, high = (float(end) for end in interval(draws))
    if not np.isfinite(value):
        return Estimate(None)
    return Estimate(float(value), *((low, high) if np.isfinite(low) else (None, None)))


@st.cache_resource(max_entries=2, show_spinner="Pairing the examples")
def _of_runs(
    first: Path, second: Path, mine: data.Setting, theirs: data.Setting, split: str, edit: str | None, stamps: str
) -> Pairing:
    every = in_both(
        data.explanations(first, mine, split=split, edit=edit),
        data.explanations(second, theirs, split=split, edit=edit),
    )
    rows = _with_numbers(every)
    return Pairing(rows, len(every), compare(on_screen.measured(rows), draws=1000 if len(rows) <= 20_000 else 200))


def of_runs(
    first: Path, second: Path, mine: data.Setting, theirs: data.Setting, split: str, edit: str | None
) -> Pairing:
    """What two runs share and its paired statistics, cached."""
    return _of_runs(first, second, mine, theirs, split, edit, data.stamp(first) + data.stamp(second))
