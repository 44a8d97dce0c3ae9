"""Steps 4 to 6: whom the explanation follows, a known null and a known positive."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from dashboard.charts import learn, style
from dashboard.lesson import classroom, drawn, reading, words
from dashboard.lesson.classroom import say
from dashboard.lesson.drawn import triple
from dashboard.lesson.measures import Stillness
from dashboard.lesson.roles import Told
from dashboard.reading.agreement import Estimate
from dashboard.widgets.figures import show

WHOM = {"self": "The model as it is now", "orig": "The labels, made before", "neither": "Neither of them"}
STILL = {"still": "It stands still", "moved": "It moves"}


def follow(told: Told) -> None:
    """Step 4."""
    rows, controls = reading.rows_and_controls(told)
    if len(rows) < 2:
        st.info("The chosen setting of this run was not measured at two checkpoints.")
        return
    say(
        "The behavior has moved; the explainer is as it was, trained once, on labels made before. But it reads the "
        "model as it is now. Self: agreement with the model as it is now. Orig: agreement with the labels."
    )
    key = f"4:{told.key}"
    own = classroom.choice(key, "Whom will the explanation agree with at the end?", WHOM)
    if not own.shown:
        return
    reveal = words.followed(rows, controls)
    classroom.answer(reveal)
    classroom.verdict_on_guess(own, reveal, WHOM, key)
    last = rows.iloc[-1]
    lines = (
        learn.Line("self", "Self", style.SELF, "circle"),
        learn.Line("orig", "Orig", style.ORIG, "diamond", "dash"),
    )
    chance = (0.0, _number(last["null_low"]), _number(last["null_high"]))
    columns = ["checkpoint", "step", "n", "n_groups", "target_current"]
    columns += [f"{name}{end}" for name in ("self", "orig", "gap") for end in ("", "_low", "_high")]
    show(
        learn.over_steps(rows, lines, y_title="agreement, Pearson r", chance=chance), key="learn-follow",
        path=told.path, about=_counts(told, last, "bands: 95% intervals; grey: chance"),
        alt=f"Self and Orig over {len(rows)} checkpoints; at the last Self {words.text(words.of(last, 'self'))}, "
        f"Orig {words.text(words.of(last, 'orig'))}.",
        table=rows[[*columns, "verdict_coupling"]],
    )  # fmt: skip
    say(
        "Self above Orig is called coupling. It does not say that the explanation is right: that is Self itself. And "
        "it does not say how the explainer did it: the next two steps are controls."
    )
    reading.link(told, "trajectory", "All of the trajectory")
    reading.link(told, "correlation", "Self and Orig as points")


def null(told: Told) -> None:
    """Step 5."""
    still = reading.stillness(told)
    say(
        "A control whose right answer is known beforehand. In this world, training moved f(x) and f(x′) alike. "
        + words.effect_held(still, told.fits("null"))
    )
    contradicted(told, "null")
    key = f"5:{told.key}"
    own = classroom.choice(key, "What does the explanation do?", STILL)
    names = ["f", "f_edited", "effect"] + (["explanation"] if own.shown else [])
    _moves(told, still, names, "learn-null")
    if not own.shown:
        return
    reveal = words.stood_still(still)
    classroom.answer(reveal)
    classroom.verdict_on_guess(own, reveal, STILL, key)
    rows, _ = reading.rows_and_controls(told)
    if len(rows) > 1:
        first, last = rows.iloc[0], rows.iloc[-1]
        say(words.null_gap(first.to_dict(), last.to_dict()))
        bars = [
            learn.Bar("Self at the target", triple(words.of(first, "self")), style.BLUE, "circle"),
            learn.Bar("Self at the end", triple(words.of(last, "self")), style.BLUE, "square"),
            learn.Bar("gap at the end", triple(words.of(last, "gap")), style.ORANGE, "diamond"),
        ]
        drawn.bars(told, bars, key="learn-null-gap", x_title="Pearson r", about=_counts(told, last))
    reading.link(told, "overview", "This run among its controls")
    reading.link(told, "correlation", "Its points")


MOVES = {
    "f": ("f(x)", style.BLUE, "circle"),
    "f_edited": ("f(x′)", style.ORANGE, "diamond"),
    "effect": ("Δ, the effect", style.PURPLE, "square"),
    "explanation": ("the explanation", style.GREEN, "star"),
}


def _moves(told: Told, still: Stillness, names: list[str], key: str) -> None:
    """How far each quantity moved from the target to the last checkpoint."""
    bars = [learn.Bar(MOVES[n][0], triple(still[n].spread), *MOVES[n][1:]) for n in names]
    table = pd.DataFrame(
        [(MOVES[n][0], *triple(still[n].spread), *triple(still[n].kept)) for n in names],
        columns=["quantity", "moved, nats", "low", "high", "r before and after", "r low", "r high"],
    )
    about = drawn.counts(told, still.n, still.n_groups)
    drawn.bars(told, bars, key=key, x_title="moved by (sd of the change), nats", about=about, table=table)


def lookalike(told: Told) -> None:
    """Step 6."""
    still, contest = reading.stillness(told), reading.contest(told)
    say(
        "A gap that is known to be there, and is not what it looks like. In this world training changed only what the "
        "model says with the cue: f(x) moved, f(x′) did not. Nothing about the unseen x′ can be learnt here. Yet "
        "Δ = f(x′) − f(x) contains −f(x), and f(x) is what the model is about to say: whoever reads the present output "
        "moves with the model."
    )
    contradicted(told, "lookalike")
    _moves(told, still, ["f", "f_edited", "effect"], "learn-lookalike")
    key = f"6:{told.key}"
    own = classroom.slider(
        key,
        "Take −f(x) alone, untrained, as if it were an explanation. How well does it agree with the effects now?",
        start=0.0,
    )
    if not own.shown:
        return
    classroom.answer(words.output_alone(contest))
    guess = own.guess if isinstance(own.guess, float) else None
    if guess is not None:
        say(words.guess_against(guess, contest.output_self, "r of −f(x)"))
    say(words.against_output(contest))
    about = drawn.counts(told, contest.n, contest.n_groups)

    def beside(mine: Estimate, output: Estimate) -> list[learn.Bar]:
        return [
            learn.Bar("the explanation", triple(mine), style.GREEN, "star"),
            learn.Bar("−f(x) alone", triple(output), style.CONTROLS["output"].colour, style.CONTROLS["output"].symbol),
        ]

    title = "Self: agreement now, Pearson r"
    pair = beside(contest.self, contest.output_self)
    drawn.bars(told, pair, key="learn-alone-self", x_title=title, about=about, guess=guess)
    pair = beside(contest.gap, contest.output_gap)
    drawn.bars(told, pair, key="learn-alone-gap", x_title="gap: Self − Orig", about=about, signed=True)
    reading.link(told, "overview", "This run among its controls")
    reading.link(told, "trajectory", "Its trajectory beside −f(x)", controls="output")


def contradicted(told: Told, role: str) -> None:
    """Say so where the run's numbers are not those of its role."""
    if not told.fits(role):
        m = told.moved
        st.warning(words.role_contradicted(role, m.f, m.f_edited, m.effect), icon=":material/warning:")


def _counts(told: Told, row: pd.Series, note: str = "95% intervals") -> str:
    return drawn.counts(told, row["n"], row["n_groups"], note)


def _number(value: object) -> float | None:
    return None if pd.isna(value) else float(value)  # type: ignore[arg-type, call-overload]
