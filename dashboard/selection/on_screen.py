"""The explained examples on the screen and their numbers, cached; selections on a scatter become slices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from dashboard.reading import agreement, columns, data, moves
from dashboard.reading.slices import SIGNS, Lasso, Slice
from dashboard.refit import missing
from dashboard.selection.state import Selection
from dashboard.text import shown

MEASURED = 25_000
"""Above this many examples, r, intervals and nulls on the screen come from a sample; the run's own metrics never do."""

_held: list[tuple] = []
"""The arguments of the call that `_rows` has in its cache."""


@st.cache_resource(max_entries=1, show_spinner="Reading the explained examples")
def _rows(path: Path, setting: data.Setting, split: str, edit: str | None, stamp: str) -> pd.DataFrame:
    return data.explanations(path, setting, split=split, edit=edit)


def rows(selection: Selection) -> tuple[pd.DataFrame, str]:
    """Every explained example of the selection's setting, split and edit, before its slice; and a note.

    A run keeps explanations at noise 0 and 50% of each edit's best layer. Others are refitted from the hidden states,
    where the explainer is ridge and the run has them; the note then says so, else it is empty. The frame is empty
    where neither is possible.
    """
    s = selection
    stamp = data.stamp(s.path)
    asked = (s.path, s.setting, s.split, s.edit, stamp)
    if _held != [asked]:  # free the old rows before the next are read: two frames of millions may not fit into memory
        _rows.clear()
        _held[:] = [asked]
    stored = _rows(*asked)
    if len(stored) and (s.layer is None or bool((stored["layer"] == s.layer).all())):
        return stored.copy(deep=False), ""  # sessions share the columns, not the frame
    return missing.rows(s.path, s.setting, s.split, s.edit, s.layer)


def inside(selection: Selection, frame: pd.DataFrame) -> np.ndarray | None:
    """[n] bool: which rows lie in the slice; None where there is no slice."""
    part = selection.slice
    if not part:
        return None
    keep = part.mask(frame)
    if part.text:  # the frame has no texts: the search reads the file, and gives rows of examples.parquet
        keep &= np.isin(frame["row_number"].to_numpy(), columns.containing(selection.path, part.text), kind="table")
    return keep


def measured(frame: pd.DataFrame, selected: np.ndarray | None = None) -> pd.DataFrame:
    """The rows that numbers on the screen come from: the selected ones, or a seeded sample of `MEASURED` of them where
    there are more."""
    rows = np.arange(len(frame)) if selected is None else np.flatnonzero(selected)
    if len(rows) > MEASURED:
        rows = np.sort(np.random.default_rng(0).choice(rows, MEASURED, replace=False))
    return frame if len(rows) == len(frame) else frame.iloc[rows]


def worst(frame: pd.DataFrame, selected: np.ndarray | None, limit: int, first: str | None) -> pd.DataFrame:
    """The `limit` selected rows of largest error, rows without an error last.

    first: the id of an example that comes before them, if it is selected.
    """
    error = np.nan_to_num(frame["error"].to_numpy(), nan=-1.0)
    rows = np.arange(len(frame)) if selected is None else np.flatnonzero(selected)
    if len(rows) > limit:  # avoids sorting millions
        least = np.partition(error[rows], -limit)[-limit]
        rows = rows[error[rows] >= least]
    rows = rows[np.argsort(-error[rows], kind="stable")][:limit]
    mine = np.flatnonzero((frame["example_id"] == first).to_numpy()) if first else rows[:0]
    if selected is not None:
        mine = mine[selected[mine]]
    return frame.iloc[np.concatenate([mine, rows[~np.isin(rows, mine)]])]


def export(selection: Selection, columns: list[str]) -> pd.DataFrame:
    """Every selected row, largest error first. Reads them again, so that an open page need not hold them."""
    frame, _ = rows(selection)
    selected = inside(selection, frame)
    kept = (frame if selected is None else frame[selected])[columns]
    return kept.sort_values("error", ascending=False, kind="stable")


