"""One item of the audit on a page, in strict order: prompt, edit and f(x); a prediction; the explanation; f(x′); a
verdict. What is not yet revealed is in no element of the page: it never leaves the server."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import plotly.graph_objects as go
import streamlit as st

from dashboard import charts
from dashboard.audit.item import Item
from dashboard.audit.log import LONGEST_COMMENT, VERDICTS, AuditError, AuditLog, Entry, Record, canonical_json
from dashboard.charts import style
from dashboard.serving.access import AccessError
from dashboard.text import diff, escaped, markdown_escaped, plain, shown, signed
from dashboard.widgets import figures
from dashboard.widgets.parts import provenance, small_print

STEPS = ("Read", "Predict", "Explanation", "f(x′)", "Verdict")
DIRECTIONS = {"up": ("▲ f rises", "U", 1.0), "down": ("▼ f falls", "D", -1.0), "same": ("▬ f stays", "S", 0.0)}
"""How Δ may go: label, key, sign."""
HELP = {
    "current": "The explanation says what the current model does.",
    "target": "The explanation repeats the target, whose effects it was trained on.",
    "neither": "The explanation says something else than both.",
    "undecidable": "Target and current lie too near to each other to be told apart, or nothing was explained.",
}
STICKY = """<style>div:has(> .st-key-audit_actions) { position: sticky; bottom: 0; z-index: 9; padding: 0.6rem 0;
  backdrop-filter: blur(14px); }</style>"""
"""What is to be done next stays in sight, however long the prompt is."""


def draw_item(log: AuditLog, item: Item, next_item: Callable[[], None]) -> None:
    """Everything that this reviewer may see of the item by now, and the one thing to do next."""
    revealed = item.verdict is not None or item.key in st.session_state.setdefault("audit_revealed", set())
    st.html(STICKY)
    stepper(1 if item.prediction is None else 2 if not revealed else 4 if item.verdict is None else 5)
    if complaint := st.session_state.pop("audit_complaint", None):
        st.error(markdown_escaped(complaint), icon=":material/error:")
    read(item)
    if item.prediction is None:
        predict(log, item)
        return
    show_explanation(item, item.prediction, revealed)
    if not revealed:
        return
    show_behavior(item, item.prediction)
    if item.verdict is None:
        judge(log, item)
    else:
        done(log, item, item.verdict, next_item)


def read(item: Item) -> None:
    """Prompt, edit and present behavior."""
    q = item.question
    with st.container(border=True):
        heading(f"The prompt, and its edit: {q['edit']}")
        small_print("Struck through: removed in x′. Underlined: added in x′.")
        st.html(diff(q["prompt"], q["edited"]))
        st.html(
            f"<p style='margin: 0.4rem 0 0'>Before the edit, f(x) = <strong>{signed(q['f_current'])} nats</strong> · "
            f"of the two answers: {escaped(shares(q['f_current'], q))}</p>"
        )
        small_print(
            f"f is log p(“{shown(q['answer_a'])}”) − log p(“{shown(q['answer_b'])}”): above 0 the first is likelier. "
            "Δ = f(x′) − f(x), of the current checkpoint."
        )


def predict(log: AuditLog, item: Item) -> None:
    """Direction and size of Δ; recorded before anything is revealed, and never again. Directions have keys."""
    heading("What does the model do with x′? Predict before you see it")
    key = f"audit_direction_{item.key}"
    direction = st.session_state.get(key)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        for name, (label, shortcut, _) in DIRECTIONS.items():
            kind = "primary" if name == direction else "secondary"
            choose = {"on_click": st.session_state.update, "args": ({key: name, chance_key(item): None},)}
            st.button(label, key=f"audit_{name}", shortcut=shortcut, type=kind, **choose)
        look = {
            "key": f"audit_size_{item.key}",
            "placeholder": "0 or more",
            "disabled": direction == "same",
            "help": "1 nat makes the odds of the two answers 2.7 times larger, 2 nats 7.4 times.",
            "width": 220,
        }
        st.number_input("By how many nats", 0.0, 100.0, None, 0.25, **look)
        about = "In place of a direction and nats: how likely the first answer is after the edit, of the two."
        look = {"key": chance_key(item), "placeholder": "0.1 to 99.9", "help": about, "width": 220}
        first = markdown_escaped(shown(item.question["answer_a"])[:20])
        clear = {"on_change": st.session_state.update, "args": ({key: None},)}
        st.number_input(f"or: chance of “{first}” then, %", 0.1, 99.9, None, 1.0, **look, **clear)
    effect, f = predicted(item), item.question["f_current"]
    if effect is not None:
        says = f"Δ = {signed(effect)} nats: f goes from {signed(f)} to {signed(f + effect)}"
        st.html(f"<p>You predict {says} · {escaped(shares(f + effect, item.question))}</p>")
    act = {"key": "audit_predict", "on_click": record_prediction, "args": (log, item)}
    with st.container(key="audit_actions"):
        st.button("Record it, and see the explanation", type="primary", shortcut="Ctrl+Enter", **act)


def chance_key(item: Item) -> str:
    return f"audit_chance_{item.key}"


def predicted(item: Item) -> float | None:
    """Δ in nats as the page says it now; None while something is missing. A chance of the first answer after the edit
    stands for the f(x′) that has it."""
    chance = st.session_state.get(chance_key(item))
    if chance is not None:
        return math.log(chance / (100 - chance)) - item.question["f_current"]
    direction = st.session_state.get(f"audit_direction_{item.key}")
    size = 0.0 if direction == "same" else st.session_state.get(f"audit_size_{item.key}")
    return None if direction is None or size is None else DIRECTIONS[direction][2] * float(size)


def record_prediction(log: AuditLog, item: Item) -> None:
    effect = predicted(item)
    if effect is None:
        st.session_state["audit_complaint"] = "Give a direction and a number of nats first, or a chance."
        return
    entry = Entry(kind="prediction", predicted=effect, shown=canonical_json(item.question), **item.entry)
    attempt(lambda: log.append(entry))


def show_explanation(item: Item, mine: Record, revealed: bool) -> None:
    """The prediction as recorded, and what the explanation says."""
    heading("The explanation")
    with st.container(horizontal=True):
        help_line = f"Record {mine.id}, of {mine.created[:16].replace('T', ' ')} UTC. It can't be changed."
        st.metric("You predicted Δ, nats", signed(mine.predicted), help=help_line, width=190)
        help_line = "What the explainer says of the current checkpoint's effect, having seen x only."
        st.metric("Explanation says Δ, nats", signed(item.answer["explanation"]), help=help_line, width=210)
    if item.answer["text"]:
        st.html(plain(item.answer["text"]))
    if item.seen_before:
        small_print("Predicted in an earlier queue, where f(x′) of this example was seen: that prediction stands.")
    if not revealed:
        act = {"key": "audit_reveal", "on_click": st.session_state["audit_revealed"].add, "args": (item.key,)}
        st.button("Reveal f(x′)", type="primary", shortcut="F", **act)


def show_behavior(item: Item, prediction: Record) -> None:
    """f(x′), and how far off everybody was."""
    a, mine = item.answer, prediction.predicted
    heading("What the model does")
    with st.container(horizontal=True):
        answers = shares(a["f_edited_current"], item.question)
        help_line = markdown_escaped(f"Behavior of the current checkpoint after the edit: {answers}.")
        st.metric("f(x′), nats", signed(a["f_edited_current"]), help=help_line, width=130)
        st.metric("Δ current, nats", signed(a["effect_current"]), help="f(x′) − f(x) now.", width=140)
        st.metric("Δ target, nats", signed(a["effect_target"]), help="What the explainer was trained on.", width=140)
    sayings = (
        ("You", mine, "Your prediction of Δ, and its distance from Δ current."),
        ("Explanation", a["explanation"], "The explanation, and its distance from Δ current."),
        ("−f(x), scaled", a["output"], output_help(a)),
    )
    with st.container(horizontal=True):
        for name, said, help_line in sayings:
            off = None if said is None else f"off by {abs(said - a['effect_current']):.2f} nats"
            look = {"delta_color": "off", "delta_arrow": "off", "help": help_line, "width": 160}
            st.metric(f"{name}, nats", signed(said), off, **look)
    figure, name = picture(item.question["f_current"], a, mine), f"audit-{item.entry['example_id']}"
    alt = f"Δ current {signed(a['effect_current'])}, Δ target {signed(a['effect_target'])}, you {signed(mine)}, "
    alt += f"explanation {signed(a['explanation'])}, output alone {signed(a['output'])} nats"
    figures.draw(figure, key=f"audit_picture_{item.key}", name=name, path=item.path, alt=alt)
    provenance(item.path, extra=f"example {item.entry['example_id']} at {item.entry['checkpoint']}")


def output_help(answer: Mapping[str, Any]) -> str:
    """How the control `output` came to a number of nats."""
    if answer["output"] is None:
        return "The run has no train split for this kind of edit to put the present output on the scale of Δ."
    sign = "+" if answer["output_slope"] >= 0 else "−"
    line = f"{signed(answer['output_intercept'])} {sign} {abs(answer['output_slope']):.2f} · f(x)"
    return (
        f"What f(x) alone would have said, knowing no edit: {line}, a line fitted to Δ target on the "
        f"{answer['output_n']:,} train examples of this kind of edit. The bare control, −f(x), has no scale."
    )


def picture(f: float, answer: Mapping[str, Any], mine: float | None) -> go.Figure:
    """Both models' effects, the explanation, the auditor and the output as moves of f, in nats."""
    target, current = (answer["f_target"], answer["f_edited_target"]), (f, answer["f_edited_current"])
    guess, output = style.GUESS, style.OUTPUT
    others = (
        ("you", mine, guess.colour, guess.symbol),
        ("−f(x), scaled", answer["output"], output.colour, output.symbol),
    )
    return charts.example_effects(target, current, answer["explanation"], others)


