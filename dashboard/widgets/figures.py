"""A figure on a page: with its alternative text, the source of its numbers, and the same as a table.

Page options that are not part of the selection (an axis, a colour) live in the URL too: `choose`.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from dashboard.charts import style
from dashboard.charts.on_page import for_page
from dashboard.reading.data import content_hash
from dashboard.selection import remembered, unfolded
from dashboard.selection.state import Selection
from dashboard.text import markdown_escaped
from dashboard.text import shown as display
from dashboard.widgets.parts import downloads, provenance

REDRAW = "image_format_changed"
TABLE_ROWS = 1_000
"""Rows of a table that are drawn; the export holds all."""


def is_dark() -> bool:
    """Whether the page's theme is dark, as far as the browser has said so."""
    return st.context.theme.type == "dark"


def about(selection: Selection, *, n: int | None = None, n_groups: int | None = None, note: str = "") -> str:
    """`test_heldout · n = 1,234 · 62 groups · note`, for the line of provenance."""
    counts = [f"n = {n:,}" if n is not None else "", f"{n_groups:,} groups" if n_groups is not None else ""]
    return " · ".join(piece for piece in (selection.split, *counts, note) if piece)


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
    """Draw a figure; below it, behind an icon each, its provenance and the same numbers as a table to read and save.

    `table` may be long: the export has it all.
    """
    draw(figure, key=key, alt=alt, path=path, on_select=on_select)
    with st.container(horizontal=True, gap="xsmall"):
        provenance(path, extra=about)
        if table is not None:
            as_table(table, key)


@st.fragment
def as_table(table: pd.DataFrame, key: str) -> None:
    """The numbers of a figure, to read and to save. They are sent once they are asked for."""
    look = {"icon": ":material/table:", "type": "tertiary", "help": "The numbers as a table, and their export"}
    popover = st.popover("Table, export", key=f"{key}_numbers", on_change="rerun", **look)
    if not unfolded.is_open(popover):
        return
    with popover:
        st.dataframe(table.head(TABLE_ROWS), hide_index=True, key=f"{key}_table")
        if len(table) > TABLE_ROWS:
            st.caption(f"The first {TABLE_ROWS:,} of {len(table):,} rows; the export holds all.")
        downloads(table, key, key)
        picture_format(key)
    if st.session_state.pop(REDRAW, False):
        st.rerun()  # all figures of the page, which stand outside this fragment


def draw(
    figure: go.Figure,
    *,
    key: str,
    alt: str,
    path: Path,
    name: str | None = None,
    on_select: Callable[[], None] | None = None,
) -> None:
    """A figure alone, for a place that says its provenance itself.

    A picture saved from it says the run and its content hash all the same: in its file name (`name`, else the key) and
    in the picture. The camera in the modebar saves PNG or SVG, as was chosen.
    """
    origin = (path.name, content_hash(path))
    if not figure.layout.font.size:  # the lesson's figures are for a wall, where small type is illegible
        style.stamp(figure, " · ".join(origin))
    image_format = st.session_state.get("image_format") or "png"
    camera = {"format": image_format, "filename": "-".join((name or key, *origin)), "scale": 2}
    hidden = ["autoScale2d"] if on_select else ["select2d", "lasso2d", "autoScale2d"]
    options = {"displaylogo": False, "scrollZoom": False, "modeBarButtonsToRemove": hidden}
    options["toImageButtonOptions"] = camera
    chart(figure, key=key, alt=alt, config=options, on_select=on_select or "ignore")


def chart(figure: go.Figure, **options: Any) -> None:
    """Streamlit's element for a figure, in the page's colours. options: of `st.plotly_chart`."""
    st.plotly_chart(for_page(figure, is_dark()), theme=None, **options)


def picture_format(key: str) -> None:
    """A switch for the format in which the camera of every figure saves."""
    name = f"{key}_format"
    st.session_state[name] = st.session_state.get("image_format") or "png"

    def kept() -> None:
        st.session_state["image_format"] = st.session_state[name] or "png"
        st.session_state[REDRAW] = True

    about = "The camera in the bar above a figure saves the picture on the screen in this format."
    look: dict = {"required": True, "wrap": True, "format_func": str.upper, "help": about}
    st.segmented_control("Picture format of the camera", ["png", "svg"], key=name, on_change=kept, **look)


def chosen(name: str, choices: Container[str] | None, default: str) -> str:
    """A page option from the URL; outside `choices` it is the default."""
    value = st.query_params.get(name, default)
    if choices is not None and value not in choices:
        value = default
    remembered.options().pop(name, None)
    if value != default:
        remembered.options()[name] = value
    return value


def choose(
    label: str, name: str, choices: Mapping[str, str], default: str, *, help: str | None = None, widget: str = "select"
) -> str:
    """One of `choices` (value → label) in a select box ("select"), as "segments" or as "tabs", kept in the URL."""
    value = chosen(name, choices, default)
    key = f"option_{name}"
    st.session_state[key] = value

    def kept() -> None:
        keep(name, st.session_state[key], default)

    if widget in ("segments", "tabs"):
        look: dict = {"required": True, "wrap": True, "format_func": lambda v: markdown_escaped(choices[v])}
        look["label_visibility"] = "collapsed" if widget == "tabs" else "visible"
        st.segmented_control(label, list(choices), key=key, help=help, on_change=kept, **look)
    else:
        st.selectbox(
            label, list(choices), key=key, help=help, on_change=kept, format_func=lambda v: display(choices[v])
        )
    return value


def tabs(parts: Mapping[str, str], default: str | None = None) -> str:
    """The part of a page that is drawn, of `parts` (value → label); kept in the URL. The default is the first.

    Only the chosen part is computed; `st.tabs` would not keep the choice through a reload.
    """
    return choose("Part of this page", "part", parts, default or next(iter(parts)), widget="tabs")


def several(
    label: str, name: str, choices: Mapping[str, str], default: Sequence[str], *, help: str | None = None
) -> list[str]:
    """Any of `choices` (value → label) as pills, in their order, kept in the URL."""
    key, start = f"option_{name}", ",".join(dict.fromkeys(default))
    given = chosen(name, None, start).split(",")
    st.session_state[key] = [c for c in choices if c in given]

    def kept() -> None:
        keep(name, ",".join(st.session_state[key]) or "none", start)

    look = {"wrap": True, "format_func": lambda c: markdown_escaped(choices[c])}  # pills out of sight are not found
    st.pills(label, list(choices), selection_mode="multi", key=key, help=help, on_change=kept, **look)
    return list(st.session_state[key])


def keep(name: str, value: object, default: object = None) -> None:
    """Write a page option to the URL and the session; the default leaves the URL clean."""
    if value is None or value == default:
        remembered.options().pop(name, None)
        st.query_params.pop(name, None)
    else:
        remembered.options()[name] = st.query_params[name] = str(value)
