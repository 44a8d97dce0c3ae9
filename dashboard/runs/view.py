"""The list of runs and one run in detail: what it is, its state, where its numbers come from, whether it is sound."""

from __future__ import annotations

import json
from contextlib import suppress
from functools import partial
from pathlib import Path

import pandas as pd
import streamlit as st
import yaml

from dashboard import PAGES
from dashboard.reading import data
from dashboard.reading.tables import blamed
from dashboard.runs import files_view, jobs
from dashboard.runs.actions import act, consented, home, open_link
from dashboard.runs.consent import consent_to
from dashboard.runs.scores import COLUMNS as SCORES
from dashboard.runs.scores import VERDICTS, scores
from dashboard.selection import remembered
from dashboard.selection.state import choose_run, problem
from dashboard.serving import access
from dashboard.text import escaped, markdown_escaped, shown
from dashboard.widgets import parts
from dashboard.widgets.figures import keep
from engine.config import InputError
from engine.runs.report import LOSSES, losses_in_words
from engine.runs.store import RunError
from engine.runs.verify import verify

STATES = {
    "complete": "complete: measured to the end",
    "running": "running: a process is writing it now",
    "interrupted": "interrupted: it can go on where it stopped",
    "failed": "failed: see the error below; going on tries again",
    "unreadable": "unreadable: not a run, cut off, or of a newer format",
}

COLUMNS = ("Run", "State", "Task", *SCORES.values(), *VERDICTS.values(), "Checkpoints", "Examples", "Size, MB")
COLUMNS += ("Minutes", "Note")
OF_PRIMARY = "Of the primary hypothesis at the last checkpoint, on held-out groups; intervals: page Overview"


def listing(entries: list[data.RunEntry]) -> None:
    """A table with a line for each run, most of it sortable by a click on a column's head. Choosing a line shows that
    run below; two lines can be compared."""
    about = "Keeps the lines that have this text in any column."
    wanted = st.text_input(
        "Filter", key="runs_filter", placeholder="a word of a run's name, task, state or note", help=about
    )
    lines = [_line(entry) for entry in entries]
    fits = [i for i, line in enumerate(lines) if wanted.casefold() in " ".join(map(str, line.values())).casefold()]
    entries, table = [entries[i] for i in fits], pd.DataFrame([lines[i] for i in fits], columns=list(COLUMNS))
    if not entries:
        st.info("No run fits the filter.")
        return
    table = table.dropna(axis="columns", how="all")
    key = f"runs_{hash(tuple((e.key, e.state) for e in entries))}"

    def chosen() -> None:
        for row in st.session_state[key]["selection"]["rows"][-1:]:
            choose_run(entries[row].key)

    column, number = st.column_config.TextColumn, st.column_config.NumberColumn
    configured = {
        "Run": column(width="medium", pinned=True),
        "Self": number(format="%.2f", help=OF_PRIMARY),
        "Gap": number(format="%+.2f", help=f"Self − Orig. {OF_PRIMARY}"),
        "Unseen": number(
            format="%+.2f", help=f"What it knows of the answer that the explainer never sees. {OF_PRIMARY}"
        ),
        "State": column(help="; ".join(STATES.values())),
        "Size, MB": number(format="%.1f", help="Of the parts that the run records"),
        "Minutes": number(format="%.1f", help="Wall time that the run took, where recorded"),
        "Note": column(width="large"),
    }
    st.dataframe(
        table,
        hide_index=True,
        key=key,
        on_select=chosen,
        selection_mode="multi-row",
        column_config=configured,
        alt="Runs with their state and scores",
    )
    _compare([entries[row] for row in st.session_state[key]["selection"]["rows"] if row < len(entries)])
    parts.downloads(table, "runs", "runs")


def _compare(picked: list[data.RunEntry]) -> None:
    """A link to the comparison of two lines."""
    if len(picked) == 2:
        first, second = (entry.key for entry in picked)
        look = {"icon": ":material/compare_arrows:", "query_params": {"run": first, "second": second}}
        names = " and ".join(map(markdown_escaped, (first, second)))
        st.page_link(PAGES / "compare.py", label=f"Compare {names}", **look)
    elif len(picked) > 2:
        st.caption("Two runs are compared side by side: choose two lines.")


def _line(entry: data.RunEntry) -> dict[str, object]:
    row: dict[str, object] = {"Run": shown(entry.key), "State": entry.state, "Task": entry.task}
    with suppress(RunError):  # unreadable, or deleted a moment ago
        about = data.manifest(entry.path)
        row["Checkpoints"] = len(about["spec"]["checkpoints"])
        row["Examples"] = about["parts"].get("examples.parquet", {}).get("rows")
        row["Size, MB"] = sum(part["bytes"] for part in about["parts"].values()) / 1e6
        row["Minutes"] = sum(about["timings"].values()) / 60 or None
        if "metrics.parquet" in about["parts"] and entry.state != "unreadable":
            row |= scores(entry.path)
    return row | {"Note": shown(entry.problem or entry.note)[:300]}


