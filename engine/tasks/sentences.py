"""Where sentences end: at . ! ? … and at line breaks, but not after "Mr.", "e.g.", an initial or a quoted question.

A rule of this size is wrong at times ("the U.S. Then" against "the U.S. Navy"). It errs towards longer sentences.
"""

from __future__ import annotations

import re

from engine.tasks.messages import messages_of

_END = re.compile(r"(?P<marks>[.!?…]+)(?P<closing>[\"'”’)\]]*)(?=\s|$)|\n")
_WORD_BEFORE = re.compile(r"[\w.]+$")
TITLES = frozenset("mr mrs ms mx dr prof rev hon st sr sra gen col capt lt sgt maj cmdr gov sen rep pres mt ft".split())
"""A name follows: never an end."""
INSIDE = frozenset("e.g i.e cf vs viz al approx ca resp incl esp".split())
"""The sentence goes on: never an end."""
NUMBERED = frozenset("no nos fig figs eq sec ch vol p pp jan feb mar apr jun jul aug sep sept oct nov dec".split())
"""No end before a digit: "No. 5", "Jan. 3"."""
MAYBE = frozenset("etc inc ltd co corp jr a.m p.m u.s u.k u.n ph.d b.a m.a m.d b.sc m.sc".split())
"""An end only before a capital letter, a digit or a quotation mark."""


def _ends(text: str, match: re.Match[str]) -> bool:
    """Whether a mark ends its sentence."""
    rest = text[match.end() :].lstrip(" \t")
    if match["marks"] is None or not rest or rest[0] == "\n":
        return True
    if rest[0].islower() and (match["closing"] or match["marks"] in ("…", "...")):  # "Really?!" he said; well... no
        return False
    if match["marks"] != ".":
        return True
    found = _WORD_BEFORE.search(text, max(0, match.start() - 40), match.start())
    word = found.group() if found else ""
    if word.lower() in TITLES | INSIDE or (len(word) == 1 and word.isupper() and word != "I"):
        return False
    if re.fullmatch(r"([A-Z]\.)+[A-Z]", word) and word.lower() not in MAYBE:  # initials: J.K. Rowling
        return False
    if word.lower() in NUMBERED:
        return not rest[0].isdigit()
    return not (word.lower() in MAYBE and rest[0].islower())


def boundaries(text: str) -> list[int]:
    """Positions at which a sentence begins or ends, in characters, sorted; the first is 0 and the last len(text). A
    message of a conversation begins and ends one."""
    ends = [0, *(match.end() for match in _END.finditer(text) if _ends(text, match)), len(text)]
    starts = {at for message in messages_of(text) for at in (message.start, message.start + len(message.content))}
    return sorted({*ends, *starts}) if starts else ends
