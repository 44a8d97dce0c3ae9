"""What the lab reads of a run: examples to start from, the answers of its task, and whether a text is one of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import streamlit as st

from dashboard.lab.text import label
from dashboard.reading import data, example_rows
from dashboard.selection.state import Selection
from engine.records import example_id
from engine.runs.store import RunError

OFFERED = 12


def offered(selection: Selection) -> dict[str, str]:
    """Examples to start from, id → title (plain text): those whose effect moved most, and the one of the link.

    Empty where the run explains none.
    """
    try:
        page = example_rows.examples_page(
            selection.path, selection.setting, split=selection.split, sort="shift", limit=OFFERED
        ).rows
    except RunError:
        return {}
    titles = {row["example_id"]: _title(row) for row in page.to_dict("records")}
    if selection.example and selection.example not in titles:
        row = read(selection, selection.example)
        titles = ({selection.example: _title(row)} if row else {}) | titles
    return titles


def _title(row: Mapping) -> str:
    moved = abs(row["effect_current"] - row["effect_target"])
    return f"{label(row['edit'], 30)} · moved {moved:.2f} nats · {label(row['prompt'], 90)}"


def read(selection: Selection, identity: str) -> dict | None:
    """One example with its texts, and what the run recorded of it: behavior, and the frozen ridge's explanation."""
    try:
        return example_rows.example(selection.path, data.Setting(selection.checkpoint, "ridge", "frozen"), identity)
    except RunError:
        return None


@st.cache_data(max_entries=16, show_spinner=False)
def _first(path: Path, stamp: str) -> pd.DataFrame:
    sql = "SELECT task, answer_a, answer_b FROM read_parquet(?) LIMIT 1"
    return data.query(sql, [data.part(path, "examples.parquet")], path)


def answers(path: Path) -> tuple[str, str]:
    """The answers of the run's first example: what a prompt of one's own starts with. Raises RunError."""
    first = _first(path, data.stamp(path))
    return ("", "") if first.empty else (first["answer_a"].iloc[0], first["answer_b"].iloc[0])


def recognised(selection: Selection, prompt: str, edited: str | None, answers: tuple[str, str]) -> dict | None:
    """The example of the run that has just these texts, as `read` gives it; None where there is none."""
    first = _first(selection.path, data.stamp(selection.path))
    if edited is None or first.empty:
        return None
    identity = example_id(first["task"].iloc[0], prompt, edited, answers)
    return None if example_rows.find(selection.path, identity) is None else read(selection, identity)
