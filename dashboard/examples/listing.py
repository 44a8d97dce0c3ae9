"""The table on the page Examples: the examples that fit, a dozen at a time; choosing a row opens it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import streamlit as st

from dashboard.reading import data
from dashboard.reading.example_rows import nearer, rows
from dashboard.selection.state import Selection, update
from dashboard.text import shown
from dashboard.widgets import parts, sentences

PAGE_ROWS = 12


def listing(selection: Selection, numbers: np.ndarray, position: int | None) -> None:
    """The examples around the one at `position` of `numbers` (rows of the examples, in the chosen order)."""
    pages = max(1, -(-len(numbers) // PAGE_ROWS))
    here = 0 if position is None else position // PAGE_ROWS
    key = f"examples_page_{here}_{pages}"

    def turn() -> None:
        go(selection, numbers, min((st.session_state[key] - 1) * PAGE_ROWS, len(numbers) - 1))

    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.subheader("All that fit", anchor=False)
        st.pagination(pages, default=here + 1, key=key, on_change=turn)
    page_rows = rows(selection.path, selection.setting, numbers[here * PAGE_ROWS : (here + 1) * PAGE_ROWS].tolist())
    if page_rows.empty:
        return
    _table(page_rows, f"examples_table_{data.stamp(selection.path)}_{hash((str(selection.parameters()), here))}")
    st.caption("Choose a row to open it. Effects in nats.")

    def everything() -> pd.DataFrame:
        full = data.explanations(selection.path, selection.setting)
        return full.set_index("row_number").reindex(numbers).reset_index(drop=True)

    parts.downloads(everything, f"{selection.run.key}-examples".replace("/", "-"), "examples", rows=len(numbers))


def go(selection: Selection, numbers: np.ndarray, position: int) -> None:
    """Select the example at a position of `numbers`."""
    row = rows(selection.path, selection.setting, [int(numbers[position])]).iloc[0]
    update(example=row["example_id"], hash=None)


def _table(page_rows: pd.DataFrame, key: str) -> None:
    def open_row() -> None:  # at once: a table keeps positions, not identities
        picked = st.session_state[key]["selection"]["rows"]
        if picked:
            update(example=page_rows["example_id"].iloc[picked[0]], hash=None)

    undecidable = f"Undecidable: the two effects lie less than {data.UNDECIDABLE} nats apart"
    st.dataframe(
        compact(page_rows),
        hide_index=True,
        key=key,
        on_select=open_row,
        selection_mode="single-row",
        column_config={
            "Prompt x": st.column_config.TextColumn(width="medium"),
            **{c: st.column_config.NumberColumn(format="%+.2f") for c in ("Δ target", "Δ current", "Explanation")},
            "Nearer to": st.column_config.TextColumn(help=undecidable),
            "Error": st.column_config.NumberColumn(format="%.2f", help="|explanation − Δ current|, nats"),
        },
        alt="Examples in the chosen order; choose a row to open it",
    )


def compact(frame: pd.DataFrame) -> pd.DataFrame:
    """The table's columns. If the model explains itself, they hold its sentence in place of an explained number."""
    table = {
        "Edit": frame["edit"],
        "Prompt x": [shown(text)[:160] for text in frame["prompt"]],
        "Δ target": frame["effect_target"],
        "Δ current": frame["effect_current"],
    }
    if frame["text"].notna().all():
        table["In its own words"] = [shown(text)[:160] for text in frame["text"]]
        table["Right about"] = frame.apply(sentences.whom, axis=1)
    else:
        numbers = (frame[c] for c in ("explanation", "effect_target", "effect_current"))
        table |= {"Explanation": frame["explanation"], "Error": frame["error"]}
        table["Nearer to"] = [nearer(*row) for row in zip(*numbers, strict=True)]
    return pd.DataFrame(table)
