"""What tells an example from its neighbours, in a line of plain text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
import streamlit as st

from dashboard.reading.columns import Setting
from dashboard.reading.example_rows import rows
from dashboard.reading.tables import cached_per_run
from dashboard.text import changes, shown

LONGEST_PIECE = 60
"""Characters of one piece of a title."""


def title(row: Mapping) -> str:
    """What the edit took out (−) and put in (+), then cue and entity if these words lack them, as plain text.

    row: prompt and edited, and cue and entity where the data have them.
    """
    steps = changes(shown(row["prompt"]), shown(row["edited"]))
    signs = {"delete": "−", "insert": "+"}
    pieces = [f"{signs[tag]} {cut(text)}" for tag, text in steps if tag in signs and text.strip()]
    change = " ".join(pieces) or cut(str(row["prompt"]))
    names = [cut(str(row[name])) for name in ("cue", "entity") if row.get(name) and pd.notna(row[name])]
    return " · ".join([change, *(name for name in names if name not in change)])


@cached_per_run(st.cache_data, max_entries=16)
def titles(path: Path, setting: Setting, numbers: Sequence[int]) -> list[str]:
    """The titles of rows of examples.parquet."""
    return [title(row) for row in rows(path, setting, numbers).to_dict("records")]


def cut(text: str) -> str:
    """The text on one line, at most `LONGEST_PIECE` characters of it."""
    line = " ".join(shown(text).split())
    return line if len(line) <= LONGEST_PIECE else f"{line[: LONGEST_PIECE - 1]}…"
