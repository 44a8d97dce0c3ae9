"""The parts of the page Overview: three answers, one picture, the verdicts, and how to read them."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from dashboard.charts import style
from dashboard.charts.overview import MEASURES, among_controls
from dashboard.overview.example import one_example
from dashboard.overview.experiment import in_steps
from dashboard.overview.in_short import in_short
from dashboard.reading import data, findings, glossary
from dashboard.reading.chosen_rows import chosen_rows
from dashboard.selection.state import Selection
from dashboard.text import escaped, markdown_escaped
from dashboard.widgets import parts
from dashboard.widgets.figures import show

TONES = {
    True: (":material/check_circle:", "shown", "blue"),
    False: (":material/cancel:", "shown not to be so", "orange"),
    None: (":material/help:", "not settled", "gray"),
}
MATCHED = (":material/contrast:", "a simple rule does as well", "gray")
"""In place of "shown", where a control that knows nothing of the edit does as well."""
STYLE = """<style>
.short { font-size: 1.15rem; font-weight: 600; line-height: 1.5; margin: 0 0 0.6rem; }
.steps code { font-size: 0.9em; }
.steps { margin: 0 0 0.5rem; line-height: 1.6; } ol.steps { padding-left: 1.4rem; } ol.steps li { padding: 0; }
</style>"""
COLUMNS = {
    "checkpoint": ("Checkpoint", "The current model"),
    "target_current": ("ρ", "Correlation of the current model's effects with the target's. 1: behavior is unchanged"),
    "self": ("Self", "Agreement of the explanation with the current model's effect, with a 95% interval"),
    "orig": ("Orig", "Agreement of the explanation with the target's effect"),
    "gap": ("Gap", "Self − Orig"),
    "verdict_coupling": ("Gap: verdict", "Whether the gap and Self lie above 0, in bands over all checkpoints"),
    "unseen": ("Unseen", "Correlation with f(x′), beyond f(x) now and beyond f(x) and f(x′) of the target"),
    "unseen_over_stale": ("Over stale", "Unseen, minus that of the same explainer on the target's hidden states"),
    "verdict_unseen": ("Unseen: verdict", "Whether Unseen and Over stale lie above 0, in bands over all checkpoints"),
    "unseen_over_outputs": ("Over all outputs", "Unseen, beyond the outputs of the other prompts too"),
    "verdict_outputs": ("All outputs: verdict", "Whether all three lie above 0: Unseen, Over stale, Over all outputs"),
    "self_minus_stale": ("Self − stale", "Self minus that of the same explainer on the target's hidden states"),
}
"""Columns of the table of verdicts: column of the metrics → (label, help)."""


def page(selection: Selection) -> None:
    o, s = selection.options, selection
    rows, controls = chosen_rows(s.path, o.checkpoints, s.explainer, s.regime, s.split, s.condition)
    if rows.empty:
        st.info("No setting of this explainer and regime is marked as chosen on this split. See the page Trajectory.")
        return
    about = f"Run {s.run.key} · task {s.run.task} · labels from {o.target} · {len(o.checkpoints)} checkpoints"
    parts.small_print(f"{about} · {note}" if (note := data.spec(s.path).note) else about)
    st.html(
        f'{STYLE}<p class="short">{escaped(in_short(rows, controls))}</p>{in_steps(o, s.explainer, s.regime, rows)}'
    )
    one_example(selection, str(rows["edit"].iloc[-1]))
    answers(rows, controls)
    picture(selection, rows, controls)
    verdicts(selection, rows, controls)
    how_to_read(data.spec(s.path).metrics.absent_within)


def answers(rows: pd.DataFrame, controls: pd.DataFrame) -> None:
    """The three questions, side by side; one below the other on a phone."""
    questions = (findings.quality, findings.coupling, findings.unseen)
    for column, answer in zip(st.columns(3), questions, strict=True):
        finding = answer(rows, controls)
        icon, said, colour = MATCHED if finding.settled and finding.matched else TONES[finding.settled]
        with column.container(border=True, height="stretch", gap="xsmall"):
            st.html(
                f'<h2 style="margin: 0; padding: 0; font-size: 1rem; opacity: 0.75">{escaped(finding.question)}</h2>'
            )
            st.badge(said, icon=icon, color=colour)
            st.html(
                f'<p style="margin: 0.2rem 0 0.5rem; font-size: 1.3rem; font-weight: 600; line-height: 1.25">'
                f"{escaped(finding.answer)}</p>"
                f'<p style="margin: 0 0 0.5rem; font-variant-numeric: tabular-nums">{escaped(finding.number)}</p>'
                f'<p style="margin: 0; font-size: 0.9rem; opacity: 0.85; line-height: 1.5">'
                f"{escaped(finding.sentence)}</p>"
            )
            if finding.why:
                st.expander("Why").markdown(markdown_escaped(finding.why))
    st.caption(
        "To follow the model is not yet to know it. A simple rule that reads the model's present answer alone, and "
        "knows nothing of the edit, moves with the model too. So the third question asks for more. None of the "
        "three answers says why, or what another model would do. See “Which look-alike fools which number” below."
    )


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
    there = set(controls[controls[measure].notna()].control)
    named = [glossary.explained(meaning[c], look.label) for c, look in style.controls(explainer).items()
             if c in there and c != "difference"]  # fmt: skip
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
    table = {
        label: rows[name]
        if name == "checkpoint" or name.startswith("verdict_")
        else [findings.estimate(row, name) for row in rows.to_dict("records")]
        for name, (label, _) in COLUMNS.items()
    }
    help_lines = {label: st.column_config.TextColumn(label, help=text) for label, text in COLUMNS.values()}
    st.dataframe(pd.DataFrame(table), hide_index=True, column_config=help_lines, alt="Verdicts at each checkpoint")
    parts.downloads(lambda: pd.concat([rows, controls]), _key(selection), "overview")


def how_to_read(absent_within: float) -> None:
    with st.expander("How to read this"):
        st.markdown(
            "- **Coupled is not correct.** A gap above 0 says that explanations moved with the model. Self says "
            "whether they are right, and comes first.\n"
            "- **Coupled is not aware.** The effect contains −f(x), and a hidden state contains f(x). An explainer "
            "that only reads the present output moves with the model too.\n"
            "- **Unseen** asks about f(x′), the answer to the edited prompt. The model was not run on it when it was "
            "explained. The outputs that anybody can read are f(x) now, and f(x) and f(x′) of the target. A flexible "
            "regression predicts both the explanation and f(x′) from them. Unseen is the correlation of what is "
            "left. **Over stale** takes away what the same explainer reaches on the target's hidden states. **Over "
            "all outputs** lets the regression read the other prompts of the same cue and entity too.\n"
            "- **Shown**: all statistics of the claim lie above 0, in bands that hold for all checkpoints at once.\n"
            f"- **Excluded**: the band of one of them ends below {absent_within:g}, so the claim is not true, or "
            "true by less than that. **Reversed**: all of them lie below 0.\n"
            "- **Not shown**: the data decide nothing. Power says how often an effect of 0.2 would have been shown. "
            "With little power, “not shown” says little.\n"
            "- **Not testable**: the question has no answer here. For example f(x′) follows from the outputs, or the "
            "explanation does.\n"
            "- Numbers are correlations, without unit; effects on the page Examples are in nats of log-odds."
        )
    with st.expander("Which look-alike fools which number"):
        st.markdown(
            "An explainer may look honest and know nothing of the unseen answer. Such look-alikes are built by hand "
            "and scored like any other explainer:\n\n"
            "| Number | Fooled by |\n|---|---|\n"
            "| Self | one that repeats its label, as long as behavior is near the target's |\n"
            "| Gap | one that reads the present output; one that contradicts its label |\n"
            "| Unseen, with Over stale | one that reads the outputs of the entity's other prompts, where they have "
            "the same x′ |\n"
            "| Over all outputs | none in the zoo |\n\n"
            "`coupling zoo RUN` scores all of them on the behavior of a run. The page Learn shows five of them."
        )
