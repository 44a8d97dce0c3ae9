"""Start a run from the browser: choose a spec to start from, change it in a form or as YAML, see what is wrong."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import streamlit as st

from dashboard.reading import data
from dashboard.runs import data_import, forecast, jobs, run_size, spec_check, spec_draft, spec_form
from dashboard.runs.actions import consented, home
from dashboard.runs.consent import Consent, consent_to
from dashboard.selection import packed
from dashboard.serving import access
from dashboard.text import markdown_escaped, shown
from dashboard.widgets.figures import choose, chosen, keep
from dashboard.widgets.parts import small_print
from engine import SAMPLES
from engine.config import InputError, RunSpec, SpecError
from engine.spec_files import parse_yaml, resolve_paths

STARTED = "runs_started"
"""In the session: the folder of the run that was started here, until the list opens it."""


@st.fragment
def editor() -> None:
    """The whole section; an edit reruns this part of the page alone."""
    if not access.may("change"):  # the check of a spec tells which paths are there
        return
    _start_from()
    text = st.session_state.setdefault("draft", spec_draft.to_yaml(spec_draft.EMPTY))
    _link(text)
    spec = None
    try:
        draft = parse_yaml(text)
        spec, problems = spec_check.check(draft, home())
        spec_form.form(draft)
        st.caption("All other options are set in the YAML. The specs under Start from show many of them.")
    except SpecError as error:  # the text can't be read, so there is nothing that a form could show
        problems = [str(error)]
    _yaml(text)
    if problems:
        count = f"**{len(problems)} {'problem' if len(problems) == 1 else 'problems'} to fix before the run can start**"
        st.warning("\n".join([count, "", *(f"- {markdown_escaped(p)}" for p in problems)]), icon=":material/rule:")
    _start(spec)


def sources() -> dict[str, Path | None]:
    """What a new run may start from: nothing, a spec file, imported data, the spec of a run."""
    files = sorted((f for folder in (SAMPLES / "specs", home()) for f in folder.glob("*.yaml")), key=lambda f: f.name)
    found: dict[str, Path | None] = {"empty": None} | {f"spec {f.stem}": f for f in files}
    return (
        found | data_import.sources(home()) | {f"run {e.key}": e.path for e in data.runs() if e.state != "unreadable"}
    )


def _start_from() -> None:
    known = sources()
    asked = st.query_params.get("from", "empty")
    if asked not in known:
        words = f"The link does not fit: there is no {markdown_escaped(asked[:80])} here."
        st.warning(words, icon=":material/link_off:")
    labels = {name: "an empty form" if name == "empty" else name for name in known}
    about = "Replaces the form and the text below by that spec. Paths are relative to the folder of runs."
    wanted = choose("Start from", "from", labels, "empty", help=about)
    linked, before = chosen("draft", None, "") or None, st.session_state.get("draft_link")
    if linked and linked != before and (text := _unpacked(linked)) is not None:  # a link, or a step back
        st.session_state.update(draft=text, draft_from=wanted, draft_link=linked, draft_linked=text)
        return
    if st.session_state.get("draft_from") == wanted and linked == before:
        return
    source, draft = known[wanted], spec_draft.EMPTY
    try:
        if source is not None:
            draft = spec_draft.template(source, home())
            draft["name"] = spec_draft.free_name(draft["name"], home())
            if wanted.startswith("data "):  # its checkpoints are placeholders
                draft["checkpoints"] = [{}, {}]
    except InputError as error:
        st.error(markdown_escaped(error), icon=":material/error:")
        return
    text = spec_draft.to_yaml(draft)
    st.session_state.update(draft=text, draft_from=wanted, draft_link=None, draft_linked=text)
    keep("draft", None)


def _unpacked(linked: str) -> str | None:
    """The text of a link; None, and a sentence, if there is none in it."""
    with suppress(ValueError):
        text = packed.unpack(linked)
        if isinstance(text, str):
            return text
    keep("draft", None)
    st.warning("The link does not fit: it holds no spec that can be read.", icon=":material/link_off:")
    return None


def _link(text: str) -> None:
    """Write a changed text into the address, so that a reload and a link keep it."""
    if text != st.session_state.get("draft_linked"):
        link = packed.pack(text)
        st.session_state.update(draft_link=link, draft_linked=text)
        keep("draft", link)


def _yaml(text: str) -> None:
    def typed() -> None:
        st.session_state["draft"] = st.session_state["spec_yaml"]

    st.session_state["spec_yaml"] = text
    about = (
        "The whole spec, in the form that coupling run takes. It is checked when you leave the field or press "
        "Ctrl-Enter. A change in the form above writes it anew, without its comments."
    )
    st.text_area("Spec as YAML", key="spec_yaml", height=380, on_change=typed, help=about)


def _start(spec: RunSpec | None) -> None:
    given: set[Consent] = set()
    if spec:
        found = run_size.size(resolve_paths(spec, home()))
        st.markdown(f":material/check_circle: Valid: {markdown_escaped(run_size.described(found))}.")
        given = consented(spec, "new")
    allowed = spec is not None and given.issuperset(map(consent_to, spec.asking))
    icon, about = ":material/play_arrow:", "The run is made in the background, in a process of its own."
    with st.container(horizontal=True):
        started = st.button("Start the run", type="primary", icon=icon, key="start", disabled=not allowed, help=about)
        about = "Loads the models, measures a few examples, and says what each stage will take. Writes nothing."
        icon = ":material/timer:"
        forecasts = st.button("What it will take", icon=icon, key="forecast", disabled=not allowed, help=about)
    if started and spec:
        _go(spec, given)
    if forecasts and spec:
        _forecast(spec, given)
    small_print(f"Relative paths start at {home()}. The run's folder: {home() / (spec.name if spec else 'NAME')}")


def _forecast(spec: RunSpec, given: set[Consent]) -> None:
    try:
        with st.spinner("Measuring a few examples with each model"):
            table, _, said = forecast.forecast(spec, home(), given).partition("\n\n")
    except InputError as error:
        st.error(markdown_escaped(error), icon=":material/error:")
        return
    st.markdown(table)
    small_print(said)


def _go(spec: RunSpec, given: set[Consent]) -> None:
    from engine.pipeline import load_examples  # takes a second to import

    try:
        with st.spinner("Making the examples, to see whether the task can be measured"):
            load_examples(resolve_paths(spec, home()))
        job = jobs.start(spec, home(), given)
    except InputError as error:
        st.error(markdown_escaped(error), icon=":material/error:")
        return
    st.session_state.pop("draft_from", None)
    st.session_state["done"] = f"{shown(job.name)} is in the queue."
    for name in ("from", "draft", "section"):
        keep(name, None)
    st.session_state[STARTED] = str(job.run)  # the list opens it as soon as its folder is there
    st.rerun()
