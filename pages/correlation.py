"""Explanations against effects, at the current checkpoint and at the target, on the same axes."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
import streamlit as st

from dashboard import charts, data, settings, sliced
from dashboard.agreement import FEW, Agreement, Estimate
from dashboard.example_card import example_card
from dashboard.figures import about, choose, show
from dashboard.parts import downloads, provenance
from dashboard.selection import problem, sidebar, update
from dashboard.slice_controls import slice_controls
from dashboard.text import markdown_escaped
from engine.store import RunError

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
DRAG = {"pan": "moves", "select": "box", "lasso": "lasso"}
HELP = {
    "self": "Self: Pearson r of the explanation with the current model's own effect. 1: the same up to scale.",
    "orig": "Orig: Pearson r of the explanation with the target's clean effect, on which explainers are trained.",
    "gap": "Self − Orig. Above 0 is called coupling; it may be no more than the present output being read.",
    "counterfactual_gap": (
        "What the explanation knows of the unseen run f(x′) of the current model, less of the target's, with f(x) at "
        "both held fixed by splines. Not testable where the two unseen runs can't be told apart."
    ),
    "target_current": "ρ: Pearson r of the target's effects with the current model's: how far behavior has moved.",
}


def shown(estimate: Estimate, *, sign: bool = False) -> str:
    return charts.interval(estimate.value, estimate.low, estimate.high, sign=sign)


def tiles(found: Agreement) -> None:
    """The five numbers of what is on the screen, each with its interval and a help line."""
    names = {"self": "Self", "orig": "Orig", "gap": "Gap", "counterfactual_gap": "Counterfactual gap"}
    names["target_current"] = "Target–current ρ"
    for column, (name, label) in zip(st.columns(5, gap="small"), names.items(), strict=True):
        estimate: Estimate = getattr(found, name)
        sign = "gap" in name
        value = charts.number(estimate.value, sign=sign)
        if name == "counterfactual_gap" and not found.testable:
            value = "not testable"
        low, high = charts.number(estimate.low, sign=sign), charts.number(estimate.high, sign=sign)
        column.metric(label, value, help=HELP[name], border=True)
        column.caption("95%: " + (f"{low} to {high}" if estimate.low is not None else "no interval"))


def retrained_nulls() -> dict[str, str]:
    """By kind of edit, the band of Self when explainers are retrained on shuffled targets, as the run has it.

    It is far wider than what shuffled pairs give, and only known for a whole split.
    """
    s = selection
    rows = data.metrics(
        s.path, control=None, explainer=s.explainer, regime=s.regime, split=s.split, checkpoint=s.checkpoint,
        noise_kind="none",
    )  # fmt: skip
    rows = settings.best(settings.for_layer(rows, s.layer)).dropna(subset=["null_low", "null_high"])
    return {
        row["edit"]: f"{charts.number(row['null_low'])} to {charts.number(row['null_high'])}"
        for row in rows.to_dict("records")
    }


def numbers_table(kinds: dict[str, Agreement], pooled: Agreement, nulls: dict[str, str]) -> pd.DataFrame:
    """One row for each kind of edit, and one for all where there are several."""
    rows = {**kinds, **({"all kinds, pooled": pooled} if len(kinds) > 1 else {})}
    return pd.DataFrame(
        [
            {
                "kind of edit": name,
                "n": found.n,
                "groups": found.n_groups,
                "Self (r with Δ current)": shown(found.self),
                "Orig (r with Δ target)": shown(found.orig),
                "gap": shown(found.gap, sign=True),
                "counterfactual gap": shown(found.counterfactual_gap, sign=True) if found.testable else "not testable",
                "ρ": shown(found.target_current),
                "null: retrained": nulls.get(name, "n/a"),
                "null: pairs shuffled": f"{charts.number(found.null_low)} to {charts.number(found.null_high)}",
            }
            for name, found in rows.items()
        ]
    )


def on_select(key: str, x: str) -> None:
    """A box or a lasso makes a slice; a click opens the example. Empty events say nothing."""
    event = st.session_state[key]
    if identity := sliced.clicked(event):
        st.session_state["open_example"] = identity
        update(example=identity)
    elif part := sliced.from_event(event, x, "explanation", selection.slice):
        update(slice=str(part))


def colours(frame: pd.DataFrame) -> dict[str, str]:
    """What points may be coloured by: value → label."""
    names = {"edit": "kind of edit", "quadrant": "agreement in sign", "none": "nothing"}
    usable = [c for c in selection.options.columns if c in frame and frame[c].notna().any()]
    return names | {c: c.removeprefix("meta_") for c in usable}


def scatters(frame: pd.DataFrame, selected: np.ndarray | None, found: Agreement, nulls: dict[str, str]) -> None:
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
    panels = (("current", selection.checkpoint, found.self), ("target", selection.options.target, found.orig))
    for place, (who, name, estimate) in zip(st.columns(2), panels, strict=True):
        x = f"{stem}_{who}"
        figure = charts.scatter(
            frame, x,
            x_title=f"{symbol} of the {who} model, nats", y_title="explanation, nats", limits=limits,
            colour=None if by == "none" else by, selected=selected, identity=against == "effect",
            drag=drag,
        )  # fmt: skip
        key = f"scatter_{who}"
        with place:
            st.subheader(f"Against the {who} model", help=f"The checkpoint {markdown_escaped(name)}.")
            if against == "effect":
                null = f"null (pairs shuffled) {charts.number(found.null_low)} to {charts.number(found.null_high)}"
                if who == "current" and len(nulls) == 1 and selected is None:
                    null = f"null (explainers retrained) {next(iter(nulls.values()))}"
                st.markdown(f"**r = {shown(estimate)}** · n = {found.n:,} · {found.n_groups:,} groups · {null}")
            else:
                inside = frame if selected is None else frame[selected]
                r = inside["explanation"].corr(inside[x]) if len(inside) > 2 else None
                st.markdown(f"**r = {charts.number(r)}** with {symbol} · n = {len(inside):,}")
            show(
                figure, key=key, path=selection.path, about=about(selection, n=found.n, n_groups=found.n_groups),
                alt=f"Scatter of the explanation against {symbol} of the {who} model; r = {shown(estimate)}, "
                f"n = {found.n}. The table below lists the same examples.",
                on_select=partial(on_select, key, x),
            )  # fmt: skip
    st.caption(
        "A click opens an example. Choose box or lasso under Dragging to cut out a slice. Dashed: identity. "
        "Solid: least-squares fit."
        + (
            f" {len(frame):,} examples: a raster of counts, with a sample of points on top."
            if len(frame) > 50_000
            else ""
        )
    )


@st.dialog("Example", width="large")
def open_example(identity: str) -> None:
    example_card(selection, identity)


def table(frame: pd.DataFrame, selected: np.ndarray | None) -> None:
    """The rows of the slice; choosing one opens it."""
    rows = frame if selected is None else frame[selected]
    meta = [c for c in frame if c.startswith("meta_")]
    columns = ["example_id", "edit", "explanation", "effect_current", "effect_target", "error", "f_current", "f_target"]
    rows = rows[[*columns, "group", *meta]].sort_values("error", ascending=False, kind="stable")
    st.subheader("Examples in the slice" if selected is not None else "Examples", divider="grey")
    st.caption("Largest error first; nats. Choose a row to open it.")
    shown_rows = rows.head(1_000)
    key = f"rows_{hash((str(selection.parameters()), len(rows)))}"
    event = st.dataframe(
        shown_rows, hide_index=True, key=key, on_select="rerun", selection_mode="single-row", height=330,
        column_config={c: st.column_config.NumberColumn(COLUMNS[c], format="%.3f") for c in columns[2:]},
    )  # fmt: skip
    picked = event["selection"]["rows"]
    if picked and picked[0] < len(shown_rows):
        identity = str(shown_rows["example_id"].iloc[picked[0]])
        if st.session_state.get("row_opened") != (key, identity):
            st.session_state["row_opened"] = (key, identity)
            st.session_state["open_example"] = identity
    elif not picked:
        st.session_state.pop("row_opened", None)
    provenance(selection.path, extra=about(selection, n=len(rows)))
    downloads(rows, "correlation-rows", "rows_export")


st.title("Correlation")
st.write("Does an explanation go with what the current model does, or with what it was trained on?")
selection = sidebar("checkpoint", "explainer", "regime", "layer", "noise", "split", "edit", "slice", "example")
if selection is None:
    st.stop()
try:
    frame, how = sliced.rows(selection)
    if frame.empty:
        problem(
            f"This run keeps no explanations of {selection.explainer} ({selection.regime}) at this layer and label "
            f"noise for {selection.split}, and no hidden states to refit them: choose noise none and layer chosen."
        )
        st.stop()
    selected = sliced.inside(selection, frame)
    part = frame if selected is None else frame[selected]
    pooled, kinds = sliced.numbers(selection, part)
    # A retrained null is one of a noise-free explainer on a whole split.
    whole = selected is None and selection.noise_kind == "none"
    nulls = {kind: null for kind, null in retrained_nulls().items() if kind in kinds} if whole else {}
except RunError as error:
    problem(str(error))
    st.stop()

if how:
    st.caption(how)
slice_controls(selection, frame)
if selected is not None:
    name = f"“{selection.slice.name}”: " if selection.slice.name else ""
    st.info(
        markdown_escaped(f"Slice {name}{sliced.say(selection.slice)}: {len(part):,} of {len(frame):,} examples."),
        icon=":material/filter_alt:",
    )
    if sliced.by_outcome(selection.slice):
        st.caption(
            "This slice is cut out by the numbers that are correlated: its r describes the slice and says nothing of "
            "the rest."
        )
if pooled.few:
    st.warning(
        f"Few examples: n = {pooled.n:,} in {pooled.n_groups:,} groups. Below {FEW} of either an interval is not to be "
        "trusted.",
        icon=":material/warning:",
    )
tiles(pooled)
if len(kinds) > 1:
    st.caption("All kinds of edit pooled, though each has an explainer of its own: the table has each by itself.")
scatters(frame, selected, pooled, nulls)
st.subheader("Within each kind of edit", divider="grey")
st.dataframe(numbers_table(kinds, pooled, nulls), hide_index=True, key="by_edit")
st.caption(
    "In brackets: 95% bootstrap by group, each by itself. Null, retrained: Self of explainers trained on shuffled "
    "targets, on which verdicts rest; known for whole splits. Null, pairs shuffled: r when whole groups of "
    "explanations change places, which is narrower."
)
table(frame, selected)
if identity := st.session_state.pop("open_example", None):
    open_example(identity)
