"""Counterfactual edits on text: x and spans in, x' and exact spans out.

Each edit takes (text, spans, value); spans are disjoint half-open ranges of characters. The kinds of edit in the
examples (`delete_cue`, `mask_speaker`, …) use these four. To add one, write a function and enter it in EDITS.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from engine.config import InputError
from engine.records import Span
from engine.tasks.messages import MARK, is_conversation
from engine.tasks.sentences import boundaries

MASK = "___"
_CLOSING = ",.;:!?…)"


class EditError(InputError):
    """Spans or a value that do not fit the text."""


@dataclass(frozen=True)
class Edited:
    text: str
    """x'"""
    spans: tuple[Span, ...]
    """The edited ranges, in characters of x."""
    edited_spans: tuple[Span, ...]
    """Their replacements, in characters of x'; empty ranges after a deletion."""


Edit = Callable[[str, Sequence[Span], str | None], Edited]


def _checked(text: str, spans: Sequence[Span]) -> list[Span]:
    if not spans:
        raise EditError("no span to edit: mark at least one")
    ordered = sorted((int(start), int(end)) for start, end in spans)
    for start, end in ordered:
        if not 0 <= start < end <= len(text):
            raise EditError(f"span {start}–{end} is empty or outside the text of {len(text)} characters")
    for (_, end), (start, _) in pairwise(ordered):
        if start < end:
            raise EditError(f"spans overlap at character {start}: merge them")
    return ordered


def _gap(text: str, start: int, end: int) -> Span:
    """Widen a deletion by the spaces (or the line break) that it would leave over."""
    left, right = text[:start].rstrip(" "), text[end:].lstrip(" ")
    before, after = start - len(left), len(text) - end - len(right)
    if left.endswith("⟧") and is_conversation(text):  # the beginning of a message
        return start, end + after
    begins_line, ends_line = left.endswith("\n") or not left, right.startswith("\n") or not right
    if begins_line and ends_line:  # delete the whole line with one of its line breaks
        return (start - before, end + after + 1) if right else (max(start - before - 1, 0), end + after)
    if begins_line:
        return start, end + after
    if ends_line or (right[0] in _CLOSING and after == 0):
        return start - before, end + after
    return (start, end + after) if before else (start, end)


def _rewrite(text: str, changes: Sequence[tuple[Span, Span, str]]) -> Edited:
    """Apply changes (span, range to remove, new text), sorted by position."""
    edited, edited_spans, position = "", [], 0
    for _, (start, end), new in changes:
        edited += text[position : max(start, position)] + new
        edited_spans.append((len(edited) - len(new), len(edited)))
        position = max(end, position)
    return Edited(edited + text[position:], tuple(span for span, _, _ in changes), tuple(edited_spans))


def _stripped(text: str, start: int, end: int) -> Span:
    """A span without its surrounding whitespace."""
    inside = text[start:end]
    return start + len(inside) - len(inside.lstrip()), start + len(inside.rstrip())


def sentence_around(text: str, span: Span) -> Span:
    """The sentence (or sentences) around a span, without surrounding whitespace."""
    start = max(at for at in boundaries(text) if at <= span[0])
    end = min(at for at in boundaries(text) if at >= span[1])
    return _stripped(text, start, end)


def sentences(text: str) -> list[Span]:
    """Every sentence of a text in order, split as in `sentence_around`; the marks of roles are none."""
    found = [_stripped(text, *span) for span in pairwise(boundaries(text)) if text[slice(*span)].strip()]
    return [s for s in found if not MARK.fullmatch(text[slice(*s)])] if is_conversation(text) else found


def delete_sentence(text: str, spans: Sequence[Span], value: str | None = None) -> Edited:
    """Delete every sentence that contains a span; the returned spans are those sentences."""
    return delete_span(text, tuple({sentence_around(text, span) for span in _checked(text, spans)}))


def delete_span(text: str, spans: Sequence[Span], value: str | None = None) -> Edited:
    """Delete the spans and the whitespace that would be left over."""
    return _rewrite(text, [(span, _gap(text, *span), "") for span in _checked(text, spans)])


def mask(text: str, spans: Sequence[Span], value: str | None = None) -> Edited:
    """Replace each word in the spans by `value` (default: three underscores)."""
    token = MASK if value is None else value
    changes = [(span, span, re.sub(r"\S+", lambda _: token, text[slice(*span)])) for span in _checked(text, spans)]
    return _rewrite(text, changes)


def replace(text: str, spans: Sequence[Span], value: str | None = None) -> Edited:
    """Replace each span by `value`. Raises EditError without a value."""
    if not value:
        raise EditError("replace needs a value; to remove a span use delete_span")
    return _rewrite(text, [(span, span, value) for span in _checked(text, spans)])


EDITS: dict[str, Edit] = {edit.__name__: edit for edit in (delete_sentence, delete_span, mask, replace)}
