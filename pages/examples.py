"""Single examples: what was changed, what both checkpoints do, and what the explanation says of it."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlencode

import numpy as np
import pandas as pd
import streamlit as st

from dashboard.examples.attribution_view import attribution
from dashboard.lab.view import open_in_lab
from dashboard.reading import data
from dashboard.reading.example_rows import Query, extremes, find, nearer, order, rows
from dashboard.selection.on_screen import say
from dashboard.selection.resolve import with_changes
from dashboard.selection.slice_controls import slice_controls
from dashboard.selection.state import Selection, problem, sidebar, update
from dashboard.text import markdown_escaped, shown
from dashboard.widgets import parts, sentences
from dashboard.widgets.example_view import effects, header, texts
from engine.runs.store import RunError

PAGE_ROWS = 12
TRAJECTORY = Path(__file__).with_name("trajectory.py")


def main() -> None:
    st.title("Examples", anchor=False)
    selection = sidebar(
        "run", "checkpoint", "explainer", "regime", "noise", "split", "edit", "sort", "slice", "example", "hash"
    )
    if selection is None:
        return
    try:
        page(selection)
    except RunError as error:
        problem(str(error))


def page(selection: Selection) -> None:
    check_hash(selection)
    asked = Query(selection.setting, selection.split, selection.edit, selection.slice, selection.sort)
    numbers = order(selection.path, asked)
    slice_controls(selection, extremes(selection.path, Query(selection.setting, selection.split, selection.edit)))
    if not len(numbers) and not selection.example:
        nothing(selection)
        return
    number, position = locate(selection, numbers)
    if number is None:
        nothing(selection)
        return
    row = rows(selection.path, selection.setting, [number]).iloc[0].to_dict()
    navigation(selection, numbers, position, row["example_id"])
    header(row)
    texts(row)
    effects(selection, row)
    attribution(selection, row)
    st.divider()
    listing(selection, numbers, position)


def check_hash(selection: Selection) -> None:
    """A permalink carries the hash of the run's content: say so when the run has other content now."""
    now = data.content_hash(selection.path)
    if selection.hash and selection.hash != now:
        st.warning(
            f"This link was made when the run held other data (content {markdown_escaped(selection.hash)}, now {now}): "
            "numbers may differ from those that were meant.",
            icon=":material/history:",
        )


def nothing(selection: Selection) -> None:
    where = f" in the slice: {say(selection.slice)}" if selection.slice else ""
    st.info(
        f"No explained example of {markdown_escaped(selection.split)} fits{markdown_escaped(where)}. Widen the slice, "
        "or choose another split, edit or noise: runs keep explanations at noise 0 and 50%."
    )


def locate(selection: Selection, numbers: np.ndarray) -> tuple[int | None, int | None]:
    """The row of the selected example and its place in the order; the first one where none is selected."""
    if selection.example:
        number = find(selection.path, selection.example)
        if number is None:
            st.warning(f"This run has no example {markdown_escaped(selection.example)}; shown is the first one.")
        else:
            places = np.flatnonzero(numbers == number)
            if not len(places):
                st.info("This example is not among those that fit the present filter and split.")
                return number, None
            return number, int(places[0])
    return (int(numbers[0]), 0) if len(numbers) else (None, None)


def go(selection: Selection, numbers: np.ndarray, position: int) -> None:
    row = rows(selection.path, selection.setting, [int(numbers[position])]).iloc[0]
    update(example=row["example_id"], hash=None)


def navigation(selection: Selection, numbers: np.ndarray, position: int | None, identity: str) -> None:
    """Previous and next, by button and by key, and where we are."""
    here = 0 if position is None else position
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button(
            "Previous",
            icon=":material/arrow_back:",
            shortcut="P",
            key="previous",
            disabled=position in (None, 0),
            on_click=go,
            args=(selection, numbers, max(here - 1, 0)),
        )
        st.button(
            "Next",
            icon=":material/arrow_forward:",
            icon_position="right",
            shortcut="N",
            key="next",
            disabled=position is None or here + 1 >= len(numbers),
            on_click=go,
            args=(selection, numbers, min(here + 1, len(numbers) - 1)),
        )
        place = "not in the filter" if position is None else f"{here + 1:,} of {len(numbers):,}"
        st.markdown(f"**{place}**", width="content")
        permalink(selection, identity)
        over_checkpoints(selection, identity)
        open_in_lab(selection, identity)


