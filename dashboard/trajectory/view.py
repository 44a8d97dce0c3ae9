"""The parts of the page Trajectory that read the metrics: the main figure, its verdicts, layers, further numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pandas as pd
import streamlit as st

from dashboard import charts
from dashboard.charts import Series, style
from dashboard.reading import chosen, data, findings
from dashboard.selection.state import Selection, bound, edit_caption, problem
from dashboard.text import markdown_escaped
from dashboard.trajectory.single_examples import features, single_examples
from dashboard.trajectory.training_view import training_section
from dashboard.widgets.figures import about, choose, is_dark, keep, several, show, tabs
from engine.records import CLAIMS

GAPS = {
    "gap": "gap",
    "unseen": "unseen",
    "unseen_over_stale": "unseen over stale",
    "unseen_over_outputs": "unseen over all outputs",
}
HEAT = {"self": "Self", "orig": "Orig", **GAPS, "cv": "cross-validated r with the targets"}
ALSO = {
    "unseen_over_stale": ("unseen over stale", "Unseen, minus that of the explainer on the target's hidden states."),
    "unseen_over_outputs": ("unseen over all outputs", "Unseen, freed from the outputs of the other prompts too."),
    "direction": ("direction", "r of the explanation with z(Δ current) − z(Δ target): the gap without ρ's cap."),
    "self_minus_stale": ("Self − Self(stale)", "The gain in Self from reading the current hidden states."),
    "span_ranking": (
        "within-prompt span ranking",
        "Kendall's τ of explained with measured effects in a prompt.",
    ),
    "spearman": ("Spearman's ρ with Δ current", "Agreement in rank."),
    "sign_agreement": ("agreement in sign", "Share of examples whose effect has the explained sign."),
    "slope": ("slope", "Slope of Δ current on the explanation. 1: right in size."),
    "mean_effect_error": ("mean-effect error, nats", "Mean of explanation − Δ current."),
    "mse_orig_minus_mse_self": ("MSE(orig) − MSE(self), nats²", "Above 0: nearer to the current model in squares."),
}
"""Further numbers over checkpoints: column of the metrics → (name, explanation)."""
IN_WORDS = (
    "Self: the share of sentences that are right about the current model. Orig: the share that agree with the label. "
    "Both count the answer to x′ and whether it differs from the answer to x. Gap: Self − Orig. Unseen: among examples "
    "with the same label, the same present answer and a like f(x′) of the target, how much more often answer a is said "
    "where the answer to x′ is a. Bands: 95%, each by itself."
)
AS_NUMBERS = (
    "Self and Orig: Pearson r of the explanation with the effect of the current model and of the target. Gap: "
    "Self − Orig. Unseen: r of the explanation with f(x′), both freed from f(x) now and from f(x) and f(x′) of the "
    "target. Bands: 95%, each by itself; verdicts rest on simultaneous ones. Grey below: differences too small to "
    "count."
)


def page(selection: Selection) -> None:
    s, noise_kind = selection, chosen.noise_kinds(selection.explainer)
    wanted = {"explainer": s.explainer, "split": s.split, "condition": s.condition}
    every = data.metrics(s.path, control=None, noise_kind=noise_kind, **wanted)
    edit = selection.edit or chosen.default_edit(every)
    if every.empty or edit is None:
        problem(f"Nothing was measured for {selection.explainer} on {selection.split}.")
        return
    edit_caption(selection, edit)
    own = every[every["edit"] == edit]
    parts = {name: of for name, of in PARTS.items() if s.explainer != "verbal" or name not in OF_NUMBERS}
    named = "single" if "examples" in st.query_params else None  # a link that names examples is about them
    part = tabs({name: label for name, (label, _) in parts.items()}, named)
    parts[part][1](selection, own, edit)


def of_regime(selection: Selection, own: pd.DataFrame, regime: str) -> pd.DataFrame:
    """The setting that stands for a regime, at the selected layer if there is one; a row for each checkpoint."""
    return chosen.best(chosen.for_layer(own[own["regime"] == regime], selection.layer))


LINES = {
    "self": ("Self", style.CURRENT, 1),
    "orig": ("Orig", style.TARGET, 1),
    "gap": ("gap", style.GAP, 2),
    "unseen": ("unseen", style.EXPLANATION, 2),
}
"""Column of the metrics → its name, its look and its panel."""


def lines(rows: pd.DataFrame, regime: str = "") -> list[Series]:
    """Self and Orig in the first panel, gap and unseen in the second. regime: of another than the selected one."""
    if not regime:
        return [Series(rows, column, name, look, panel, label=name) for column, (name, look, panel) in LINES.items()]
    return [
        Series(rows, column, f"{name}, {regime}", replace(look, dash="dot"), panel, False, f"{name}, {regime}")
        for column, (name, look, panel) in LINES.items()
    ]


def more_lines(selection: Selection, own: pd.DataFrame, edit: str) -> list[Series]:
    """The lines of controls and of other regimes that the reader picks."""
    noise_kind = chosen.noise_kinds(selection.explainer)
    wanted = {"split": selection.split, "edit": edit, "noise_kind": noise_kind}
    measured = data.metrics(selection.path, **wanted)
    controls = chosen.beside(measured, selection.explainer, selection.regime, selection.condition)
    known = style.controls(selection.explainer)
    there = {c: look.name for c, look in known.items() if c in set(controls["control"])}
    left, right = st.columns([3, 1], vertical_alignment="bottom")
    with left:
        help_line = "Controls know less than the explainer, or only read the output. An explanation has to beat them."
        first = [next(iter(known))]
        picked = several("Controls on the same axes", "controls", there, first, help=help_line)
    with right:
        overlay = len(selection.regimes) > 1 and _all_regimes()
    series = []
    for name in picked:
        look, mine = known[name], controls[controls["control"] == name]
        series.append(Series(mine, "self", f"Self of {look.name}", look, band=False))
        series.append(Series(mine, "gap", f"gap of {look.name}", look, 2, False))
    for regime in [r for r in selection.regimes if r != selection.regime] if overlay else []:
        series += lines(of_regime(selection, own, regime), regime)
    return series


def _all_regimes() -> bool:
    help_line = "Draws every regime of the explainer in place of the one that the sidebar names."
    widget, on = partial(st.toggle, "All regimes", help=help_line), st.query_params.get("regimes") == "all"
    return bound(widget, key="option_regimes", value=on, change=lambda on: keep("regimes", "all" if on else None))


def headline(selection: Selection, own: pd.DataFrame, edit: str) -> None:
    """The main figure, with controls and regimes on demand, and the verdicts."""
    rows = of_regime(selection, own, selection.regime)
    if rows.empty:
        st.info("Nothing was measured for this setting: choose another layer, regime or kind of edit.")
        return
    series = [*lines(rows), Series(rows, "target_current", style.RHO.name, style.RHO)]
    series += more_lines(selection, own, edit)
    in_words = selection.explainer == "verbal"
    lost, sentence = chosen.coupling_lost(rows)
    null = rows[["step", "null_low", "null_high"]].dropna()
    figure = charts.trajectory(
        series,
        panels=("exact match (ρ: r)" if in_words else "agreement (Pearson r)", "gap, unseen"),
        null=null if len(null) else None,
        absent_within=data.spec(selection.path).metrics.absent_within,
        lost_at=None if lost is None else float(lost["step"]),
        lost_text="" if lost is None else f"coupling lost, ρ = {charts.number(lost['target_current'])}",
    )
    first = rows.iloc[0]
    setting = f"{edit}, layer {first['layer']}, penalty {first['penalty']:g}" if pd.notna(first["penalty"]) else edit
    if pd.notna(first["cv"]):  # else there was only one setting
        how = "chosen by cross-validation" if bool(first["chosen"]) else "best of the selected by cross-validation"
        setting = f"{setting}, {how}"
    table = rows.sort_values("step")
    measures = ("self", "orig", *GAPS, "direction")
    columns = ["checkpoint", "step", "n", "n_groups", "n_cues", "n_entities", "target_current"]
    columns += [f"{name}{end}" for name in measures for end in ("", "_low", "_high")]
    columns += ["null_low", "null_high", "left", "gap_p", "unseen_p"]
    columns += [f"{name}_{claim}" for claim in CLAIMS for name in ("verdict", "power", "detectable", "over")]
    origin = about(selection, n=int(first["n"]), n_groups=int(first["n_groups"]), note=setting)
    alt = (
        f"Self, Orig and target–current correlation over {len(table)} checkpoints, gaps below. {sentence} "
        "The table under the figure has all numbers."
    )
    show(figure, key="trajectory", path=selection.path, about=origin, alt=alt, table=table[columns])
    st.markdown(f"**{markdown_escaped(sentence)}**")
    verdicts(table)
    st.caption(IN_WORDS if in_words else AS_NUMBERS)


def verdicts(rows: pd.DataFrame) -> None:
    """The verdicts at each checkpoint."""
    names = {
        "target_current": "ρ",
        "verdict_coupling": "coupled",
        "verdict_unseen": "knows the unseen answer",
        "power_unseen": "power",
        "over_unseen": "over",
        "verdict_outputs": "beyond all outputs",
    }
    help_lines = {
        "ρ": "Pearson r of the target's effects with the current model's.",
        "coupled": "Whether the gap and Self lie above 0, in bands over all checkpoints.",
        "knows the unseen answer": "The same for unseen and unseen over stale: more than this output tells of f(x′).",
        "power": "How often the claim before would be shown if its statistics truly were 0.2.",
        "over": "Controls that the explainer exceeds in both statistics, paired.",
        "beyond all outputs": "The same, with unseen over all outputs above 0 too.",
    }
    shown = rows[["checkpoint", "step", *names]].assign(
        power_unseen=[charts.number(power, absent="–") for power in rows["power_unseen"]],
        over_unseen=[", ".join(findings.over(row)) or "–" for row in rows.to_dict("records")],
    )
    st.dataframe(
        shown.rename(columns=names).round(2),
        hide_index=True,
        key="verdicts",
        alt="Verdicts at each checkpoint",
        column_config={name: st.column_config.Column(help=text) for name, text in help_lines.items()},
    )


def also(selection: Selection, own: pd.DataFrame, edit: str) -> None:
    """Further numbers over checkpoints, one at a time, a line for each regime."""
    there = {k: v[0] for k, v in ALSO.items() if own[k].notna().any()}
    if not there:
        st.info("No further numbers were computed for this setting.")
        return
    name = choose("Number over checkpoints", "also", there, next(iter(there)))
    label, explained = ALSO[name]
    found = [of_regime(selection, own, regime).sort_values("step") for regime in selection.regimes]
    series = [
        Series(rows, name, regime, replace(style.EXPLANATION, dash=dash), label=regime)
        for regime, rows, dash in zip(selection.regimes, found, style.DASHES, strict=False)
    ]
    table = pd.concat(found)
    columns = ["regime", "checkpoint", "step", "n", name, f"{name}_low", f"{name}_high"]
    table = table[[c for c in columns if c in table]]
    st.caption(explained)
    figure, origin = charts.trajectory(series, panels=(label,), height=340), about(selection, note=edit)
    alt = f"{label} of every regime over the checkpoints."
    show(figure, key="also", path=selection.path, about=origin, alt=alt, table=table)


def layers(selection: Selection, own: pd.DataFrame, edit: str) -> None:
    """Layer × checkpoint, each layer at the penalty that cross-validation picks for it."""
    mine = own[own["regime"] == selection.regime]
    found = [chosen.best(part) for _, part in mine.groupby("layer", dropna=True)]
    rows = pd.concat(found) if found else mine.iloc[:0]
    if rows["layer"].nunique() < 2:
        st.caption("This run measured one layer: there is nothing to compare.")
    measure = choose("Number", "heat", HEAT, "gap", help="Each layer at its own best penalty.")
    if rows.empty or not rows[measure].notna().any():
        st.info(f"{HEAT[measure]} was not computed for this setting.")
        return
    figure = charts.heatmap(rows, measure, title=HEAT[measure], centred=measure in GAPS, dark=is_dark())
    table = rows.pivot_table(index="layer", columns="checkpoint", values=measure, sort=False).reset_index()
    alt = f"Heatmap of {HEAT[measure]} for every layer and checkpoint; the table has the same numbers."
    show(figure, key="layers", path=selection.path, about=about(selection, note=edit), alt=alt, table=table)


def _training(selection: Selection, own: pd.DataFrame, edit: str) -> None:
    training_section(selection, edit)


def _examples(selection: Selection, own: pd.DataFrame, edit: str) -> None:
    single_examples(selection)


def _ranking(selection: Selection, own: pd.DataFrame, edit: str) -> None:
    features(selection)


PARTS: dict[str, tuple[str, Callable[[Selection, pd.DataFrame, str], None]]] = {
    "checkpoints": ("Over the checkpoints", headline),
    "layers": ("Layers", layers),
    "also": ("Also measured", also),
    "training": ("While it trains", _training),
    "single": ("Single examples", _examples),
    "features": ("Which features matter", _ranking),
}
"""Tab → its label, and what draws it."""
OF_NUMBERS = ("layers", "also", "training", "features")
"""Tabs that words lack: they have no layer, no size in nats, and were trained on these very steps."""
