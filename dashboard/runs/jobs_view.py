"""Jobs on a page: how far each has come, its log, and buttons to cancel it, go on with it, open its run."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from dashboard import PAGES
from dashboard.reading import data
from dashboard.runs import jobs
from dashboard.text import markdown_escaped, shown
from dashboard.widgets.parts import small_print
from engine.config import InputError
from engine.spec_files import load_spec

POLL = "1s"
SHOWN = 8
"""Jobs that are listed; ended ones beyond these can be cleared."""
OVERVIEW = PAGES / "overview.py"
LOOKS = {
    "queued": (":material/hourglass_empty:", "waiting for its turn"),
    "running": (":material/sync:", "running"),
    "cancelling": (":material/cancel:", "stopping"),
    "finished": (":material/check_circle:", "finished"),
    "interrupted": (":material/pause_circle:", "interrupted: it can go on where it stopped"),
    "failed": (":material/error:", "failed"),
}


def section(runs: Path) -> None:
    """Every job beside the runs; redrawn each second while one has not ended."""
    found = jobs.jobs(runs)
    if not found:
        return
    st.subheader("In the background", anchor=False)
    active = any(jobs.state(job) in jobs.ACTIVE for job in found)
    st.fragment(_list, run_every=POLL if active else None)(runs, active)


def _list(runs: Path, active: bool) -> None:
    found = jobs.jobs(runs)
    for job in found[:SHOWN]:
        _card(job)
    ended = [job for job in found if jobs.state(job) not in jobs.ACTIVE]
    if len(found) > SHOWN:
        small_print(f"{len(found) - SHOWN} earlier ones are not shown.")
    if len(ended) > 1 and st.button("Clear those that have ended", icon=":material/clear_all:", key="clear_jobs",
                                    help="Their records and logs go, their runs stay"):  # fmt: skip
        _do(*(lambda job=job: jobs.forget(job) for job in ended))
    if active != any(jobs.state(job) in jobs.ACTIVE for job in found):
        st.rerun(scope="app")  # the list of runs below has changed too


def _card(job: jobs.Job) -> None:
    state = jobs.state(job)
    icon, words = LOOKS[state]
    with st.container(border=True, key=f"job_{job.id}"):
        left, right = st.columns([3, 2], vertical_alignment="center")
        left.markdown(f"{icon} **{markdown_escaped(job.name)}** · {words}")
        with right.container(horizontal=True, horizontal_alignment="right", vertical_alignment="center"):
            _buttons(job, state)
        stages = jobs.progress(job)
        if state in ("running", "cancelling"):
            share, text = _progress(job, stages)
            st.progress(share, text)
        if reason := jobs.reason(job):
            st.error(markdown_escaped(reason), icon=":material/error:")
        if stages or state not in ("queued",):
            with st.expander("Stages and log", key=f"log_{job.id}"):
                _stages(stages)
                if text := jobs.log(job):
                    st.code(shown(text), language=None, wrap_lines=True, height=240)
                else:
                    st.caption("Nothing in the log.")
                small_print(f"coupling run {job.folder / 'spec.yaml'} --out {job.run}")


def _buttons(job: jobs.Job, state: jobs.State) -> None:
    if state in ("queued", "running"):
        if st.button("Cancel", icon=":material/stop_circle:", key=f"cancel_{job.id}",
                     help="Stops the process; what is measured stays, and it can go on later"):  # fmt: skip
            jobs.cancel(job)
            st.rerun(scope="fragment")
    elif state in ("interrupted", "failed") and st.button(
        "Go on", icon=":material/play_arrow:", key=f"resume_{job.id}", help="From where it stopped"
    ):
        _do(lambda: jobs.resume(job))
    if state == "finished" and (entry := next((e for e in data.runs() if e.path == job.run), None)):
        st.page_link(OVERVIEW, label="Open", icon=":material/open_in_new:", query_params={"run": entry.key})
    if state not in jobs.ACTIVE and st.button(
        "Dismiss", icon=":material/close:", key=f"forget_{job.id}", help="Removes this record and log; the run stays"
    ):
        _do(lambda: jobs.forget(job))


def _do(*actions) -> None:
    """Carry out, say what went wrong, and draw the page anew."""
    try:
        for action in actions:
            action()
    except InputError as error:
        st.session_state["told"] = str(error)
    st.rerun(scope="app")


def _progress(job: jobs.Job, stages: list[jobs.Stage]) -> tuple[float, str]:
    """Share of the stages that are done, each counted alike, and where the work is, in words."""
    from engine import pipeline  # takes a second to import

    if not stages:
        return 0.0, "starting: loading packages, making the examples"
    now = stages[-1]
    inside = now.done / now.total if now.total else 1.0
    text = f"{now.name}: {now.done} of {now.total}"
    try:
        every = pipeline.stages(load_spec(job.folder / "spec.yaml"))
        at = every.index(now.name)
    except (InputError, ValueError):
        return inside, markdown_escaped(text)
    return min((at + inside) / len(every), 1.0), markdown_escaped(f"step {at + 1} of {len(every)} · {text}")


def _stages(stages: list[jobs.Stage]) -> None:
    """What was done so far, and how long it took."""
    for at, stage in enumerate(stages):
        until = stages[at + 1].began if at + 1 < len(stages) else stage.at
        small_print(f"{stage.name}: {stage.done} of {stage.total} · {duration(until - stage.began)}")


def duration(seconds: float) -> str:
    """`42 s`, `3 min 5 s`, `2 h 10 min`."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
