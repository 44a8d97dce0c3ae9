"""Markdown tables, and numbers with their intervals as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd


def intervals(
    table: pd.DataFrame, column: str, form: str = "+.2f", ends: Sequence[str] = ("_low", "_high")
) -> list[str]:
    """Each row's number with its interval, as `+0.50 [+0.40, +0.60]`. `ends`: suffixes of the interval's two columns.

    A dash if the number is NaN or the table lacks the column; no interval if that is NaN.
    """
    cells = []
    wanted = [column, *(f"{column}{end}" for end in ends)]
    for value, *both in table.reindex(columns=wanted).to_numpy(np.float64):
        interval = f" [{both[0]:{form}}, {both[1]:{form}}]" if both and not np.isnan(both[0]) else ""
        cells.append("–" if np.isnan(value) else f"{value:{form}}{interval}")
    return cells


def markdown_table(columns: Mapping[str, Any]) -> str:
    """columns: head → cells."""
    first, *others = [f"| {' | '.join(map(str, row))} |" for row in (columns, *zip(*columns.values(), strict=True))]
    return "\n".join([first, "|---" * len(columns) + "|", *others])
