"""The lab's controls. The draft in the session is the state: widgets show it, and their callbacks replace it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256

import streamlit as st

from dashboard.lab import address, start
from dashboard.lab import draft as lab
from dashboard.lab.draft import Draft
from dashboard.lab.text import label
from dashboard.selection.state import Selection, bound, update
from dashboard.text import markdown_escaped
from dashboard.widgets import figures
from dashboard.widgets.figures import choose
from engine.records import Span
from engine.tasks.edits import sentences

MOST_PIECES = 2_000
"""Words or sentences of a select box."""
MARK_BY = {"sentences": "Sentence", "words": "Words", "characters": "Characters"}


def keep(draft: Draft) -> None:
    """Keep a changed draft in the session, and in the address if it is short enough for a link."""
    st.session_state["lab_draft"] = draft
    _link(address.parameter(draft))


def _link(parameter: str | None) -> None:
    st.session_state["lab_link"] = parameter
    figures.keep("draft", parameter)


def current() -> Draft:
    return st.session_state.get("lab_draft", Draft())


def _touched() -> bool:
    """Whether the draft is not as it was loaded."""
    return "lab_draft" in st.session_state and current() != st.session_state.get("lab_loaded")


def _begin(draft: Draft, loaded: Draft | None) -> None:
    """Begin with another draft. A draft that was typed is set aside and can be brought back."""
    if _touched():
        st.session_state["lab_set_aside"] = current()
    st.session_state.update({"lab_draft": draft, "lab_loaded": loaded, "lab_lost": ()})
    _link(None)


def draft_of(selection: Selection) -> Draft:
    """The draft; if the link has another draft or example than before, that one. Raises RunError."""
    wanted = (selection.run.key, selection.example)
    linked = figures.chosen("draft", None, "") or None
    if linked != st.session_state.get("lab_link"):  # a link, or a step back
        st.session_state["lab_origin"] = None
        try:
            draft = address.draft_of(linked) if linked else None
        except ValueError:
            st.warning("The link does not fit: it holds no prompt that can be read.", icon=":material/link_off:")
            draft = None
        if draft is not None:
            _begin(draft, loaded=None)
            st.session_state["lab_origin"] = wanted
        _link(linked if draft is not None else None)
    if st.session_state.get("lab_origin") == wanted:
        return current()
    if selection.example is None and not _touched():
        first = start.typical(selection)
        update(example=first)
        wanted = (selection.run.key, first)
    row = start.read(selection, wanted[1]) if wanted[1] else None
    if row is not None:
        example = lab.from_example(row)
        _begin(example, loaded=example)
    elif wanted[1]:
        st.warning(f"This run has no example {markdown_escaped(wanted[1])}.", icon=":material/link_off:")
    if "lab_draft" not in st.session_state:
        keep(Draft(answers=start.answers(selection.path)))
    st.session_state["lab_origin"] = wanted
    return current()


def began_with() -> str | None:
    """The example that the page began with."""
    return (st.session_state.get("lab_origin") or (None, None))[1]


def start_from(selection: Selection) -> None:
    """Choose an example to start from, or a blank prompt."""
    here = began_with()
    titles = start.offered(selection, here)

    def started(chosen: str) -> None:
        if not chosen:
            _begin(Draft(answers=start.answers(selection.path)), loaded=None)
            st.session_state["lab_origin"] = (selection.run.key, None)
        _link(None)
        update(example=chosen)

    help_line = (
        "The page begins with an example whose effect moved as far as most do. The list has those that moved most from "
        "the target to the current checkpoint. The page "
        "Examples can send any other example here."
    )
    look = {"format_func": lambda i: titles.get(i, "a prompt of your own"), "help": help_line}
    value = here if here in titles else ""
    bound(st.selectbox, "Start from", ["", *titles], key="lab_start", value=value, change=started, **look)
    if st.session_state.get("lab_set_aside") is not None:
        st.button("Bring back what I typed", icon=":material/undo:", key="lab_back", on_click=_bring_back)


def say_link() -> None:
    """Whether the address leads to the draft."""
    if _touched() and st.session_state.get("lab_link"):
        st.caption("The address of this page holds these texts: it is a link to them.")
    elif _touched():
        st.caption("These texts are too long for a link: the address of this page leads to the example it began with.")


def _bring_back() -> None:
    keep(st.session_state["lab_set_aside"])
    st.session_state["lab_set_aside"] = None


def texts(draft: Draft) -> None:
    """x and x′ side by side, both to be edited in place, and both answers."""
    left, right = st.columns(2, gap="medium")
    help_line = (
        "To enter the text, press Ctrl+Enter or leave the field. Nothing is computed before you press Run. "
        "In a conversation each message follows its role, on a new line: ⟦system⟧, ⟦user⟧ or ⟦assistant⟧."
    )
    look = {"height": 200, "placeholder": "Type or paste a prompt", "help": help_line}
    with left:
        bound(st.text_area, "Prompt x", key="lab_prompt", value=draft.prompt, change=_prompt_changed, **look)
    made, _ = lab.attempt(draft)
    value = made.text if made else draft.written if draft.edit == lab.WRITTEN else ""
    look["placeholder"] = "Type x′, or mark words of x below"
    look["help"] = (
        "Change it in place. While an edit below makes x′, it follows x; once you type here, it stays as typed."
    )
    with right:
        bound(st.text_area, "Counterfactual x′", key="lab_written", value=value, change=_written, **look)
    help_line = "f is log p(a) − log p(b) after the prompt. Give the answer as it continues x, with its leading space."
    for column, name, value in zip(st.columns(2, gap="medium"), "ab", draft.answers, strict=True):
        title, key = f"Answer {name}", f"lab_{name}"
        bound(column.text_input, title, key=key, value=value, change=_answers_changed, help=help_line)


def _prompt_changed(prompt: str) -> None:
    draft, lost = lab.with_prompt(current(), prompt)
    st.session_state["lab_lost"] = lost
    keep(draft)


def _written(text: str) -> None:
    keep(replace(current(), edit=lab.WRITTEN, written=text))


def _answers_changed(_: str) -> None:
    keep(replace(current(), answers=(st.session_state["lab_a"], st.session_state["lab_b"])))


def marking(draft: Draft) -> None:
    """Mark a sentence, words or characters, by select boxes; and remove marks."""
    by = choose("Mark by", "mark_by", MARK_BY, "sentences", widget="segments", help="Marks are what the edit changes.")
    with st.container(horizontal=True, vertical_alignment="bottom"):
        match by:
            case "sentences":
                span = _pick(draft, sentences(draft.prompt), by, "Sentence")
            case "words":
                span = _pick(draft, [found.span() for found in re.finditer(r"\S+", draft.prompt)], by, "From", "To")
            case _:
                span = _characters(draft)
        icon = ":material/ink_highlighter:"
        st.button("Mark", icon=icon, key="lab_mark", disabled=span is None, on_click=_mark, args=(span,))
    for text in st.session_state.get("lab_lost", ()):
        st.warning(
            f"The marked text “{markdown_escaped(label(text))}” is gone from the prompt, or stands there more than "
            "once: mark it again.",
            icon=":material/ink_eraser:",
        )
    if not draft.marks:
        st.caption("Nothing is marked.")
        return

    def unmarked(kept: list[int]) -> None:
        keep(replace(draft, marks=tuple(draft.marks[i] for i in sorted(kept))))

    def text_of(i: int) -> str:
        return label(draft.prompt[slice(*draft.marks[i])], 48)

    every, key = range(len(draft.marks)), f"lab_marks_{_hash(str(draft.marks))}"
    look = {"format_func": text_of, "help": "The edit changes all of these. Take one out to unmark it."}
    bound(st.multiselect, "Marked", every, key=key, value=list(every), change=unmarked, **look)


def _mark(span: Span) -> None:
    st.session_state["lab_lost"] = ()
    keep(lab.marked(current(), span))


def _pick(draft: Draft, spans: Sequence[Span], what: str, *names: str) -> Span | None:
    """From the first to the last of the spans that the reader picks, in a select box for each of `names`."""
    if not 0 < len(spans) <= MOST_PIECES:
        many = f"This prompt has {len(spans):,} {what}, too many for a list: mark by characters."
        st.caption(many if spans else "There is no text to mark.")
        return None

    def title(i: int) -> str:
        return f"{i + 1}. {label(draft.prompt[slice(*spans[i])])}"

    # The key holds the text, because the same number means another place in another text.
    keys = {name: f"lab_{name}_{_hash(draft.prompt)}" for name in names}
    look = {"format_func": title, "width": "stretch"}
    picked = [st.selectbox(name, range(len(spans)), key=key, **look) for name, key in keys.items()]
    return None if None in picked else (spans[min(picked)][0], spans[max(picked)][1])


def _characters(draft: Draft) -> Span | None:
    most, key = len(draft.prompt), _hash(draft.prompt)
    if not most:
        st.caption("There is no text to mark.")
        return None
    options = {"min_value": 0, "max_value": most, "step": 1, "width": 130}
    first = st.number_input("From character", value=0, key=f"lab_from_{key}", **options)
    last = st.number_input("To, exclusive", value=min(most, 10), key=f"lab_to_{key}", **options)
    if first >= last:
        st.caption("The end has to stand behind the start.")
        return None
    return int(first), int(last)


def editing(draft: Draft) -> None:
    """The kind of edit, and the text that it needs."""
    help_line, names = "The change of the marked text that makes the counterfactual x′ from x.", lab.EDIT_NAMES
    look = {"format_func": names.get, "help": help_line}
    bound(st.selectbox, "Edit", list(names), key="lab_edit", value=draft.edit, change=_edit_changed, **look)
    if draft.edit == "replace":
        value, change = draft.value, lambda text: keep(replace(current(), value=text))
        bound(st.text_input, "Replace by", key="lab_value", value=value, change=change)


def _edit_changed(edit: str) -> None:
    """What is typed begins with the x′ of the edit before, or with x."""
    draft = current()
    made, _ = lab.attempt(draft)
    keep(replace(draft, edit=edit, written=made.text if made else draft.prompt))


def _hash(text: str) -> str:
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12]
