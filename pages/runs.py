"""Runs: list, new run, background jobs, import of data and of runs, and trash."""

from __future__ import annotations

import streamlit as st

from dashboard.reading import data
from dashboard.runs import actions, data_import, files_view, jobs_view, new_run, view
from dashboard.selection.state import no_runs
from dashboard.serving import access
from dashboard.widgets.figures import choose
from dashboard.widgets.parts import small_print

SECTIONS = {"list": "Runs", "new": "New run", "data": "Import data", "import": "Import a run", "trash": "Trash"}


def run_list() -> None:
    jobs_view.open_started()
    jobs_view.section(actions.home())
    entries = data.runs()
    if not entries:
        no_runs()
        return
    looked_in = ", ".join(data.directories())
    small_print(f"{len(entries)} {'run' if len(entries) == 1 else 'runs'} under {looked_in}")
    view.listing(entries)
    view.detail(view.picked(entries))


st.title("Runs", anchor=False)
actions.show_outcome()
draw = {
    "list": run_list,
    "new": new_run.editor,
    "data": data_import.section,
    "import": files_view.upload,
    "trash": files_view.trash_can,
}
sections = SECTIONS if access.may("change") else {"list": SECTIONS["list"]}
draw[choose("Show", "section", sections, "list", widget="segments")]()
