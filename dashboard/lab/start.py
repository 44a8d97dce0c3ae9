"""Reads from a run for the lab: examples to start from, the task's answers, and the example that has given texts."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from dashboard.reading import data, example_rows
from dashboard.reading.tables import cached_per_run, part, query
from dashboard.selection import on_screen
from dashboard.selection.state import Selection
from engine.records import example_id
from engine.runs.store import RunError


def offered(selection: Selection, here: str | None = None) -> dict[str, str]:
    """Examples to start from, id → title (plain text): those whose effect moved most, the one of the link, and `here`.

    Empty if the run explains none.
    """
    try:
        return on_screen.offered(selection, [i for i in (selection.example, here) if i])
    except RunError:
        return {}


def typical(selection: Selection) -> str | None:
    """The example to begin with: the one in the middle of all that fit, by how far its effect moved. None if the run
    explains none."""
    s = selection
    try:
        numbers = example_rows.order(s.path, example_rows.Query(s.setting, s.split, s.edit, sort="shift"))
        if not len(numbers):
            return None
        middle = int(numbers[len(numbers) // 2])
        return str(example_rows.rows(s.path, s.setting, [middle]).iloc[0]["example_id"])
    except RunError:
        return None


def read(selection: Selection, identity: str) -> dict | None:
    """One example: its texts, its recorded behavior, and the frozen ridge's explanation."""
    try:
        return example_rows.example(selection.path, data.Setting(selection.checkpoint, "ridge", "frozen"), identity)
    except RunError:
        return None


def in_words(path: Path, checkpoint: str) -> data.Setting | None:
    """The setting of the model's own words; None for a run that has none."""
    options = data.options(path)
    for condition in (None, *options.varied):
        if regimes := options.regimes_of(condition).get("verbal"):
            return data.Setting(checkpoint, "verbal", regimes[0], condition=condition)
    return None


def recorded_words(selection: Selection, identity: str | None) -> dict | None:
    """An example with the words that the run recorded; None where it recorded none."""
    setting = in_words(selection.path, selection.checkpoint)
    if setting is None or identity is None:
        return None
    row = example_rows.example(selection.path, setting, identity)
    return row if row is not None and isinstance(row["text"], str) else None


def task(path: Path) -> str:
    """The name of the run's task, as its examples have it."""
    return _first(path)["task"]


@cached_per_run(st.cache_data, max_entries=16)
def _first(path: Path) -> dict:
    sql = "SELECT task, answer_a, answer_b FROM whole(?) LIMIT 1"
    return query(sql, [part(path, "examples.parquet")], path).iloc[0].to_dict()


def answers(path: Path) -> tuple[str, str]:
    """The answers of the run's first example, with which a blank prompt starts. Raises RunError."""
    return _first(path)["answer_a"], _first(path)["answer_b"]


def recognised(selection: Selection, prompt: str, edited: str | None, answers: tuple[str, str]) -> dict | None:
    """The example of the run that has exactly these texts, as `read` gives it; None if there is none."""
    if edited is None:
        return None
    return read(selection, example_id(_first(selection.path)["task"], prompt, edited, answers))
