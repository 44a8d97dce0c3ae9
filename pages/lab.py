"""Try a prompt: mark, edit, and ask both checkpoints and the explainer."""

from __future__ import annotations

import streamlit as st

from dashboard.lab import draft as lab
from dashboard.lab import inputs, measure, start
from dashboard.lab import view as lab_view
from dashboard.lab.draft import Draft
from dashboard.lab.measure import Question
from dashboard.reading import data, models
from dashboard.refit import new_prompts
from dashboard.selection.state import Selection, problem, sidebar
from dashboard.text import markdown_escaped
from dashboard.widgets.figures import choose
from engine.config import InputError
from engine.runs.store import RunError


def main() -> None:
    st.title("Lab", anchor=False)
    selection = sidebar("run", "checkpoint", "example")
    if selection is None:
        return
    try:
        page(selection)
    except RunError as error:
        problem(str(error))


def page(selection: Selection) -> None:
    st.caption(
        "Change a prompt and see what both checkpoints and the explainer make of it. Models are loaded when you "
        "press Run."
    )
    draft = inputs.draft_of(selection)
    inputs.start_from(selection)
    left, right = st.columns([3, 2], gap="medium")
    with left:
        inputs.texts(draft)
    with right:
        inputs.marking(draft)
        inputs.editing(draft)
    lab_view.preview(draft)
    possible = checkpoints_on_disk(selection)
    obstacles = lab.obstacles(draft)
    for line in obstacles:
        st.warning(markdown_escaped(line), icon=":material/edit_note:")
    asked = None if obstacles else question(selection, draft)
    for line in [] if obstacles else lab.remarks(draft):
        st.caption(markdown_escaped(line))
    if st.button(
        "Run on both checkpoints", type="primary", icon=":material/play_arrow:", key="lab_run",
        disabled=asked is None or not possible,
    ) and asked is not None:  # fmt: skip
        compute(asked)
    failed = st.session_state.get("lab_failed")
    if failed is not None and failed[0] == asked:
        st.error(markdown_escaped(failed[1]), icon=":material/error:")
    result = st.session_state.get("lab_result")
    if result is not None and (result.question.path / "run.json").is_file():  # its run may be gone by now
        lab_view.results(selection, result, asked)


def checkpoints_on_disk(selection: Selection) -> bool:
    """Whether both can be had; says so where one is not on disk."""
    possible = True
    for name in dict.fromkeys((selection.options.target, selection.checkpoint)):
        absent = models.missing(selection.path, name)
        if absent is not None:
            line, fetched = absent
            st.warning(markdown_escaped(line), icon=":material/folder_off:")
            possible = possible and fetched
    return possible


def question(selection: Selection, draft: Draft) -> Question:
    """What the controls ask for, after the choice of the explainer."""
    made = lab.edited(draft)
    edited = None if made is None else made.text
    choices = {c.edit: c for c in new_prompts.choices(selection.path)}
    explainer = None
    if choices:
        known = start.recognised(selection, draft.prompt, edited, draft.answers)
        kind = known["edit"] if known else None
        chosen = choose(
            "Explainer of the kind of edit",
            "explainer_of",
            {name: name for name in choices},
            kind if kind in choices else next(iter(choices)),
            help="Each explainer was trained on one kind of edit, and reads only the prompt x.",
        )
        st.caption(markdown_escaped(lab.say_explainer(kind, chosen)))
        explainer = choices[chosen]
    else:
        st.caption(new_prompts.why_none(selection.path))
    names = (selection.options.target, selection.checkpoint)
    return Question(selection.path, data.stamp(selection.path), names, draft.prompt, edited, draft.answers, explainer)


def compute(asked: Question) -> None:
    """Ask both checkpoints, with progress; the result, or why there is none, stays in the session."""
    with st.status("Asking both checkpoints…", expanded=True) as status:
        try:
            st.session_state["lab_result"] = measure.ask(asked, lambda line: st.text(line))
        except InputError as error:
            st.session_state["lab_failed"] = (asked, str(error))
            status.update(label="It could not be done", state="error", expanded=False)
            return
        st.session_state["lab_failed"] = None
        status.update(label="Done", state="complete", expanded=False)


main()