def undecidable(answer: Mapping[str, Any]) -> str | None:
    """Why the verdict "undecidable" is advised; None where it is not."""
    distance = abs(answer["effect_current"] - answer["effect_target"])
    if distance < answer["apart"]:
        return (
            f"Target and current can't be told apart here: their effects lie {distance:.2f} nats apart, less than "
            f"{answer['apart']:.2f}. “Undecidable” is advised."
        )
    if answer["explanation"] is None and not answer["text"]:
        return "Nothing was explained here. “Undecidable” is advised."
    return None


def judge(log: AuditLog, item: Item) -> None:
    """The verdict, by one button or key, with a comment."""
    heading("Your verdict on the explanation")
    if advice := undecidable(item.answer):
        st.info(markdown_escaped(advice), icon=":material/balance:")
    label = "Comment (optional; write it before the verdict)"
    st.text_area(label, key=comment_key(item), max_chars=LONGEST_COMMENT, height=80)
    with st.container(key="audit_actions", horizontal=True):
        for place, (verdict, label) in enumerate(VERDICTS.items(), start=1):
            kind = "primary" if advice and verdict == "undecidable" else "secondary"
            act = {"key": f"audit_verdict_{verdict}", "on_click": record_verdict, "args": (log, item, verdict)}
            st.button(label.capitalize(), shortcut=str(place), help=HELP[verdict], type=kind, **act)


