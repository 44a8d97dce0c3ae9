"""Jobs on a page: how far each has come, its log, and buttons to cancel it, go on with it, open its run."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import streamlit as st

from dashboard.reading import data
from dashboard.runs import jobs
from dashboard.runs.actions import act, consented, open_link
from dashboard.runs.consent import Consent, consent_to
from dashboard.runs.new_run import STARTED
from dashboard.selection.state import choose_run
from dashboard.serving import access
from dashboard.text import markdown_escaped, shown
from dashboard.widgets.parts import small_print
from engine.config import InputError
from engine.spec_files import load_spec

POLL = "1s"
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


def open_started() -> bool:
    """Open the run that was started here, once its folder is there; whether it was opened just now."""
    path = st.session_state.get(STARTED)
    entry = next((e for e in data.runs() if str(e.path.resolve()) == path), None) if path else None
    if entry is None:
        return False
    del st.session_state[STARTED]
    choose_run(entry.key)
    return True


def _list(runs: Path, active: bool) -> None:
    found = jobs.jobs(runs)
    for job in found:
        _card(job)
    ended = [job for job in found if jobs.state(job) not in jobs.ACTIVE]
    many = len(ended) > 1 and access.may("change")
    if many and st.button("Dismiss all that have ended", icon=":material/clear_all:", key="dismiss_all"):
        act(partial(jobs.forget, *ended))
    if active != (len(ended) < len(found)) or open_started():
        st.rerun()  # the list of runs below has changed too


def _card(job: jobs.Job) -> None:
    state = jobs.state(job)
    icon, words = LOOKS[state]
    with st.container(border=True, key=f"job_{job.folder.name}"):
        left, right = st.columns([3, 2], vertical_alignment="center")
        stages = jobs.progress(job)
        deleted = bool(stages) and not (job.run / "run.json").is_file() and state not in jobs.ACTIVE
        if deleted:
            words += "; its run was deleted, and can be restored while it is in the trash"
        going_on = state in ("interrupted", "failed") and not deleted
        left.markdown(f"{icon} **{markdown_escaped(job.name)}** · {words}")
        given, allowed = _consent(job) if going_on else (set(), True)
        with right.container(horizontal=True, horizontal_alignment="right", vertical_alignment="center"):
            _buttons(job, state, given, allowed if going_on else None)
        if state in ("running", "cancelling"):
            share, text = _progress(job, stages)
            st.progress(share, text)
        if reason := jobs.reason(job):
            st.error(markdown_escaped(reason), icon=":material/error:")
        if state != "queued":
            with st.expander("Stages and log", key=f"log_{job.folder.name}"):
                _stages(stages)
                st.code(shown(jobs.log(job)) or "The log is empty.", language=None, wrap_lines=True, height=240)
                small_print(f"coupling run {job.folder / 'spec.yaml'} --out {job.run}")


def _consent(job: jobs.Job) -> tuple[set[Consent], bool]:
    """What a person consents to here, for this job to go on, and whether that is all that its spec asks for."""
    try:
        spec = jobs.spec_of(job.run, runs_of(job))
    except InputError:  # going on says it
        return set(), True
    given = consented(spec, job.folder.name)
    return given, given.issuperset(map(consent_to, spec.asking))


def runs_of(job: jobs.Job) -> Path:
    """The folder of runs beside which the job lies."""
    return job.folder.parent.parent


def _buttons(job: jobs.Job, state: jobs.State, given: set[Consent], allowed: bool | None) -> None:
    """allowed: whether it may go on now; None: it can't go on. Dismiss never stands where Cancel was."""
    buttons: list[tuple[tuple[str, ...], str, str, Callable[[jobs.Job], object], str]] = [
        (("finished", "interrupted", "failed"), "Dismiss", "close", jobs.forget, "Removes its log; the run stays"),
        (("interrupted", "failed"), "Go on", "play_arrow", partial(_resume, given=given), "From where it stopped"),
        (("queued", "running"), "Cancel", "stop_circle", jobs.cancel, "Stops it; it can go on later where it stopped"),
    ]
    for states, label, icon, action, about in buttons:
        if label == "Go on" and allowed is None:
            continue
        disabled = (label == "Go on" and not allowed) or not access.may("change")
        key = f"{label}_{job.folder.name}"
        if state in states and st.button(label, icon=f":material/{icon}:", key=key, help=about, disabled=disabled):
            act(partial(action, job))
    if state == "finished" and (entry := next((e for e in data.runs() if e.path == job.run), None)):
        open_link(entry)


def _resume(job: jobs.Job, given: set[Consent]) -> jobs.Job:
    return jobs.resume(job.run, runs_of(job), given, within=data.directories())


def _progress(job: jobs.Job, stages: list[jobs.Stage]) -> tuple[float, str]:
    """Share of the stages that are done, each counted alike, and where the work is, in words."""
    if not stages:
        return 0.0, "starting: loading packages, making the examples"
    from engine import pipeline  # takes seconds to import

    now = stages[-1]
    inside = now.done / now.total if now.total else 1.0
    text = f"{now.name}: {amounts(now)}"
    if now.rate and now.done < now.total:
        speed = f", {now.rate:,.0f} tokens a second" if now.unit == "tokens" else ""
        text += f"{speed}, about {duration((now.total - now.done) / now.rate)} left"
    text += f"; {now.note}" if now.note else ""
    try:
        every = pipeline.stages(load_spec(job.folder / "spec.yaml"))
        at = every.index(now.name)
    except (InputError, ValueError):
        return inside, markdown_escaped(text)
    return min((at + inside) / len(every), 1.0), markdown_escaped(f"step {at + 1} of {len(every)} · {text}")


def _stages(stages: list[jobs.Stage]) -> None:
    """What was done so far, and how long it took."""
    ends = [*(stage.began for stage in stages[1:]), *(stage.at for stage in stages[-1:])]
    for stage, end in zip(stages, ends, strict=True):
        small_print(
            f"{stage.name}: {amounts(stage)} · {duration(end - stage.began)}{stage.note and f' · {stage.note}'}"
        )


def amounts(stage: jobs.Stage) -> str:
    """`3 of 8`, `1,024 of 90,000 tokens`."""
    return f"{stage.done:,} of {stage.total:,} {stage.unit}".strip()


def duration(seconds: float) -> str:
    """`42 s`, `3 min 5 s`, `2 h 10 min`."""
    minutes, rest = divmod(max(0, round(seconds)), 60)
    if not minutes:
        return f"{rest} s"
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