def picked(entries: list[data.RunEntry]) -> data.RunEntry:
    """The run in the URL, else the one looked at on other pages, else the first; says so where the former is gone."""
    before = remembered.selection().get("run")
    wanted = st.query_params.get("run") or before
    found = next((e for e in entries if e.key == wanted), entries[0])
    if wanted not in (None, found.key):
        words = f"The run {wanted} is not here: it was deleted, renamed or moved. Shown below: {found.key}."
        st.warning(markdown_escaped(words), icon=":material/search_off:")
    if found.key == wanted != before:
        choose_run(wanted)
    return found


def detail(entry: data.RunEntry) -> None:
    """State, provenance, parts and spec of one run, what can be done with it, and a check of its hashes when asked."""
    try:
        with blamed(entry.path):
            _detail(entry)
    except RunError as error:
        problem(str(error))


def _detail(entry: data.RunEntry) -> None:
    st.header(markdown_escaped(entry.key), anchor=False)
    st.html(f"<p>{escaped(STATES[entry.state])}</p>")
    if entry.problem:
        problem(entry.problem)
    about = data.manifest(entry.path) if entry.state != "unreadable" else None
    if about and about["spec"]["note"]:
        st.text(shown(about["spec"]["note"]))
    with st.container(horizontal=True, vertical_alignment="center"):
        verifying = about is not None and _actions(entry)
        files_view.delete(entry.path)
    if verifying:
        _check(entry.path)
    if about is None:
        return
    origin, files, spec = st.tabs(["Provenance", "Files", "Spec"])
    with origin:
        _facts(entry, about)
    with files:
        found = pd.DataFrame([{"part": part} | about for part, about in about["parts"].items()])
        found = found.reindex(columns=[*(c for c in found if c != "sha256"), "sha256"])
        st.dataframe(found, hide_index=True, alt="Files of the run with rows, bytes and hashes")
    with spec:
        text = yaml.safe_dump(about["spec"], sort_keys=False, allow_unicode=True)
        st.code(text, language="yaml")
        st.download_button("Spec as YAML", text, f"{about['spec']['name']}.yaml", icon=":material/download:")


def _actions(entry: data.RunEntry) -> bool:
    """Open, go on with an unfinished run, start another one like it, download it; whether to verify it."""
    open_link(entry)
    about = "Checks every file's hash, and what it holds"
    verifying = st.button("Verify", icon=":material/verified:", key="verify", help=about)
    changing = access.may("change")
    if changing and entry.state in ("interrupted", "failed") and not jobs.writes(entry.path, home()):
        _go_on(entry)
    about = "Opens its spec as a form"
    if changing and st.button("New run like this", icon=":material/content_copy:", key="like_this", help=about):
        st.session_state.pop("draft_from", None)
        keep("from", f"run {entry.key}")
        keep("section", "new")
        st.rerun()
    files_view.download(entry.path)
    return verifying


def _go_on(entry: data.RunEntry) -> None:
    about = "In the background, from where it stopped"
    try:
        spec = jobs.spec_of(entry.path, home())
    except InputError as error:
        problem(str(error))
        return
    given = consented(spec, str(entry.path))
    disabled = not given.issuperset(map(consent_to, spec.asking))
    if st.button("Go on", icon=":material/play_arrow:", key="resume_run", help=about, disabled=disabled):
        resume = partial(jobs.resume, entry.path, home(), given, within=data.directories())
        act(resume, f"{entry.key} is in the queue.")


def _check(path: Path) -> None:
    with st.spinner("Reading every file of the run"):
        problems = verify(path)
    if not problems:
        st.success(
            "Sound: every part is there, with its recorded hash, and holds what it should.", icon=":material/verified:"
        )
    for line in problems:
        st.error(markdown_escaped(line), icon=":material/error:")


def _facts(entry: data.RunEntry, about: dict) -> None:
    """What the run came from: code, packages, device, content hashes, what was found on the way."""
    origin = dict(about["provenance"])
    try:
        content = data.content_hash(entry.path)
    except RunError as error:
        content = str(error)
    rows = {
        "folder": str(entry.path),
        "content": content,
        "format version": about["format_version"],
        "git commit": origin.pop("git_commit", None) or "none",
        "seed": about["spec"]["seed"],
    }
    rows |= {k: v for k, v in origin.items() if not isinstance(v, dict)}
    rows |= {f"{group} {k}": v for group in ("content", "packages") for k, v in (origin.get(group) or {}).items()}
    rows |= {f"timing {k}": v for k, v in about["timings"].items()}
    notes = dict(about["notes"])
    rows |= {f"post-training, {name}": losses_in_words(found) for name, found in notes.pop(LOSSES, {}).items()}
    rows |= {f"note {k}": v if isinstance(v, str) else json.dumps(v) for k, v in notes.items()}
    table = pd.DataFrame([(shown(k), shown(v)) for k, v in rows.items()], columns=["what", "value"])
    wide = {"value": st.column_config.TextColumn(width="large")}
    st.dataframe(table, hide_index=True, column_config=wide, alt="Provenance of the run")
