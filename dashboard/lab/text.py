"""The lab's texts as escaped HTML: marks on the prompt, and the part of a long text around its change."""

from __future__ import annotations

from collections.abc import Sequence

from dashboard.text import STYLE, escaped, shown, with_roles
from engine.records import Span

AROUND = 1_500
"""Characters that are drawn at either end of a long text, and on either side of a change."""

_MARK = """<style>
.prompt mark { background: color-mix(in srgb, #B07D00 30%, transparent); color: inherit; padding: 0 2px;
  border-radius: 3px; border-bottom: 2px solid #B07D00; }
</style>"""


def highlighted(text: str, marks: Sequence[Span]) -> str:
    """Escaped HTML of a text with its marks; `marks` are sorted and disjoint. Long stretches are cut in the middle."""
    pieces, at = [], 0
    for start, end in marks:
        pieces += [escaped(cut(text[at:start])), f"<mark>{escaped(cut(text[start:end]))}</mark>"]
        at = end
    pieces.append(escaped(cut(text[at:])))
    return f'{STYLE}{_MARK}<div class="prompt" dir="auto">{with_roles("".join(pieces), text)}</div>'


def cut(text: str, around: int = AROUND) -> str:
    """The text without its middle, if it is longer than twice `around`."""
    left = len(text) - 2 * around
    return text if left <= 0 else f"{text[:around]} … ({left:,} more characters) … {text[-around:]}"


def about_the_change(before: str, after: str, around: int = AROUND) -> tuple[str, str]:
    """Both texts without most of their common beginning and end, so that the change in a long text is drawn."""
    most = min(len(before), len(after))
    start = next((i for i in range(most) if before[i] != after[i]), most)
    end = next((i for i in range(most - start) if before[-1 - i] != after[-1 - i]), most - start)
    first, last = max(0, start - around), max(0, end - around)
    front = f"({first:,} characters) … " if first else ""
    back = f" … ({last:,} characters)" if last else ""
    return tuple(front + text[first : len(text) - last] + back for text in (before, after))  # type: ignore[return-value]


def label(text: str, limit: int = 60) -> str:
    """One line of plain text for a select box."""
    line = " ".join(shown(text[: 4 * limit]).split())
    return line if len(line) <= limit else f"{line[: limit - 1]}…"
