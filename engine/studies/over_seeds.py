"""Summaries over several seeds: the mean of a number with its interval, and the counts of verdicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from engine.records import CLAIMS
from engine.stats.seeds import error_of_interval, random_effects

VERDICTS = tuple(f"verdict_{claim}" for claim in CLAIMS)
ENDS = ("", "_low", "_high")
"""Suffixes of the three columns that hold a number and its interval."""


def with_ends(name: str, numbers: Sequence[float]) -> dict[str, float]:
    """A number and its interval as the columns `name`, `name_low` and `name_high`."""
    return {f"{name}{end}": number for end, number in zip(ENDS, numbers, strict=True)}


def ends_of(row: Mapping[Any, Any] | pd.Series, name: str) -> tuple[float, float, float]:
    """The inverse of `with_ends`; NaN for a number that the row lacks."""
    value, low, high = (row.get(f"{name}{end}", np.nan) for end in ENDS)
    return value, low, high


def over_seeds(rows: pd.DataFrame, column: str) -> tuple[float, float, float]:
    """Random-effects mean over seeds, one row a seed, with its 95% interval (`engine.stats.seeds`).

    A seed's error comes from its own interval (`column_low`, `column_high`) and is unknown if the rows have none. A
    single row keeps its own interval. If only one of several rows has a value, there is no interval.
    """
    own = rows.reindex(columns=[f"{column}{end}" for end in ENDS]).to_numpy(np.float64)
    if len(own) == 1:
        value, low, high = own[0].tolist()
        return value, low, high
    found = random_effects(own[:, 0].tolist(), [error_of_interval(low, high) for _, low, high in own])
    return found.mean, found.low, found.high


def counted(verdicts: pd.Series) -> str:
    """`2× shown, 1× not shown`; for one row, the verdict itself; a dash if there is none."""
    counts = verdicts.value_counts()
    if counts.empty:
        return "–"
    return ", ".join(f"{count}× {verdict}" if len(verdicts) > 1 else str(verdict) for verdict, count in counts.items())
