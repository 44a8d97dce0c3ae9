"""Step 8: what may be said of the run, a short quiz, and where to go on."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from dashboard import charts
from dashboard.charts import style
from dashboard.lesson import classroom, from_runs, quiz, wall, words, zoo
from dashboard.lesson.classroom import say
from dashboard.lesson.roles import LessonRun
from dashboard.lesson.steps import STILL, WHOM
from dashboard.reading import findings
from dashboard.text import escaped

SIGNS = {True: "✓ shown", False: "✕ shown not to be so", None: "? open"}
CONTROLS = ("output", "output_text", "text_only", "other_model")
LADDERS = {
    "unseen": "Does it know more of f(x′) than the outputs give away?",
    "unseen_over_stale": "Does the model as it is now add to that, beyond the target's hidden states?",
}
LINKS = {
    "examples": "Single examples",
    "correlation": "Correlation: every point",
    "trajectory": "Trajectory: every checkpoint",
    "robustness": "Robustness: what noise breaks it",
}


def recap(run: LessonRun, null: LessonRun | None, lookalike: LessonRun | None) -> None:
    """A quiz; then what was measured, what may be said of it, and the way on."""
    rows, controls = from_runs.rows_and_controls(run)
    if rows.empty:
        st.info("No setting of this run is marked as chosen.")
        return
    key = f"8:{run.key}"
    _quiz(key, rows, controls, null, lookalike)
    if classroom.board(key).shown:
        heading("What was measured")
        _measured(run, null, lookalike, rows)
        heading("What may be said of the run of the story")
        say("Three questions, in this order; the answers are computed from the run, with all its controls.")
        for answer in (findings.quality, findings.coupling, findings.unseen):
            finding = answer(rows, controls)
            title, sign = f"{finding.question} {finding.answer}", SIGNS[finding.settled]
            classroom.box(
                title, finding.number, f"{finding.sentence} {finding.why}", sign=sign, expected=bool(finding.settled)
            )
        _ladders(run, rows, controls)
        heading("Coupled is not correct. Coupled is not aware.")
    say("Go on with this run:")
    for page, label in LINKS.items():
        from_runs.link(run, page, label)


def heading(text: str) -> None:
    st.html(f'<p class="headline">{text}</p>')


def _measured(run: LessonRun, null: LessonRun | None, lookalike: LessonRun | None, rows: pd.DataFrame) -> None:
    """One line a step: what was found, and what the class had said."""
    over = from_runs.rho_over_steps(run).iloc[-1]
    found = [
        (2, run, words.learned(rows.iloc[0].to_dict())),
        (3, run, words.drifted(words.metric(over, "rho"), findings.place(over))),
        (4, run, words.followed(rows)),
    ]
    found += [(5, null, words.stood_still(from_runs.stillness(null)))] if null else []
    found += [(6, lookalike, words.output_alone(from_runs.contest(lookalike)))] if lookalike else []
    cages = zoo.cages(run)
    found += [(7, run, zoo.honest(cages))] if cages and not cages.why_not else []
    lines = []
    for step, of, reveal in found:
        own = classroom.board(f"{step}:{of.key}")
        said = (
            {**WHOM, **STILL, **zoo.LABELS}.get(str(own.guess), "") if own.number is None else charts.number(own.number)
        )
        mine = f" <small>(predicted: {escaped(said)})</small>" if said else ""
        lines.append(f"<li>Step {step}: {escaped(reveal.headline)}.{mine}</li>")
    st.html(f'<ul class="recap">{"".join(lines)}</ul>')


def _ladders(run: LessonRun, rows: pd.DataFrame, controls: pd.DataFrame) -> None:
    """Unseen and unseen over stale at the last checkpoint, among the controls."""
    last = rows.iloc[-1]
    here = controls[controls["checkpoint"] == last["checkpoint"]].drop_duplicates("control").set_index("control")
    about = wall.about(run, last["n"], last["n_groups"], f"{last['checkpoint']} · 95% intervals, each by itself")
    for name, question in LADDERS.items():
        if pd.isna(last[name]):
            say(f"{question} Not measured at the last checkpoint of this run.")
            continue
        bars = [wall.bar("the explanation", words.metric(last, name), style.EXPLANATION)]
        for control in CONTROLS:
            if control in here.index and pd.notna(here.loc[control, name]):
                look, value = style.CONTROLS[control], words.metric(here.loc[control].to_dict(), name)
                bars.append(wall.bar(look.name, value, look))
        say(question)
        title = f"{name.replace('_', ' ')}, partial r"
        wall.bars(run, bars, key=f"learn-{name}", x_title=title, about=about, signed=True)


def _quiz(
    key: str, rows: pd.DataFrame, controls: pd.DataFrame, null: LessonRun | None, lookalike: LessonRun | None
) -> None:
    """Statements; the class says for each whether the measurements support it."""
    still = from_runs.stillness(null) if null else None
    contest = from_runs.contest(lookalike) if lookalike else None
    statements = quiz.statements(rows, controls, still, contest)
    classroom.ask("May this be said, after what was measured?")
    shown, guesses = classroom.board(key).shown, {}
    for statement in statements:
        own = f"{key}:{statement.key}"
        say(statement.text)
        classroom.answers(own, quiz.MAY)
        guess = guesses[statement.key] = classroom.board(own).guess
        if shown:
            mine = f"Answered: {quiz.MAY[str(guess)].lower()}. " if guess in quiz.MAY else ""
            classroom.box(statement.headline, mine + statement.sentence)
    classroom.reveal_button(key)
    if shown and (line := quiz.score(guesses, statements)):
        say(line)
