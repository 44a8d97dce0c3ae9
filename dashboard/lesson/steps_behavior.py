"""Steps 1 to 3: a counterfactual, an explainer, and behavior that drifts away from its labels."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from dashboard import charts
from dashboard.charts import learn, style
from dashboard.lesson import classroom, drawn, measures, reading, words
from dashboard.lesson.classroom import say
from dashboard.lesson.roles import Told
from dashboard.reading import data
from dashboard.reading.agreement import Estimate
from dashboard.text import diff, shown
from dashboard.widgets.figures import keep, show

WAYS = {"more": "likelier", "less": "less likely", "same": "about the same"}


def counterfactual(told: Told) -> None:
    """Step 1."""
    say(
        "Ask a language model something. Change one thing in the prompt, and ask again: the second prompt is the "
        "counterfactual of the first. Behavior f says how the model leans between two answers."
    )
    examples = reading.examples(told)
    if examples.empty:
        st.info("This run has no example of the chosen kind of edit.")
        return
    row, place = _example(examples)
    st.html(f'<div class="wall">{diff(row["prompt"], row["edited"])}</div>')
    say("Struck through: taken out for the counterfactual x′. Underlined: put in.")
    key = f"1:{told.key}:{row['example_id']}"
    first = shown(row["answer_a"]).strip()
    lean = measures.likelier(row["f_target"])
    say(
        f"With prompt x the model prefers “{first if lean >= 0.5 else shown(row['answer_b']).strip()}”: of the two "
        f"answers “{first}” gets {lean:.0%}."
    )
    own = classroom.choice(key, f"Without the struck-through words, “{first}” becomes …", WAYS)
    _next_example(examples, place)
    effect = float(row["effect_target"])
    reveal = words.edit_effect(effect, f"“{first}”", data.UNDECIDABLE)
    alt = f"f(x) is {charts.number(row['f_target'], sign=True)} nats"
    alt += (
        f", f(x′) {charts.number(row['f_edited_target'], sign=True)} nats." if own.shown else "; f(x′) is hidden yet."
    )
    figure = learn.answers(
        row["f_target"], row["f_edited_target"] if own.shown else None, row["answer_a"], row["answer_b"]
    )
    target = data.options(told.path).target
    show(
        figure, key=f"learn-answers-{place}", alt=alt, path=told.path,
        about=f"{told.split} · one example, measured at the target {target}: n = 1, so no interval",
    )  # fmt: skip
    if own.shown:
        classroom.answer(reveal)
        after = measures.likelier(row["f_edited_target"])
        say(f"Of the two answers “{first}” got {lean:.0%} with x, and gets {after:.0%} with x′.")
        classroom.verdict_on_guess(own, reveal, WAYS, key)
    reading.link(told, "examples", "This example, in full", example=row["example_id"], checkpoint=None)


def _example(examples: pd.DataFrame) -> tuple[dict, int]:
    """The example that the URL names, else the first."""
    ids = examples["example_id"].tolist()
    wanted = st.query_params.get("example")
    place = ids.index(wanted) if wanted in ids else 0
    return examples.iloc[place].to_dict(), place


def _next_example(examples: pd.DataFrame, place: int) -> None:
    following = examples["example_id"].iloc[(place + 1) % len(examples)]
    st.button(
        f"Another example ({place + 1} of {len(examples)})", key="another", icon=":material/shuffle:",
        on_click=lambda: keep("example", following), shortcut="x", help="Key: X",
    )  # fmt: skip


def explainer(told: Told) -> None:
    """Step 2."""
    rows, _ = reading.rows_and_controls(told)
    if rows.empty:
        st.info("No setting of this run is marked as chosen.")
        return
    first = rows.iloc[0].to_dict()
    target = data.options(told.path).target
    say(
        "An explainer reads what the model computes while it reads x. It never sees x′. It is trained to say the "
        f"effect Δ = f(x′) − f(x) of one fixed model, the target {target}. These labels never change."
    )
    key = f"2:{told.key}"
    own = classroom.slider(
        key, "On new prompts: how well will it agree with the effects? 1 is perfect, 0 is chance.", low=-1.0, high=1.0
    )
    if not own.shown:
        return
    reveal = words.learned(first)
    classroom.answer(reveal)
    if isinstance(own.guess, float):
        say(words.guess_against(own.guess, words.of(first, "self"), "r"))
    name = told.checkpoints[0]
    frame = reading.explained(told, name)
    drawn.cloud(
        told, frame, "effect_target", "explanation", note=f"r = {words.text(words.of(first, 'orig'))}",
        titles=("Δ of the target, nats", "explanation, nats"), key="learn-learned",
    )  # fmt: skip
    _noise(told)
    reading.link(told, "correlation", "The same points, to select from", checkpoint=name)
    reading.link(told, "robustness", "What noise would break it?", checkpoint=name)


def _noise(told: Told) -> None:
    """What becomes of the explainer when its labels are spoilt: one level at a time."""
    rows = reading.by_noise(told)
    if len(rows) < 2:
        return
    say("And if some of the labels were wrong? Spoil a share of them, and train again:")
    levels = [f"{level:.0%}" for level in rows["noise"]]
    picked = st.select_slider("Share of labels shuffled", levels, value=levels[len(levels) // 2], key="learn_noise")
    row = rows.iloc[levels.index(picked)].to_dict()
    clean = rows.iloc[0].to_dict()
    bars = [learn.Bar("labels as they are", drawn.triple(words.of(clean, "self")), style.BLUE, "circle")]
    if row["noise"]:
        name = f"{picked} of labels shuffled"
        bars.append(learn.Bar(name, drawn.triple(words.of(row, "self")), style.ORANGE, "diamond"))
        say(words.noise(clean, row))
    band = None if pd.isna(clean.get("null_low")) else (float(clean["null_low"]), float(clean["null_high"]))
    drawn.bars(
        told, bars, key="learn-noise", x_title="Self at the target, Pearson r (grey: chance)", band=band,
        about=drawn.counts(told, row["n"], row["n_groups"]),
        table=rows[["noise_kind", "noise", "self", "self_low", "self_high", "n", "n_groups", "seeds"]],
    )  # fmt: skip


def drift(told: Told) -> None:
    """Step 3."""
    over = reading.rho_over_steps(told)
    say(
        "Training goes on: the model learns other behavior, and nobody tells the explainer. The labels stay what they "
        "were. ρ says how well the effects of the model as it is now agree with those at the target."
    )
    key = f"3:{told.key}"
    last = over.iloc[-1]
    rho = Estimate(last["rho"], last["rho_low"], last["rho_high"])
    steps = int(last["step"])
    own = classroom.slider(
        key, f"Where will ρ be after {steps:,} steps? 1: as before, 0: unrelated.", start=0.8, unit="ρ"
    )
    if not own.shown:
        return
    place = f"step {steps:,}"
    classroom.answer(words.drifted(rho, place))
    if isinstance(own.guess, float):
        say(words.guess_against(own.guess, rho, "ρ"))
    counts = drawn.counts(told, last["n"], last["n_groups"], "band: 95% intervals")
    line = learn.Line("rho", "ρ", style.GREY, "x")
    guess = own.guess if isinstance(own.guess, float) else None
    show(
        learn.over_steps(over, [line], y_title="ρ, Pearson r", guess=guess), key="learn-rho", path=told.path,
        alt=f"ρ over {len(over)} checkpoints; at {place} {words.text(rho)}.", about=counts, table=over,
    )  # fmt: skip
    _checkpoint_cloud(told, over)
    reading.link(told, "trajectory", "All numbers over the checkpoints")


def _checkpoint_cloud(told: Told, over: pd.DataFrame) -> None:
    """Δ then against Δ now, at a checkpoint that is moved by hand."""
    say("Each point is a prompt: its effect then, and its effect now. Move through the training:")
    names = over["checkpoint"].tolist()
    texts = {name: f"{int(step):,}" for name, step in zip(over["checkpoint"], over["step"], strict=True)}
    picked = st.select_slider(
        "Training step", names, value=names[-1], key=f"learn_checkpoint_{told.key}", format_func=lambda n: texts[n]
    )
    row = over[over["checkpoint"] == picked].iloc[0]
    rho = Estimate(row["rho"], row["rho_low"], row["rho_high"])
    drawn.cloud(
        told, reading.explained(told, picked), "effect_target", "effect_current", note=f"ρ = {words.text(rho)}",
        titles=("Δ at the target, nats", f"Δ at step {texts[picked]}, nats"), key="learn-drift",
    )  # fmt: skip
