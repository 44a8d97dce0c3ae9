"""The parts of the page Overview: three answers, one picture, the verdicts, and how to read them."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from dashboard.charts import style
from dashboard.charts.overview import MEASURES, among_controls
from dashboard.overview.cards import cards
from dashboard.overview.example import one_example
from dashboard.overview.experiment import in_steps
from dashboard.overview.guide import how_to_read
from dashboard.overview.in_short import in_short
from dashboard.overview.verdict_table import verdict_table
from dashboard.reading import data, findings, glossary
from dashboard.reading.chosen_rows import chosen_rows
from dashboard.selection.state import Selection
from dashboard.text import escaped
from dashboard.widgets import parts
from dashboard.widgets.figures import show

STYLE = """<style>
.short { font-size: 1.15rem; font-weight: 600; line-height: 1.5; margin: 0 0 0.6rem; }
.steps code { font-size: 0.9em; }
.steps { margin: 0 0 0.5rem; line-height: 1.6; } ol.steps { padding-left: 1.4rem; } ol.steps li { padding: 0; }
</style>"""


def page(selection: Selection) -> None:
    o, s = selection.options, selection
    rows, controls = chosen_rows(s.path, o.checkpoints, s.explainer, s.regime, s.split, s.condition)
    if rows.empty:
        st.info("No setting of this explainer and regime is marked as chosen on this split. See the page Trajectory.")
        return
    checkpoints = f"{len(o.checkpoints)} checkpoints"
    parts.small_print(f"Run {s.run.key} · task {s.run.task} · labels from {o.target} · {checkpoints}")
    st.html(
        f'{STYLE}<p class="short">{escaped(in_short(rows, controls))}</p>{in_steps(o, s.explainer, s.regime, rows)}'
    )
    one_example(selection, str(rows["edit"].iloc[-1]))
    st.html(cards(rows, controls))
    picture(selection, rows, controls)
    verdicts(selection, rows, controls)
    st.html(how_to_read(data.spec(s.path).metrics.absent_within))


def picture(selection: Selection, rows: pd.DataFrame, controls: pd.DataFrame) -> None:
    """One measure of the explainer and its controls over the checkpoints."""
    st.subheader("The explainer among its controls", anchor=False)
    measure = st.segmented_control(
        "Measure",
        list(MEASURES),
        default="self",
        required=True,
        wrap=True,
        format_func=lambda m: MEASURES[m][0],
        key="overview_measure",
        help="Self: agreement with the effect of the current model. Gap: Self minus agreement with the target. "
        "Unseen: what is known of the answer to the edited prompt, f(x′), beyond the outputs. Unseen − stale: "
        "what the current hidden states add to it.",
    )
    st.html(lines_in_words(controls, measure, selection.explainer))
    figure = among_controls(rows, controls, measure, selection.explainer, selection.regime)
    first, last = rows.iloc[0].to_dict(), rows.iloc[-1].to_dict()
    alt = (
        f"Line chart of {MEASURES[measure][0]} over training steps. {selection.explainer}, {selection.regime}: "
        f"{findings.estimate(first, measure)} at {findings.place(first)}, {findings.estimate(last, measure)} at "
        f"{findings.place(last)}; controls beside it."
    )
    columns = ["checkpoint", "step", "explainer", "regime", "control", measure, f"{measure}_low", f"{measure}_high"]
    table = pd.concat([rows, controls])[columns]
    show(figure, key=_key(selection, measure), alt=alt, path=selection.path, about=_about(selection, rows), table=table)


def lines_in_words(controls: pd.DataFrame, measure: str, explainer: str) -> str:
    """HTML: what the lines of the picture are, each control with its meaning on hover."""
    meaning = glossary.CONTROLS | (glossary.SPOKEN if explainer == "verbal" else {})
    there = {*controls[controls[measure].notna()].control} - {"difference"}
    looks = style.controls(explainer).items()
    named = [glossary.explained(meaning[name], look.label) for name, look in looks if name in there]
    named.append(glossary.explained(meaning["null"], "null (the grey band)"))
    return (
        f'<p class="steps">The bold green line is the explainer, with its 95% interval. The thin lines are controls, '
        f"which get their numbers by simpler means: {', '.join(named)}.</p>"
    )


def _key(selection: Selection, *more: str) -> str:
    return "-".join((selection.run.key, "overview", *more)).replace("/", "-")


def _about(selection: Selection, rows: pd.DataFrame) -> str:
    """Number of examples, groups and seeds, and the setting."""
    setting = findings.shared_setting(rows, ("edit", "mode", "position", "layer", "penalty"))
    of = findings.sizes(rows) or f"{rows.n_groups.min():,} groups"
    counts = f"n = {rows.n.min():,}" + (f" to {rows.n.max():,}" if rows.n.nunique() > 1 else "")
    seeds = int(rows.seeds.max()) if rows.seeds.notna().any() else 1
    return (
        f"Bars and bands: 95% intervals. {counts} examples in {of}, split {selection.split}, "
        f"{seeds} seed{'' if seeds == 1 else 's'}. "
        f"Setting{', chosen by cross-validation at the target' if rows.cv.notna().any() else ''}: "
        + ", ".join(f"{k} {v:g}" if isinstance(v, float) else f"{k} {v}" for k, v in setting.items())
    )


def verdicts(selection: Selection, rows: pd.DataFrame, controls: pd.DataFrame) -> None:
    """A table with a row for each checkpoint, and the export of all metrics."""
    st.subheader("Verdicts, checkpoint by checkpoint", anchor=False)
    st.html(verdict_table(rows))
    parts.downloads(lambda: pd.concat([rows, controls]), _key(selection), "overview")