def offered(selection: Selection, ids: Sequence[str] = ()) -> dict[str, str]:
    """Examples to choose from, id → title (plain text): those whose effect moved most, and those of `ids` that the run
    has."""
    s = selection
    found = moves.candidates(s.path, s.setting, s.split, s.edit)
    titles = dict(zip(found["example_id"], found["title"], strict=True))
    titles |= moves.named(s.path, s.setting, [i for i in ids if i not in titles])
    return {identity: shown(title) for identity, title in titles.items()}


@st.cache_data(max_entries=64, show_spinner=False)
def _numbers(
    asked: tuple[object, ...], _rows: pd.DataFrame
) -> tuple[agreement.Agreement, dict[str, agreement.Agreement]]:
    rows = measured(_rows)
    many = len(rows) > 20_000
    return agreement.by_edit(rows, draws=100 if many else 400, shuffles=40 if many else 200)


def numbers(selection: Selection, frame: pd.DataFrame) -> tuple[agreement.Agreement, dict[str, agreement.Agreement]]:
    """Agreement of the rows in the slice, and of each kind of edit in it. Above `MEASURED` rows, of a sample."""
    s = selection
    return _numbers((s.path, s.setting, s.split, s.edit, s.layer, str(s.slice), data.stamp(s.path)), frame)


def from_event(event: Mapping[str, Any], x: str, y: str, before: Slice) -> Slice | None:
    """The slice that a box or lasso on a scatter of columns x, y draws; None for a click or an empty event.

    It replaces an earlier box or lasso of either panel and keeps the rest (text, values, error).
    """
    selected = event.get("selection", {})
    kept = {c: ends for c, ends in before.ranges.items() if c == "error"}
    lasso = None
    if boxes := selected.get("box"):
        for column, ends in ((x, boxes[-1]["x"]), (y, boxes[-1]["y"])):
            low, high = sorted(float(end) for end in ends)
            kept[column] = (low, high)
    elif drawn := selected.get("lasso"):
        try:
            lasso = Lasso.drawn(x, y, drawn[-1]["x"], drawn[-1]["y"])
        except ValueError:
            return None
    else:
        return None
    return replace(before, ranges=MappingProxyType(kept), lasso=lasso)


def clicked(event: Mapping[str, Any]) -> str | None:
    """The example_id of a clicked point; None for anything else."""
    selected = event.get("selection", {})
    points = selected.get("points", [])
    if selected.get("box") or selected.get("lasso") or len(points) != 1:
        return None
    value = points[0].get("customdata")
    value = value[0] if isinstance(value, (list, tuple)) and value else value
    return str(value) if value else None


def say(part: Slice) -> str:
    """A slice in words, as plain text."""
    words = {"explanation": "explanation", "effect_current": "Δ current", "effect_target": "Δ target"}
    terms = [f"text has “{part.text}”"] if part.text else []
    terms += [f"{c.removeprefix('meta_')} is {' or '.join(vs)}" for c, vs in part.values.items()]
    for column, (low, high) in part.ranges.items():
        name = words.get(column, column)
        if low is not None and high is not None:
            terms.append(f"{name} from {low:.2f} to {high:.2f}")
        else:
            terms.append(f"{name} {'≥' if high is None else '≤'} {low if high is None else high:.2f}")
    terms += [f"signs: {' or '.join(SIGNS[s].split(':')[0] for s in part.signs)}"] if part.signs else []
    terms += [f"inside a region of {part.lasso.x} × {part.lasso.y}"] if part.lasso else []
    return "; ".join(terms) or "all examples"


def by_outcome(part: Slice) -> bool:
    """Whether a slice selects by the numbers whose correlation is measured."""
    ranges = any(c in part.ranges for c in ("explanation", "effect_current", "error"))
    return ranges or part.lasso is not None or bool(part.signs)
