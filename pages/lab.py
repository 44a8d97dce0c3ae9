"""Try a prompt: mark, edit, and ask both checkpoints and the explainer."""

import streamlit as st

from dashboard.lab.view import page
from dashboard.selection.state import with_selection


def main() -> None:
    st.title("Lab", anchor=False)
    with_selection(page, "checkpoint", "example")


main()
