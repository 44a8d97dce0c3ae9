"""Runs: list, new run from a form or YAML, background jobs, import and trash."""

from __future__ import annotations

import streamlit as st

from dashboard.reading import data
from dashboard.runs import files_view, jobs_view, new_run
from dashboard.runs import view as runs_view
from dashboard.selection.state import no_runs
from dashboard.text import markdown_escaped
from dashboard.widgets.figures import choose
from dashboard.widgets.parts import small_print

SECTIONS = {"list": "Runs", "new": "New run", "import": "Import", "trash": "Trash"}


def run_list() -> None:
    jobs_view.section(new_run.home())
    entries = data.runs()
    if not entries:
        no_runs()
        return
    looked_in = ", ".join(data.directories())
    small_print(f"{len(entries)} {'run' if len(entries) == 1 else 'runs'} under {looked_in}")
    runs_view.listing(entries)
    runs_view.detail(runs_view.picked(entries))


def main() -> None:
    st.title("Runs", anchor=False)
    if told := st.session_state.pop("told", ""):
        st.toast(markdown_escaped(told))
    section = choose("Show", "section", SECTIONS, "list", widget="segments")
    match section:
        case "new":
            new_run.editor()
        case "import":
            files_view.upload(new_run.home())
        case "trash":
            files_view.trash_can(data.directories())
        case _:
            run_list()


main()
