"""Step 7: what may be said of the run, a short quiz, and where to go on."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from dashboard import charts
from dashboard.charts import learn, style
from dashboard.lesson import classroom, drawn, quiz, reading, words
from dashboard.lesson.classroom import say
from dashboard.lesson.roles import Told
from dashboard.lesson.steps_controls import STILL, WHOM
from dashboard.reading import findings
from dashboard.text import escaped

SIGNS = {True: "✓ shown", False: "✕ shown not to be so", None: "? open"}
CONTROLS = ("output", "output_text", "text_only", "other_model")


def recap(told: Told, null: Told | None, lookalike: Told | None) -> None:
    """A quiz; then what was measured, what may be said of it, and the way on."""
    rows, controls = reading.rows_and_controls(told)
    if rows.empty:
        st.info("No setting of this run is marked as chosen.")
        return
    key = f"7:{told.key}"
    _quiz(key, rows, controls, null, lookalike)
    if classroom.board(key).shown:
        st.html('<p class="headline">What was measured</p>')
        _measured(told, null, lookalike, rows, controls)
        st.html('<p class="headline">What may be said of the run of the story</p>')
        say("Three questions, in this order; the answers are computed from the run, with all its controls.")
        for ask in (findings.quality, findings.coupling, findings.counterfactual):
            finding = ask(rows, controls)
            st.html(
                f'<div class="reveal {"told" if finding.settled else "other"}"><p class="sign">{SIGNS[finding.settled]}'
                f'</p><p class="headline">{escaped(finding.question)} {escaped(finding.answer)}</p>'
                f"<p>{escaped(finding.number)}</p><p>{escaped(finding.sentence)}</p></div>"
            )
        _ladders(told, rows, controls)
        st.html('<p class="headline">Coupled is not correct. Coupled is not aware.</p>')
    say("Go on with this run:")
    for page, label in (
        ("examples", "Single examples"), ("correlation", "Correlation: every point"),
        ("trajectory", "Trajectory: every checkpoint"), ("robustness", "Robustness: what noise breaks it"),
    ):  # fmt: skip
        reading.link(told, page, label)


def _measured(
    told: Told, null: Told | None, lookalike: Told | None, rows: pd.DataFrame, controls: pd.DataFrame
) -> None:
    """One line a step: what was found, and what the class had said."""
    last = told.checkpoints[-1]
    found = [
        (2, told, words.learned(rows.iloc[0].to_dict())),
        (3, told, words.drifted(reading.rho(told, last)[0], reading.step_text(told, last))),
        (4, told, words.followed(rows, controls)),
    ]
    found += [(5, null, words.stood_still(reading.stillness(null)))] if null else []
    found += [(6, lookalike, words.output_alone(reading.contest(lookalike)))] if lookalike else []
    lines = []
    for step, teller, reveal in found:
        guess = classroom.board(f"{step}:{teller.key}").guess
        said = charts.number(guess) if isinstance(guess, float) else {**WHOM, **STILL}.get(str(guess), "")
        mine = f" <small>(predicted: {escaped(said)})</small>" if said else ""
        lines.append(f"<li>Step {step}: {escaped(reveal.headline)}.{mine}</li>")
    st.html(f'<ul class="recap">{"".join(lines)}</ul>')


def _ladders(told: Told, rows: pd.DataFrame, controls: pd.DataFrame) -> None:
    """Counterfactual gap and change tracking at the last checkpoint, among the controls."""
    last = rows.iloc[-1]
    here = controls[controls["checkpoint"] == last["checkpoint"]].drop_duplicates("control").set_index("control")
    for name, title, plain in (
        ("counterfactual_gap", "counterfactual gap, partial r", "Does it know more of x′ than the output gives away?"),
        ("change_tracking", "change tracking, partial r", "Does it change where the effect changes?"),
    ):
        if pd.isna(last[name]):
            say(f"{plain} Not measured at the last checkpoint of this run.")
            continue
        bars = [learn.Bar("the explanation", drawn.triple(words.of(last, name)), style.GREEN, "star")]
        for control in CONTROLS:
            if control in here.index and pd.notna(here.loc[control, name]):
                value = words.of(here.loc[control].to_dict(), name)
                look = style.CONTROLS[control]
                bars.append(learn.Bar(look.name, drawn.triple(value), look.colour, look.symbol))
        say(plain)
        about = drawn.counts(told, last["n"], last["n_groups"], f"{last['checkpoint']} · 95% intervals, each by itself")
        drawn.bars(told, bars, key=f"learn-{name}", x_title=title, about=about, signed=True)


def _quiz(key: str, rows: pd.DataFrame, controls: pd.DataFrame, null: Told | None, lookalike: Told | None) -> None:
    """Statements of which the class says whether they may be said."""
    made = quiz.statements(
        rows, controls, reading.stillness(null) if null else None, reading.contest(lookalike) if lookalike else None
    )
    st.html('<p class="question">May this be said, after what was measured?</p>')
    for statement in made:
        own = f"{key}:{statement.key}"
        say(statement.text)
        classroom.segments(own, quiz.MAY)
        if classroom.board(key).shown:
            guess = classroom.board(own).guess
            mine = f"Answered: {quiz.MAY[guess].lower()}. " if guess in quiz.MAY else ""
            st.html(
                f'<div class="reveal told"><p class="headline">{escaped(statement.reveal.headline)}</p>'
                f"<p>{escaped(mine + statement.reveal.sentence)}</p></div>"
            )
    classroom.reveal_button(key)
    line = quiz.score({s.key: classroom.board(f"{key}:{s.key}").guess for s in made}, made)
    if classroom.board(key).shown and line:
        say(line)
