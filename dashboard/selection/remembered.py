"""What the session remembers of each page, for the links in the sidebar. The address alone decides what a page shows.

So a link shows the same to everybody, and the browser's Back shows what was there before.
"""

from __future__ import annotations

import streamlit as st

from dashboard.selection.resolve import NAMES

LEFT_BEHIND = ("hash",)
"""Parameters of a permalink that say what it was made from."""
TAKES = {"learn": (), "study": (), "runs": ("run",)}
"""What of the selection a page takes; the others take all and drop what they do not need."""


def selection() -> dict[str, str]:
    """The parameters of the selection, as any page chose them last; each fits the run."""
    return st.session_state.setdefault("selection", {})


def options() -> dict[str, str]:
    """The options of the page that is being drawn, or of the one whose widget was changed: those that differ from their
    defaults."""
    page = st.session_state.get("page", "")
    return st.session_state.setdefault("options", {}).setdefault(page, {})


def link(page: str) -> dict[str, str]:
    """Query parameters of a page as it was last seen, at the run and selection of now."""
    known = selection() | {n: v for n, v in st.query_params.items() if n == "run"}  # all that a new session knows
    taken = {n: v for n, v in known.items() if n in TAKES.get(page, NAMES) and n not in LEFT_BEHIND}
    return taken | st.session_state.get("options", {}).get(page, {})
