"""The page Examples: the selected example, the way to the next one, links, and a table of all that fit."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

import numpy as np
import pandas as pd
import streamlit as st

from dashboard import PAGES
from dashboard.examples.attribution_view import attribution
from dashboard.reading import data
from dashboard.reading.example_rows import Query, extremes, find, nearer, order, rows
from dashboard.selection.on_screen import say
from dashboard.selection.resolve import with_changes
from dashboard.selection.slice_controls import slice_controls
from dashboard.selection.state import Selection, update
from dashboard.text import markdown_escaped, shown
from dashboard.widgets import parts, sentences
from dashboard.widgets.example_view import effects, header, texts

PAGE_ROWS = 12


def page(selection: Selection) -> None:
    check_hash(selection)
    asked = Query(selection.setting, selection.split, selection.edit, selection.slice, selection.sort)
    numbers = order(selection.path, asked)
    slice_controls(selection, extremes(selection.path, Query(selection.setting, selection.split, selection.edit)))
    number, position = locate(selection, numbers)
    if number is None:
        nothing(selection)
        return
    row = rows(selection.path, selection.setting, [number]).iloc[0].to_dict()
    navigation(selection, numbers, position, row["example_id"])
    header(row)
    texts(row, selection.path)
    effects(selection, row)
    attribution(selection, row)
    st.divider()
    listing(selection, numbers, position)


def check_hash(selection: Selection) -> None:
    """Warn when the run's content is not the content that the permalink was made from."""
    now = data.content_hash(selection.path)
    if selection.hash and selection.hash != now:
        st.warning(
            f"This link was made when the run held other data (content {markdown_escaped(selection.hash)}, now {now}). "
            "The numbers may have changed.",
            icon=":material/history:",
        )


def nothing(selection: Selection) -> None:
    where = f" in the slice: {say(selection.slice)}" if selection.slice else ""
    st.info(
        f"No explained example of {markdown_escaped(selection.split)} fits{markdown_escaped(where)}. Widen the slice, "
        "or choose another split, edit or noise: runs keep explanations at noise 0 and 50%."
    )


def locate(selection: Selection, numbers: np.ndarray) -> tuple[int | None, int | None]:
    """The row of the selected example, else of the first one, and its position in `numbers`; None where there is none.

    numbers: rows of the examples that fit, in order.
    """
    if selection.example:
        number = find(selection.path, selection.example)
        if number is not None:
            places = np.flatnonzero(numbers == number)
            if not len(places):
                st.info("This example is not among those that fit the present filter and split.")
            return number, int(places[0]) if len(places) else None
        st.warning(f"This run has no example {markdown_escaped(selection.example)}; shown is the first one.")
    return (int(numbers[0]), 0) if len(numbers) else (None, None)


def navigation(selection: Selection, numbers: np.ndarray, position: int | None, identity: str) -> None:
    """Buttons and keys for the previous and the next example, the position, and links from this example."""
    last = len(numbers) - 1
    here = 0 if position is None else position
    left, right = (selection, numbers, max(here - 1, 0)), (selection, numbers, min(here + 1, last))
    back: dict[str, Any] = {"icon": ":material/arrow_back:", "shortcut": "P", "disabled": position in (None, 0)}
    on: dict[str, Any] = {"icon": ":material/arrow_forward:", "shortcut": "N", "disabled": position in (None, last)}
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button("Previous", key="previous", on_click=go, args=left, **back)
        st.button("Next", key="next", icon_position="right", on_click=go, args=right, **on)
        place = "not in the filter" if position is None else f"{here + 1:,} of {len(numbers):,}"
        st.markdown(f"**{place}**", width="content")
        links(selection, identity)


def links(selection: Selection, identity: str) -> None:
    """A permalink to the example on the screen, and the same example on other pages."""
    with st.popover("Permalink", icon=":material/link:"):
        numbers = with_changes(selection, example=identity, hash=data.content_hash(selection.path))
        st.write("Names this example by its content, and warns when the run has changed since.")
        st.code(f"{st.context.url or ''}?{urlencode(numbers)}", language=None, wrap_lines=True)
    same = with_changes(selection, example=identity, hash=None)
    moves = same | {"examples": identity}
    trajectory, lab = PAGES / "trajectory.py", PAGES / "lab.py"
    st.page_link(trajectory, label="Over the checkpoints", icon=":material/timeline:", query_params=moves)
    st.page_link(lab, label="Open in the lab", icon=":material/science:", query_params=same)


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
