"""Cut a slice without a mouse: values of a column, signs, ranges, a search; name it, save it, clear it."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType
from typing import Any

import pandas as pd
import streamlit as st

from dashboard.reading import data
from dashboard.reading.slices import SIGNS, Slice
from dashboard.selection import saved_slices
from dashboard.selection.state import Selection, update
from dashboard.text import markdown_escaped, shown
from engine.runs.store import RunError

LABELS = {
    "explanation": "explanation, nats",
    "effect_current": "Δ of the current model, nats",
    "effect_target": "Δ of the target, nats",
}


def slice_controls(selection: Selection, frame: pd.DataFrame) -> None:
    """An expander with a plain widget for every condition that a box, a lasso or a link can set.

    frame: holds the columns of `LABELS`; their extremes are the ends of the sliders.
    """
    part = selection.slice
    with st.expander("Slice", icon=":material/filter_alt:", expanded=False):
        left, middle, right = st.columns(3)
        with left:
            _text(part)
            _name(part)
            _saved(selection)
        with middle:
            _values(selection)
            _signs(part)
        with right:
            for column, label in LABELS.items():
                _range(part, frame, column, label)
        if part:
            st.button("Clear the slice", icon=":material/filter_alt_off:", on_click=update, kwargs={"slice": None})


def _put(part: Slice, **changes: Any) -> None:
    changed = replace(part, **changes)
    update(slice=str(changed) if changed else None)


def _text(part: Slice) -> None:
    key = "slice_text"
    st.session_state[key] = part.text
    st.text_input("Text in x or x′", key=key, on_change=lambda: _put(part, text=st.session_state[key]))


def _name(part: Slice) -> None:
    key = "slice_name"
    st.session_state[key] = part.name
    st.text_input(
        "Name of this slice",
        key=key,
        max_chars=60,
        disabled=not part,
        help="The link carries the name, so that others can read what the slice is.",
        on_change=lambda: _put(part, name=st.session_state[key]),
    )


def _saved(selection: Selection) -> None:
    """The run's saved slices in a select box, and buttons to save and remove."""
    part, kept = selection.slice, saved_slices.of_run(selection.path, selection.options.columns)
    if kept:
        st.session_state["slice_saved"] = next((name for name, text in kept.items() if text == str(part)), None)
        st.selectbox(
            "Saved slices",
            list(kept),
            key="slice_saved",
            placeholder="Choose one",
            format_func=shown,
            on_change=lambda: update(slice=kept.get(st.session_state["slice_saved"])),
            help="Slices of this run, in a file beside the runs, for all users of this dashboard.",
        )
    unnamed, help_line = not (part and part.name), "First give the slice a name."
    with st.container(horizontal=True):
        save, remove = (lambda: _save(selection, str(part))), (lambda: _save(selection, None))
        st.button(
            "Save", icon=":material/bookmark_add:", key="slice_save", disabled=unnamed, help=help_line, on_click=save
        )
        if part.name in kept:
            st.button("Remove", icon=":material/bookmark_remove:", key="slice_forget", on_click=remove)
    if trouble := st.session_state.pop("slice_trouble", None):
        st.error(markdown_escaped(trouble), icon=":material/error:")


def _save(selection: Selection, text: str | None) -> None:
    try:
        saved_slices.save(selection.path, selection.slice.name, text)
    except RunError as error:
        st.session_state["slice_trouble"] = str(error)


def _signs(part: Slice) -> None:
    key = "slice_signs"
    st.session_state[key] = list(part.signs)
    st.multiselect(
        "Agreement in sign",
        list(SIGNS),
        key=key,
        format_func=SIGNS.get,
        on_change=lambda: _put(part, signs=tuple(st.session_state[key])),
        help="The model whose effect has the sign of the explanation. The middle two: effects that flipped.",
    )


def _values(selection: Selection) -> None:
    part = selection.slice
    columns = [c for c in selection.options.columns if data.values(selection.path, c, limit=1)]
    if not columns:
        return
    if st.session_state.get("slice_column") not in columns:
        st.session_state["slice_column"] = next(iter(part.values), columns[0])
    column = st.selectbox("Column", columns, key="slice_column", format_func=lambda c: c.removeprefix("meta_"))
    key = f"slice_values_{column}"
    kept = part.values.get(column, ())
    st.session_state[key] = list(kept)
    choices = list(dict.fromkeys([*kept, *data.values(selection.path, column)]))

    def changed() -> None:
        values = {**part.values, column: tuple(st.session_state[key])}
        _put(part, values=MappingProxyType({c: vs for c, vs in values.items() if vs}))

    st.multiselect("Keep these values", choices, key=key, on_change=changed)


def _range(part: Slice, frame: pd.DataFrame, column: str, label: str) -> None:
    """A slider over the column's range; the two ends of the slider set no condition."""
    low, high = float(frame[column].min()), float(frame[column].max())
    if not low < high:
        return
    low, high = round(low - 0.005, 2), round(high + 0.005, 2)
    ends = part.ranges.get(column, (None, None))
    now = (low if ends[0] is None else ends[0], high if ends[1] is None else ends[1])
    key = f"slice_range_{column}"
    st.session_state[key] = (min(max(now[0], low), high), min(max(now[1], low), high))

    def changed() -> None:
        a, b = st.session_state[key]
        ranges = {c: r for c, r in part.ranges.items() if c != column}
        if (a, b) != (low, high):
            ranges[column] = (a if a > low else None, b if b < high else None)
        _put(part, ranges=MappingProxyType(ranges))

    st.slider(label, low, high, key=key, step=0.01, on_change=changed)
