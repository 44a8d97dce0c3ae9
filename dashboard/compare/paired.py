"""Two runs on the examples that they share. Their numbers are paired: the same bootstrap draws weigh both runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import streamlit as st

from dashboard.reading import agreement, data
from dashboard.reading.agreement import Estimate, estimate
from dashboard.reading.tables import cached_per_run
from dashboard.selection import on_screen
from engine.stats.bootstrap import bootstrap_pearson
from engine.stats.correlation import pearson

NAMES = {
    "self": "Self",
    "orig": "Orig",
    "gap": "Gap",
    "unseen": "Unseen",
    "target_current": "Target–current ρ",
}
NUMBERS = "explanation effect_current effect_target f_current f_target f_edited_current f_edited_target error".split()


class Compared(NamedTuple):
    """One number in both runs, and their paired difference. `unseen` has no value where it can't be tested."""

    first: Estimate
    second: Estimate
    difference: Estimate


@dataclass(frozen=True)
class Comparison:
    """The paired statistics of two runs."""

    n: int
    n_groups: int
    numbers: dict[str, Compared]
    """By the keys of NAMES."""
    explanations: Estimate
    """r of the two runs' explanations with each other."""
    errors: Estimate
    """Mean |error| in the first run, less that in the second, nats."""
    nearer: float
    """Share of examples whose error is smaller in the first run."""
    same_effects: bool
    """Whether both runs explain the same current effects."""


@dataclass(frozen=True)
class Pairing:
    """Two runs' explanations of the same examples. All sessions share it; nobody may write to it."""

    rows: pd.DataFrame
    """The examples with a number in both runs, with the columns of `in_both`."""
    examples: int
    """The number of examples explained in both runs, in numbers or in words."""
    found: Comparison | None
    """Above `on_screen.MEASURED` rows it comes from a seeded sample; None for fewer than three rows."""


def in_both(first: pd.DataFrame, second: pd.DataFrame) -> pd.DataFrame:
    """Examples explained in both runs: the columns of the first, and NUMBERS of the second with the ending `_2`.

    Arrow compares the ids, because as Python texts they would be the largest column.
    """
    mine, theirs = (pa.array(rows["example_id"], pa.large_string()) for rows in (first, second))
    at = pc.fill_null(pc.index_in(mine, value_set=theirs), -1).to_numpy()
    here = np.flatnonzero(at >= 0)
    numbers = {f"{c}_2": second[c].to_numpy()[at[here]] for c in NUMBERS}
    return first.iloc[here].reset_index(drop=True).assign(**numbers)


def with_numbers(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of `in_both` whose explanation is a number in both runs."""
    keep = np.isfinite(rows[["explanation", "explanation_2"]].to_numpy(np.float64)).all(axis=1)
    return rows if keep.all() else rows[keep].reset_index(drop=True)


def compare(rows: pd.DataFrame, *, draws: int = 1000, seed: int = 0) -> Comparison | None:
    """Paired statistics of rows as `with_numbers` returns them; None for fewer than three."""
    if len(rows) < 3:
        return None
    weights = agreement.resamples(rows, draws, seed)
    mine, _ = agreement.measure(rows, weights)
    theirs, _ = agreement.measure(rows.assign(**{c: rows[f"{c}_2"] for c in NUMBERS}), weights)
    said = rows[["explanation", "explanation_2"]].to_numpy(np.float64)
    errors = rows["error"].to_numpy(np.float64) - rows["error_2"].to_numpy(np.float64)
    effects = rows[["effect_current", "effect_current_2"]].to_numpy(np.float64)
    return Comparison(
        n=len(rows),
        n_groups=int(rows["group"].nunique(dropna=False)),
        numbers={name: _compared(mine.get(name), theirs.get(name)) for name in NAMES},
        explanations=estimate(
            pearson(said[:, :1], said[:, 1:])[0], bootstrap_pearson(weights, said[:, 0], said[:, 1])[:, 0, 0]
        ),
        errors=estimate(errors.mean(), agreement.weighted_means(weights, errors)),
        nearer=float((errors < 0).mean()),
        same_effects=bool(np.allclose(effects[:, 0], effects[:, 1], atol=1e-4)),
    )


def _compared(first: tuple[float, np.ndarray] | None, second: tuple[float, np.ndarray] | None) -> Compared:
    difference = (first[0] - second[0], first[1] - second[1]) if first and second else None
    return Compared(*(estimate(*pair) if pair else Estimate(None) for pair in (first, second, difference)))


@cached_per_run(st.cache_resource, max_entries=2, show_spinner="Pairing the examples")
def pair_runs(
    first: Path, second: Path, mine: data.Setting, theirs: data.Setting, split: str, edit: str | None
) -> Pairing:
    """The examples that two runs share, and their paired statistics; cached."""
    said, said_second = data.explanations(first, mine, split, edit), data.explanations(second, theirs, split, edit)
    every = in_both(said, said_second)
    rows = with_numbers(every)
    return Pairing(rows, len(every), compare(on_screen.measured(rows), draws=1000 if len(rows) <= 20_000 else 200))
