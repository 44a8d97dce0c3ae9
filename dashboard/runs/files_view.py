"""Runs as files, on a page: import a zip, download one, delete to the trash, restore, empty the trash."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import streamlit as st

from dashboard.reading import data
from dashboard.runs import jobs, run_export, run_import, trash
from dashboard.runs.actions import act, home
from dashboard.selection.state import choose_run
from dashboard.serving import access
from dashboard.text import escaped, markdown_escaped, shown
from dashboard.widgets.parts import small_print


def upload() -> None:
    """Choose a zip, give a name, import."""
    st.write("Import a run from a zip of its folder. The detail of a run has a button that makes such a zip.")
    limit = f"{run_import.MOST_BYTES / 1e9:g} GB"
    checks = f"Names, sizes (at most {limit} unpacked), hashes and tables are checked before the run is accepted."
    file = st.file_uploader("Zip file of a run", type="zip", key="upload", help=checks)
    about = "Name of the run's folder here"
    name = st.text_input("Name here", key="upload_name", placeholder="as in the zip", help=about)
    if st.button("Import", type="primary", icon=":material/upload:", key="import", disabled=file is None) and file:
        with st.spinner("Unpacking and checking every file"):
            act(
                lambda: run_import.import_run(file, home(), name.strip(), stem=Path(file.name).stem),
                "The run is imported: every part is there, with its recorded hash and schema.",
            )
    small_print(f"The run goes to {home()}. Nothing in it is executed. A zip that is refused leaves nothing behind.")


def download(path: Path) -> None:
    """A button for the run as a zip, which is made on demand."""
    if not jobs.inside(path, data.directories()):
        small_print(f"This run lies outside the folders that the dashboard was started on: copy the folder {path}")
        return
    total = run_export.size(path)
    if total > run_export.MOST_BYTES:
        small_print(f"The zip would have {total / 1e6:,.0f} MB, too much for a browser: copy the folder {path}")
        return
    st.download_button(
        "Zip",
        lambda: run_export.as_zip(path),
        f"{path.name}.zip",
        "application/zip",
        key="zip",
        icon=":material/folder_zip:",
        on_click="ignore",
        help=f"The whole run, {total / 1e6:,.1f} MB",
    )


def delete(path: Path) -> None:
    """A button that moves the run to the trash once that is confirmed."""
    directories = data.directories()
    if not access.may("change"):
        return
    if reason := trash.why_not(path, directories):
        st.button("Delete", icon=":material/delete:", key="delete_not", disabled=True, help=markdown_escaped(reason))
        return
    with st.popover("Delete", icon=":material/delete:", key="delete"):
        st.html(f"<p>Move <strong>{escaped(path.name)}</strong> to the trash? It can be restored from there.</p>")
        if st.button("Move to the trash", type="primary", key="delete_really"):
            act(lambda: _delete(path, directories), f"{path.name} is in the trash.")


def _delete(path: Path, directories: tuple[str, ...]) -> None:
    trash.delete(path, directories)
    choose_run(None)  # whoever deletes a run knows that it is gone
    st.session_state.pop("selection", None)


def trash_can() -> None:
    """The deleted runs: restore one, or delete all of them for good."""
    found = trash.trashed(data.directories())
    if not found:
        st.write("The trash is empty.")
        return
    rows = [(shown(e.name), e.when, e.bytes / 1e6, shown(e.home)) for e in found]
    table = pd.DataFrame(rows, columns=["Run", "Deleted", "Size, MB", "Was in"])
    size = st.column_config.NumberColumn(format="%.1f", help="On disk")
    st.dataframe(table, hide_index=True, column_config={"Size, MB": size}, alt="Deleted runs", key="trash_table")
    labels = [f"{shown(e.name)}, deleted {e.when:%Y-%m-%d %H:%M:%S}" for e in found]
    entry = found[st.selectbox("Deleted run", range(len(found)), key="trash_entry", format_func=labels.__getitem__)]
    with st.container(horizontal=True):
        if st.button("Restore", icon=":material/restore_from_trash:", key="restore"):
            act(lambda: trash.restore(entry), f"{entry.name} is restored.")
        with st.popover("Empty the trash", icon=":material/delete_sweep:", key="empty"):
            total = sum(e.bytes for e in found) / 1e6
            st.write(f"Delete all {len(found)} runs for good ({total:,.1f} MB)? This cannot be undone.")
            if st.button("Empty it", type="primary", key="empty_really"):
                act(lambda: trash.empty(found), "The trash is empty.")
