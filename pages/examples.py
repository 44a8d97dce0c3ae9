"""Single examples: the edit, its effect on both checkpoints, and the explanation."""

import streamlit as st

from dashboard.examples.view import page
from dashboard.selection.state import with_selection

NEEDS = ("checkpoint", "explainer", "regime", "noise", "split", "edit", "sort", "slice", "example", "hash")


def main() -> None:
    st.title("Examples", anchor=False)
    with_selection(page, *NEEDS)


main()
