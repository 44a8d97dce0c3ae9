"""Tables, figures and sentences of the page Compare."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from dashboard import charts
from dashboard.charts import Series, style
from dashboard.charts.style import Look
from dashboard.compare.paired import NAMES, Comparison, Pairing
from dashboard.reading import chosen, data
from dashboard.reading.agreement import Estimate
from dashboard.selection.resolve import default_noise
from dashboard.selection.state import LABELS as SIDEBAR
from dashboard.selection.state import Selection, guarded
from dashboard.widgets.example_view import example_card
from dashboard.widgets.figures import about, choose, show
from dashboard.widgets.parts import downloads

LABELS = {
    "explanation": "explanation 1",
    "explanation_2": "explanation 2",
    "apart": "apart",
    "effect_current": "Δ current 1",
    "effect_current_2": "Δ current 2",
    "error": "error 1",
    "error_2": "error 2",
}


def second_setting(selection: Selection, options: data.Options) -> data.Setting:
    """Controls for the second run. The defaults are the first run's setting if the second run has it, else its own."""

    def pick(label: str, name: str, choices: Mapping[str, str], wanted: str, default: str) -> str:
        help_line = SIDEBAR[name][1]
        return choose(
            f"Second run: {label}", f"{name}2", choices, wanted if wanted in choices else default, help=help_line
        )

    left, middle, right = st.columns(3)
    with left:
        steps = {c: f"{c} · step {options.steps.get(c, 0)}" for c in options.checkpoints}
        checkpoint = pick("current checkpoint", "checkpoint", steps, selection.checkpoint, options.checkpoints[-1])
    condition = None
    if options.varied:
        conditions = ({"": "none"} if options.explainers else {}) | {c: c for c in options.varied}
        condition = choose("Second run: condition", "condition2", conditions, next(iter(conditions))) or None
    offered = options.regimes_of(condition)
    with middle:
        explainers = {e: e for e in offered}
        explainer = pick("explainer", "explainer", explainers, selection.explainer, next(iter(offered)))
    regimes = offered[explainer] or ("frozen",)
    with right:
        regime = pick("regime", "regime", {r: r for r in regimes}, selection.regime, regimes[0])
    return data.Setting(checkpoint, explainer, regime, *default_noise(options), condition)


def paired_table(found: Comparison, first: str, second: str) -> None:
    """A row for each number: in both runs, and their paired difference."""

    def text(name: str, estimate: Estimate, sign: bool) -> str:
        untestable = name == "unseen" and estimate.value is None
        return "not testable" if untestable else charts.interval(*estimate, sign=sign)

    difference = "first − second, paired"
    lines = [
        {
            "number": label,
            f"first: {first}": text(name, found.numbers[name].first, name in ("gap", "unseen")),
            f"second: {second}": text(name, found.numbers[name].second, name in ("gap", "unseen")),
            difference: text(name, found.numbers[name].difference, True),
        }
        for name, label in NAMES.items()
    ]
    helped = {"number": "Correlations; in brackets 95% intervals.", difference: "The same draws weigh both runs."}
    columns = {column: st.column_config.Column(help=text) for column, text in helped.items()}
    alt = "Self, Orig, gap and unseen of both runs, and their paired differences"
    st.dataframe(pd.DataFrame(lines), hide_index=True, key="paired", alt=alt, column_config=columns)


def in_words(found: Comparison) -> str:
    """Which numbers differ between the runs, by their paired intervals."""
    said = []
    for name, (_, _, (value, low, high)) in found.numbers.items():
        if low is not None and high is not None and (low > 0 or high < 0):
            more = "higher" if low > 0 else "lower"
            said.append(f"{NAMES[name]} is {more} in the first run ({charts.number(value, sign=True)})")
    if not said:
        return "No paired interval of Self, Orig, gap, unseen or ρ excludes 0: the runs are not told apart."
    rest = "" if len(said) == len(NAMES) else " No other paired interval of Self, Orig, gap, unseen or ρ excludes 0."
    return "; ".join(said) + "." + rest


def nothing_paired(examples: int, mine: data.Setting, theirs: data.Setting) -> str:
    """Why there are no paired numbers. examples: the number of examples explained in both runs."""
    first, second = (setting.explainer == "verbal" for setting in (mine, theirs))
    if not examples:
        return "The two runs share no explained examples in this split and kind of edit, so nothing can be paired."
    if not (first or second):
        return f"The two runs share only {examples:,} explained examples here: too few to pair."
    who = "both explain themselves" if first and second else f"the {'first' if first else 'second'} explains itself"
    return (
        f"The two runs share {examples:,} explained examples, but {who} in words: a sentence is right or wrong and has "
        "no number to pair."
    )


