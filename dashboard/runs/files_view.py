"""Runs as files, on a page: import a zip, download one, delete to the trash, restore, empty."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import streamlit as st

from dashboard.reading import data
from dashboard.runs import run_export, trash
from dashboard.runs.run_import import MOST_BYTES, import_run
from dashboard.text import escaped, markdown_escaped, shown
from dashboard.widgets.figures import keep
from dashboard.widgets.parts import small_print
from engine.config import InputError


def upload(home: Path) -> None:
    """Choose a zip, give a name, import."""
    st.write("A run that somebody gave you, as a zip of its folder: the page of a run makes one.")
    file = st.file_uploader(
        "Zip file of a run", type="zip", key="upload",
        help=f"Checked before it is taken: names, sizes (at most {MOST_BYTES / 1e9:g} GB unpacked), hashes and tables.",
    )  # fmt: skip
    name = st.text_input("Name here", key="upload_name", placeholder="as in the zip", help="Of its folder")
    if st.button("Import", type="primary", icon=":material/upload:", key="import", disabled=file is None) and file:
        try:
            with st.spinner("Unpacking and checking every file"):
                path = import_run(file, home, name.strip(), stem=Path(file.name).stem)
        except InputError as error:
            st.error(markdown_escaped(error), icon=":material/error:")
            return
        _done(f"{path.name} is imported: every part is there, with its recorded hash and schema.", open_run=path)
    small_print(f"It goes to {home}. Nothing in it is executed; a zip that is refused leaves nothing behind.")


def download(path: Path) -> None:
    """The run as a zip, made when asked for."""
    total = run_export.size(path)
    if total > run_export.MOST_BYTES:
        small_print(f"As a zip it would have {total / 1e6:,.0f} MB, too much for a browser: copy the folder {path}")
        return
    st.download_button(
        "Zip", lambda: run_export.as_zip(path), f"{path.name}.zip", "application/zip", key="zip",
        icon=":material/folder_zip:", on_click="ignore", help=f"The whole run, {total / 1e6:,.1f} MB",
    )  # fmt: skip


def delete(path: Path, directories: tuple[str, ...]) -> None:
    """A button that asks again."""
    if reason := trash.why_not(path, directories):
        st.button("Delete", icon=":material/delete:", key="delete_not", disabled=True, help=markdown_escaped(reason))
        return
    with st.popover("Delete", icon=":material/delete:", key="delete"):
        st.html(f"<p>Move <strong>{escaped(path.name)}</strong> to the trash? It can be restored from there.</p>")
        if st.button("Move to the trash", type="primary", key="delete_really"):
            act(lambda: trash.delete(path, directories), f"{path.name} is in the trash.")


def trash_can(directories: tuple[str, ...]) -> None:
    """What was deleted: restore it, or delete it for good."""
    found = trash.trashed(directories)
    if not found:
        st.write("The trash is empty.")
        return
    table = pd.DataFrame(
        {
            "Run": [shown(entry.name) for entry in found],
            "Deleted": [entry.when for entry in found],
            "Size, MB": [entry.bytes / 1e6 for entry in found],
            "Was in": [shown(entry.home) for entry in found],
        }
    )
    size = st.column_config.NumberColumn(format="%.1f", help="On disk")
    st.dataframe(table, hide_index=True, column_config={"Size, MB": size}, alt="Deleted runs", key="trash_table")
    at = st.selectbox(
        "Deleted run", range(len(found)), key="trash_entry",
        format_func=lambda i: f"{shown(found[i].name)}, deleted {found[i].when:%Y-%m-%d %H:%M:%S}",
    )  # fmt: skip
    entry = found[at or 0]
    with st.container(horizontal=True):
        if st.button("Restore", icon=":material/restore_from_trash:", key="restore"):
            act(lambda: trash.restore(entry), f"{entry.name} is back.", open_run=entry.home / entry.place)
        with st.popover("Delete for good", icon=":material/delete_forever:", key="remove"):
            st.html(f"<p>Delete <strong>{escaped(entry.name)}</strong> for good? There is no way back.</p>")
            if st.button("Delete this one for good", type="primary", key="remove_really"):
                act(lambda: trash.remove([entry]), f"{entry.name} is gone.")
        with st.popover("Empty the trash", icon=":material/delete_sweep:", key="empty"):
            total = sum(e.bytes for e in found) / 1e6
            st.write(f"Delete all {len(found)} for good ({total:,.1f} MB)? There is no way back.")
            if st.button("Empty it", type="primary", key="empty_really"):
                act(lambda: trash.remove(found), "The trash is empty.")


def act(action: Callable[[], object], words: str, open_run: Path | None = None) -> None:
    """Carry out; say what was done, or why not."""
    try:
        action()
    except InputError as error:
        st.error(markdown_escaped(error), icon=":material/error:")
        return
    _done(words, open_run)


def _done(words: str, open_run: Path | None = None) -> None:
    st.session_state["told"] = words
    if open_run:
        keep("section", None)
        entry = next((e for e in data.runs() if e.path == open_run.resolve()), None)
        if entry:
            st.query_params["run"] = entry.key
    st.rerun()
