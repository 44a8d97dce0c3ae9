"""Steps 1 to 6: a counterfactual, an explainer, behavior that drifts away from its labels, whom the explanation
follows, a known null and a known positive."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from dashboard.charts import learn, number, style
from dashboard.lesson import classroom, from_runs, measures, wall, words
from dashboard.lesson.classroom import say
from dashboard.lesson.roles import ROLES, LessonRun
from dashboard.reading import data, findings
from dashboard.reading.glossary import MEANING
from dashboard.text import diff, shown
from dashboard.widgets.figures import keep, show

WAYS = {"more": "likelier", "less": "less likely", "same": "about the same"}
WHOM = {"self": "The model as it is now", "orig": "The labels, made before", "neither": "Neither of them"}
STILL = {"still": "It stands still", "moved": "It moves"}
LINES = (learn.Line("self", "Self", style.CURRENT), learn.Line("orig", "Orig", style.TARGET))
MOVES = {
    "f": ("f(x)", style.CURRENT),
    "f_edited": ("f(x′)", style.CURRENT),
    "effect": ("Δ, the effect", style.CURRENT),
    "explanation": ("the explanation", style.EXPLANATION),
}


def counterfactual(run: LessonRun) -> None:
    """Step 1."""
    say(
        "Ask a language model something. Change one thing in the prompt, and ask again: the second prompt is the "
        "counterfactual of the first. Behavior f says how the model leans between two answers."
    )
    say(f"Nats: {MEANING['nats']}")
    examples = from_runs.examples(run)
    if examples.empty:
        st.info("This run has no example of the chosen kind of edit.")
        return
    ids = examples["example_id"].tolist()
    wanted = st.query_params.get("example")
    place = ids.index(wanted) if wanted in ids else 0
    row = examples.iloc[place].to_dict()
    st.html(f'<div class="wall">{diff(row["prompt"], row["edited"])}</div>')
    say("Struck through: taken out for the counterfactual x′. Underlined: put in.")
    key = f"1:{run.key}:{row['example_id']}"
    first, second = (f"“{shown(row[name]).strip()}”" for name in ("answer_a", "answer_b"))
    before, after = measures.likelier(row["f_target"]), measures.likelier(row["f_edited_target"])
    preferred = first if before >= 0.5 else second
    say(f"With prompt x the model prefers {preferred}: of the two answers {first} gets {before:.0%}.")
    own = classroom.choice(key, f"Without the struck-through words, {first} becomes …", WAYS)
    title, following = f"Another example ({place + 1} of {len(ids)})", ids[(place + 1) % len(ids)]
    look = {"icon": ":material/shuffle:", "shortcut": "x", "help": "Key: X"}
    st.button(title, key="another", on_click=keep, args=("example", following), **look)
    f, f_edited = row["f_target"], row["f_edited_target"] if own.shown else None
    alt = f"f(x) is {number(f, sign=True)} nats"
    alt += f", f(x′) {number(f_edited, sign=True)} nats." if own.shown else "; f(x′) is hidden yet."
    target = data.options(run.path).target
    about = f"{run.split} · one example, measured at the target {target}: n = 1, so no interval"
    figure = learn.answers(f, f_edited, row["answer_a"], row["answer_b"])
    show(figure, key=f"learn-answers-{place}", alt=alt, path=run.path, about=about)
    if own.shown:
        reveal = words.edit_effect(float(row["effect_target"]), first, data.UNDECIDABLE)
        classroom.answer_choice(own, reveal, WAYS, key)
        say(f"Of the two answers {first} got {before:.0%} with x, and gets {after:.0%} with x′.")
    from_runs.link(run, "examples", "This example, in full", example=row["example_id"], checkpoint=None)


def explainer(run: LessonRun) -> None:
    """Step 2."""
    rows, _ = from_runs.rows_and_controls(run)
    if rows.empty:
        st.info("No setting of this run is marked as chosen.")
        return
    first, target = rows.iloc[0].to_dict(), data.options(run.path).target
    say(
        "An explainer reads what the model computes while it reads x. It never sees x′. It is trained to say the "
        f"effect Δ = f(x′) − f(x) of one fixed model, the target {target}. These labels never change."
    )
    say(f"r: {MEANING['r']}")
    question = "On new prompts: how well will it agree with the effects? 1 is perfect, 0 is chance."
    own = classroom.slider(f"2:{run.key}", question)
    if not own.shown:
        return
    classroom.answer_number(own, words.learned(first), words.metric(first, "self"), "r")
    start, note = run.checkpoints[0], f"r = {words.with_interval(words.metric(first, 'orig'))}"
    frame, titles = from_runs.explained(run, start), ("Δ of the target, nats", "explanation, nats")
    wall.cloud(run, frame, "effect_target", "explanation", note=note, titles=titles, key="learn-learned")
    from_runs.link(run, "correlation", "The same points, to select from", checkpoint=start)
    from_runs.link(run, "robustness", "What noise in the labels would break it?", checkpoint=start)


def drift(run: LessonRun) -> None:
    """Step 3."""
    over = from_runs.rho_over_steps(run)
    say(
        "Training goes on: the model learns other behavior, and nobody tells the explainer. The labels stay what they "
        "were. ρ says how well the effects of the model as it is now agree with those at the target."
    )
    last = over.iloc[-1]
    rho = words.metric(last, "rho")
    question = f"Where will ρ be after {int(last['step']):,} steps? 1: as before, 0: unrelated."
    own = classroom.slider(f"3:{run.key}", question, start=0.8, unit="ρ")
    if not own.shown:
        return
    place = findings.place(last)
    classroom.answer_number(own, words.drifted(rho, place), rho, "ρ")
    line = learn.Line("rho", "ρ", style.RHO)
    figure = learn.over_steps(over, [line], y_title="ρ, Pearson r", guess=own.number)
    alt = f"ρ over {len(over)} checkpoints; at {place} {words.with_interval(rho)}."
    about = wall.about(run, last["n"], last["n_groups"], "band: 95% intervals")
    show(figure, key="learn-rho", path=run.path, alt=alt, about=about, table=over)
    _checkpoint_cloud(run, over)
    from_runs.link(run, "trajectory", "All numbers over the checkpoints")


def _checkpoint_cloud(run: LessonRun, over: pd.DataFrame) -> None:
    """Δ at the target against Δ at a checkpoint that a slider chooses."""
    say("Each point is a prompt: its effect then, and its effect now. Move through the training:")
    by_name = over.set_index("checkpoint")
    texts = {name: f"{int(step):,}" for name, step in by_name["step"].items()}
    look = {"value": run.last, "format_func": lambda name: texts[name]}
    picked = st.select_slider("Training step", list(texts), key=f"learn_checkpoint_{run.key}", **look)
    note = f"ρ = {words.with_interval(words.metric(by_name.loc[picked], 'rho'))}"
    frame, titles = from_runs.explained(run, picked), ("Δ at the target, nats", f"Δ at step {texts[picked]}, nats")
    wall.cloud(run, frame, "effect_target", "effect_current", note=note, titles=titles, key="learn-drift")


def follow(run: LessonRun) -> None:
    """Step 4."""
    rows, _ = from_runs.rows_and_controls(run)
    if len(rows) < 2:
        st.info("The chosen setting of this run was not measured at two checkpoints.")
        return
    say(
        "The behavior has moved; the explainer is as it was, trained once, on labels made before. But it reads the "
        "model as it is now. Self: agreement with the model as it is now. Orig: agreement with the labels."
    )
    key = f"4:{run.key}"
    own = classroom.choice(key, "Whom will the explanation agree with at the end?", WHOM)
    if not own.shown:
        return
    classroom.answer_choice(own, words.followed(rows), WHOM, key)
    last = rows.iloc[-1]
    self_text, orig_text = (words.with_interval(words.metric(last, name)) for name in ("self", "orig"))
    columns = ["checkpoint", "step", "n", "n_groups", "target_current"]
    columns += [f"{name}{end}" for name in ("self", "orig", "gap") for end in ("", "_low", "_high")]
    chance = wall.triple(words.metric(last, "null"))
    figure = learn.over_steps(rows, LINES, y_title="agreement, Pearson r", chance=chance)
    about = wall.about(run, last["n"], last["n_groups"], "bands: 95% intervals; grey: chance")
    alt = f"Self and Orig over {len(rows)} checkpoints; at the last Self {self_text}, Orig {orig_text}."
    table = rows[[*columns, "verdict_coupling"]]
    show(figure, key="learn-follow", path=run.path, about=about, alt=alt, table=table)
    say(
        "Self above Orig is called coupling. It does not say that the explanation is right: that is Self itself. And "
        "it does not say how the explainer did it: the next two steps are controls."
    )
    from_runs.link(run, "trajectory", "All of the trajectory")
    from_runs.link(run, "correlation", "Self and Orig as points")


def null(run: LessonRun) -> None:
    """Step 5."""
    still = from_runs.stillness(run)
    held = words.effect_held(still, run.fits("null"))
    say(f"A control whose right answer is known beforehand. In this world, training moved f(x) and f(x′) alike. {held}")
    _warn_unless_it_fits(run, "null")
    key = f"5:{run.key}"
    own = classroom.choice(key, "What does the explanation do?", STILL)
    _moves(run, still, ["f", "f_edited", "effect", *(["explanation"] if own.shown else [])], "learn-null")
    if not own.shown:
        return
    classroom.answer_choice(own, words.stood_still(still), STILL, key)
    rows, _ = from_runs.rows_and_controls(run)
    if len(rows) > 1:
        first, last = rows.iloc[0], rows.iloc[-1]
        say(words.null_gap(first.to_dict(), last.to_dict()))
        bars = [
            wall.bar("Self at the target", words.metric(first, "self"), style.CURRENT),
            wall.bar("Self at the end", words.metric(last, "self"), style.CURRENT),
            wall.bar("gap at the end", words.metric(last, "gap"), style.GAP),
        ]
        about = wall.about(run, last["n"], last["n_groups"])
        wall.bars(run, bars, key="learn-null-gap", x_title="Pearson r", about=about)
    from_runs.link(run, "overview", "This run among its controls")
    from_runs.link(run, "correlation", "Its points")


def lookalike(run: LessonRun) -> None:
    """Step 6."""
    still, contest = from_runs.stillness(run), from_runs.contest(run)
    say(
        "A gap that is known to be there, and is not what it looks like. In this world training changed only what the "
        "model says with the cue: f(x) moved, f(x′) did not. Nothing about the unseen x′ can be learnt here. Yet "
        "Δ = f(x′) − f(x) contains −f(x), and f(x) is what the model is about to say. So an explainer that reads the "
        "present output moves with the model."
    )
    _warn_unless_it_fits(run, "lookalike")
    _moves(run, still, ["f", "f_edited", "effect"], "learn-lookalike")
    question = "Take −f(x) alone, untrained, as if it were an explanation. How well does it agree with the effects now?"
    own = classroom.slider(f"6:{run.key}", question, start=0.0)
    if not own.shown:
        return
    classroom.answer_number(own, words.output_alone(contest), contest.output_self, "r of −f(x)")
    say(words.against_output(contest))
    about = wall.about(run, contest.n, contest.n_groups)
    self_pair, gap_pair = (
        [
            wall.bar("the explanation", mine, style.EXPLANATION),
            wall.bar("−f(x) alone", output, style.OUTPUT),
        ]
        for mine, output in ((contest.self, contest.output_self), (contest.gap, contest.output_gap))
    )
    title = "Self: agreement now, Pearson r"
    wall.bars(run, self_pair, key="learn-alone-self", x_title=title, about=about, guess=own.number)
    wall.bars(run, gap_pair, key="learn-alone-gap", x_title="gap: Self − Orig", about=about, signed=True)
    from_runs.link(run, "overview", "This run among its controls")
    from_runs.link(run, "trajectory", "Its trajectory beside −f(x)", controls="output")


def _moves(run: LessonRun, still: measures.Stillness, names: list[str], key: str) -> None:
    """How far each quantity moved from the target to the last checkpoint."""
    triples = {n: (wall.triple(still.moves[n].spread), wall.triple(still.moves[n].kept)) for n in names}
    bars = [learn.Bar(MOVES[n][0], spread, MOVES[n][1]) for n, (spread, _) in triples.items()]
    table = pd.DataFrame(
        [(MOVES[n][0], *spread, *kept) for n, (spread, kept) in triples.items()],
        columns=["quantity", "moved, nats", "low", "high", "r before and after", "r low", "r high"],
    )
    about = wall.about(run, still.n, still.n_groups)
    wall.bars(run, bars, key=key, x_title="moved by (sd of the change), nats", about=about, table=table)


def _warn_unless_it_fits(run: LessonRun, role: str) -> None:
    """Say so where the run's numbers are not those of its role."""
    if not run.fits(role):
        f, f_edited, effect = (number(v) for v in (run.moved.f, run.moved.f_edited, run.moved.effect))
        st.warning(
            f"This run does not do what this step needs: {ROLES[role].needs}. Measured, in units of the spread at the "
            f"target: f(x) moved by {f}, f(x′) by {f_edited}, Δ by {effect}. Read on with that in mind.",
            icon=":material/warning:",
        )
