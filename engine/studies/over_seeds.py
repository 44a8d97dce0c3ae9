"""Summaries over several seeds: the range or the mean of a number, and the counts of verdicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

ENDS = ("", "_low", "_high")
"""Suffixes of the three columns that hold a number and its interval."""


def with_ends(name: str, numbers: Sequence[float]) -> dict[str, float]:
    """A number and its interval as the columns `name`, `name_low` and `name_high`."""
    return {f"{name}{end}": number for end, number in zip(ENDS, numbers, strict=True)}


def ends_of(row: Mapping[Any, Any] | pd.Series, name: str) -> tuple[float, float, float]:
    """The inverse of `with_ends`."""
    value, low, high = (row[f"{name}{end}"] for end in ENDS)
    return value, low, high


def least_and_most(rows: pd.DataFrame, column: str) -> tuple[float, float]:
    """The smallest and the largest value of a column over seeds, NaN left out. For a single seed, its own interval
    (`column_low`, `column_high`) if the rows have it."""
    values = rows[column].dropna()
    if len(values) == 1 and f"{column}_low" in rows:
        low, high = rows.loc[values.index[0], [f"{column}_low", f"{column}_high"]]
        return low, high
    return values.min(), values.max()


def mean_interval(rows: pd.DataFrame, column: str) -> tuple[float, float, float]:
    """Mean over seeds, NaN left out, with its interval. The interval combines those of the seeds (`column_low`,
    `column_high`) as independent errors; for one seed it is the seed's own. What the seeds share (a first checkpoint)
    does not vary."""
    own = rows[[f"{column}{end}" for end in ENDS]].dropna(subset=[column]).to_numpy(np.float64)
    if not len(own):
        return np.nan, np.nan, np.nan
    mean = own[:, 0].mean()
    below, above = (np.sqrt(((own[:, 0] - own[:, at]) ** 2).sum()) / len(own) for at in (1, 2))
    return float(mean), float(mean - below), float(mean + above)


def counted(verdicts: pd.Series) -> str:
    """`2× holds, 1× inconclusive`; for one row, the verdict itself."""
    counts = verdicts.value_counts()
    return ", ".join(f"{count}× {verdict}" if len(verdicts) > 1 else str(verdict) for verdict, count in counts.items())
