"""What a run shows: three questions answered in words, and one picture."""

import pandas as pd
import streamlit as st

from dashboard.charts.overview import MEASURES, among_controls
from dashboard.reading import data, findings
from dashboard.reading.headline import headline
from dashboard.selection.state import Selection, problem, sidebar
from dashboard.text import escaped
from dashboard.widgets import parts
from dashboard.widgets.figures import show
from engine.runs.store import RunError

TONES = {
    True: (":material/check_circle:", "shown", "blue"),
    False: (":material/cancel:", "shown not to be so", "orange"),
    None: (":material/help:", "open", "gray"),
}


def main() -> None:
    st.title("What this run shows", anchor=False)
    selection = sidebar("run", "explainer", "regime", "split")
    if selection is None:
        return
    try:
        rows, controls = headline(
            selection.path, selection.options.checkpoints, selection.explainer, selection.regime, selection.split,
            selection.condition,
        )  # fmt: skip
    except RunError as error:
        problem(str(error))
        return
    if rows.empty:
        st.info(
            "No setting of this explainer and regime is marked as chosen on this split: look at Trajectory instead."
        )
        return
    parts.small_print(pair(selection))
    answers(rows, controls)
    picture(selection, rows, controls)
    table(selection, rows, controls)
    fine_print(data.spec(selection.path).metrics.absent_within)


def pair(selection: Selection) -> str:
    o = selection.options
    return f"{selection.run.key} · {selection.run.task} · target {o.target} · {len(o.checkpoints)} checkpoints"


def answers(rows: pd.DataFrame, controls: pd.DataFrame) -> None:
    """The three questions, side by side; one below the other on a phone."""
    found = (
        findings.quality(rows, controls),
        findings.coupling(rows, controls),
        findings.counterfactual(rows, controls),
    )
    for column, finding in zip(st.columns(3), found, strict=True):
        icon, said, colour = TONES[finding.settled]
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


def picture(selection: Selection, rows: pd.DataFrame, controls: pd.DataFrame) -> None:
    st.subheader("The explainer among its controls", anchor=False)
    measure = st.segmented_control(
        "Measure",
        list(MEASURES),
        default="self",
        required=True,
        wrap=True,
        format_func=lambda m: MEASURES[m][0],
        key="overview_measure",
        help="Self: agreement with what the current model does. Gap: Self minus agreement with the target. "
        "Counterfactual gap: what is known of the unseen run beyond the present output.",
    )
    name = MEASURES[measure][0]
    own = f"{selection.explainer}, {selection.regime}"
    figure = among_controls(rows, controls, measure, selection.explainer, selection.regime)
    first, last = rows.iloc[0], rows.iloc[-1]
    alt = (
        f"Line chart of {name} over training steps. {own}: {findings.estimate(first, measure)} at "
        f"{findings.place(first)}, {findings.estimate(last, measure)} at {findings.place(last)}; controls beside it."
    )
    setting = findings.shared_setting(rows, ("edit", "mode", "position", "layer", "penalty"))
    counts = f"n = {rows.n.min():,}" + (f" to {rows.n.max():,}" if rows.n.nunique() > 1 else "")
    extra = (
        f"Bars and bands: 95% intervals. {counts} examples in {rows.n_groups.min():,} groups, split {selection.split}, "
        f"{seeds(rows)}. Setting{', chosen by cross-validation at the target' if rows.cv.notna().any() else ''}: "
        + ", ".join(f"{k} {v:g}" if isinstance(v, float) else f"{k} {v}" for k, v in setting.items())
    )
    shown = pd.concat([rows, controls])[["checkpoint", "step", "explainer", "regime", "control", *estimates(measure)]]
    key = f"{selection.run.key}-overview-{measure}".replace("/", "-")
    show(figure, key=key, alt=alt, path=selection.path, about=extra, table=shown)


def seeds(rows: pd.DataFrame) -> str:
    count = int(rows.seeds.max()) if rows.seeds.notna().any() else 1
    return "1 seed" if count == 1 else f"{count} seeds"


def estimates(measure: str) -> tuple[str, ...]:
    return measure, f"{measure}_low", f"{measure}_high"


COLUMNS = {
    "checkpoint": ("Checkpoint", "The current model"),
    "target_current": ("ρ", "Correlation of the current model's effects with the target's: 1 is unchanged behavior"),
    "self": ("Self", "Agreement of the explanation with the current model's effect, with a 95% interval"),
    "orig": ("Orig", "Agreement of the explanation with the target's effect"),
    "gap": ("Gap", "Self − Orig"),
    "verdict_coupling": ("Coupling", "As computed: the simultaneous interval of the gap against 0 and the null band"),
    "counterfactual_gap": ("Counterfactual gap", "What is known of f(x′) beyond f(x) before and after"),
    "verdict_counterfactual": ("Counterfactual", "As computed for the counterfactual gap"),
    "change_tracking": ("Change tracking", "Whether changes of the explanation go with changes of the effect"),
    "self_minus_stale": ("Self − stale", "Against the same explainer on the target's hidden states"),
}


def table(selection: Selection, rows: pd.DataFrame, controls: pd.DataFrame) -> None:
    st.subheader("Verdicts, checkpoint by checkpoint", anchor=False)
    shown = pd.DataFrame(
        {
            label: [
                row[name] if name in ("checkpoint", "verdict_coupling", "verdict_counterfactual") else
                findings.estimate(row, name)
                for row in rows.to_dict("records")
            ]
            for name, (label, _) in COLUMNS.items()
        }
    )  # fmt: skip
    help_lines = {label: st.column_config.TextColumn(label, help=text) for label, text in COLUMNS.values()}
    st.dataframe(shown, hide_index=True, column_config=help_lines, alt="Verdicts at each checkpoint")
    parts.downloads(lambda: pd.concat([rows, controls]), f"{selection.run.key}-overview".replace("/", "-"), "overview")


def fine_print(absent_within: float) -> None:
    with st.expander("How to read this"):
        st.markdown(
            "- **Coupled is not correct.** A gap above zero says that explanations moved with the model; whether they "
            "are right is Self, which comes first.\n"
            "- **Coupled is not aware.** The effect contains −f(x), and a hidden state contains f(x): reading one's "
            "own present output moves with the model too. That is why the counterfactual gap and the controls stand "
            "beside every gap.\n"
            f"- **Absent** means that the interval lies within ±{absent_within:g}. **Inconclusive** means that it "
            "does not say.\n"
            "- **Not testable**: the current f(x′) and the target's can't be told apart, so nothing can be said.\n"
            "- Numbers are correlations, without unit; effects on the page Examples are in nats of log-odds."
        )


main()
