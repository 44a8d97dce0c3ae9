"""The places that behavior and explanation come from: activation patching between x and x', by layer and position."""

import streamlit as st

from dashboard.mechanism.view import page
from dashboard.selection.state import with_selection


def main() -> None:
    st.title("Mechanism")
    st.write("Do the places of the model that carry the edit's effect on its behavior also carry its explanation?")
    with_selection(page, "checkpoint", "explainer", "regime", "split", "edit", "example")


main()