def over_checkpoints(selection: Selection, identity: str) -> None:
    if TRAJECTORY.exists():
        st.page_link(
            TRAJECTORY, label="Over the checkpoints", icon=":material/timeline:",
            query_params={**with_changes(selection, example=identity, hash=None), "examples": identity},
        )  # fmt: skip


def permalink(selection: Selection, identity: str) -> None:
    """A link to the example on the screen, chosen or merely the first."""
    with st.popover("Permalink", icon=":material/link:"):
        numbers = with_changes(selection, example=identity, hash=data.content_hash(selection.path))
        st.write("Names this example by its content, and warns when the run has changed since.")
        st.code(f"{st.context.url or ''}?{urlencode(numbers)}", language=None, wrap_lines=True)


def listing(selection: Selection, numbers: np.ndarray, position: int | None) -> None:
    """The examples around this one, in the chosen order; choosing a row opens it."""
    pages = max(1, -(-len(numbers) // PAGE_ROWS))
    here = 0 if position is None else position // PAGE_ROWS
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.subheader("All that fit", anchor=False)
        key = f"examples_page_{here}_{pages}"
        st.pagination(pages, default=here + 1, key=key, on_change=turn, args=(selection, numbers, key))
    page_rows = rows(selection.path, selection.setting, numbers[here * PAGE_ROWS : (here + 1) * PAGE_ROWS].tolist())
    if page_rows.empty:
        return
    shown_rows = compact(page_rows)
    key = f"examples_table_{data.stamp(selection.path)}_{hash((str(selection.parameters()), here))}"
    st.dataframe(
        shown_rows,
        hide_index=True,
        key=key,
        on_select=lambda: chosen(key, page_rows),
        selection_mode="single-row",
        column_config={
            "Prompt x": st.column_config.TextColumn(width="medium"),
            **{c: st.column_config.NumberColumn(format="%+.2f") for c in ("Δ target", "Δ current", "Explanation")},
            "Nearer to": st.column_config.TextColumn(
                help=f"Undecidable: the two effects lie less than {data.UNDECIDABLE} nats apart"
            ),
            "Error": st.column_config.NumberColumn(format="%.2f", help="|explanation − Δ current|, nats"),
        },
        alt="Examples in the chosen order; choose a row to open it",
    )
    st.caption("Choose a row to open it. Effects in nats.")

    def everything() -> pd.DataFrame:
        full = data.explanations(selection.path, selection.setting)
        return full.set_index("row_number").reindex(numbers).reset_index(drop=True)

    name = f"{selection.run.key}-examples".replace("/", "-")
    parts.downloads(everything, name, "examples", rows=len(numbers))


def turn(selection: Selection, numbers: np.ndarray, key: str) -> None:
    go(selection, numbers, min((st.session_state[key] - 1) * PAGE_ROWS, len(numbers) - 1))


def chosen(key: str, page_rows: pd.DataFrame) -> None:
    """Map the chosen row to its id at once: a table keeps positions, not identities."""
    picked = st.session_state[key]["selection"]["rows"]
    if picked:
        update(example=page_rows["example_id"].iloc[picked[0]], hash=None)


def compact(frame: pd.DataFrame) -> pd.DataFrame:
    """The table's columns; where the model explains itself, its sentence stands for numbers that it does not give."""
    if frame["text"].notna().all():
        return pd.DataFrame(
            {
                "Edit": frame["edit"],
                "Prompt x": [shown(text)[:160] for text in frame["prompt"]],
                "Δ target": frame["effect_target"],
                "Δ current": frame["effect_current"],
                "In its own words": [shown(text)[:160] for text in frame["text"]],
                "Right about": [sentences.whom(row) for row in frame.to_dict("records")],
            }
        )
    return pd.DataFrame(
        {
            "Edit": frame["edit"],
            "Prompt x": [shown(text)[:160] for text in frame["prompt"]],
            "Δ target": frame["effect_target"],
            "Δ current": frame["effect_current"],
            "Explanation": frame["explanation"],
            "Error": frame["error"],
            "Nearer to": [
                nearer(e, t, c)
                for e, t, c in zip(frame["explanation"], frame["effect_target"], frame["effect_current"], strict=True)
            ],
        }
    )


main()