def pictures(selection: Selection, rows: pd.DataFrame, found: Comparison, where: str) -> None:
    """The paired differences, and the explanations of both runs against each other."""
    left, right = st.columns(2)
    with left:
        st.subheader("Differences")
        bars = [charts.LadderRow(NAMES[name], *c.difference, "explainer") for name, c in found.numbers.items()]
        figure = charts.ladder(bars, x_title="first − second, paired 95% interval")
        alt = "Paired differences of Self, Orig, gap and unseen with intervals; the table above has the numbers."
        show(figure, key="differences", path=selection.path, about=where, alt=alt)
    with right:
        st.subheader("Explanations of the same examples")
        r = charts.interval(*found.explanations)
        limits = charts.Limits.of(rows["explanation"].to_numpy(), rows["explanation_2"].to_numpy())
        titles: dict[str, Any] = {"x_title": "explanation in the second run, nats", "y_title": "in the first run, nats"}
        figure = charts.scatter(rows, "explanation_2", **titles, limits=limits, colour="edit", height=400)
        alt = f"Scatter of the explanations of both runs, r = {r}."
        show(figure, key="explanations", path=selection.path, about=f"{where} · r = {r}", alt=alt)


LINES = (
    ("self", "Self", style.CURRENT, 1, True),
    ("target_current", "ρ", style.RHO, 1, True),
    ("gap", "gap", style.GAP, 2, True),
    ("unseen", "unseen", style.EXPLANATION, 2, False),
)
"""Column, its name, its look, its panel, and whether its band is drawn."""


def of_run(look: Look, place: int) -> Look:
    """The look of a line in the first or the second run, which has one colour and the symbols of the first."""
    if place == 1:
        return look
    return replace(look, dash="longdash") if look is style.RHO else replace(style.SECOND, symbol=look.symbol)


def over_steps(selection: Selection, second: data.RunEntry, theirs: data.Setting) -> None:
    """Self and gap of both runs over the steps, whether they share examples or not."""
    st.subheader("Over the checkpoints", divider="grey")
    runs = (
        ("first", selection.path, selection.setting),
        ("second", second.path, theirs),
    )
    series, tables, in_words = [], [], []
    for place, (name, path, s) in enumerate(runs, 1):
        asked = {"explainer": s.explainer, "regime": s.regime, "condition": s.condition, "split": selection.split}
        every = data.metrics(path, control=None, noise_kind=chosen.noise_kinds(s.explainer), **asked)
        kind = selection.edit if selection.edit in set(every["edit"]) else chosen.default_edit(every)
        rows = chosen.best(every[every["edit"] == kind]).sort_values("step")
        if rows.empty:
            st.caption(f"Nothing was measured of the {name} run in this setting and split.")
            continue
        series += [
            Series(rows, column, f"{said}, {name} ({kind})", of_run(look, place), panel, band, f"{said} {place}")
            for column, said, look, panel, band in LINES
        ]
        tables.append(rows.assign(run=name))
        in_words.append(s.explainer == "verbal")
    if not tables:
        return
    columns = ["run", "checkpoint", "step", "edit", "layer", "n", "self", "orig", "gap", "unseen"]
    title = "r; in words exact match" if any(in_words) else "agreement (Pearson r)"
    title = "exact match (ρ: r)" if all(in_words) else title
    figure = charts.trajectory(
        series, panels=(title, "gap, unseen"), absent_within=data.spec(selection.path).metrics.absent_within
    )
    where = about(selection, note=f"second run {second.key}")
    alt = "Self, target–current correlation, gap and unseen of both runs over the steps; the table has the numbers."
    table = pd.concat(tables)[columns]
    show(figure, key="compare_steps", path=selection.path, about=where, alt=alt, table=table)


def far_apart(rows: pd.DataFrame, limit: int | None = None) -> pd.DataFrame:
    """The rows ordered by the difference of the two explanations, the largest first."""
    apart = (rows["explanation"] - rows["explanation_2"]).abs().to_numpy()
    first = np.argsort(-apart, kind="stable")[:limit]
    return rows.assign(apart=apart)[["example_id", "edit", *LABELS, "group"]].iloc[first]


def disagreements(selection: Selection, pairing: Pairing, theirs: data.Setting) -> None:
    """A table of the examples on which the runs disagree most; choosing a row opens its example."""
    st.subheader("Where the runs disagree most", divider="grey")
    shown = far_apart(pairing.rows, 500)
    key = f"disagreements_{hash((str(selection.parameters()), theirs))}"
    columns = {c: st.column_config.NumberColumn(label, format="%.3f") for c, label in LABELS.items()}
    look = {"hide_index": True, "height": 300, "column_config": columns}
    picked = st.dataframe(shown, key=key, on_select="rerun", selection_mode="single-row", **look)["selection"]["rows"]
    st.caption("1: the first run, 2: the second; nats. Choose a row to open the example.")
    downloads(partial(far_apart, pairing.rows), "compared-examples", "compare_rows", rows=len(pairing.rows))
    if picked and picked[0] < len(shown):
        identity = str(shown["example_id"].iloc[picked[0]])
        if st.session_state.get("compare_opened") != (key, identity):
            st.session_state["compare_opened"] = (key, identity)
            st.dialog("Example in the first run", width="large")(guarded(example_card))(selection, identity)
