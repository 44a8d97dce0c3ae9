"""The list of examples that fit, at the left of the page: what tells them apart, and their numbers as bars."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import numpy as np
import pandas as pd
import streamlit as st

from dashboard.charts import style
from dashboard.reading import data
from dashboard.reading.example_rows import Query, rows
from dashboard.reading.titles import title
from dashboard.selection.state import Selection, update
from dashboard.text import shown
from dashboard.widgets import parts, sentences

PAGE_ROWS = 15
TURNED = "examples_turned"
"""In the session: the page of the list that the reader turned to, and beside what; the open example stays."""


@dataclass(frozen=True)
class Found:
    """The examples that fit, and the open one among them."""

    asked: Query
    numbers: np.ndarray
    """[n] rows of examples.parquet, in the chosen order."""
    position: int | None
    """Of the open example in `numbers`; None if it is not among them."""


def open_example(selection: Selection, number: int) -> None:
    """Open the example in a row of examples.parquet."""
    update(example=rows(selection.path, selection.setting, [number]).iloc[0]["example_id"], hash=None)


def listing(selection: Selection, found: Found) -> None:
    """One page of the list, with the open example marked. Turning the page does not change what is open."""
    pages = max(1, -(-len(found.numbers) // PAGE_ROWS))
    beside = (repr(found.asked), found.position)
    turned = st.session_state.get(TURNED)
    page = turned[1] if turned and turned[0] == beside else (found.position or 0) // PAGE_ROWS
    page = min(page, pages - 1)
    key = f"examples_page_{hash((beside, page))}"

    def turn() -> None:
        st.session_state[TURNED] = (beside, st.session_state[key] - 1)

    st.pagination(pages, default=page + 1, key=key, on_change=turn)
    numbers = found.numbers[page * PAGE_ROWS : (page + 1) * PAGE_ROWS].tolist()
    if numbers:
        mark = None if found.position is None else found.position - page * PAGE_ROWS
        _table(selection, numbers, mark if mark is not None and 0 <= mark < len(numbers) else None)

    def everything() -> pd.DataFrame:
        full = data.explanations(selection.path, selection.setting)
        return full.set_index("row_number").reindex(found.numbers).reset_index(drop=True)

    name = f"{selection.run.key}-examples".replace("/", "-")
    parts.downloads(everything, name, "examples", rows=len(found.numbers))


def _table(selection: Selection, numbers: list[int], mark: int | None) -> None:
    """A click anywhere on a row opens its example."""
    key = f"examples_table_{data.stamp(selection.path)}_{hash((selection.setting, tuple(numbers), mark))}"

    def open_row() -> None:  # at once: a table keeps positions, not identities
        picked = st.session_state[key]["selection"]
        place = next((cell[0] for cell in picked["cells"]), next(iter(picked["rows"]), None))
        if place is not None:
            open_example(selection, numbers[place])

    table = compact(rows(selection.path, selection.setting, numbers))
    bars = "Blue: the current model's effect Δ. Green: the explanation. To the right of the line: above 0; in nats."
    st.dataframe(
        table,
        hide_index=True,
        key=key,
        on_select=open_row,
        selection_mode=["single-row-required", "single-cell"],
        selection_default={"selection": {"rows": [] if mark is None else [mark], "columns": [], "cells": []}},
        height=len(table) * 35 + 40,
        column_config={
            "Example": st.column_config.TextColumn(
                width=184, help="What x′ lacks (−) and has instead (+); then cue and entity"
            ),
            "Δ, said": st.column_config.ImageColumn(width=106, help=bars),
            **{c: st.column_config.NumberColumn(width=70, format="%+.2f") for c in ("Δ now", "Explanation")},
        },
        alt="Examples in the chosen order; a click on a row opens it",
    )


def compact(frame: pd.DataFrame) -> pd.DataFrame:
    """The list's columns. If the model explains itself, they hold its sentence in place of an explained number."""
    table: dict[str, Any] = {"Example": [title(row) for row in frame.to_dict("records")]}
    if frame["text"].notna().all():
        table["Right about"] = frame.apply(sentences.whom, axis=1)
        table["In its own words"] = [shown(text)[:160] for text in frame["text"]]
        return pd.DataFrame(table)
    pairs = frame[["effect_current", "explanation"]].to_numpy(np.float64)
    largest = float(np.nanmax(np.abs(pairs))) if np.isfinite(pairs).any() else 0.0
    table["Δ, said"] = [bars(effect, said, largest) for effect, said in pairs.tolist()]
    return pd.DataFrame(table | {"Δ now": frame["effect_current"], "Explanation": frame["explanation"]})


def bars(effect: float, said: float, largest: float) -> str:
    """The address of a picture of two bars from a common zero line: the effect above, the explanation below.

    largest: nats of the longest bar. An undefined number has no bar.
    """
    drawn = [
        f'<rect x="{50 + min(0.0, length):.1f}" y="{top}" width="{max(abs(length), 1):.1f}" height="8" fill="{fill}"/>'
        for value, top, fill in ((effect, 3, style.CURRENT.colour), (said, 13, style.EXPLANATION.colour))
        if np.isfinite(value) and np.isfinite(length := 48 * value / (largest or 1.0))
    ]
    line = f'<path d="M50 0V24" stroke="{style.GREY}"/>'
    size = 'width="100" height="24" viewBox="0 0 100 24"'
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" {size}>{"".join(drawn)}{line}</svg>'
    return f"data:image/svg+xml,{quote(svg)}"
