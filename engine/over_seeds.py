"""What several seeds come to: how a number spreads over them, and their verdicts counted."""

from __future__ import annotations

import pandas as pd


def least_and_most(rows: pd.DataFrame, column: str) -> tuple[float, float]:
    """The smallest and the largest value of a column over seeds, NaN left out; of a single one its own interval
    (`column_low`, `column_high`), where the rows have it."""
    values = rows[column].dropna()
    if len(values) == 1 and f"{column}_low" in rows:
        low, high = rows.loc[values.index[0], [f"{column}_low", f"{column}_high"]]
        return low, high
    return values.min(), values.max()


def counted(verdicts: pd.Series) -> str:
    """`2× holds, 1× inconclusive`; of one row the verdict itself."""
    counts = verdicts.value_counts()
    return ", ".join(f"{count}× {verdict}" if len(verdicts) > 1 else str(verdict) for verdict, count in counts.items())
