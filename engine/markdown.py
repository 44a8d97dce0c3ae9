"""Markdown tables, and numbers with their intervals as text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd


def interval_text(value: float, low: float = np.nan, high: float = np.nan, form: str = "+.2f") -> str:
    """`+0.50 [+0.40, +0.60]`. A dash if `value` is NaN; no interval if `low` is NaN."""
    if pd.isna(value):
        return "–"
    return f"{value:{form}}" + ("" if pd.isna(low) else f" [{low:{form}}, {high:{form}}]")


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    first, *others = ["| " + " | ".join(cells) + " |" for cells in (header, *rows)]
    return "\n".join([first, "|---" * len(header) + "|", *others])
