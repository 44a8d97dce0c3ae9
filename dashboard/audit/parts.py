"""Small pieces that all steps of an audit share: where we are, headings, f in words, and doing things to the log."""

from __future__ import annotations

import math
from collections.abc import Callable

import streamlit as st

from dashboard.audit.log import AuditError
from dashboard.text import escaped, markdown_escaped, shown

STEPS = ("Read", "Predict", "Explanation", "f(x′)", "Verdict")


def stepper(current: int) -> None:
    """Where we are among STEPS, by weight and a mark as well as by colour."""
    marks = ["✓" if place < current else "▸" if place == current else "·" for place in range(len(STEPS))]
    looks = ['style="opacity: 0.65"'] * len(STEPS)
    if current < len(STEPS):
        looks[current] = 'style="font-weight: 650" aria-current="step"'
    pieces = [f"<li {look}>{mark} {name}</li>" for look, mark, name in zip(looks, marks, STEPS, strict=True)]
    style = "display: flex; flex-wrap: wrap; gap: 0 1.4rem; list-style: none; padding: 0; margin: 0"
    st.html(f'<ol style="{style}">{"".join(pieces)}</ol>')


def attempt(act: Callable[[], object]) -> None:
    """Do something to the log from a callback; the next run says what went wrong."""
    try:
        act()
    except AuditError as error:
        st.session_state["audit_complaint"] = str(error)


def complaint() -> None:
    """Say what the last callback could not do."""
    if said := st.session_state.pop("audit_complaint", None):
        st.error(markdown_escaped(said), icon=":material/error:")


def heading(text: str) -> None:
    st.html(f'<h2 style="font-size: 1.1rem; padding: 0; margin: 0">{escaped(text)}</h2>')


def shares(f: float, question: dict) -> str:
    """`“ yes” 96%, “ no” 4%`: f as the probabilities of the two answers, which add up to 1."""
    first = 1 / (1 + math.exp(-max(min(f, 500.0), -500.0)))
    return f"“{shown(question['answer_a'])}” {first:.0%}, “{shown(question['answer_b'])}” {1 - first:.0%}"
