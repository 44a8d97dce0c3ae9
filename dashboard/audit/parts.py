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
    pieces = []
    for place, name in enumerate(STEPS):
        look = "font-weight: 650" if place == current else "opacity: 0.65"
        mark = "✓" if place < current else "▸" if place == current else "·"
        here = ' aria-current="step"' if place == current else ""
        pieces.append(f'<li style="{look}"{here}>{mark} {escaped(name)}</li>')
    st.html(
        '<ol style="display: flex; flex-wrap: wrap; gap: 0 1.4rem; list-style: none; padding: 0; margin: 0">'
        f"{''.join(pieces)}</ol>"
    )


def attempt(act: Callable[[], object]) -> None:
    """Do something to the log from a callback; what goes wrong is said on the next run."""
    try:
        act()
    except AuditError as error:
        st.session_state["audit_complaint"] = str(error)


def complaint() -> None:
    if said := st.session_state.pop("audit_complaint", None):
        st.error(markdown_escaped(said), icon=":material/error:")


def heading(text: str) -> None:
    st.html(f'<h2 style="font-size: 1.1rem; padding: 0; margin: 0">{escaped(text)}</h2>')


def shares(f: float, a: str, b: str) -> str:
    """`“ yes” 96%, “ no” 4%`: f as how the two answers share their probability."""
    first = 1 / (1 + math.exp(-max(min(f, 500.0), -500.0)))
    return f"“{shown(a)}” {first:.0%}, “{shown(b)}” {1 - first:.0%}"
