"""One item of the audit on a page, in strict order: prompt, edit and f(x); a prediction; the explanation; f(x′); a
verdict. What is not yet revealed is in no element of the page: it never leaves the server."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from dashboard.audit.item import Item
from dashboard.audit.log import AuditLog, Entry, canonical_json
from dashboard.audit.parts import attempt, complaint, heading, shares, stepper
from dashboard.audit.verdict import done, judge, show_behavior, show_explanation
from dashboard.text import diff, escaped, shown, signed
from dashboard.widgets.parts import small_print

DIRECTIONS = {"up": ("▲ f rises", "U", 1.0), "down": ("▼ f falls", "D", -1.0), "same": ("▬ f stays", "S", 0.0)}
"""How Δ may go: label, key, sign."""


def draw_item(log: AuditLog, item: Item, next_item: Callable[[], None]) -> None:
    """Everything that this reviewer may see of the item by now, and the one thing to do next."""
    revealed = item.verdict is not None or item.key in st.session_state.setdefault("audit_revealed", set())
    stepper(1 if item.prediction is None else 2 if not revealed else 4 if item.verdict is None else 5)
    complaint()
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
            choose = {"on_click": st.session_state.update, "args": ({key: name},)}
            st.button(label, key=f"audit_{name}", shortcut=shortcut, type=kind, **choose)
        look = {
            "key": f"audit_size_{item.key}",
            "placeholder": "0 or more",
            "disabled": direction == "same",
            "help": "1 nat makes the odds of the two answers 2.7 times larger, 2 nats 7.4 times.",
            "width": 220,
        }
        st.number_input("By how many nats", 0.0, 100.0, None, 0.25, **look)
    effect, f = predicted(item), item.question["f_current"]
    if effect is not None:
        says = f"Δ = {signed(effect)} nats: f goes from {signed(f)} to {signed(f + effect)}"
        st.html(f"<p>You predict {says} · {escaped(shares(f + effect, item.question))}</p>")
    act = {"key": "audit_predict", "on_click": record_prediction, "args": (log, item)}
    st.button("Record it, and see the explanation", type="primary", shortcut="Ctrl+Enter", **act)


def predicted(item: Item) -> float | None:
    """Δ in nats as the page says it now; None while something is missing."""
    direction = st.session_state.get(f"audit_direction_{item.key}")
    size = 0.0 if direction == "same" else st.session_state.get(f"audit_size_{item.key}")
    return None if direction is None or size is None else DIRECTIONS[direction][2] * float(size)


def record_prediction(log: AuditLog, item: Item) -> None:
    effect = predicted(item)
    if effect is None:
        st.session_state["audit_complaint"] = "Give a direction and a number of nats first."
        return
    entry = Entry(kind="prediction", predicted=effect, shown=canonical_json(item.question), **item.entry)
    attempt(lambda: log.append(entry))
