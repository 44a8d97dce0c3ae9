"""The lab's controls. The draft in the session is the truth: widgets show it, and their callbacks replace it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256

import streamlit as st

from dashboard.lab import draft as lab
from dashboard.lab import start
from dashboard.lab.draft import Draft
from dashboard.lab.text import label
from dashboard.selection.state import Selection, update
from dashboard.text import markdown_escaped
from dashboard.widgets.figures import choose
from engine.records import Span
from engine.tasks.edits import sentences

MOST_PIECES = 2_000
"""Words or sentences of a select box."""
MARK_BY = {"sentences": "Sentence", "words": "Words", "characters": "Characters"}


def keep(draft: Draft) -> None:
    st.session_state["lab_draft"] = draft


def current() -> Draft:
    return st.session_state.get("lab_draft", Draft())


def draft_of(selection: Selection) -> Draft:
    """The draft, after taking over the example that the link names, if it is news. Raises RunError.

    What somebody typed is set aside before an example takes its place, and can be brought back.
    """
    wanted = (selection.run.key, selection.example)
    came_from = st.session_state.get("lab_origin")
    if came_from == wanted:
        return current()
    untouched = "lab_draft" not in st.session_state or current() == st.session_state.get("lab_loaded")
    if selection.example is None and untouched:
        first = next(iter(start.offered(selection)), None)
        update(example=first)
        wanted = (selection.run.key, first)
    row = start.read(selection, wanted[1]) if wanted[1] else None
    if row is not None:
        if not untouched:
            st.session_state["lab_set_aside"] = current()
        keep(lab.from_example(row))
        st.session_state.update({"lab_loaded": current(), "lab_lost": ()})
    elif wanted[1]:
        st.warning(f"This run has no example {markdown_escaped(wanted[1])}.", icon=":material/link_off:")
    if "lab_draft" not in st.session_state:
        keep(Draft(answers=start.answers(selection.path)))
    st.session_state["lab_origin"] = wanted
    return current()


def start_from(selection: Selection) -> None:
    """Choose an example to start from, or a blank prompt."""
    titles = start.offered(selection)
    here = st.session_state.get("lab_origin", (None, None))[1]
    st.session_state["lab_start"] = here if here in titles else ""

    def started() -> None:
        chosen = st.session_state["lab_start"]
        if chosen:
            update(example=chosen)
        else:
            _blank(selection)

    st.selectbox(
        "Start from",
        ["", *titles],
        key="lab_start",
        format_func=lambda i: titles.get(i, "a prompt of your own"),
        on_change=started,
        help="Offered are the examples whose effect moved most from the target to the current checkpoint. Any other "
        "can be sent here from its page, under Examples.",
    )
    if st.session_state.get("lab_set_aside") is not None:
        st.button("Bring back what I typed", icon=":material/undo:", key="lab_back", on_click=_bring_back)


def _blank(selection: Selection) -> None:
    if current() != st.session_state.get("lab_loaded"):
        st.session_state["lab_set_aside"] = current()
    keep(Draft(answers=start.answers(selection.path)))
    st.session_state.update({"lab_loaded": None, "lab_lost": (), "lab_origin": (selection.run.key, None)})
    update(example=None)


def _bring_back() -> None:
    keep(st.session_state["lab_set_aside"])
    st.session_state["lab_set_aside"] = None


def texts(draft: Draft) -> None:
    """The prompt and both answers."""
    st.session_state.update({"lab_prompt": draft.prompt, "lab_a": draft.answers[0], "lab_b": draft.answers[1]})
    st.text_area(
        "Prompt x",
        key="lab_prompt",
        height=200,
        on_change=_prompt_changed,
        placeholder="Type or paste a prompt",
        help="Ctrl+Enter, or leaving the field, takes it over. Nothing is computed before you press Run.",
    )
    for column, name in zip(st.columns(2), "ab", strict=True):
        column.text_input(
            f"Answer {name}",
            key=f"lab_{name}",
            on_change=_answers_changed,
            help="f is log p(a) − log p(b) after the prompt. Give it as it continues x, with its leading space.",
        )


def _prompt_changed() -> None:
    draft, lost = lab.with_prompt(current(), st.session_state["lab_prompt"])
    st.session_state["lab_lost"] = lost
    keep(draft)


def _answers_changed() -> None:
    keep(replace(current(), answers=(st.session_state["lab_a"], st.session_state["lab_b"])))


def marking(draft: Draft) -> None:
    """Mark a sentence, words or characters, by select boxes; and take marks away again."""
    by = choose("Mark by", "mark_by", MARK_BY, "sentences", widget="segments", help="What the edit is about.")
    with st.container(horizontal=True, vertical_alignment="bottom"):
        span = {"sentences": _sentence, "words": _words, "characters": _characters}[by](draft)
        st.button(
            "Mark", icon=":material/ink_highlighter:", key="lab_mark", disabled=span is None,
            on_click=lambda: _mark(span),
        )  # fmt: skip
    for text in st.session_state.get("lab_lost", ()):
        st.warning(
            f"The marked text “{markdown_escaped(label(text))}” is gone from the prompt, or stands there more than "
            "once: mark it again.",
            icon=":material/ink_eraser:",
        )
    if not draft.marks:
        st.caption("Nothing is marked.")
        return
    key = f"lab_marks_{_hash(str(draft.marks))}"
    st.session_state[key] = list(range(len(draft.marks)))
    st.multiselect(
        "Marked",
        range(len(draft.marks)),
        key=key,
        format_func=lambda i: label(draft.marks[i].text, 48),
        on_change=lambda: keep(replace(draft, marks=tuple(draft.marks[i] for i in sorted(st.session_state[key])))),
        help="The edit is about all of these. Take one out to unmark it.",
    )


def _mark(span: Span | None) -> None:
    if span is not None:
        st.session_state["lab_lost"] = ()
        keep(lab.marked(current(), span))


def _sentence(draft: Draft) -> Span | None:
    found = sentences(draft.prompt)
    return _one_of("Sentence", found, draft) if _few(found, "sentences") else None


def _words(draft: Draft) -> Span | None:
    found = lab.words(draft.prompt)
    if not _few(found, "words"):
        return None
    first, last = _one_of("From", found, draft), _one_of("To", found, draft)
    return (min(first[0], last[0]), max(first[1], last[1])) if first and last else None


def _characters(draft: Draft) -> Span | None:
    most = len(draft.prompt)
    if not most:
        st.caption("There is no text to mark.")
        return None
    key = _hash(draft.prompt)
    options = {"min_value": 0, "max_value": most, "step": 1, "width": 130}
    first = st.number_input("From character", value=0, key=f"lab_from_{key}", **options)
    last = st.number_input("To, exclusive", value=min(most, 10), key=f"lab_to_{key}", **options)
    if first >= last:
        st.caption("The end has to stand behind the start.")
        return None
    return int(first), int(last)


def _few(found: Sequence[Span], what: str) -> bool:
    if len(found) > MOST_PIECES:
        st.caption(f"This prompt has {len(found):,} {what}, too many for a list: mark by characters.")
    elif not found:
        st.caption("There is no text to mark.")
    return 0 < len(found) <= MOST_PIECES


def _one_of(name: str, spans: Sequence[Span], draft: Draft) -> Span | None:
    # The text is part of the key: another text's choice would name another place.
    place = st.selectbox(
        name,
        range(len(spans)),
        key=f"lab_{name}_{_hash(draft.prompt)}",
        format_func=lambda i: f"{i + 1}. {label(draft.prompt[slice(*spans[i])])}",
        width="stretch",
    )
    return None if place is None else spans[place]


def editing(draft: Draft) -> None:
    """The kind of edit, and what it needs."""
    st.session_state["lab_edit"] = draft.edit
    st.selectbox(
        "Edit",
        list(lab.EDIT_NAMES),
        key="lab_edit",
        format_func=lab.EDIT_NAMES.get,
        on_change=lambda: keep(_with_edit(current(), st.session_state["lab_edit"])),
        help="What turns x into the counterfactual x′.",
    )
    if draft.edit == "replace":
        _typed("Replace by", "value", draft.value, st.text_input)
    if draft.edit == lab.WRITTEN:
        _typed("Counterfactual x′", "written", draft.written, st.text_area)


def _with_edit(draft: Draft, edit: str) -> Draft:
    """Writing by hand starts from the prompt, or from what was written before."""
    written = draft.written or draft.prompt if edit == lab.WRITTEN else draft.written
    return replace(draft, edit=edit, written=written)


def _typed(name: str, field: str, value: str, widget) -> None:
    key = f"lab_{field}"
    st.session_state[key] = value
    widget(name, key=key, on_change=lambda: keep(replace(current(), **{field: st.session_state[key]})))


def _hash(text: str) -> str:
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12]
