"""Two runs side by side, with paired statistics on the examples they share."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
import streamlit as st

from dashboard import charts
from dashboard.charts import LadderRow, Series, style
from dashboard.compare.paired import NAMES, Comparison, Pairing, of_runs
from dashboard.reading import agreement, chosen, data
from dashboard.reading.agreement import FEW
from dashboard.selection.resolve import default_noise
from dashboard.selection.state import Selection, problem, sidebar, update
from dashboard.text import markdown_escaped
from dashboard.widgets.example_view import example_card
from dashboard.widgets.figures import about, choose, show
from dashboard.widgets.parts import downloads, provenance, small_print
from engine.runs.store import RunError

LABELS = {
    "explanation": "explanation 1",
    "explanation_2": "explanation 2",
    "apart": "apart",
    "effect_current": "Δ current 1",
    "effect_current_2": "Δ current 2",
    "error": "error 1",
    "error_2": "error 2",
}


def other_setting(selection: Selection, options: data.Options) -> data.Setting:
    """What is read of the second run: the same where it has it, else its own."""
    left, middle, right = st.columns(3)
    conditions = {"": "none"} if options.explainers else {}
    conditions |= {c: c for c in options.varied}
    same = selection.checkpoint in options.checkpoints
    checkpoint = selection.checkpoint if same else options.checkpoints[-1]
    with left:
        steps = {c: f"{c} · step {options.steps.get(c, 0)}" for c in options.checkpoints}
        checkpoint = choose("Second run: current checkpoint", "checkpoint2", steps, checkpoint)
    if options.varied:
        condition = choose("Second run: condition", "condition2", conditions, next(iter(conditions))) or None
    else:
        condition = None
    offered = options.regimes_of(condition)
    explainer = selection.explainer if selection.explainer in offered else next(iter(offered))
    with middle:
        explainer = choose("Second run: explainer", "explainer2", {e: e for e in offered}, explainer)
    regimes = offered[explainer] or ("frozen",)
    with right:
        regime = selection.regime if selection.regime in regimes else regimes[0]
        regime = choose("Second run: regime", "regime2", {r: r for r in regimes}, regime)
    return data.Setting(checkpoint, explainer, regime, *default_noise(options), condition)


def paired_table(found: Comparison, first: str, second: str) -> pd.DataFrame:
    def text(name: str, estimate: agreement.Estimate, sign: bool) -> str:
        if name == "counterfactual_gap" and estimate.value is None:
            return "not testable"
        return charts.interval(estimate.value, estimate.low, estimate.high, sign=sign)

    return pd.DataFrame(
        [
            {
                "number": NAMES[c.name],
                f"first: {first}": text(c.name, c.first, "gap" in c.name),
                f"second: {second}": text(c.name, c.second, "gap" in c.name),
                "first − second, paired": text(c.name, c.difference, True),
            }
            for c in found.numbers
        ]
    )


def words(found: Comparison) -> str:
    """What the paired intervals support, and no more."""
    said = []
    for c in found.numbers:
        if c.difference.low is None or c.difference.high is None:
            continue
        if c.difference.low > 0 or c.difference.high < 0:
            more = "higher" if c.difference.low > 0 else "lower"
            said.append(f"{NAMES[c.name]} is {more} in the first run ({charts.number(c.difference.value, sign=True)})")
    if not said:
        return "No paired interval of Self, Orig, a gap or ρ excludes 0: the runs are not told apart."
    rest = "" if len(said) == len(found.numbers) else " No other paired interval of Self, Orig, a gap or ρ excludes 0."
    return "; ".join(said) + "." + rest


def nothing_paired(pairing: Pairing, mine: data.Setting, theirs: data.Setting) -> str:
    """Why there are no paired numbers."""
    speaks = [setting.explainer == "verbal" for setting in (mine, theirs)]
    if not pairing.examples:
        why = "The two runs share no explained examples in this split and kind of edit, so nothing can be paired."
    elif any(speaks):
        one = "the first explains itself" if speaks[0] else "the second explains itself"
        who = "both explain themselves" if all(speaks) else one
        why = (
            f"The two runs share {pairing.examples:,} explained examples, but {who} in words: a sentence is right or "
            "wrong, and has no number to pair."
        )
    else:
        why = f"The two runs share only {pairing.examples:,} explained examples here: too few to pair."
    return why + " Their trajectories stand below."


def pictures(selection: Selection, rows: pd.DataFrame, found: Comparison, where: str) -> None:
    left, right = st.columns(2)
    with left:
        st.subheader("Differences")
        differences = [
            LadderRow(NAMES[c.name], c.difference.value, c.difference.low, c.difference.high, "explainer")
            for c in found.numbers
        ]
        show(
            charts.ladder(differences, x_title="first − second, paired 95% interval"),
            key="differences", path=selection.path, about=where,
            alt="Paired differences of Self, Orig and the gaps with intervals; the table above has the numbers.",
        )  # fmt: skip
    with right:
        st.subheader("Explanations of the same examples")
        r = charts.interval(found.explanations.value, found.explanations.low, found.explanations.high)
        limits = charts.Limits.of(rows["explanation"].to_numpy(), rows["explanation_2"].to_numpy())
        show(
            charts.scatter(
                rows, "explanation_2", x_title="explanation in the second run, nats",
                y_title="in the first run, nats", limits=limits, colour="edit", height=400,
            ),
            key="explanations", path=selection.path, about=f"{where} · r = {r}",
            alt=f"Scatter of the explanations of both runs, r = {r}.",
        )  # fmt: skip


def over_steps(selection: Selection, theirs: data.Setting, edit: str | None) -> None:
    """Self and gap of both runs over the steps, whether they share examples or not."""
    st.subheader("Over the checkpoints", divider="grey")
    series, tables, speaks = [], [], []
    for i, (path, setting, name) in enumerate(
        ((selection.path, selection.setting, "first"), (selection.second.path, theirs, "second"))
    ):
        every = data.metrics(
            path, control=None, explainer=setting.explainer, regime=setting.regime, split=selection.split,
            noise_kind=chosen.noise_kinds(setting.explainer), condition=setting.condition,
        )  # fmt: skip
        kind = edit if edit in set(every["edit"]) else chosen.default_edit(every)
        rows = chosen.best(every[every["edit"] == kind]).sort_values("step")
        if rows.empty:
            st.caption(f"Of the {name} run nothing was measured in this setting and split.")
            continue
        colour, symbol, dash = (style.BLUE, "circle", "solid") if i == 0 else (style.ORANGE, "diamond", "dash")
        label = f"{name} ({kind})"
        series += [
            Series(rows, "self", f"Self, {label}", colour, symbol, dash),
            Series(rows, "target_current", f"ρ, {label}", style.GREY, "x", "dot" if i == 0 else "dashdot"),
            Series(rows, "gap", f"gap, {label}", colour, symbol, dash, panel=2),
            Series(rows, "counterfactual_gap", f"counterfactual gap, {label}", style.GREEN, symbol, dash, 2, False),
        ]
        tables.append(rows.assign(run=name))
        speaks.append(setting.explainer == "verbal")
    if not tables:
        return
    columns = ["run", "checkpoint", "step", "edit", "layer", "n", "self", "orig", "gap", "counterfactual_gap"]
    agreement_in = (
        "exact match (ρ: r)" if all(speaks) else "r; in words exact match" if any(speaks) else "agreement (Pearson r)"
    )
    show(
        charts.trajectory(
            series, panels=(agreement_in, "gap"), absent_within=data.spec(selection.path).metrics.absent_within,
        ),
        key="compare_steps", path=selection.path,
        about=about(selection, note=f"second run {selection.second.key}"),
        alt="Self, target–current correlation and gaps of both runs over the steps; the table has the numbers.",
        table=pd.concat(tables)[columns],
    )  # fmt: skip


@st.dialog("Example in the first run", width="large")
def open_example(identity: str) -> None:
    example_card(selection, identity)


def far_apart(rows: pd.DataFrame, limit: int | None = None) -> pd.DataFrame:
    """The rows on which the runs disagree most, the furthest apart first."""
    apart = (rows["explanation"] - rows["explanation_2"]).abs().to_numpy()
    first = np.argsort(-apart, kind="stable")[:limit]
    return rows.assign(apart=apart)[["example_id", "edit", *LABELS, "group"]].iloc[first]


def disagreements(pairing: Pairing, theirs: data.Setting) -> None:
    st.subheader("Where the runs disagree most", divider="grey")
    n = len(pairing.rows)
    shown = far_apart(pairing.rows, 500)
    key = f"disagreements_{hash((str(selection.parameters()), theirs))}"
    event = st.dataframe(
        shown, hide_index=True, key=key, on_select="rerun", selection_mode="single-row", height=300,
        column_config={c: st.column_config.NumberColumn(LABELS[c], format="%.3f") for c in LABELS},
    )  # fmt: skip
    st.caption("1: the first run, 2: the second; nats. Choose a row to open the example.")
    downloads(partial(far_apart, pairing.rows), "compared-examples", "compare_rows", rows=n)
    picked = event["selection"]["rows"]
    if picked and picked[0] < len(shown):
        identity = str(shown["example_id"].iloc[picked[0]])
        if st.session_state.get("compare_opened") != (key, identity):
            st.session_state["compare_opened"] = (key, identity)
            open_example(identity)


def choose_second(selection: Selection) -> None:
    """The empty state: no second run yet."""
    others = [r for r in data.runs() if r.key != selection.run.key and r.state == "complete"]
    if not others:
        st.info("There is only one finished run here. Make another, with another target say, to compare.")
        return
    st.info("Choose a second run to compare with, here or in the sidebar.")
    for entry in others[:12]:
        st.button(
            markdown_escaped(entry.key), key=f"second_{entry.key}", icon=":material/compare_arrows:",
            on_click=update, kwargs={"second": entry.key},
        )  # fmt: skip


st.title("Compare")
st.write("Two runs side by side: another target, another world, another model, on the examples they share.")
selection = sidebar("second", "checkpoint", "explainer", "regime", "split", "edit")
if selection is None:
    st.stop()
if selection.second is None:
    choose_second(selection)
    st.stop()
try:
    theirs = other_setting(selection, data.options(selection.second.path))
    pairing = of_runs(selection.path, selection.second.path, selection.setting, theirs, selection.split, selection.edit)
    found = pairing.found
    if found is None:
        st.info(nothing_paired(pairing, selection.setting, theirs))
    else:
        if found.n < FEW or found.n_groups < FEW:
            st.warning(f"Few shared examples: n = {found.n:,} in {found.n_groups:,} groups.", icon=":material/warning:")
        st.markdown(f"**{markdown_escaped(words(found))}**")
        if found.n < len(pairing.rows):
            st.caption(
                f"Numbers on this page come from a seeded sample of {found.n:,} of {len(pairing.rows):,} examples."
            )
        if not found.same_effects:
            st.caption("The current models differ: each explanation is held against its own model's effect.")
        where = about(selection, n=found.n, n_groups=found.n_groups, note=f"second run {selection.second.key}")
        st.dataframe(
            paired_table(found, selection.run.key, selection.second.key), hide_index=True, key="paired",
            alt="Self, Orig and the gaps of both runs, and their paired differences",
            column_config={
                "number": st.column_config.Column(help="Correlations without unit; in brackets 95% intervals."),
                "first − second, paired": st.column_config.Column(help="The same draws weigh both runs."),
            },
        )  # fmt: skip
        small_print(
            f"Mean |error| of the first less the second: "
            f"{charts.interval(found.errors.value, found.errors.low, found.errors.high, sign=True)} nats; the first is "
            f"nearer to its own current model on {found.nearer:.0%} of the shared examples. Intervals: 95%, paired "
            "bootstrap by group, each by itself."
        )
        provenance(selection.path, extra=where)
        provenance(selection.second.path, extra="second")
        pictures(selection, pairing.rows, found, where)
    over_steps(selection, theirs, selection.edit)
    if found is not None:
        disagreements(pairing, theirs)
except RunError as error:
    problem(str(error))
