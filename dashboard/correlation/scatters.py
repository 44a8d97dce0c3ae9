"""Two scatters of the explanation, against the current model and the target, and the table of their examples."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from dashboard import charts
from dashboard.charts.points import RASTER_FROM
from dashboard.correlation.halves import Half
from dashboard.correlation.view import band, shown
from dashboard.reading.agreement import Agreement
from dashboard.reading.titles import titles
from dashboard.selection import on_screen, unfolded
from dashboard.selection.state import Selection, update
from dashboard.text import markdown_escaped
from dashboard.widgets.figures import about, choose, picture_format, show
from dashboard.widgets.parts import downloads, provenance

AGAINST = {
    "effect": "the effect Δ = f(x′) − f(x)",
    "f": "f(x), the present output",
    "f_edited": "f(x′), the unseen answer",
}
SYMBOLS = {"effect": "Δ", "f": "f(x)", "f_edited": "f(x′)"}
DRAG = {"pan": "moves", "select": "box", "lasso": "lasso"}
AGAINST_HELP = (
    "Δ is the difference of two outputs. Against f(x): how far the explanation only reads the present output. Against "
    "f(x′): what it knows of the unseen answer."
)
DRAG_HELP = "While dragging moves the view, a click opens an example. A box or a lasso cuts out a slice."

COLUMNS = {
    "explanation": "explanation",
    "effect_current": "Δ current",
    "effect_target": "Δ target",
    "error": "error",
    "f_current": "f(x) current",
    "f_target": "f(x) target",
}
ROWS = 1_000


def on_select(selection: Selection, key: str, x: str) -> None:
    """A box or a lasso makes a slice; a click opens the example. An empty event changes nothing."""
    event = st.session_state[key]
    if identity := on_screen.clicked(event):
        st.session_state["open_example"] = identity
        update(example=identity)
    elif part := on_screen.from_event(event, x, "explanation", selection.slice):
        update(slice=str(part))


def colours(selection: Selection, frame: pd.DataFrame) -> dict[str, str]:
    """The columns that may colour the points: value → label."""
    names = {"edit": "kind of edit", "quadrant": "agreement in sign", "none": "nothing"}
    usable = [c for c in selection.options.columns if c in frame and frame[c].notna().any()]
    return names | {c: c.removeprefix("meta_") for c in usable}


def scatters(
    selection: Selection,
    frame: pd.DataFrame,
    selected: np.ndarray | None,
    found: Agreement,
    halves: Mapping[str, Half],
    retrained: Mapping[str, str],
) -> None:
    """Two panels, current and target, with the same range on every axis.

    selected [n] bool: the rows of the slice. retrained: kind of edit → band of Self under retrained explainers.
    """
    left, right, mouse = st.columns(3, vertical_alignment="bottom")
    with left:
        against = choose("Explanation against", "against", AGAINST, "effect", help=AGAINST_HELP)
    with right:
        help_line = "What colour and shape of a point stand for."
        by = choose("Colour and shape by", "colour", colours(selection, frame), "edit", help=help_line)
    with mouse:
        drag = choose("Dragging", "drag", DRAG, "pan", widget="segments", help=DRAG_HELP)
    if by == "quadrant":
        signs = (frame[c].to_numpy() for c in ("explanation", "effect_current", "effect_target"))
        frame = frame.assign(quadrant=charts.quadrants(*signs))
    drawn = ("explanation", f"{against}_current", f"{against}_target")
    look: dict[str, Any] = {
        "limits": charts.Limits.of(*(frame[c].to_numpy(np.float32) for c in drawn)),
        "colour": None if by == "none" else by,
        "selected": selected,
        "identity": against == "effect",
        "drag": drag,
        "marked": selection.example,
    }
    half, symbol = halves.get(against), SYMBOLS[against]
    if half and against == "f":
        half = half.turned()
    names = {"current": selection.checkpoint, "target": selection.options.target}
    counts = about(selection, n=found.n, n_groups=found.n_groups)
    for place, (who, name) in zip(st.columns(2), names.items(), strict=True):
        x, key, what = f"{against}_{who}", f"scatter_{who}", f"{symbol} of the {who} model"
        figure = charts.scatter(frame, x, x_title=f"{what}, nats", y_title="explanation, nats", **look)
        with place:
            st.subheader(f"Against the {who} model", help=f"The checkpoint {markdown_escaped(name)}.")
            r = "not defined"
            if half:
                r, null = shown(getattr(half, who)), f"pairs shuffled) {band(getattr(half, f'null_{who}'))}"
                if who == "current" and against == "effect" and len(retrained) == 1:
                    null = f"explainers retrained) {next(iter(retrained.values()))}"
                st.markdown(f"**r = {r}** · n = {found.n:,} · {found.n_groups:,} groups · null ({null}")
            alt = f"Scatter of the explanation against {what}; r = {r}, n = {found.n}. The table below has its points."
            select = partial(on_select, selection, key, x)
            show(figure, key=key, path=selection.path, about=counts, alt=alt, on_select=select)
    raster = f" {len(frame):,} examples: a raster of counts, with a sample of points on top."
    st.caption(
        "A click opens an example. Choose box or lasso under Dragging to cut out a slice. Dashed: identity. "
        f"Solid: least-squares fit. Ring: the chosen example.{raster if len(frame) > RASTER_FROM else ''}"
    )
    picture_format("scatter")


def pick_row(selection: Selection, key: str, ids: list[str]) -> None:
    """Choosing a row opens its example and marks its point; letting it go removes the mark."""
    picked = st.session_state[key]["selection"]["rows"]
    identity = ids[picked[0]] if picked and picked[0] < len(ids) else None
    if identity != selection.example:
        update(example=identity)
        st.session_state["open_example"] = identity


def examples(selection: Selection, frame: pd.DataFrame, selected: np.ndarray | None, n: int) -> None:
    """The rows of the slice, the chosen example first; choosing a row opens it. Folded until they are asked for."""
    st.subheader("Examples" if selected is None else "Examples in the slice", divider="grey")
    asked = selected is not None or selection.example is not None or st.session_state.get("examples_unfolded", False)
    look = {"icon": ":material/table:", "key": f"examples_{asked}", "on_change": "rerun"}
    folded = st.expander("Table and export", expanded=asked, **look)
    st.session_state["examples_unfolded"] = unfolded.is_open(folded)  # also once nothing is chosen any more
    if st.session_state["examples_unfolded"]:
        with folded:
            _examples(selection, frame, selected, n)


def _examples(selection: Selection, frame: pd.DataFrame, selected: np.ndarray | None, n: int) -> None:
    drawn = ["example_id", "edit", *COLUMNS, "group", *(c for c in frame.columns if c.startswith("meta_"))]
    rows = on_screen.worst(frame, selected, ROWS, selection.example)
    names = titles(selection.path, selection.setting, rows["row_number"].tolist())
    ids, rows = rows["example_id"].astype(str).tolist(), rows[drawn].drop(columns="example_id")
    rows.insert(0, "example", names)  # a text, where the export has the id
    first = "The chosen example first, then the largest error" if selection.example in ids else "Largest error first"
    more = f" The first {ROWS:,} of {n:,}; the export holds all." if n > ROWS else ""
    st.caption(f"{first}; nats. Choose a row to open it and to mark its point.{more}")
    key = f"rows_{hash((str(selection.parameters()), n))}"
    columns = {c: st.column_config.NumberColumn(label, format="%.3f") for c, label in COLUMNS.items()}
    look = {"hide_index": True, "height": 330, "column_config": columns, "selection_mode": "single-row"}
    start = {"selection": {"rows": [0] if selection.example in ids else []}}
    pick = partial(pick_row, selection, key, ids)
    alt = "The examples of the scatters; choose a row to open it"
    st.dataframe(rows, key=key, on_select=pick, selection_default=start, alt=alt, **look)
    provenance(selection.path, extra=about(selection, n=n))
    downloads(partial(on_screen.export, selection, drawn), "correlation-rows", "rows_export", rows=n)
