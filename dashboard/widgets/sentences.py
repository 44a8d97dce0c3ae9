"""What a self-explaining model's sentence says of an example, beside what the models do. Pure; imports no Streamlit.

A row is one of `examples.rows`: f and f(x′) of both checkpoints, the two answers, the edit, the sentence.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from dashboard.text import shown
from engine.tasks import WORDINGS
from engine.tasks.wording import Statement

LONGEST = 80
"""Characters of an answer in a table."""


def does(row: Mapping[str, Any], who: str) -> tuple[str, str]:
    """ "a" or "b": the likelier answer of `who` ("target", "current") to x and to x′."""
    return tuple("a" if float(row[f"{f}_{who}"]) > 0 else "b" for f in ("f", "f_edited"))  # type: ignore[return-value]


def read(row: Mapping[str, Any]) -> Statement | None:
    """What the sentence says; None where it can't be read."""
    if row["task"] not in WORDINGS or pd.isna(row["text"]):
        return None
    wording, text = WORDINGS[row["task"]], " ".join(str(row["text"]).split())
    question = " ".join(wording.question(row["edit"]).split())
    if not text.startswith(question):
        return None
    try:
        return wording.parse(text.removeprefix(question), row["answer_a"], row["answer_b"])
    except ValueError:  # two answers that read the same
        return None


def agrees(said: Statement | None, answers: tuple[str, str]) -> bool:
    """Exact match: the answer to x′ and whether it is another one than to x."""
    x, edited = answers
    return said is not None and said.answer == edited and said.changed == (x != edited)


def whom(row: Mapping[str, Any]) -> str:
    """Whom the sentence is right about: "both", "current", "target", "neither", or "unreadable"."""
    said = read(row)
    if said is None:
        return "unreadable"
    right = agrees(said, does(row, "current")), agrees(said, does(row, "target"))
    return {(True, True): "both", (True, False): "current", (False, True): "target", (False, False): "neither"}[right]


VERDICTS = {
    "both": "The sentence is right about the current model. It is what the label says too, so it tells nothing of "
    "whom it follows.",
    "current": "The sentence is right about the current model and no longer what the label says: it follows the "
    "current model.",
    "target": "The sentence is what the label says, and wrong about the current model: it repeats the target.",
    "neither": "The sentence is wrong about the current model, and not what the label says either.",
    "unreadable": "The words can't be read as an explanation. They count as wrong.",
}
COPIED = " Copying the present answer, “my answer would not change”, would have been right as well."


def verdict(row: Mapping[str, Any]) -> str:
    """In a sentence: whom the words are right about, and whether that needed any look inside."""
    x, edited = does(row, "current")
    who = whom(row)
    return VERDICTS[who] + (COPIED if who in ("both", "current") and x == edited else "")


def table(row: Mapping[str, Any]) -> pd.DataFrame:
    """Who says or does what: answer to x, answer to x′, whether it changes; three rows of text."""
    words = {"a": row["answer_a"], "b": row["answer_b"]}
    names = {k: f"“{shown(v).strip()[:LONGEST]}”" for k, v in words.items()}
    lines = []
    for label, who in (("the label: the target did", "target"), ("the current model does", "current")):
        x, edited = does(row, who)
        lines.append((label, names[x], names[edited], "changes" if x != edited else "stays"))
    said = read(row)
    if said is None:
        lines.append(("the sentence says", "–", "can't be read", "–"))
    else:
        lines.append(("the sentence says", "–", names[said.answer], "changes" if said.changed else "stays"))
    return pd.DataFrame(lines, columns=["", "answer to x", "answer to x′", "its answer …"])
