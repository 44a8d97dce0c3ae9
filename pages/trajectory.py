"""Agreement, gaps and single examples over the checkpoints of a run."""

import streamlit as st

from dashboard.selection.state import with_selection
from dashboard.trajectory.view import page


def main() -> None:
    st.title("Trajectory")
    st.write("How far behavior moves in post-training, and whether explanations move with it.")
    with_selection(page, "checkpoint", "explainer", "regime", "layer", "split", "edit", "example")


main()
