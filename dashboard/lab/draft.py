"""The draft in the lab: a prompt, marks on it, an edit, two answers. Pure: no Streamlit, no model.

A `Draft` is never changed, only replaced. When the prompt changes, a mark moves with its text. If the text is gone, the
mark is removed and the page says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from engine.config import InputError
from engine.records import Span, spans_of
from engine.tasks.edits import EDITS, Edited

LONGEST = 200_000
"""Characters of a prompt; a longer one is refused."""
WRITTEN = "write"
EDIT_NAMES = {
    "delete_span": "Delete the marked text",
    "delete_sentence": "Delete the sentences that hold it",
    "mask": "Mask its words with ___",
    "replace": "Replace it by …",
    WRITTEN: "None: x′ is as typed",
}


@dataclass(frozen=True)
class Draft:
    prompt: str = ""
    answers: tuple[str, str] = ("", "")
    marks: tuple[Span, ...] = ()
    """Spans of the prompt, sorted and disjoint."""
    edit: str = "delete_span"
    """A key of `EDIT_NAMES`."""
    value: str = ""
    """The replacement text of `replace`."""
    written: str = ""
    """x' if it is written by hand."""


def marked(draft: Draft, span: Span) -> Draft:
    """The draft with one more mark. Marks that touch or overlap become one. An empty span marks nothing."""
    start, end = max(0, span[0]), min(len(draft.prompt), span[1])
    if start >= end:
        return draft
    apart = []
    for mark in draft.marks:
        if mark[0] <= end and start <= mark[1]:
            start, end = min(start, mark[0]), max(end, mark[1])
        else:
            apart.append(mark)
    return replace(draft, marks=tuple(sorted([*apart, (start, end)])))


def with_prompt(draft: Draft, prompt: str) -> tuple[Draft, tuple[str, ...]]:
    """The draft with another prompt, and the texts of the removed marks: those that are gone, or are no longer in place
    and stand in the prompt more than once."""
    kept, lost = replace(draft, prompt=prompt, marks=()), []
    for start, end in draft.marks:
        text = draft.prompt[start:end]
        if prompt[start:end] != text:
            start = prompt.find(text)
            if start < 0 or prompt.find(text, start + 1) >= 0:
                lost.append(text)
                continue
        kept = marked(kept, (start, start + len(text)))
    return kept, tuple(lost)


def edited(draft: Draft) -> Edited | None:
    """x' and its spans; None if nothing is marked or written yet. Raises EditError."""
    if draft.edit == WRITTEN:
        return Edited(draft.written, (), ()) if draft.written.strip() else None
    if not draft.marks:
        return None
    value = draft.value if draft.edit == "replace" else None  # a mask would use it as its sign
    return EDITS[draft.edit](draft.prompt, list(draft.marks), value)


def from_example(row: Mapping) -> Draft:
    """The draft that makes an example's x' from its x: by the edit that gives exactly that text, else by hand."""
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


def attempt(draft: Draft) -> tuple[Edited | None, list[str]]:
    """x' and its spans as `edited` gives them, and the reasons why the edit can't be made, a line each (plain text)."""
    if draft.edit == "replace" and draft.marks and not draft.value:
        return None, ["Type the text that replaces the marked one; to take the marked text out, choose to delete it."]
    try:
        made = edited(draft)
    except InputError as error:
        return None, [f"The edit can't be made: {error}."]
    if made is not None and not made.text.strip():
        return None, ["The edit leaves nothing of the prompt: mark less of it."]
    if made is not None and len(made.text) > LONGEST:
        return None, [f"x′ has {len(made.text):,} characters; the lab reads at most {LONGEST:,}: cut it."]
    return made, []


def obstacles(draft: Draft) -> list[str]:
    """The reasons why nothing can be computed, a line each (plain text)."""
    found = []
    if not draft.prompt.strip():
        found.append("The prompt is empty: type or paste one, or start from an example.")
    if len(draft.prompt) > LONGEST:
        found.append(f"The prompt has {len(draft.prompt):,} characters; the lab reads at most {LONGEST:,}: cut it.")
    for name, answer in zip("ab", draft.answers, strict=True):
        if not answer:
            found.append(f"Answer {name} is empty: give a text that continues the prompt, with its leading space.")
    if draft.answers[0] == draft.answers[1] != "":
        found.append("Answers a and b are the same, so f is 0 whatever the prompt: give two different ones.")
    return found + attempt(draft)[1]


def remarks(draft: Draft) -> list[str]:
    """Hints about a draft that can be computed, a line each (plain text)."""
    found, made = [], edited(draft)
    if made is None:
        need = "type x′, or mark words of x, to get f(x′) and Δ"
        found.append(f"There is no counterfactual yet: {need}. The rest can be computed.")
    elif made.text == draft.prompt:
        found.append("The edit changes nothing: x′ is x, so Δ is 0.")
    for name, answer in zip("ab", draft.answers, strict=True):
        if answer.strip() and not answer[0].isspace() and draft.prompt[-1:].isalnum():
            joined = f"{draft.prompt[-12:]}{answer[:12]}"
            found.append(f"Answer {name} follows the prompt without a space: “{joined}”. Most answers begin with one.")
    return found


def without_each(text: str, spans: Sequence[Span]) -> list[str]:
    """The text without each span in turn, spaces tidied; empty if nothing is left."""
    return [EDITS["delete_span"](text, [span], None).text for span in spans]


def explainer_remark(kind: str | None, chosen: str) -> str:
    """Says which explainer is used. kind: the kind of edit of the run's example with these texts, None if there is
    none. chosen: the kind of edit that the explainer was trained on."""
    if kind == chosen:
        return f"These texts are an example of the run, edited by {kind}: the explainer of that kind of edit is used."
    if kind is not None:
        return (
            f"These texts are an example of the run, edited by {kind}. The explainer used was trained on {chosen}, and "
            "predicts the effect of that edit."
        )
    return (
        f"This edit is no example of the run, so no explainer was trained on it. The one of {chosen} is used: it "
        f"predicts the effect of {chosen} on this prompt. Compare it with Δ only if your edit is of that kind."
    )
