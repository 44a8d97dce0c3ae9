"""A draft of the lab as a parameter of the page's address, and back. Pure."""

from __future__ import annotations

from dashboard.lab.draft import EDIT_NAMES, LONGEST, Draft, marked
from dashboard.selection import packed


def parameter(draft: Draft) -> str | None:
    """The parameter; None if the texts are too long for a link."""
    return packed.pack([draft.prompt, *draft.answers, draft.edit, draft.value, draft.written, draft.marks])


def draft_of(text: str) -> Draft:
    """The draft of a parameter. Raises ValueError for anything that `parameter` would not make."""
    found = packed.unpack(text)
    if not isinstance(found, list) or len(found) != 7:
        raise ValueError("not a draft")
    *texts, marks = found
    if not all(isinstance(t, str) and len(t) <= LONGEST for t in texts) or texts[3] not in EDIT_NAMES:
        raise ValueError("not the texts of a draft")
    prompt, a, b, edit, value, written = texts
    draft = Draft(prompt, (a, b), edit=edit, value=value, written=written)
    for mark in marks if isinstance(marks, list) else []:
        if not (isinstance(mark, list) and [type(end) for end in mark] == [int, int]):
            raise ValueError("not a mark")
        draft = marked(draft, (mark[0], mark[1]))
    return draft
