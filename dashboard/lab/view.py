"""The page Lab: the controls, the texts before a run, the run, and its results."""

from __future__ import annotations

import streamlit as st

from dashboard.lab import draft as lab
from dashboard.lab import inputs, measure, start
from dashboard.lab.draft import Draft
from dashboard.lab.measure import Question
from dashboard.lab.results import results
from dashboard.lab.text import about_the_change, highlighted
from dashboard.reading import data
from dashboard.refit import new_prompts
from dashboard.selection.state import Selection
from dashboard.text import diff, markdown_escaped, plain
from dashboard.widgets.example_view import words
from dashboard.widgets.figures import choose
from dashboard.widgets.on_demand import can_load
from engine.config import InputError


def page(selection: Selection) -> None:
    st.caption(
        "Change a prompt, and compare both checkpoints and the explainer on it. Models are loaded when you press Run."
    )
    draft = inputs.draft_of(selection)
    inputs.start_from(selection)
    inputs.texts(draft)
    difference(draft)
    with st.expander("Make x′ by an edit of marked text", icon=":material/ink_highlighter:", key="lab_marking"):
        if draft.prompt.strip():
            st.html(highlighted(draft.prompt, draft.marks))
        inputs.marking(draft)
        inputs.editing(draft)
    inputs.say_link()
    possible = can_load(selection.path, (selection.options.target, selection.checkpoint))
    obstacles = lab.obstacles(draft)
    for line in obstacles:
        st.warning(markdown_escaped(line), icon=":material/edit_note:")
    asked = None if obstacles else question(selection, draft)
    for line in [] if obstacles else lab.remarks(draft):
        st.caption(markdown_escaped(line))
    about = "Loads the target and the current checkpoint; the first time takes some seconds."
    run = {"help": about, "type": "primary", "icon": ":material/play_arrow:", "disabled": asked is None or not possible}
    if st.button("Run on both checkpoints", key="lab_run", **run) and asked is not None:
        compute(asked)
    failed = st.session_state.get("lab_failed")
    if failed is not None and failed[0] == asked:
        st.error(markdown_escaped(failed[1]), icon=":material/error:")
    if not possible and (row := start.recorded_words(selection, inputs.began_with())) is not None:
        st.caption("What the run recorded of the example that this page began with:")
        words(row)
    result = st.session_state.get("lab_result")
    if result is not None and (result.question.path / "run.json").is_file():  # its run may be deleted by now
        results(selection, result, asked)


def difference(draft: Draft) -> None:
    """The word diff of x and x'."""
    if not draft.prompt.strip():
        return
    with st.container(border=True, key="lab_difference"):
        small = "<small>(struck through: removed; underlined: added)</small>"
        st.html(f'<h2 style="font-size: 1rem; padding: 0">x against x′ {small}</h2>')
        made, _ = lab.attempt(draft)
        if made is None:
            st.html(plain(about_the_change(draft.prompt, draft.prompt)[0]))
        else:
            st.html(diff(*about_the_change(draft.prompt, made.text)))


def question(selection: Selection, draft: Draft) -> Question:
    """The question that the controls ask, after the choice of the explainer."""
    made = lab.edited(draft)
    edited = None if made is None else made.text
    choices = {c.edit: c for c in new_prompts.choices(selection.path)}
    explainer = None
    known = start.recognised(selection, draft.prompt, edited, draft.answers)
    kind, in_words = known["edit"] if known else None, None
    if start.in_words(selection.path, selection.checkpoint):
        edits = selection.options.edits
        help_line = "The model was trained to answer in words. Each kind of edit has a question of its own."
        first = kind if kind in edits else edits[0]
        in_words = choose("The model is asked about", "asked_about", {e: e for e in edits}, first, help=help_line)
    if choices:
        names, default = {name: name for name in choices}, kind if kind in choices else next(iter(choices))
        help_line = "Each explainer was trained on one kind of edit, and reads only the prompt x."
        chosen = choose("Explainer of the kind of edit", "explainer_of", names, default, help=help_line)
        st.caption(markdown_escaped(lab.explainer_remark(kind, chosen)))
        explainer = choices[chosen]
    elif in_words is None:
        st.caption(new_prompts.why_none(selection.path))
    path, checkpoints = selection.path, (selection.options.target, selection.checkpoint)
    return Question(path, data.stamp(path), checkpoints, draft.prompt, edited, draft.answers, explainer, in_words)


def compute(asked: Question) -> None:
    """Ask both checkpoints, with progress. The result, or the reason why there is none, stays in the session."""
    with st.status("Asking both checkpoints…", expanded=True) as status:
        try:
            st.session_state["lab_result"] = measure.ask(asked, lambda line: st.text(line))
        except InputError as error:
            st.session_state["lab_failed"] = (asked, str(error))
            status.update(label="It could not be done", state="error", expanded=False)
            return
        st.session_state["lab_failed"] = None
        status.update(label="Done", state="complete", expanded=False)
