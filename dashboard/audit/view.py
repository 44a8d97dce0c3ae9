"""One item of the audit on a page, in strict order: prompt, edit and f(x); a prediction; the explanation; f(x′); a
verdict. What is not yet revealed is in no element of the page: it never leaves the server."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from dashboard.audit.item import Item
from dashboard.audit.log import AuditLog, Entry, packed
from dashboard.audit.parts import attempt, complaint, heading, shares, stepper
from dashboard.audit.verdict import behavior, done, explanation, judge
from dashboard.text import diff, escaped, shown, signed
from dashboard.widgets.figures import choose, chosen
from dashboard.widgets.parts import small_print

WAYS = {"effect": "Δ: direction and size", "f": "f(x′) itself"}
DIRECTIONS = {"up": ("▲ f rises", "U", 1.0), "down": ("▼ f falls", "D", -1.0), "same": ("▬ f stays", "S", 0.0)}
"""How Δ may go: label, key, sign."""


def draw_item(log: AuditLog, item: Item, next_item: Callable[[], None]) -> None:
    """Everything that this reviewer may see of the item by now, and the one thing to do next."""
    revealed = item.verdict is not None or item.key in st.session_state.setdefault("audit_revealed", set())
    step = 1 if item.prediction is None else 2 if not revealed else 4 if item.verdict is None else 5
    stepper(step)
    complaint()
    read(item)
    if item.prediction is None:
        predict(log, item)
        return
    explanation(item, revealed)
    if not revealed:
        return
    behavior(item)
    if item.verdict is None:
        judge(log, item)
    else:
        done(log, item, next_item)


def read(item: Item) -> None:
    """Prompt, edit and present behavior."""
    q = item.question
    with st.container(border=True):
        heading(f"The prompt, and its edit: {q['edit']}")
        small_print("Struck through: removed in x′. Underlined: added in x′.")
        st.html(diff(q["prompt"], q["edited"]))
        st.html(
            f"<p style='margin: 0.4rem 0 0'>Before the edit, f(x) = <strong>{signed(q['f_current'])} nats</strong> · "
            f"of the two answers: {escaped(shares(q['f_current'], q['answer_a'], q['answer_b']))}</p>"
        )
        small_print(
            f"f is log p(“{shown(q['answer_a'])}”) − log p(“{shown(q['answer_b'])}”): above 0 the first is likelier. "
            "Δ = f(x′) − f(x), of the current checkpoint."
        )


def predict(log: AuditLog, item: Item) -> None:
    """Direction and size, or f(x′) itself; recorded before anything is revealed, and never again."""
    heading("What does the model do with x′? Predict before you see it")
    way = choose("Say it as", "predict", WAYS, "effect", widget="segments")
    if way == "effect":
        ask_effect(item)
    else:
        st.number_input("f(x′), nats", -100.0, 100.0, None, 0.25, key=f"audit_f_{item.key}", width=220)
    effect, f = predicted(item), item.question["f_current"]
    if effect is not None:
        split = shares(f + effect, item.question["answer_a"], item.question["answer_b"])
        says = f"Δ = {signed(effect)} nats: f goes from {signed(f)} to {signed(f + effect)}"
        st.html(f"<p>You predict {says} · {escaped(split)}</p>")
    st.button(
        "Record it, and see the explanation",
        type="primary",
        shortcut="Ctrl+Enter",
        key="audit_predict",
        on_click=record_prediction,
        args=(log, item),
    )


def ask_effect(item: Item) -> None:
    """Δ by a direction, which has keys, and a number of nats."""
    key = f"audit_direction_{item.key}"
    direction = st.session_state.get(key)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        for name, (label, shortcut, _) in DIRECTIONS.items():
            st.button(
                label,
                shortcut=shortcut,
                key=f"audit_{name}",
                type="primary" if name == direction else "secondary",
                on_click=lambda name=name: st.session_state.update({key: name}),
            )
        st.number_input(
            "By how many nats",
            0.0,
            100.0,
            None,
            0.25,
            key=f"audit_size_{item.key}",
            placeholder="0 or more",
            disabled=direction == "same",
            help="1 nat makes the odds of the two answers 2.7 times larger, 2 nats 7.4 times.",
            width=220,
        )


def predicted(item: Item) -> float | None:
    """Δ in nats as it stands in the boxes now; None while something is missing."""
    if chosen("predict", WAYS, "effect") == "f":
        value = st.session_state.get(f"audit_f_{item.key}")
        return None if value is None else float(value) - item.question["f_current"]
    direction = st.session_state.get(f"audit_direction_{item.key}")
    size = 0.0 if direction == "same" else st.session_state.get(f"audit_size_{item.key}")
    return None if direction is None or size is None else DIRECTIONS[direction][2] * float(size)


def record_prediction(log: AuditLog, item: Item) -> None:
    effect = predicted(item)
    if effect is None:
        st.session_state["audit_complaint"] = "Give a direction and a number of nats first, or f(x′) itself."
        return
    entry = Entry(kind="prediction", predicted=effect, shown=packed(item.question), **item.entry)
    attempt(lambda: log.append(entry))
