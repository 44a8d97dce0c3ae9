"""A figure on a page: with its alternative text, where its numbers come from, and the same as a table.

Page options that are not part of the selection (an axis, a colour) live in the URL too: `choose`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from dashboard import charts
from dashboard.reading.data import content_hash
from dashboard.selection.state import Selection
from dashboard.text import markdown_escaped
from dashboard.text import shown as display
from dashboard.widgets.parts import downloads, provenance

TABLE_ROWS = 1_000
"""Rows of a table that are drawn; the export holds all."""


def about(selection: Selection, *, n: int | None = None, n_groups: int | None = None, note: str = "") -> str:
    """`test_heldout · n = 1,234 · 62 groups · note`: what stands before a run's provenance."""
    parts = [selection.split]
    parts += [f"n = {n:,}"] if n is not None else []
    parts += [f"{n_groups:,} groups"] if n_groups is not None else []
    parts += [note] if note else []
    return " · ".join(parts)


def show(
    figure: go.Figure,
    *,
    key: str,
    alt: str,
    path: Path,
    about: str,
    table: pd.DataFrame | None = None,
    on_select: Callable[[], None] | None = None,
) -> None:
    """Draw a figure, then where it comes from, then the same numbers as a table to read and to save.

    `table` may be long: the export has it all.
    """
    draw(figure, key=key, alt=alt, path=path, on_select=on_select)
    provenance(path, extra=about)
    if table is not None:
        with st.expander("The same as a table, and export", icon=":material/table:"):
            as_table(table, key)


def draw(
    figure: go.Figure,
    *,
    key: str,
    alt: str,
    path: Path,
    name: str | None = None,
    on_select: Callable[[], None] | None = None,
) -> None:
    """A figure alone, for a place that says its provenance itself: a picture saved of it says what it is of all the
    same, in its name (`name`, else the key) and in itself. The camera in its bar saves PNG or SVG, as was chosen."""
    origin = (path.name, content_hash(path))
    saved = "-".join((name or key, *origin))
    if not figure.layout.font.size:  # small type has no place on a wall
        charts.stamp(figure, " · ".join(origin))
    options = charts.config(saved, st.session_state.get("image_format") or "png", selectable=on_select is not None)
    if on_select is None:
        st.plotly_chart(figure, key=key, config=options, alt=alt)
    else:
        st.plotly_chart(figure, key=key, config=options, alt=alt, on_select=on_select)


def as_table(table: pd.DataFrame, key: str) -> None:
    """A table, its export, and what the camera of the figures saves."""
    st.dataframe(table.head(TABLE_ROWS), hide_index=True, key=f"{key}_table")
    if len(table) > TABLE_ROWS:
        st.caption(f"The first {TABLE_ROWS:,} of {len(table):,} rows; the export holds all.")
    downloads(table, key, key)
    picture_format(key)


def picture_format(key: str) -> None:
    """A switch for what the camera of every figure saves."""
    name = f"{key}_format"
    st.session_state[name] = st.session_state.get("image_format") or "png"
    st.segmented_control(
        "Picture format of the camera",
        ["png", "svg"],
        key=name,
        required=True,
        wrap=True,
        format_func=str.upper,
        on_change=_image_format,
        args=(name,),
        help="The camera in the bar above a figure saves what is on the screen in this format.",
    )


def _image_format(key: str) -> None:
    st.session_state["image_format"] = st.session_state[key] or "png"


def chosen(name: str, choices: Mapping[str, Any] | Sequence[str], default: str) -> str:
    """A page option as the URL or this session has it; what does not fit becomes the default."""
    memory = st.session_state.setdefault("page_options", {})
    value = st.query_params.get(name, memory.get(name, default))
    if value not in choices:
        return default
    _into_the_url(name, value, default)
    return value


def _into_the_url(name: str, value: str, default: str) -> None:
    """What this session remembers of an earlier visit has a hand in the page, so its link must say it too."""
    if value != default and name not in st.query_params:
        st.query_params[name] = value


def choose(
    label: str,
    name: str,
    choices: Mapping[str, str],
    default: str,
    *,
    help: str | None = None,
    widget: str = "select",
) -> str:
    """One of `choices` (value → label) in a select box or as a segmented control, kept in the URL."""
    value = chosen(name, choices, default)
    key = f"option_{name}"
    st.session_state[key] = value
    draw: Any = {"select": st.selectbox, "segments": st.segmented_control}[widget]
    extra = {"required": True, "wrap": True} if widget == "segments" else {}
    written = markdown_escaped if widget == "segments" else display
    draw(
        label, list(choices), key=key, format_func=lambda v: written(choices[v]), help=help,
        on_change=_choose, args=(name, key, default), **extra,
    )  # fmt: skip
    return value


def several(
    label: str, name: str, choices: Mapping[str, str], default: Sequence[str], *, help: str | None = None
) -> list[str]:
    """Any of `choices` (value → label) as pills, in their order, kept in the URL."""
    key, start = f"option_{name}", ",".join(dict.fromkeys(default))
    given = st.query_params.get(name, st.session_state.get("page_options", {}).get(name, start))
    _into_the_url(name, given, start)
    st.session_state[key] = [c for c in choices if c in given.split(",")]
    st.pills(
        label, list(choices), selection_mode="multi", key=key, wrap=True,  # what scrolls out of sight is not found
        format_func=lambda c: markdown_escaped(choices[c]),
        on_change=lambda: keep(name, ",".join(st.session_state[key]) or "none", start), help=help,
    )  # fmt: skip
    return list(st.session_state[key])


def _choose(name: str, key: str, default: str) -> None:
    keep(name, st.session_state[key], default)


def keep(name: str, value: object, default: object = None) -> None:
    """Write a page option to the URL and the session; the default leaves the URL clean."""
    memory = st.session_state.setdefault("page_options", {})
    memory[name] = str(value)
    if value is None or value == default:
        memory.pop(name)
        if name in st.query_params:
            del st.query_params[name]
    else:
        st.query_params[name] = str(value)
