"""One example patched token by token, when asked."""

from __future__ import annotations

import numpy as np
import streamlit as st

from dashboard import PAGES, charts
from dashboard.charts.mechanism import Column, patch_maps
from dashboard.mechanism import maps
from dashboard.mechanism.maps import ExampleMap
from dashboard.reading.example_rows import example
from dashboard.refit import new_prompts
from dashboard.selection.on_screen import offered
from dashboard.selection.resolve import with_changes
from dashboard.selection.state import Selection, problem
from dashboard.text import diff, markdown_escaped, shown, visible
from dashboard.widgets.figures import choose, is_dark, show
from dashboard.widgets.on_demand import can_load, requested, warn_if_replaced
from dashboard.widgets.parts import small_print
from engine.config import InputError

TITLES = ("Behavior f", "Explanation")


def one_example(selection: Selection) -> None:
    """Choose an example, and patch it after a click."""
    path, checkpoint, asked = selection.path, selection.checkpoint, selection.example
    titles = offered(selection, [asked] if asked else [])
    if not titles:
        st.info("No explanations were kept for this setting: choose another explainer, edit or split.")
        return
    if asked and asked not in titles:
        st.info(f"This run has no example {markdown_escaped(asked)}.")
    start = asked if asked in titles else next(iter(titles))
    help_line = "The list has the examples whose effect moved most from target to current checkpoint. Type to search."
    identity = choose("Example", "patched", titles, start, help=help_line)
    row = example(path, selection.setting, identity)
    assert row is not None  # `offered` has examples of this run only
    st.html(diff(row["prompt"], row["edited"]))
    possible = can_load(path, [checkpoint])
    if not new_prompts.choices(path) and not maps.explains_in_words(path):
        st.caption(new_prompts.why_none(path))
    about, icon = (selection.run.key, checkpoint, identity), ":material/grid_on:"
    if not requested("Patch this example", about, key="patch_example", icon=icon, disabled=not possible):
        return
    try:
        found = maps.example_map(path, checkpoint, row)
    except InputError as error:
        problem(str(error))
        return
    warn_if_replaced(path, [checkpoint])
    draw_example(selection, found, identity)


def draw_example(selection: Selection, found: ExampleMap, identity: str) -> None:
    if not found.positions:
        st.info("The edit changes nothing that the model reads: there is nothing to patch.")
        return
    panels = [(TITLES[0], found.behavior)]
    if found.explanation is not None and found.probe_layer is not None:
        said = found.explanation.copy()
        said[found.probe_layer + 1 :] = np.nan
        panels.append((TITLES[1], said))
    every = zip(found.positions, found.tokens, found.groups, strict=True)
    columns = [Column(f"{position} {visible(token)}", group) for position, token, group in every]
    moved = "" if found.moved is None else f"; the explanation moves by {charts.number(found.moved, sign=True)}"
    total = f"From x to x′ f moves by {charts.number(found.effect, sign=True)} nats{moved}."
    figure = patch_maps(columns, list(range(len(found.behavior))), panels, unit="nats", own_scales=True, dark=is_dark())
    origin = f"one example, {selection.checkpoint}, each position patched by itself"
    alt = f"Heatmaps over layers and {len(found.tokens)} tokens of one example, in nats. {total}"
    table = found.table().assign(token=lambda t: t["token"].map(shown))
    show(figure, key="patched_tokens", path=selection.path, about=origin, alt=alt, table=table)
    how = "token by token" if found.exact else "with the mean state of the tokens in its place (see the tab Maps)"
    cut = f" The first {found.left_out} tokens from the edit's start on are left out." if found.left_out else ""
    small_print(f"{total} The edit is patched {how}; tokens before it are the same in both runs.{cut}")
    link = {"label": "Open on the page Examples", "icon": ":material/open_in_new:"}
    st.page_link(PAGES / "examples.py", query_params=with_changes(selection, example=identity), **link)
