"""Work on a run's checkpoints that starts when a button is clicked, and the warnings beside it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import streamlit as st

from dashboard.reading import models
from dashboard.serving import access
from dashboard.text import markdown_escaped


def requested(label: str, about: object, *, key: str, icon: str, disabled: bool = False) -> bool:
    """Draw a button; whether it was last clicked while the page was `about` the same thing as now."""
    about_it = "Loads the checkpoints that are needed; the first time takes some seconds."
    if st.button(label, icon=icon, key=key, help=about_it, disabled=disabled or not access.may("change")):
        st.session_state[f"{key}_about"] = about
    return st.session_state.get(f"{key}_about") == about


def can_load(path: Path, names: Iterable[str]) -> bool:
    """Whether each checkpoint is on this disk or can be downloaded; warns of those that are not on this disk."""
    absent = [found for name in dict.fromkeys(names) if (found := models.missing(path, name)) is not None]
    for line, _ in absent:
        st.warning(markdown_escaped(line), icon=":material/folder_off:")
    return all(can_be_downloaded for _, can_be_downloaded in absent)


def warn_of_another_model(name: str) -> None:
    """Warn that the checkpoint on this disk is not the one that the run measured."""
    said = f"The checkpoint {markdown_escaped(name)} on disk is not the one that this run measured"
    st.warning(f"{said}: these numbers are of another model.", icon=":material/difference:")


def warn_if_replaced(path: Path, names: Iterable[str]) -> None:
    """The same warning for each checkpoint whose files are not those that the run measured."""
    for name in names:
        if models.is_as_measured(path, name) is False:
            warn_of_another_model(name)
