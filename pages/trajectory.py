"""Agreement, gaps and single examples over the checkpoints of a run."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from dashboard import charts
from dashboard.charts import Series, style
from dashboard.reading import chosen, data
from dashboard.selection.state import Selection, problem, sidebar
from dashboard.text import markdown_escaped
from dashboard.trajectory.single_examples import single_examples
from dashboard.trajectory.training_view import training_section
from dashboard.widgets.figures import about, choose, keep, several, show
from engine.runs.store import RunError

GAPS = {"gap": "gap", "counterfactual_gap": "counterfactual gap", "change_tracking": "change tracking"}
ALSO = {
    "change_tracking": (
        "change tracking",
        "partial r of the explanation's change with the effect's change, f(x) at both held fixed",
    ),
    "direction": ("direction", "r of the explanation with z(Δ current) − z(Δ target): the gap without ρ's cap"),
    "self_minus_stale": ("Self − Self(stale)", "what reading the current hidden states adds to Self"),
    "span_ranking": (
        "within-prompt span ranking",
        "Kendall's τ: which of a prompt's spans matter, explained and measured",
    ),
    "spearman": ("Spearman's ρ with Δ current", "agreement in rank"),
    "sign_agreement": ("agreement in sign", "share of examples whose effect has the explained sign"),
    "slope": ("slope", "of Δ current on the explanation; 1: right in size"),
    "mean_effect_error": ("mean-effect error, nats", "mean of explanation − Δ current"),
    "mse_orig_minus_mse_self": (
        "MSE(orig) − MSE(self), nats²",
        "above 0: nearer to the current model in squared error",
    ),
}
HEAT = {"self": "Self", "orig": "Orig", **GAPS, "cv": "cross-validated r with the targets"}


def lines(rows: pd.DataFrame, tail: str = "", dash: str = "solid", *, first: bool = True) -> list[Series]:
    """Self, Orig and ρ above; gap and counterfactual gap below. Bands for the first of several."""
    made = [
        Series(rows, "self", f"Self{tail}", style.SELF, "circle", dash, band=first),
        Series(rows, "orig", f"Orig{tail}", style.ORIG, "diamond", dash, band=first),
        Series(rows, "gap", f"gap{tail}", style.SELF, "circle", dash, panel=2, band=first),
        Series(rows, "counterfactual_gap", f"counterfactual gap{tail}", style.GREEN, "square", dash, 2, first),
    ]
    return made + ([Series(rows, "target_current", "target–current ρ", style.GREY, "x", "dot")] if first else [])


def headline(selection: Selection, every: pd.DataFrame, edit: str) -> None:
    """The main figure, with controls and regimes on demand."""
    own = every[(every["regime"] == selection.regime) & (every["edit"] == edit)]
    rows = chosen.best(chosen.for_layer(own, selection.layer))
    if rows.empty:
        st.info("Nothing was measured for this setting: choose another layer, regime or kind of edit.")
        return
    measured = data.metrics(
        selection.path, split=selection.split, edit=edit, noise_kind=chosen.noise_kinds(selection.explainer)
    )
    controls = chosen.beside(measured, selection.explainer, selection.regime, selection.condition)
    in_words = selection.explainer == "verbal"
    known = style.controls(selection.explainer)
    there = [c for c in known if c in set(controls["control"])]
    left, right = st.columns([3, 1], vertical_alignment="bottom")
    with left:
        picked = several(
            "Controls on the same axes", "controls", {c: known[c].name for c in there}, [next(iter(known))],
            help="What knows less than the explainer, or reads it off: an explanation has to beat these.",
        )  # fmt: skip
    regimes = selection.regimes
    with right:
        overlay = len(regimes) > 1 and switch("All regimes", "regimes")
    series = lines(rows)
    for name in picked:
        look = known[name]
        mine = controls[controls["control"] == name]
        series.append(Series(mine, "self", f"Self of {look.name}", look.colour, look.symbol, look.dash, band=False))
        series.append(Series(mine, "gap", f"gap of {look.name}", look.colour, look.symbol, look.dash, 2, False))
    if overlay:
        for i, regime in enumerate(r for r in regimes if r != selection.regime):
            others = every[(every["regime"] == regime) & (every["edit"] == edit)]
            other = chosen.best(chosen.for_layer(others, selection.layer))
            series += lines(other, f", {regime}", style.DASHES[1 + i], first=False)
    lost, sentence = chosen.coupling_lost(rows)
    null = rows[["step", "null_low", "null_high"]].dropna()
    first = rows.iloc[0]
    figure = charts.trajectory(
        series,
        panels=("exact match (ρ: r)" if in_words else "agreement (Pearson r)", "gap"),
        null=null if len(null) else None,
        absent_within=data.spec(selection.path).metrics.absent_within,
        lost_at=None if lost is None else float(lost["step"]),
        lost_text="" if lost is None else f"coupling lost, ρ = {charts.number(lost['target_current'])}",
    )
    setting = f"{edit}, layer {first['layer']}, penalty {first['penalty']:g}" if pd.notna(first["penalty"]) else edit
    if pd.notna(first["cv"]):  # else there was one setting, and nothing to choose
        how = "chosen by cross-validation" if bool(first["chosen"]) else "best by cross-validation of what is selected"
        setting = f"{setting}, {how}"
    shown = rows.sort_values("step")
    columns = ["checkpoint", "step", "n", "n_groups", "target_current"]
    for name in ("self", "orig", "gap", "counterfactual_gap", "change_tracking", "direction"):
        columns += [name, f"{name}_low", f"{name}_high"]
    columns += ["null_low", "null_high", "verdict_coupling", "verdict_counterfactual"]
    show(
        figure,
        key="trajectory",
        path=selection.path,
        about=about(selection, n=int(first["n"]), n_groups=int(first["n_groups"]), note=setting),
        alt=f"Self, Orig and target–current correlation over {len(shown)} checkpoints, gaps below. {sentence} "
        "The table under the figure has all numbers.",
        table=shown[columns],
    )
    st.markdown(f"**{markdown_escaped(sentence)}**")
    verdicts = shown[["checkpoint", "step", "target_current", "verdict_coupling", "verdict_counterfactual"]]
    names = {"target_current": "ρ", "verdict_coupling": "coupling", "verdict_counterfactual": "counterfactual gap"}
    st.dataframe(
        verdicts.rename(columns=names).round(2), hide_index=True, key="verdicts", alt="Verdicts at each checkpoint",
        column_config={
            "ρ": st.column_config.NumberColumn(help="Pearson r of the target's effects with the current model's."),
            "coupling": st.column_config.Column(help="The simultaneous interval of the gap against 0 and the null."),
            "counterfactual gap": st.column_config.Column(help="The same for what is known of the unseen run f(x′)."),
        },
    )  # fmt: skip
    if in_words:
        st.caption(
            "Self and Orig: the share of sentences that are right about the current model, and that say what the label "
            "says: the answer to x′ and whether it is another one. Gap: Self − Orig. Counterfactual gap: on content "
            "that moved, balanced so that reading the present answer scores 0. Bands: 95%, each by itself."
        )
        return
    st.caption(
        "Self and Orig: Pearson r of the explanation with the effect of the current model and of the target. Gap: "
        "Self − Orig. Bands: 95%, each by itself; verdicts rest on simultaneous ones. Grey below: a gap called absent."
    )


def switch(label: str, name: str) -> bool:
    key = f"option_{name}"
    st.session_state[key] = st.query_params.get(name) == "all"
    return st.toggle(label, key=key, on_change=lambda: keep(name, "all" if st.session_state[key] else None))


def also(selection: Selection, every: pd.DataFrame, edit: str) -> None:
    """The other numbers over checkpoints, one at a time, every regime a line."""
    st.subheader("Also measured", divider="grey")
    own = every[every["edit"] == edit]
    there = {k: v[0] for k, v in ALSO.items() if own[k].notna().any()}
    if not there:
        st.info("No further numbers were computed for this setting.")
        return
    name = choose("Number over checkpoints", "also", there, next(iter(there)))
    series, tables = [], []
    for i, regime in enumerate(selection.regimes):
        rows = chosen.best(chosen.for_layer(own[own["regime"] == regime], selection.layer)).sort_values("step")
        series.append(Series(rows, name, regime, style.CATEGORICAL[i], style.SYMBOLS[i], style.DASHES[i]))
        tables.append(
            rows[[c for c in ("regime", "checkpoint", "step", "n", name, f"{name}_low", f"{name}_high") if c in rows]]
        )
    st.caption(f"{ALSO[name][1][0].upper()}{ALSO[name][1][1:]}.")
    show(
        charts.trajectory(series, panels=(ALSO[name][0],), height=340),
        key="also", path=selection.path, about=about(selection, note=edit),
        alt=f"{ALSO[name][0]} of every regime over the checkpoints.", table=pd.concat(tables),
    )  # fmt: skip


def layers(selection: Selection, every: pd.DataFrame, edit: str) -> None:
    """Layer × checkpoint, each layer at the penalty that cross-validation picks for it."""
    own = every[(every["regime"] == selection.regime) & (every["edit"] == edit)]
    found = [chosen.best(part) for _, part in own.groupby("layer", dropna=True)]
    rows = pd.concat(found) if found else own.iloc[:0]
    st.subheader("Layers", divider="grey")
    if rows["layer"].nunique() < 2:
        st.caption("This run measured one layer: there is nothing to compare.")
    measure = choose("Number", "heat", HEAT, "gap", help="Each layer at its own best penalty.")
    if rows.empty or not rows[measure].notna().any():
        st.info(f"{HEAT[measure]} was not computed for this setting.")
        return
    show(
        charts.heatmap(rows, measure, title=HEAT[measure], centred=measure in GAPS),
        key="layers",
        path=selection.path,
        about=about(selection, note=edit),
        alt=f"Heatmap of {HEAT[measure]} for every layer and checkpoint; the table has the same numbers.",
        table=rows.pivot_table(index="layer", columns="checkpoint", values=measure, sort=False).reset_index(),
    )


st.title("Trajectory")
st.write("How far behavior moves in post-training, and whether explanations move with it.")
selection = sidebar("checkpoint", "explainer", "regime", "layer", "split", "edit", "example")
if selection is None:
    st.stop()
try:
    every = data.metrics(
        selection.path, control=None, explainer=selection.explainer, split=selection.split,
        noise_kind=chosen.noise_kinds(selection.explainer), condition=selection.condition,
    )  # fmt: skip
    edit = selection.edit or chosen.default_edit(every)
    if every.empty or edit is None:
        problem(f"Nothing was measured for {selection.explainer} on {selection.split}.")
        st.stop()
    if selection.edit is None and len(selection.options.edits) > 1:
        st.caption(f"Kind of edit: {markdown_escaped(edit)}, of the chosen setting. The sidebar has the others.")
    headline(selection, every, edit)
    if selection.explainer != "verbal":  # words have no layer, no size in nats, and were trained on these very steps
        layers(selection, every, edit)
        also(selection, every, edit)
        training_section(selection, edit)
    single_examples(selection)
except RunError as error:
    problem(str(error))
