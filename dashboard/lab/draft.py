"""What somebody is trying out in the lab: a prompt, marks on it, an edit, two answers. Pure: no Streamlit, no model.

A `Draft` is never changed, only replaced. Marks remember the words that they stand on, so that they move with
them while the prompt is edited, and are given up, in words, where these are gone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from engine.config import InputError
from engine.records import Span, spans_of
from engine.tasks.edits import EDITS, Edited

LONGEST = 200_000
"""Characters of a prompt that are looked at at all."""
WRITTEN = "write"
EDIT_NAMES = {
    "delete_span": "Delete the marked text",
    "delete_sentence": "Delete the sentences that hold it",
    "mask": "Mask its words with ___",
    "replace": "Replace it by …",
    WRITTEN: "Write x′ by hand",
}
_WORD = re.compile(r"\S+")


@dataclass(frozen=True)
class Mark:
    """A span of the prompt and the text that stood there when it was marked."""

    start: int
    end: int
    text: str

    @property
    def span(self) -> Span:
        return self.start, self.end


@dataclass(frozen=True)
class Draft:
    prompt: str = ""
    answers: tuple[str, str] = ("", "")
    marks: tuple[Mark, ...] = ()
    """Sorted and disjoint."""
    edit: str = "delete_span"
    """A key of `EDIT_NAMES`."""
    value: str = ""
    """What `replace` puts in."""
    written: str = ""
    """x' where it is written by hand."""


def words(text: str) -> list[Span]:
    """Runs of characters that are not white space."""
    return [match.span() for match in _WORD.finditer(text)]


def marked(draft: Draft, span: Span) -> Draft:
    """The draft with one more mark; what it touches or overlaps becomes one with it. Empty spans mark nothing."""
    start, end = max(0, span[0]), min(len(draft.prompt), span[1])
    if start >= end:
        return draft
    apart = []
    for mark in draft.marks:
        if mark.start <= end and start <= mark.end:
            start, end = min(start, mark.start), max(end, mark.end)
        else:
            apart.append(mark)
    marks = sorted([*apart, Mark(start, end, draft.prompt[start:end])], key=lambda m: m.start)
    return replace(draft, marks=tuple(marks))


def with_prompt(draft: Draft, prompt: str) -> tuple[Draft, tuple[str, ...]]:
    """The draft with another prompt, and the texts of marks that are lost: gone from the prompt, or there more than
    once and not where they were."""
    kept = replace(draft, prompt=prompt, marks=())
    lost = []
    for mark in draft.marks:
        where = _place(mark, prompt)
        if where is None:
            lost.append(mark.text)
        else:
            kept = marked(kept, where)
    return kept, tuple(lost)


def _place(mark: Mark, prompt: str) -> Span | None:
    """Where a mark's text stands now: in place, else where it is found, if that is a single place."""
    if prompt[mark.start : mark.end] == mark.text:
        return mark.span
    first = prompt.find(mark.text)
    if first < 0 or prompt.find(mark.text, first + 1) >= 0:
        return None
    return first, first + len(mark.text)


def edited(draft: Draft) -> Edited | None:
    """x' and its spans; None where there is nothing to edit yet. Raises EditError."""
    if draft.edit == WRITTEN:
        return Edited(draft.written, (), ()) if draft.written.strip() else None
    if not draft.marks:
        return None
    value = draft.value if draft.edit == "replace" else None  # a mask would take it for its own sign
    return EDITS[draft.edit](draft.prompt, [mark.span for mark in draft.marks], value)


def from_example(row: Mapping) -> Draft:
    """The draft that makes an example's x' from its x: by the edit that gives just that text, else by hand."""
    draft = Draft(row["prompt"], (row["answer_a"], row["answer_b"]), written=row["edited"])
    for span in spans_of(row["spans"]):
        draft = marked(draft, span)
    put_in = {row["edited"][start:end] for start, end in spans_of(row["edited_spans"])}
    value = put_in.pop() if len(put_in) == 1 else ""
    for edit in ("delete_span", "mask", "replace", "delete_sentence"):
        attempt = replace(draft, edit=edit, value=value if edit == "replace" else "")
        try:
            made = edited(attempt)
        except InputError:
            continue
        if made is not None and made.text == row["edited"]:
            return attempt
    return replace(draft, edit=WRITTEN)


def obstacles(draft: Draft) -> list[str]:
    """Why nothing can be computed, a line each (plain text); none where all is well."""
    found = []
    if not draft.prompt.strip():
        found.append("The prompt is empty: type or paste one, or start from an example.")
    if len(draft.prompt) > LONGEST:
        found.append(f"The prompt has {len(draft.prompt):,} characters; the lab looks at {LONGEST:,} at most: cut it.")
    for name, answer in zip("ab", draft.answers, strict=True):
        if not answer:
            found.append(f"Answer {name} is empty: give a text that continues the prompt, with its leading space.")
    if draft.answers[0] == draft.answers[1] != "":
        found.append("Answers a and b are the same, so f is 0 whatever the prompt: give two different ones.")
    return found + edit_obstacles(draft)


def edit_obstacles(draft: Draft) -> list[str]:
    """Why the edit can't be made, a line each."""
    if draft.edit == "replace" and draft.marks and not draft.value:
        return ["Type what the marked text is to be replaced by; to take it out, choose to delete it."]
    try:
        made = edited(draft)
    except InputError as error:
        return [f"The edit can't be made: {error}."]
    if made is not None and not made.text.strip():
        return ["The edit leaves nothing of the prompt: mark less of it."]
    if made is not None and len(made.text) > LONGEST:
        return [f"x′ has {len(made.text):,} characters; the lab looks at {LONGEST:,} at most: cut it."]
    return []


def remarks(draft: Draft) -> list[str]:
    """What is worth knowing about a draft that can be computed, a line each."""
    found = []
    try:
        made = edited(draft)
    except InputError:
        return []
    if made is None:
        need = "write x′" if draft.edit == WRITTEN else "mark something"
        found.append(f"There is no counterfactual yet: {need} to get f(x′) and Δ. The rest can be computed.")
    elif made.text == draft.prompt:
        found.append("The edit changes nothing: x′ is x, so Δ is 0.")
    for name, answer in zip("ab", draft.answers, strict=True):
        if answer.strip() and not answer[0].isspace() and draft.prompt[-1:].isalnum():
            found.append(
                f"Answer {name} follows the prompt without a space: “{draft.prompt[-12:]}{answer[:12]}”. "
                "Most answers begin with one."
            )
    return found


def without_each(text: str, spans: Sequence[Span]) -> list[str]:
    """The text without each span in turn, spaces tidied; an empty one where nothing is left."""
    return [EDITS["delete_span"](text, [span], None).text for span in spans]


def say_explainer(kind: str | None, chosen: str) -> str:
    """Whose explanation it is, beside the edit that was made; `kind` is the edit's own, where the run knows it."""
    if kind == chosen:
        return f"These texts are an example of the run, edited by {kind}: its own kind's explainer is used."
    if kind is not None:
        return (
            f"These texts are an example of the run, edited by {kind}; the explainer chosen was trained on {chosen}, "
            "and speaks of that edit."
        )
    return (
        f"This edit is no example of the run, so nobody trained an explainer on it. The one of {chosen} is used: it "
        f"says what {chosen} would do to this prompt. Compare it with Δ only where your edit is of that kind."
    )
