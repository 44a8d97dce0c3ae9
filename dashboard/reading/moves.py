"""Single examples over all checkpoints of a run: effects and explanation, read for a few ids only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd
import streamlit as st

from dashboard.reading import data
from dashboard.reading.example_rows import Query, find, order
from dashboard.reading.example_rows import rows as examples_rows
from dashboard.text import shown

OFFERED = 200


@st.cache_data(max_entries=16, show_spinner=False)
def _candidates(path: Path, setting: data.Setting, split: str, edit: str | None, stamp: str) -> pd.DataFrame:
    first = order(path, Query(setting, split, edit, sort="shift"))[:OFFERED]
    return _titled(examples_rows(path, setting, first.tolist()))


def _titled(rows: pd.DataFrame) -> pd.DataFrame:
    """example_id and a title (plain text)."""
    rows = rows.assign(moved=(rows["effect_current"] - rows["effect_target"]).abs())
    prompts = [" ".join(shown(text)[:90].split()) for text in rows["prompt"]]
    heads = [
        f"{edit} · moved {moved:.2f} nats · {text}"
        for edit, moved, text in zip(rows["edit"], rows["moved"], prompts, strict=True)
    ]
    return pd.DataFrame({"example_id": rows["example_id"].to_numpy(), "title": heads})


def candidates(path: Path, setting: data.Setting, split: str, edit: str | None) -> pd.DataFrame:
    """example_id and a title (plain text) of the examples whose effect moved most, the most moved first."""
    return _candidates(path, setting, split, edit, data.stamp(path))


def named(path: Path, setting: data.Setting, ids: Sequence[str]) -> dict[str, str]:
    """Titles of examples asked for by id, whatever their split and kind of edit; those that the run lacks are left
    out."""
    numbers = [number for number in (find(path, i) for i in ids) if number is not None]
    titled = _titled(examples_rows(path, setting, numbers))
    return dict(zip(titled["example_id"], titled["title"], strict=True))


@st.cache_data(max_entries=32, show_spinner=False)
def _over(path: Path, setting: data.Setting, ids: tuple[str, ...], stamp: str) -> pd.DataFrame:
    steps = data.checkpoints(path)
    numbers = [number for number in (find(path, i) for i in ids) if number is not None]
    kept = ["example_id", "effect_target", "effect_current", "f_current", "f_edited_current", "explanation"]
    found = []
    for name, step in zip(steps["name"], steps["step"], strict=True):
        rows = examples_rows(path, replace(setting, checkpoint=name), numbers)
        found.append(rows[kept].assign(checkpoint=name, step=int(step)))
    return pd.concat(found, ignore_index=True)


def over_checkpoints(path: Path, setting: data.Setting, ids: Sequence[str]) -> pd.DataFrame:
    """One row an example and checkpoint: example_id, checkpoint, step, both effects, f of the current, explanation."""
    return _over(path, setting, tuple(ids), data.stamp(path))
