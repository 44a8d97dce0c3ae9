"""Where behavior and explanation come from: activation patching between x and x', by layer and position."""

from __future__ import annotations

import streamlit as st

from dashboard.mechanism import view as mechanism_view
from dashboard.mechanism.monitoring import monitor
from dashboard.reading import chosen, data
from dashboard.selection.state import problem, sidebar
from engine.runs.store import RunError

st.title("Mechanism")
st.write(
    "Which places of the model carry what the edit does to its behavior, and are they those that its explanation comes "
    "from?"
)
selection = sidebar("checkpoint", "explainer", "regime", "split", "edit", "example")
if selection is None:
    st.stop()
try:
    mechanism_view.run_maps(selection)
    mechanism_view.one_example(selection)
    measured = data.metrics(
        selection.path, control=None, explainer=selection.explainer, split=selection.split,
        condition=selection.condition,
    )  # fmt: skip
    monitor(selection, selection.edit or chosen.default_edit(measured) or selection.options.edits[0])
except RunError as error:
    problem(str(error))