def comment_key(item: Item) -> str:
    return f"audit_comment_{item.key}"


def record_verdict(log: AuditLog, item: Item, verdict: str) -> None:
    comment, seen = st.session_state.get(comment_key(item)) or "", canonical_json({**item.question, **item.answer})
    prediction = item.prediction and item.prediction.id
    given: dict[str, Any] = {"verdict": verdict, "comment": comment, "refers_to": prediction, "shown": seen}
    attempt(lambda: log.append(Entry(kind="verdict", **given, **item.entry)))


def done(log: AuditLog, item: Item, mine: Record, next_item: Callable[[], None]) -> None:
    """The verdict as recorded, a way on, and a way back."""
    st.success(f"Verdict: {VERDICTS[str(mine.verdict)]} (record {mine.id}).", icon=":material/verified:")
    if mine.comment:
        st.html(plain(mine.comment))
    with st.container(key="audit_actions", horizontal=True):
        st.button("Next open item", type="primary", shortcut="O", key="audit_next_open", on_click=next_item)
        look = {"help": "Adds a record that takes the verdict back; nothing is erased.", "shortcut": "Z"}
        st.button("Undo the verdict", key="audit_undo", on_click=undo, args=(log, item, mine), **look)


def undo(log: AuditLog, item: Item, mine: Record) -> None:
    """Takes the verdict back; its comment stands in the box again, and f(x′) stays in sight."""
    attempt(lambda: log.undo(mine))
    st.session_state[comment_key(item)] = mine.comment
    st.session_state["audit_revealed"].add(item.key)


def stepper(current: int) -> None:
    """Where we are among STEPS, by weight and a mark as well as by colour."""
    pieces = []
    for place, name in enumerate(STEPS):
        mark = "✓" if place < current else "▸" if place == current else "·"
        look = 'style="font-weight: 650" aria-current="step"' if place == current else 'style="opacity: 0.65"'
        pieces.append(f"<li {look}>{mark} {name}</li>")
    style = "display: flex; flex-wrap: wrap; gap: 0 1.4rem; list-style: none; padding: 0; margin: 0"
    st.html(f'<ol style="{style}">{"".join(pieces)}</ol>')


def attempt(act: Callable[[], object]) -> None:
    """Do something to the log from a callback; the next run says what went wrong."""
    try:
        act()
    except (AuditError, AccessError) as error:
        st.session_state["audit_complaint"] = str(error)


def heading(text: str) -> None:
    st.html(f'<h2 style="font-size: 1.1rem; padding: 0; margin: 0">{escaped(text)}</h2>')


def shares(f: float, question: dict) -> str:
    """`“ yes” 96%, “ no” 4%`: f as the probabilities of the two answers, which add up to 1."""
    first = 1 / (1 + math.exp(-max(min(f, 500.0), -500.0)))
    return f"“{shown(question['answer_a'])}” {first:.0%}, “{shown(question['answer_b'])}” {1 - first:.0%}"


def whole_number(label: str, name: str, default: int, low: int, high: int, help_line: str) -> int:
    """A whole number in a box, kept in the URL; what does not fit becomes the default."""
    key = f"option_{name}"
    given = int(figures.chosen(name, [str(n) for n in range(low, high + 1)], str(default)))
    st.session_state[key] = given

    def change() -> None:
        figures.keep(name, st.session_state[key], default)
        figures.keep("item", None)

    st.number_input(label, low, high, key=key, step=1, help=help_line, on_change=change)
    return given
