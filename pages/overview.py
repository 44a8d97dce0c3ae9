"""The result of a run: three questions answered in words, and one picture."""

import streamlit as st

from dashboard.overview.view import page
from dashboard.selection.state import with_selection


def main() -> None:
    st.title("What this run shows", anchor=False)
    with_selection(page, "explainer", "regime", "split")


main()
