"""Examples from a data set or a table, on a page: what `coupling import` does with a file that a person uploads."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import streamlit as st

from dashboard.runs import jobs
from dashboard.runs.actions import act, home
from dashboard.serving import access
from dashboard.text import markdown_escaped
from dashboard.widgets.figures import keep
from dashboard.widgets.parts import small_print
from engine.config import InputError
from engine.importing.folder import check_folder, preview, read, spec_of, write
from engine.importing.formats import IMPORTERS
from engine.importing.options import ImportSpec

FOLDER = "imported"
"""Beside the runs."""
OFFERED = [name for name in IMPORTERS if name != "hf"]  # the dashboard fetches nothing from the hub


def section() -> None:
    """Choose a format and a file, look at a few examples, and write them beside the runs."""
    st.write("Make examples of a public data set, or of a table, and start a run on them.")
    form = st.selectbox("Format", OFFERED, key="data_format")
    file = st.file_uploader("File", key="data_file", help="JSON Lines, CSV or Parquet. It is read as data.")
    importer = IMPORTERS[form]
    with st.container(horizontal=True):
        name = st.text_input("Name", key="data_name", placeholder="as the file", help=_about("name"))
        edits = st.multiselect("Edits", importer.edits, key=f"data_edits_{form}", help=_about("edits"))
        columns = ""
        if not importer.columns:
            example = "prompt=x,edited=y,answer_a=a,answer_b=b"
            columns = st.text_input("Columns", key="data_columns", placeholder=example, help=_about("columns"))
    chat = st.checkbox("For chat models", key="data_chat", help=_about("chat"))
    options = {"format": form, "name": name.strip(), "edits": edits, "columns": [columns.strip()], "chat": chat}
    options = {key: value for key, value in options.items() if value not in ("", [""])}
    with st.container(horizontal=True):
        looks = st.button("Preview", icon=":material/visibility:", key="data_preview", disabled=file is None)
        imports = st.button("Import", type="primary", icon=":material/upload:", key="data_import", disabled=not file)
    if file and looks:
        try:
            st.code(bring_in(file.name, file.getvalue(), options), language=None)
        except InputError as error:
            st.error(markdown_escaped(error), icon=":material/error:")
    if file and imports:
        act(
            lambda: _start_from(bring_in(file.name, file.getvalue(), options, home())),
            "The examples are imported: fill in your checkpoints, and start a run on them.",
        )
    small_print(f"The examples go to {home() / FOLDER}. Data sets of the hub: coupling import hf.")


def bring_in(name: str, content: bytes, options: Mapping[str, Any], runs: Path | None = None) -> str:
    """The preview of a file's examples; with `runs` they are written beside the runs, and their folder's name is
    returned. Raises AccessError, and InputError for what can't be imported."""
    access.require("change")
    with TemporaryDirectory() as folder:
        file = Path(folder) / (Path(name).name or "data")
        try:
            file.write_bytes(content)
            made = read(spec_of({**options, "file": str(file)}))
            if runs is None:
                return preview(made, 1)
            out = runs / FOLDER / made.spec.name
            if not jobs.inside(out, [runs]):
                raise InputError(f"{FOLDER}: leads out of the folder of runs: remove that link")
            check_folder(out, overwrite=False)
            write(made, out)
        except (InputError, OSError) as error:
            raise InputError(str(error).replace(f"{folder}/", "")) from None
    return made.spec.name


def sources(runs: Path) -> dict[str, Path]:
    """Specs of imported data, by what a new run calls them."""
    return {f"data {file.parent.name}": file for file in sorted((runs / FOLDER).glob("*/spec.yaml"))}


def _start_from(name: str) -> None:
    st.session_state.pop("draft_from", None)
    keep("from", f"data {name}")
    keep("section", "new")


def _about(option: str) -> str:
    return markdown_escaped(ImportSpec.model_fields[option].description)
