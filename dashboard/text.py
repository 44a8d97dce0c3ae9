"""Text from data, made safe and readable: everything here escapes what it is given.

Prompts, metadata and model output may hold anything. HTML made here goes into `st.html`; what goes into a
label, a tooltip or an alert (which render Markdown) goes through `markdown_escaped`.
"""

from __future__ import annotations

import html
import re
from collections.abc import Sequence

from rapidfuzz.distance.Indel import opcodes

_HIDING = (*range(0x80, 0xA0), 0x200B, *range(0x202A, 0x202F), *range(0x2060, 0x206A), 0xFEFF)
_VISIBLE = {c: f"\\x{c:02x}" for c in (*range(32), 0x7F) if chr(c) not in "\n\t"}
# Marks that reorder or hide what follows, so that one text could pass for another.
_VISIBLE |= {c: f"\\u{c:04x}" for c in _HIDING}
_WORD = re.compile(r"\s+|\w+|[^\w\s]")
_MARKDOWN = re.compile(r"([\\`*_{}\[\]()<>#+\-.!|~$:^=\"'&])")
_FOUND = re.compile(r"(?<=:)(?=[\w/+])|(?<=www)(?=\.)|(?<=@)", re.IGNORECASE)
"""Where Streamlit finds an address, an icon or an emoji although all marks are escaped: a word joiner breaks it."""
LONGEST = 20_000
"""Characters of one text that are drawn; a page is for reading."""


def shown(text: object) -> str:
    """Plain text with control characters and direction marks written as escapes, cut at `LONGEST` characters."""
    clean = str(text).translate(_VISIBLE)
    if len(clean) <= LONGEST:
        return clean
    return f"{clean[:LONGEST]} … ({len(clean) - LONGEST:,} more characters)"


def escaped(text: object) -> str:
    """Text for HTML, between tags or in a quoted attribute."""
    return html.escape(shown(text))


def markdown_escaped(text: object) -> str:
    """Text for a label, tooltip or alert: every mark of Markdown loses its meaning, no address a link; one line."""
    line = _FOUND.sub("\u2060", " ".join(shown(text).split()))
    return _MARKDOWN.sub(r"\\\1", line)


def words(text: str) -> list[str]:
    """Words, punctuation marks and runs of white space, which join to the text again."""
    return _WORD.findall(text)


def changes(before: str, after: str) -> list[tuple[str, str]]:
    """Word-level difference as ("equal" | "delete" | "insert", text) pieces, a deletion before its insertion.

    White space between two changes counts as changed, so that a new sentence is one piece, not a comb of words.
    """
    a, b = words(before), words(after)
    pieces: list[tuple[str, str]] = []
    gone = come = ""
    steps = [("".join(a[s.src_start : s.src_end]), "".join(b[s.dest_start : s.dest_end]), s.tag) for s in opcodes(a, b)]
    for at, (old, new, tag) in enumerate(steps):
        inside = (gone or come) and at + 1 < len(steps) and old.isspace()
        if tag != "equal" or inside:
            gone, come = gone + old, come + new
            continue
        pieces += _flushed(gone, come)
        pieces.append(("equal", old))
        gone = come = ""
    return pieces + _flushed(gone, come)


def _flushed(gone: str, come: str) -> list[tuple[str, str]]:
    return [(tag, text) for tag, text in (("delete", gone), ("insert", come)) if text]


def diff(before: str, after: str, side: str = "both") -> str:
    """Escaped HTML of one side of a word diff: "before" shows deletions, "after" insertions, "both" both.

    Deletions are struck through and insertions underlined, beside their colour; screen readers get del and ins.
    """
    hidden = {"before": "insert", "after": "delete"}.get(side)
    marks = {"equal": "span", "delete": "del", "insert": "ins"}
    pieces = [
        f"<{marks[tag]}>{html.escape(text)}</{marks[tag]}>"
        for tag, text in changes(shown(before), shown(after))
        if tag != hidden
    ]
    return f'{STYLE}<div class="prompt">{"".join(pieces)}</div>'


def heat(tokens: Sequence[str], values: Sequence[float], largest: float, unit: str = "nats") -> str:
    """Escaped HTML of tokens over a diverging background; the sign is also a line above (+) or below (−) the token.

    largest: the value of the deepest shade; one for all texts whose shades are to be compared.
    """
    largest = largest or 1.0
    pieces = []
    for token, value in zip(tokens, values, strict=True):
        share = round(100 * min(abs(value) / largest, 1.0))
        sign = "up" if value > 0 else "down" if value < 0 else "none"
        label = f"{signed(value)} {unit}"
        pieces.append(
            f'<span class="{sign}" style="--share:{share}%" title="{html.escape(label)}">{escaped(token)}</span>'
        )
    return f'{STYLE}<div class="prompt heat">{"".join(pieces)}</div>'


def plain(text: object) -> str:
    """Escaped HTML of a text as it stands."""
    return f'{STYLE}<div class="prompt">{escaped(text)}</div>'


def visible(token: str) -> str:
    """A token with its white space written out."""
    return shown(token.replace(" ", "␣").replace("\n", "↵").replace("\t", "⇥"))


def signed(value: float | None, digits: int = 2) -> str:
    """A number with its sign (a real minus, no negative zero); an en dash where there is none."""
    if value is None or value != value:
        return "–"
    rounded = round(float(value), digits) + 0.0
    return f"{rounded:+.{digits}f}".replace("-", "−") if rounded else f"{0:.{digits}f}"


def interval(low: float | None, high: float | None) -> str:
    """`[−0.10, +0.24]`, or nothing where there is none."""
    if low is None or high is None or low != low or high != high:
        return ""
    return f"[{signed(low)}, {signed(high)}]"


STYLE = """<style>
.prompt { font-size: 1.02rem; line-height: 1.65; white-space: pre-wrap; overflow-wrap: anywhere; }
.prompt del { background: color-mix(in srgb, #D55E00 22%, transparent); text-decoration: line-through 2px; }
.prompt ins { background: color-mix(in srgb, #0072B2 24%, transparent); text-decoration: underline 2px;
  text-underline-offset: 3px; }
.prompt del, .prompt ins { border-radius: 3px; padding: 0 2px; color: inherit; }
.heat .up { background: color-mix(in srgb, #0072B2 var(--share), transparent); border-top: 2px solid #0072B2; }
.heat .down { background: color-mix(in srgb, #D55E00 var(--share), transparent); border-bottom: 2px solid #D55E00; }
</style>"""
