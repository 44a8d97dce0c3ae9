"""The page Examples: a list of all that fit at the left, the open example at the right, pinned ones beneath."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

import numpy as np
import streamlit as st

from dashboard import PAGES
from dashboard.examples.attribution_view import attribution
from dashboard.examples.listing import Found, listing, open_example
from dashboard.reading import data
from dashboard.reading.example_rows import Query, extremes, find, order, rows
from dashboard.selection import unfolded
from dashboard.selection.on_screen import say
from dashboard.selection.resolve import with_changes
from dashboard.selection.slice_controls import slice_controls
from dashboard.selection.state import Selection, guarded
from dashboard.text import markdown_escaped
from dashboard.widgets.example_view import effects, example_card, header, texts
from dashboard.widgets.figures import chosen, keep

MOST_PINNED = 3
LAYOUT = """<style>
div:has(> .st-key-example_actions) { position: sticky; top: 3.2rem; z-index: 9; backdrop-filter: blur(14px);
  padding: 0.3rem 0; }
@media (min-width: 641px) {
  [data-testid="stColumn"]:has(.st-key-examples_list) { position: sticky; top: 3.4rem; align-self: flex-start; }
}
@media (max-width: 640px) { .st-key-examples_frame [data-testid="stHorizontalBlock"]:has(.st-key-examples_list)
  { flex-wrap: wrap-reverse; } }
</style>"""
"""The list and the buttons stay in sight while the example is read; on a phone the example comes first."""


def page(selection: Selection) -> None:
    slice_controls(selection, extremes(selection.path, Query(selection.setting, selection.split, selection.edit)))
    st.html(LAYOUT)
    st.fragment(guarded(frame))(selection)


def frame(selection: Selection) -> None:
    """List and example. A fragment: another example redraws this alone, so the address says which one is open."""
    selection = replace(selection, example=st.query_params.get("example"), hash=st.query_params.get("hash"))
    check_hash(selection)
    asked = Query(selection.setting, selection.split, selection.edit, selection.slice, selection.sort)
    numbers = order(selection.path, asked)
    number, position = locate(selection, numbers)
    if number is None:
        nothing(selection)
        return
    row = rows(selection.path, selection.setting, [number]).iloc[0].to_dict()
    with st.container(key="examples_frame"):
        left, right = st.columns([2, 3], gap="medium")
    with right:
        navigation(selection, numbers, position, row["example_id"])
        header(row)
        texts(row, selection.path)
        effects(selection, row)
    with left, st.container(key="examples_list"):
        listing(selection, Found(asked, numbers, position))
    pinned(selection)
    attribution(selection, row)


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
    left, right = ((selection, int(numbers[at])) if last >= 0 else () for at in (max(here - 1, 0), min(here + 1, last)))
    back: dict[str, Any] = {"icon": ":material/arrow_back:", "shortcut": "P", "disabled": position in (None, 0)}
    on: dict[str, Any] = {"icon": ":material/arrow_forward:", "shortcut": "N", "disabled": position in (None, last)}
    with st.container(key="example_actions", horizontal=True, vertical_alignment="center"):
        st.button("Previous", key="previous", on_click=open_example, args=left, **back)
        st.button("Next", key="next", icon_position="right", on_click=open_example, args=right, **on)
        place = "not in the filter" if position is None else f"{here + 1:,} of {len(numbers):,}"
        st.markdown(f"**{place}**", width="content")
        pin(selection, identity)
        links(selection, identity)


def pins(selection: Selection) -> list[str]:
    """The pinned examples that this run has, from the address."""
    given = chosen("pinned", None, "").split(",")[:MOST_PINNED]
    return [identity for identity in given if identity and find(selection.path, identity) is not None]


def pin(selection: Selection, identity: str) -> None:
    before = pins(selection)
    held = identity in before
    after = [i for i in before if i != identity] if held else [*before, identity][-MOST_PINNED:]
    about = f"Pinned examples stand side by side below, {MOST_PINNED} at most, and are in the address."
    look = {"icon": ":material/keep_off:" if held else ":material/keep:", "help": about}
    st.button("Unpin" if held else "Pin", key="pin", on_click=keep, args=("pinned", ",".join(after), ""), **look)


def pinned(selection: Selection) -> None:
    """The pinned examples side by side."""
    if not (ids := pins(selection)):
        return
    st.subheader("Pinned", anchor=False)
    for column, identity in zip(st.columns(max(2, len(ids))), ids, strict=False):
        with column.container(border=True):
            example_card(selection, identity)


def links(selection: Selection, identity: str) -> None:
    """A permalink to the example on the screen, and the same example on other pages."""
    folded = st.popover("Links", icon=":material/link:", key="example_links", on_change="rerun")
    if not unfolded.is_open(folded):
        return
    with folded:
        numbers = with_changes(selection, example=identity, hash=data.content_hash(selection.path))
        st.write("Names this example by its content, and warns when the run has changed since.")
        st.code(f"{st.context.url or ''}?{urlencode(numbers)}", language=None, wrap_lines=True)
        same = with_changes(selection, example=identity, hash=None)
        moves = same | {"examples": identity}
        trajectory, lab = PAGES / "trajectory.py", PAGES / "lab.py"
        st.page_link(trajectory, label="Over the checkpoints", icon=":material/timeline:", query_params=moves)
        st.page_link(lab, label="Open in the lab", icon=":material/science:", query_params=same)
