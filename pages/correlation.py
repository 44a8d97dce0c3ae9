"""Explanations against effects, at the current checkpoint and at the target, on the same axes."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import streamlit as st

from dashboard import charts
from dashboard.correlation import halves
from dashboard.correlation.halves import Half
from dashboard.correlation.view import (
    COLUMN_HELP,
    band,
    by_edit_table,
    halves_table,
    retrained_nulls,
    shown,
    tiles,
    with_help,
)
from dashboard.reading import chosen, data
from dashboard.reading.agreement import FEW, Agreement, Estimate
from dashboard.selection import on_screen
from dashboard.selection.slice_controls import slice_controls
from dashboard.selection.state import Selection, problem, sidebar, update
from dashboard.text import markdown_escaped
from dashboard.widgets.example_view import example_card
from dashboard.widgets.figures import about, choose, keep, picture_format, show
from dashboard.widgets.parts import downloads, provenance
from engine.runs.store import RunError

AGAINST = {
    "effect": ("the effect Δ = f(x′) − f(x)", "Δ", "effect"),
    "f": ("f(x), the present output", "f(x)", "f"),
    "f_edited": ("f(x′), the unseen run", "f(x′)", "f_edited"),
}
COLUMNS = {
    "explanation": "explanation",
    "effect_current": "Δ current",
    "effect_target": "Δ target",
    "error": "error",
    "f_current": "f(x) current",
    "f_target": "f(x) target",
}
ROWS = 1_000
DRAG = {"pan": "moves", "select": "box", "lasso": "lasso"}


def on_select(key: str, x: str) -> None:
    """A box or a lasso makes a slice; a click opens the example. Empty events say nothing."""
    event = st.session_state[key]
    if identity := on_screen.clicked(event):
        st.session_state["open_example"] = identity
        update(example=identity)
    elif part := on_screen.from_event(event, x, "explanation", selection.slice):
        update(slice=str(part))


def colours(frame: pd.DataFrame) -> dict[str, str]:
    """What points may be coloured by: value → label."""
    names = {"edit": "kind of edit", "quadrant": "agreement in sign", "none": "nothing"}
    usable = [c for c in selection.options.columns if c in frame and frame[c].notna().any()]
    return names | {c: c.removeprefix("meta_") for c in usable}


def line(half: Half, estimate: Estimate, who: str, n: int, n_groups: int, retrained: str | None) -> str:
    """r with its interval, n and null: what stands over a panel."""
    null = f"null (pairs shuffled) {band(half.null_current if who == 'current' else half.null_target)}"
    if retrained:
        null = f"null (explainers retrained) {retrained}"
    return f"**r = {shown(estimate)}** · n = {n:,} · {n_groups:,} groups · {null}"


def scatters(frame: pd.DataFrame, selected: np.ndarray | None, found: Agreement, split: dict[str, Half]) -> None:
    """Two panels, current and target, with the same range on every axis."""
    left, right, mouse = st.columns(3, vertical_alignment="bottom")
    with left:
        against = choose(
            "Explanation against", "against", {k: v[0] for k, v in AGAINST.items()}, "effect",
            help="Δ is the difference of two outputs. Against f(x) one sees how far the explanation only reads the "
            "present output, against f(x′) what it knows of the unseen run.",
        )  # fmt: skip
    with right:
        by = choose("Colour and shape by", "colour", colours(frame), "edit")
    with mouse:
        drag = choose(
            "Dragging", "drag", DRAG, "pan", widget="segments",
            help="While it moves the view, a click opens an example. A box or a lasso cuts out a slice.",
        )  # fmt: skip
    if by == "quadrant":
        effects = (frame[f"effect_{who}"].to_numpy() for who in ("current", "target"))
        frame = frame.assign(quadrant=charts.quadrants(frame["explanation"].to_numpy(), *effects))
    _, symbol, stem = AGAINST[against]
    columns = [f"{stem}_current", f"{stem}_target"]
    limits = charts.Limits.of(*(frame[c].to_numpy(np.float32) for c in (*columns, "explanation")))
    half = split.get(stem)
    half = half.turned() if half and stem == "f" else half
    for place, who in zip(st.columns(2), ("current", "target"), strict=True):
        x, key = f"{stem}_{who}", f"scatter_{who}"
        name = selection.checkpoint if who == "current" else selection.options.target
        figure = charts.scatter(
            frame, x,
            x_title=f"{symbol} of the {who} model, nats", y_title="explanation, nats", limits=limits,
            colour=None if by == "none" else by, selected=selected, identity=against == "effect", drag=drag,
            marked=selection.example,
        )  # fmt: skip
        with place:
            st.subheader(f"Against the {who} model", help=f"The checkpoint {markdown_escaped(name)}.")
            r = "not defined"
            if half:
                estimate = getattr(half, who)
                r = shown(estimate)
                retrained = (
                    next(iter(nulls.values())) if (who, against, len(nulls)) == ("current", "effect", 1) else None
                )
                st.markdown(line(half, estimate, who, found.n, found.n_groups, retrained))
            show(
                figure, key=key, path=selection.path, about=about(selection, n=found.n, n_groups=found.n_groups),
                alt=f"Scatter of the explanation against {symbol} of the {who} model; r = {r}, "
                f"n = {found.n}. The table below lists the same examples.",
                on_select=partial(on_select, key, x),
            )  # fmt: skip
    st.caption(
        "A click opens an example. Choose box or lasso under Dragging to cut out a slice. Dashed: identity. "
        "Solid: least-squares fit. Ring: the chosen example."
        + (
            f" {len(frame):,} examples: a raster of counts, with a sample of points on top."
            if len(frame) > 50_000
            else ""
        )
    )
    picture_format("scatter")


def of_one_kind(selection: Selection) -> Selection:
    """The chosen kind of edit where the sidebar names none, as on the other pages; all kinds pooled on demand."""
    if selection.edit is not None or len(selection.options.edits) < 2:
        return selection
    every = data.metrics(
        selection.path, control=None, explainer=selection.explainer, split=selection.split,
        condition=selection.condition,
    )  # fmt: skip
    edit = chosen.default_edit(every)
    if edit is None:
        return selection
    st.session_state["option_kinds"] = st.query_params.get("kinds") == "all"
    pooled = st.toggle(
        "All kinds of edit, pooled", key="option_kinds",
        on_change=lambda: keep("kinds", "all" if st.session_state["option_kinds"] else None),
        help="Each kind of edit has an explainer of its own: numbers of all together may say what none of them says.",
    )  # fmt: skip
    if pooled:
        return selection
    st.caption(f"Kind of edit: {markdown_escaped(edit)}, of the chosen setting. The sidebar has the others.")
    return replace(selection, edit=edit)


@st.dialog("Example", width="large")
def open_example(identity: str) -> None:
    example_card(selection, identity)


def pick_row(key: str, ids: list[str]) -> None:
    """A chosen row opens its example and puts a ring around its point; one that is let go takes the ring away."""
    picked = st.session_state[key]["selection"]["rows"]
    identity = ids[picked[0]] if picked and picked[0] < len(ids) else None
    if identity != selection.example:
        update(example=identity)
        st.session_state["open_example"] = identity


def table(frame: pd.DataFrame, selected: np.ndarray | None) -> None:
    """The rows of the slice, the chosen example first; choosing one opens it."""
    n = len(frame) if selected is None else int(selected.sum())
    meta = [c for c in frame if c.startswith("meta_")]
    columns = ["example_id", "edit", "explanation", "effect_current", "effect_target", "error", "f_current", "f_target"]
    drawn = [*columns, "group", *meta]
    shown_rows = on_screen.worst(frame, selected, ROWS, selection.example)[drawn]
    mine = (shown_rows["example_id"] == selection.example).to_numpy()
    st.subheader("Examples in the slice" if selected is not None else "Examples", divider="grey")
    first = "The chosen example first, then the largest error" if mine.any() else "Largest error first"
    more = f" The first {ROWS:,} of {n:,}; the export holds all." if n > ROWS else ""
    st.caption(f"{first}; nats. Choose a row to open it and to mark its point.{more}")
    key = f"rows_{hash((str(selection.parameters()), n))}"
    st.dataframe(
        shown_rows, hide_index=True, key=key, selection_mode="single-row", height=330,
        on_select=partial(pick_row, key, shown_rows["example_id"].astype(str).tolist()),
        selection_default={"selection": {"rows": [0] if mine.any() else []}},
        column_config={c: st.column_config.NumberColumn(COLUMNS[c], format="%.3f") for c in columns[2:]},
        alt="The examples of the scatters; choose a row to open it",
    )  # fmt: skip
    provenance(selection.path, extra=about(selection, n=n))
    downloads(partial(on_screen.export, selection, drawn), "correlation-rows", "rows_export", rows=n)


st.title("Correlation")
st.write("Does an explanation go with what the current model does, or with what it was trained on?")
selection = sidebar("checkpoint", "explainer", "regime", "layer", "noise", "split", "edit", "slice", "example")
if selection is None:
    st.stop()
if selection.explainer == "verbal":
    st.info(
        "This model explains itself in words: they are right or wrong, and there is no number to correlate. Trajectory "
        "shows how often they are right, Examples each sentence beside what the model does.",
        icon=":material/chat:",
    )
    st.stop()
try:
    selection = of_one_kind(selection)
    frame, how = on_screen.rows(selection)
    if frame.empty:
        problem(
            f"This run keeps no explanations of {selection.explainer} ({selection.regime}) at this layer and label "
            f"noise for {selection.split}, and no hidden states to refit them: choose noise none and layer chosen."
        )
        st.stop()
    selected = on_screen.inside(selection, frame)
    fitting = len(frame) if selected is None else int(selected.sum())
    part = on_screen.measured(frame, selected)
    pooled, kinds = on_screen.numbers(selection, part)
    # A retrained null is one of a noise-free explainer on a whole split.
    whole = selected is None and selection.noise_kind == "none"
    nulls = {kind: null for kind, null in retrained_nulls(selection).items() if kind in kinds} if whole else {}
    split = halves.of_screen(selection, part)
except RunError as error:
    problem(str(error))
    st.stop()

if how:
    st.caption(how)
slice_controls(selection, frame)
if selected is not None:
    name = f"“{selection.slice.name}”: " if selection.slice.name else ""
    st.info(
        markdown_escaped(f"Slice {name}{on_screen.say(selection.slice)}: {fitting:,} of {len(frame):,} examples."),
        icon=":material/filter_alt:",
    )
    if on_screen.by_outcome(selection.slice):
        st.caption(
            "This slice is cut out by the numbers that are correlated: its r describes the slice and says nothing of "
            "the rest."
        )
if part.empty:
    st.info("No example lies in this slice: widen it or clear it under Slice.", icon=":material/filter_alt_off:")
elif pooled.few:
    st.warning(
        f"Few examples: n = {pooled.n:,} in {pooled.n_groups:,} groups. Below {FEW} of either an interval is not to be "
        "trusted.",
        icon=":material/warning:",
    )
tiles(pooled)
if len(part) < fitting:
    st.caption(f"Numbers on this page come from a seeded sample of {len(part):,} of {fitting:,} examples.")
if len(kinds) > 1:
    st.caption("All kinds of edit pooled, though each has an explainer of its own: the table has each by itself.")
scatters(frame, selected, pooled, split)
if split:
    st.subheader("Δ split into its two outputs", divider="grey")
    st.dataframe(
        halves_table(split, pooled.testable), hide_index=True, key="halves", column_config=with_help(COLUMN_HELP),
        alt="Correlations of the explanation with the effect and with each of its two outputs",
    )  # fmt: skip
    st.caption(
        "An explanation that goes with −f(x) only reads the present output. What it knows of the unseen run stands in "
        "the last line: the partial r with f(x′), splines of f(x) at both models held fixed. In brackets: 95% "
        "bootstrap by group; null: 95% band when whole groups of explanations change places."
    )
if len(part):
    st.subheader("Within each kind of edit", divider="grey")
    st.dataframe(
        by_edit_table(kinds, pooled, nulls), hide_index=True, key="by_edit", column_config=with_help(COLUMN_HELP),
        alt="Agreement within each kind of edit",
    )  # fmt: skip
    st.caption(
        "In brackets: 95% bootstrap by group, each by itself. Null, retrained: Self of explainers trained on shuffled "
        "targets, on which verdicts rest; known for whole splits. Null, pairs shuffled: r when whole groups of "
        "explanations change places, which is narrower."
    )
table(frame, selected)
del frame, part, selected  # callbacks keep this page's names alive: not millions of rows with them
if identity := st.session_state.pop("open_example", None):
    open_example(identity)
