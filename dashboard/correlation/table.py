"""The examples of the scatters as a table: a row opens its example, and the export holds all rows."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
import streamlit as st

from dashboard.selection import on_screen
from dashboard.selection.state import Selection, update
from dashboard.widgets.figures import about
from dashboard.widgets.parts import downloads, provenance

COLUMNS = {
    "explanation": "explanation",
    "effect_current": "Δ current",
    "effect_target": "Δ target",
    "error": "error",
    "f_current": "f(x) current",
    "f_target": "f(x) target",
}
ROWS = 1_000


def pick_row(selection: Selection, key: str, ids: list[str]) -> None:
    """Choosing a row opens its example and marks its point; letting it go removes the mark."""
    picked = st.session_state[key]["selection"]["rows"]
    identity = ids[picked[0]] if picked and picked[0] < len(ids) else None
    if identity != selection.example:
        update(example=identity)
        st.session_state["open_example"] = identity


def examples(selection: Selection, frame: pd.DataFrame, selected: np.ndarray | None, n: int) -> None:
    """The rows of the slice, the chosen example first; choosing a row opens it."""
    drawn = ["example_id", "edit", *COLUMNS, "group", *(c for c in frame.columns if c.startswith("meta_"))]
    rows = on_screen.worst(frame, selected, ROWS, selection.example)[drawn]
    ids = rows["example_id"].astype(str).tolist()
    st.subheader("Examples" if selected is None else "Examples in the slice", divider="grey")
    first = "The chosen example first, then the largest error" if selection.example in ids else "Largest error first"
    more = f" The first {ROWS:,} of {n:,}; the export holds all." if n > ROWS else ""
    st.caption(f"{first}; nats. Choose a row to open it and to mark its point.{more}")
    key = f"rows_{hash((str(selection.parameters()), n))}"
    st.dataframe(
        rows,
        hide_index=True,
        key=key,
        height=330,
        selection_mode="single-row",
        on_select=partial(pick_row, selection, key, ids),
        selection_default={"selection": {"rows": [0] if selection.example in ids else []}},
        column_config={c: st.column_config.NumberColumn(label, format="%.3f") for c, label in COLUMNS.items()},
        alt="The examples of the scatters; choose a row to open it",
    )
    provenance(selection.path, extra=about(selection, n=n))
    downloads(partial(on_screen.export, selection, drawn), "correlation-rows", "rows_export", rows=n)
