"""Cut a slice without a mouse: values of a column, signs, ranges, a search; name it, save it, clear it."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import Any

import pandas as pd
import streamlit as st

from dashboard.reading import data
from dashboard.reading.slices import SIGNS, Slice
from dashboard.selection import saved_slices, unfolded
from dashboard.selection.state import Selection, bound, update
from dashboard.text import markdown_escaped, shown
from engine.config import InputError

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
    folded = st.expander("Slice", icon=":material/filter_alt:", key="slice_unfolded", on_change="rerun")
    if not unfolded.is_open(folded):
        return
    with folded:
        left, middle, right = st.columns(3)
        with left:
            _text_and_name(part)
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


def _text_and_name(part: Slice) -> None:
    help_line = (
        "Keeps the examples whose prompt or counterfactual has this text. Upper and lower case count as the same."
    )
    widget = partial(st.text_input, "Text in x or x′", help=help_line)
    bound(widget, key="slice_text", value=part.text, change=lambda text: _put(part, text=text))
    value, look = part.name, {"help": "The link carries the name, so that others can read what the slice is."}
    widget = partial(st.text_input, "Name of this slice", disabled=not part, max_chars=60, **look)
    bound(widget, key="slice_name", value=value, change=lambda name: _put(part, name=name))


def _saved(selection: Selection) -> None:
    """The run's saved slices in a select box, and buttons to save and remove."""
    part, kept = selection.slice, saved_slices.of_run(selection.path, selection.options.columns)
    if kept:
        help_line = "Slices of this run, in a file beside the runs, for all users of this dashboard."
        look = {"placeholder": "Choose one", "format_func": shown, "help": help_line}
        here = next((name for name, text in kept.items() if text == str(part)), None)
        widget = partial(st.selectbox, "Saved slices", list(kept), **look)
        bound(widget, key="slice_saved", value=here, change=lambda name: update(slice=kept.get(name)))
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
    except InputError as error:
        st.session_state["slice_trouble"] = str(error)


def _signs(part: Slice) -> None:
    help_line = "The model whose effect has the sign of the explanation. The middle two: effects that flipped."
    widget = partial(st.multiselect, "Agreement in sign", list(SIGNS), format_func=SIGNS.get, help=help_line)
    bound(widget, key="slice_signs", value=list(part.signs), change=lambda kept: _put(part, signs=tuple(kept)))


def _values(selection: Selection) -> None:
    part = selection.slice
    columns = [c for c in selection.options.columns if data.values(selection.path, c, limit=1)]
    if not columns:
        return
    if st.session_state.get("slice_column") not in columns:
        st.session_state["slice_column"] = next(iter(part.values), columns[0])
    about = "A property of the examples. Several columns can be set: all their conditions hold together."
    column = st.selectbox(
        "Column", columns, key="slice_column", format_func=lambda c: c.removeprefix("meta_"), help=about
    )
    kept = list(part.values.get(column, ()))
    choices = list(dict.fromkeys([*kept, *data.values(selection.path, column)]))

    def changed(chosen: list[str]) -> None:
        values = {**part.values, column: tuple(chosen)}
        _put(part, values=MappingProxyType({c: vs for c, vs in values.items() if vs}))

    key = f"slice_values_{column}"
    look = {"help": "Keeps the examples that have one of these values in this column. None: all values."}
    bound(st.multiselect, "Keep these values", choices, key=key, value=kept, change=changed, **look)


def _range(part: Slice, frame: pd.DataFrame, column: str, label: str) -> None:
    """A slider over the column's range; the two ends of the slider set no condition."""
    low, high = float(frame[column].min()), float(frame[column].max())
    if not low < high:
        return
    low, high = round(low - 0.005, 2), round(high + 0.005, 2)
    start, end = part.ranges.get(column, (None, None))
    now = tuple(min(max(v, low), high) for v in (low if start is None else start, high if end is None else end))

    def changed(ends: tuple[float, float]) -> None:
        ranges = {c: r for c, r in part.ranges.items() if c != column}
        if ends != (low, high):
            ranges[column] = (ends[0] if ends[0] > low else None, ends[1] if ends[1] < high else None)
        _put(part, ranges=MappingProxyType(ranges))

    bound(st.slider, label, low, high, key=f"slice_range_{column}", value=now, change=changed, step=0.01)
