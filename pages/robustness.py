"""How much label noise explanations survive: a live refit of the ridge probe over the precomputed curve."""

from __future__ import annotations

import streamlit as st

from dashboard.reading import chosen, data
from dashboard.refit import cached
from dashboard.robustness import live, stored
from dashboard.selection.state import Selection, edit_caption, with_selection


def main() -> None:
    st.title("Robustness")
    st.write("How much of the training labels can be spoilt before explanations stop agreeing with the model?")
    with_selection(curve, "checkpoint", "explainer", "regime", "split", "edit")


def curve(selection: Selection) -> None:
    """Live if the run keeps hidden states of a probe, else as measured."""
    s = selection
    rows = data.metrics(s.path, control=None, explainer=s.explainer, split=s.split, condition=s.condition)
    edit = s.edit or chosen.default_edit(rows) or s.options.edits[0]
    edit_caption(s, edit)
    layers = cached.layers(s.path, s.checkpoint)
    if s.explainer == "verbal":
        stored.verbal_curve(s, edit)
    elif not layers:
        stored.probe_curve(s, edit)
    else:
        if s.explainer != "ridge" or s.regime == "online":
            trained = "once at the first checkpoint" if s.regime == "frozen" else "again at this checkpoint"
            st.caption(f"Precomputed: {s.explainer}, {s.regime}. Refitted live: a ridge probe, trained {trained}.")
        live.live_section(s, edit, layers)


main()
