"""The list of runs and one run in detail: what it is, its state, where its numbers come from, whether it is sound."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import streamlit as st
import yaml

from dashboard import PAGES
from dashboard.reading import data
from dashboard.runs import files_view, jobs
from dashboard.runs.new_run import home
from dashboard.selection.state import choose_run, problem
from dashboard.text import escaped, markdown_escaped, shown
from dashboard.widgets import parts
from dashboard.widgets.figures import keep
from engine.runs.store import RunError
from engine.runs.verify import verify

OVERVIEW = PAGES / "overview.py"
STATES = {
    "complete": "complete: measured to the end",
    "running": "running: a process is writing it now",
    "interrupted": "interrupted: it can go on where it stopped",
    "failed": "failed: see the error below; going on tries again",
    "unreadable": "unreadable: not a run, cut off, or of a newer format",
}


def listing(entries: list[data.RunEntry]) -> None:
    """One line a run; choosing one shows it below."""
    table = pd.DataFrame([line(entry) for entry in entries])
    key = f"runs_{hash(tuple((e.key, e.state) for e in entries))}"
    st.dataframe(
        table,
        hide_index=True,
        key=key,
        on_select=lambda: choose(key, entries),
        selection_mode="single-row",
        column_config={
            "Run": st.column_config.TextColumn(width="medium"),
            "State": st.column_config.TextColumn(help="; ".join(STATES.values())),
            "Size, MB": st.column_config.NumberColumn(format="%.1f", help="Of the parts that the run records"),
            "Minutes": st.column_config.NumberColumn(format="%.1f", help="Wall time that the run took, where recorded"),
            "Note": st.column_config.TextColumn(width="large"),
        },
        alt="Runs with their state",
    )
    parts.downloads(table, "runs", "runs")


def line(entry: data.RunEntry) -> dict[str, object]:
    row: dict[str, object] = {"Run": shown(entry.key), "State": entry.state, "Task": entry.task}
    if entry.state != "unreadable":
        about = data.manifest(entry.path)
        spec = about["spec"]
        row["Checkpoints"] = len(spec["checkpoints"])
        row["Examples"] = about["parts"].get("examples.parquet", {}).get("rows")
        row["Size, MB"] = sum(part.get("bytes") or 0 for part in about["parts"].values()) / 1e6
        row["Minutes"] = sum(v for v in about["timings"].values() if isinstance(v, (int, float))) / 60 or None
    return row | {"Note": shown(entry.problem or entry.note)[:300]}


def choose(key: str, entries: list[data.RunEntry]) -> None:
    rows = st.session_state[key]["selection"]["rows"]
    if rows:
        choose_run(entries[rows[0]].key)


def picked(entries: list[data.RunEntry]) -> data.RunEntry:
    """The run in the URL, else the one looked at on other pages, else the first."""
    before = st.session_state.get("selection", {}).get("run")
    wanted = st.query_params.get("run") or before
    found = next((e for e in entries if e.key == wanted), entries[0])
    if found.key == wanted != before:
        choose_run(wanted)
    return found


def detail(entry: data.RunEntry) -> None:
    """State, provenance, parts and spec of one run, what can be done with it, and a check of its hashes when asked."""
    st.header(markdown_escaped(entry.key), anchor=False)
    st.html(f"<p>{escaped(STATES[entry.state])}</p>")
    if entry.problem:
        problem(entry.problem)
    about = data.manifest(entry.path) if entry.state != "unreadable" else None
    if about and about["spec"]["note"]:
        st.text(shown(about["spec"]["note"]))
    with st.container(horizontal=True, vertical_alignment="center"):
        if about and OVERVIEW.exists():
            st.page_link(OVERVIEW, label="Open", icon=":material/visibility:", query_params={"run": entry.key})
        verifying = about is not None and st.button(
            "Verify", icon=":material/verified:", key="verify", help="Checks every file's hash and schema"
        )
        if about:
            _actions(entry)
        files_view.delete(entry.path, data.directories())
    if verifying:
        check(entry.path)
    if about is None:
        return
    origin, files, spec = st.tabs(["Provenance", "Files", "Spec"])
    with origin:
        facts(entry, about)
    with files:
        found = [{"part": p, **{k: v for k, v in a.items() if k != "sha256"}, "sha256": a.get("sha256")}
                 for p, a in about["parts"].items()]  # fmt: skip
        st.dataframe(pd.DataFrame(found), hide_index=True, alt="Files of the run with rows, bytes and hashes")
    with spec:
        text = yaml.safe_dump(about["spec"], sort_keys=False, allow_unicode=True)
        st.code(text, language="yaml")
        st.download_button("Spec as YAML", text, f"{about['spec']['name']}.yaml", icon=":material/download:")


def _actions(entry: data.RunEntry) -> None:
    """Go on with an unfinished run, start another one like it, download it."""
    resumable = entry.state in ("interrupted", "failed") and not jobs.writes(entry.path, home())
    if resumable and st.button(
        "Go on", icon=":material/play_arrow:", key="resume_run", help="In the background, from where it stopped"
    ):
        files_view.act(lambda: jobs.resume_run(entry.path, home()), f"{entry.key} is in the queue.")
    if st.button("New run like this", icon=":material/content_copy:", key="like_this", help="Opens its spec as a form"):
        st.session_state.pop("draft_from", None)
        keep("from", f"run {entry.key}")
        keep("section", "new")
        st.rerun()
    files_view.download(entry.path)


def check(path: Path) -> None:
    """Hashes and schemas, on demand: it reads every byte of the run."""
    with st.spinner("Reading every file of the run"):
        problems = verify(path)
    if not problems:
        st.success("Sound: every part is there, with its recorded hash and schema.", icon=":material/verified:")
    for line in problems:
        st.error(markdown_escaped(line), icon=":material/error:")


def facts(entry: data.RunEntry, about: dict) -> None:
    """What the run came from: code, packages, device, content hashes, what was found by trial."""
    origin = dict(about["provenance"])
    rows = {
        "folder": str(entry.path),
        "content": content(entry.path),
        "format version": about["format_version"],
        "git commit": origin.pop("git_commit", None) or "none",
        "seed": about["spec"]["seed"],
    }
    rows |= {k: v for k, v in origin.items() if not isinstance(v, dict)}
    rows |= {f"{group} {k}": v for group in ("content", "packages") for k, v in (origin.get(group) or {}).items()}
    rows |= {f"timing {k}": v for k, v in about["timings"].items()}
    rows |= {f"note {k}": v if isinstance(v, str) else json.dumps(v) for k, v in about["notes"].items()}
    table = pd.DataFrame({"what": [shown(name) for name in rows], "value": [shown(v) for v in rows.values()]})
    st.dataframe(table, hide_index=True, column_config={"value": st.column_config.TextColumn(width="large")},
                 alt="Provenance of the run")  # fmt: skip


def content(path: Path) -> str:
    try:
        return data.content_hash(path)
    except RunError as error:
        return str(error)
