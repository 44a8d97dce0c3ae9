"""Text from data, made safe and readable: everything here escapes what it is given.

Prompts, metadata and model output may hold anything. HTML made here goes into `st.html`. Text for labels, tooltips and
alerts, which render Markdown, goes through `markdown_escaped`.
"""

from __future__ import annotations

import html
import re
from collections.abc import Sequence

from rapidfuzz.distance.Indel import opcodes

from engine.tasks.messages import MARK, ROLE_MARK, is_conversation

_HIDING = (*range(0x80, 0xA0), 0x200B, *range(0x202A, 0x202F), *range(0x2060, 0x206A), 0xFEFF)
"""Marks that reorder or hide the text after them, so that one text could pass for another."""
_VISIBLE = {c: f"\\x{c:02x}" for c in (*range(32), 0x7F) if chr(c) not in "\n\t"}
_VISIBLE |= {c: f"\\u{c:04x}" for c in (*_HIDING, *range(0xD800, 0xE000))}  # halves of characters can't be sent
_WORD = re.compile(rf"{ROLE_MARK}|\s+|\w+|[^\w\s]")
_MARKDOWN = re.compile(r"([\\`*_{}\[\]()<>#+\-.!|~$:^=\"'&])")
_AUTOLINK = re.compile(r"(?<=:)(?=[\w/+])|(?<=www)(?=\.)|(?<=@)", re.IGNORECASE)
"""Where Streamlit finds an address, an icon or an emoji although all marks are escaped. A word joiner prevents it."""
LONGEST = 20_000
"""Characters of one text that a page draws."""


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
    """Text for a label, tooltip or alert: no Markdown, no links, on one line."""
    line = _AUTOLINK.sub("\u2060", " ".join(shown(text).split()))
    return _MARKDOWN.sub(r"\\\1", line)


def changes(before: str, after: str) -> list[tuple[str, str]]:
    """Word-level difference as ("equal" | "delete" | "insert", text) pieces, a deletion before its insertion.

    White space between two changes counts as changed, so that a new sentence is one piece.
    """
    a, b = _WORD.findall(before), _WORD.findall(after)
    pieces: list[tuple[str, str]] = []
    gone = come = ""
    steps = [("".join(a[s.src_start : s.src_end]), "".join(b[s.dest_start : s.dest_end]), s.tag) for s in opcodes(a, b)]
    for at, (old, new, tag) in enumerate(steps):
        inside = (gone or come) and at + 1 < len(steps) and old.isspace()
        if tag != "equal" or inside:
            gone, come = gone + old, come + new
        else:
            pieces += [("delete", gone), ("insert", come), ("equal", old)]
            gone = come = ""
    pieces += [("delete", gone), ("insert", come)]
    return [piece for piece in pieces if piece[1]]


def diff(before: str, after: str, side: str = "both") -> str:
    """Escaped HTML of one side of a word diff: "before" shows deletions, "after" insertions, "both" both.

    Deletions are struck through and insertions underlined, in addition to their colour. Screen readers get del and ins.
    """
    hidden = {"before": "insert", "after": "delete"}.get(side)
    marks = {"equal": "span", "delete": "del", "insert": "ins"}
    pieces = [
        f"<{marks[tag]}>{html.escape(text)}</{marks[tag]}>"
        for tag, text in changes(shown(before), shown(after))
        if tag != hidden
    ]
    return f'{STYLE}<div class="prompt">{with_roles("".join(pieces), before)}</div>'


def with_roles(body: str, text: str) -> str:
    """Escaped HTML of a text; if it is a conversation, each message stands under its role."""
    return MARK.sub(lambda mark: f'<b class="role">{mark[1].capitalize()}</b>', body) if is_conversation(text) else body


def heat(tokens: Sequence[str], values: Sequence[float], largest: float) -> str:
    """Escaped HTML of tokens over a diverging background; the sign is also a line above (+) or below (−) the token.

    values: in nats. largest: the value of the deepest shade. Use one for all texts whose shades are compared.
    """
    largest = largest or 1.0
    pieces = []
    for token, value in zip(tokens, values, strict=True):
        share = round(100 * min(abs(value) / largest, 1.0))
        sign = "up" if value > 0 else "down" if value < 0 else "none"
        pieces.append(
            f'<span class="{sign}" style="--share:{share}%" title="{signed(value)} nats">{escaped(token)}</span>'
        )
    return f'{STYLE}<div class="prompt heat">{"".join(pieces)}</div>'


def plain(text: object) -> str:
    """Escaped HTML of a text as it stands."""
    return f'{STYLE}<div class="prompt">{escaped(text)}</div>'


def visible(token: str) -> str:
    """A token with its white space written out."""
    return shown(token.replace(" ", "␣").replace("\n", "↵").replace("\t", "⇥"))


def number(value: float | None, digits: int = 2, *, sign: bool = False, absent: str = "n/a") -> str:
    """`0.81`, `+0.05`, `−0.11` with a real minus and no negative zero; `absent` where the value is None or NaN."""
    if value is None or value != value:
        return absent
    text = f"{value:+.{digits}f}" if sign else f"{value:.{digits}f}"
    if float(text) == 0:
        text = f"{0:.{digits}f}"
    return text.replace("-", "−")


def signed(value: float | None, digits: int = 2) -> str:
    """`number` with its sign; an en dash where there is none."""
    return number(value, digits, sign=True, absent="–")


def bracketed(low: float | None, high: float | None, *, sign: bool = True) -> str:
    """`[−0.10, +0.24]`; an empty string where an end is None or NaN."""
    ends = [number(end, sign=sign, absent="") for end in (low, high)]
    return f"[{', '.join(ends)}]" if all(ends) else ""


STYLE = """<style>
.prompt { font-size: 1.02rem; line-height: 1.65; white-space: pre-wrap; overflow-wrap: anywhere; }
.prompt del { background: color-mix(in srgb, #D55E00 22%, transparent); text-decoration: line-through 2px; }
.prompt ins { background: color-mix(in srgb, #3B7DD8 24%, transparent); text-decoration: underline 2px;
  text-underline-offset: 3px; }
.prompt del, .prompt ins { border-radius: 3px; padding: 0 2px; color: inherit; }
.prompt .role { display: block; width: fit-content; margin: 0.5rem 0 0.1rem; padding: 0 0.5rem; font-size: 0.8rem;
  border-radius: 0.6rem; background: color-mix(in srgb, currentColor 12%, transparent); }
.prompt .role:first-child, .prompt :first-child > .role:first-child { margin-top: 0; }
.heat .up { background: color-mix(in srgb, #3B7DD8 var(--share), transparent); border-top: 2px solid #3B7DD8; }
.heat .down { background: color-mix(in srgb, #D55E00 var(--share), transparent); border-bottom: 2px solid #D55E00; }
</style>"""
