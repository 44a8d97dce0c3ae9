"""What several seeds come to: how a number spreads over them, and their verdicts counted."""

from __future__ import annotations

import numpy as np
import pandas as pd


def least_and_most(rows: pd.DataFrame, column: str) -> tuple[float, float]:
    """The smallest and the largest value of a column over seeds, NaN left out; of a single one its own interval
    (`column_low`, `column_high`), where the rows have it."""
    values = rows[column].dropna()
    if len(values) == 1 and f"{column}_low" in rows:
        low, high = rows.loc[values.index[0], [f"{column}_low", f"{column}_high"]]
        return low, high
    return values.min(), values.max()


def mean_interval(rows: pd.DataFrame, column: str) -> tuple[float, float, float]:
    """Mean over seeds, NaN left out, with an interval of that mean: each seed's own (`column_low`, `column_high`) put
    together as independent errors, so of one seed its own. What the seeds share (a first checkpoint) does not vary."""
    own = rows[[column, f"{column}_low", f"{column}_high"]].dropna(subset=[column]).to_numpy(np.float64)
    if not len(own):
        return np.nan, np.nan, np.nan
    mean = own[:, 0].mean()
    below, above = (np.sqrt(((own[:, 0] - own[:, at]) ** 2).sum()) / len(own) for at in (1, 2))
    return float(mean), float(mean - below), float(mean + above)


def counted(verdicts: pd.Series) -> str:
    """`2× holds, 1× inconclusive`; of one row the verdict itself."""
    counts = verdicts.value_counts()
    return ", ".join(f"{count}× {verdict}" if len(verdicts) > 1 else str(verdict) for verdict, count in counts.items())
