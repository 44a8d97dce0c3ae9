"""Start a run from the browser: choose what to start from, write the spec as a form or as YAML, see what is wrong."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

import streamlit as st

from dashboard.reading import data
from dashboard.runs import jobs, run_size, spec_form, spec_widgets
from dashboard.runs.spec_form import Place
from dashboard.text import markdown_escaped, shown
from dashboard.widgets.figures import choose, keep
from dashboard.widgets.parts import small_print
from engine.__main__ import SAMPLES
from engine.config import InputError, RunSpec, SpecError
from engine.spec_files import resolve_paths

VIEWS = {"form": "Form", "yaml": "YAML"}


def home() -> Path:
    """The folder into which new runs, imports and jobs go: the first of those that the dashboard was started on."""
    return Path(data.directories()[0]).resolve()


@st.fragment
def editor() -> None:
    """The whole of it; an edit reruns this part of the page alone."""
    _start_from()
    view = choose("View", "as", VIEWS, "form", widget="segments")
    problems: dict[Place, list[str]] = {}
    unread = st.session_state.get("spec_unread")
    spec = None
    if unread is None:
        spec, problems = spec_form.check(spec_widgets.draft(), home())
        of, found = st.session_state.get("example_problems", (None, {}))
        problems |= found if spec and of == spec else {}
    if view == "yaml":
        _yaml()
    elif unread is not None:
        st.error("The YAML can't be read: mend it there, or start from something else.", icon=":material/error:")
    else:
        spec_widgets.form(problems)
    st.divider()
    if unread is not None:
        st.error(markdown_escaped(unread[1]), icon=":material/error:")
    elif problems:
        _list(problems)
    _start(spec if not problems else None)


# Where to start from


def sources() -> dict[str, Path | None]:
    """What a new run may start from: nothing, a spec file, the spec of a run."""
    found: dict[str, Path | None] = {"empty": None}
    found |= {f"spec {f.stem}": f for f in spec_form.spec_files([SAMPLES / "specs", home()])}
    return found | {f"run {e.key}": e.path for e in data.runs() if e.state != "unreadable"}


def _start_from() -> None:
    known = sources()
    asked = st.query_params.get("from", "empty")
    if asked not in known:
        st.warning(
            f"The link does not fit: there is no {markdown_escaped(asked[:80])} here.", icon=":material/link_off:"
        )
    labels = {name: "an empty form" if name == "empty" else name for name in known}
    wanted = choose(
        "Start from", "from", labels, "empty",
        help="Replaces what stands in the form by that spec. Paths are shown relative to the folder with the runs.",
    )  # fmt: skip
    if st.session_state.get("draft_from") == wanted:
        return
    source = known[wanted]
    try:
        found = spec_form.empty() if source is None else spec_form.template(source, home())
    except InputError as error:
        st.error(markdown_escaped(error), icon=":material/error:")
        return
    if source is not None:
        found["name"] = spec_form.free_name(found["name"], home())
    spec_widgets.replace_draft(found)
    for name in ("spec_unread", "spec_typed"):
        st.session_state.pop(name, None)
    st.session_state["draft_from"] = wanted


# As YAML


def _yaml() -> None:
    """The draft as text. What was typed stays as it was typed, while it means the same."""
    draft = spec_widgets.draft()
    typed, meant = st.session_state.get("spec_typed", ("", None))
    unread = st.session_state.get("spec_unread")
    st.session_state["spec_yaml"] = unread[0] if unread else typed if meant == draft else spec_form.to_yaml(draft)
    st.text_area(
        "Spec as YAML", key="spec_yaml", height=460, on_change=_typed,
        help="As coupling run takes it. Checked when you leave the field, or press Ctrl-Enter.",
    )  # fmt: skip


def _typed() -> None:
    text = st.session_state["spec_yaml"]
    try:
        draft = spec_form.from_yaml(text)
    except SpecError as error:
        st.session_state["spec_unread"] = (text, str(error))
        return
    st.session_state.pop("spec_unread", None)
    st.session_state["spec_typed"] = (text, draft)
    spec_widgets.replace_draft(deepcopy(draft))


# What is wrong, how large it is, and go


def _list(problems: dict[Place, list[str]]) -> None:
    count = sum(map(len, problems.values()))
    lines = [f"**{count} {'thing' if count == 1 else 'things'} to mend before it can start**", ""]
    for place, found in problems.items():
        lines += [f"- {markdown_escaped(spec_form.named(place) or 'the spec')}: {markdown_escaped(w)}" for w in found]
    st.warning("\n".join(lines), icon=":material/rule:")


def _start(spec: RunSpec | None) -> None:
    trusted: set[jobs.Code] = set()
    if spec:
        found = run_size.size(resolve_paths(spec, home()))
        st.markdown(f":material/check_circle: Valid: {markdown_escaped(run_size.in_words(found))}.")
        trusted = _trusted(spec)
    allowed = spec is not None and all((c.name, c.path) in trusted for c in jobs.foreign_code(spec))
    if st.button(
        "Start the run", type="primary", icon=":material/play_arrow:", key="start_run", disabled=not allowed,
        help="Makes it in the background, in a process of its own",
    ) and spec:  # fmt: skip
        _go(spec, trusted)
    small_print(f"Relative paths start at {home()}. The run's folder: {home() / (spec.name if spec else 'NAME')}")


def _trusted(spec: RunSpec) -> set[jobs.Code]:
    """Checkpoints whose own code the person allows to run, each by name, for this run."""
    allowed = set()
    for checkpoint in jobs.foreign_code(spec):
        words = (
            f"I trust the code that ships with {checkpoint.name} ({checkpoint.path}), and let it run on this machine"
        )
        if st.checkbox(markdown_escaped(words), key=f"trust {checkpoint.name} {checkpoint.path}"):
            allowed.add((checkpoint.name, checkpoint.path))
    return allowed


def _go(spec: RunSpec, trusted: set[jobs.Code]) -> None:
    with st.spinner("Making the examples, to see whether the task can be measured"):
        problems = spec_form.check_examples(spec, home())
    if problems:
        st.session_state["example_problems"] = (spec, problems)
        st.rerun(scope="fragment")
    try:
        job = jobs.start(spec, home(), trusted)
    except InputError as error:
        st.error(markdown_escaped(error), icon=":material/error:")
        return
    st.session_state.pop("draft_from", None)
    st.session_state["told"] = f"{shown(job.name)} is in the queue."
    keep("from", None)
    keep("section", None)
    st.rerun(scope="app")
