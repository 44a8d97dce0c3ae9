"""A self-explaining model's sentence about an example, beside what the models do. Pure; imports no Streamlit.

A row is one of `example_rows.rows`: f and f(x′) of both checkpoints, the two answers, the edit, the sentence.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from dashboard.text import shown
from engine.tasks import WORDINGS
from engine.tasks.wording import Statement

VERDICTS = {
    "both": "The sentence is right about the current model. The label says the same, so it does not show which of the "
    "two the sentence follows.",
    "current": "The sentence is right about the current model and no longer what the label says: it follows the "
    "current model.",
    "target": "The sentence is what the label says, and wrong about the current model: it repeats the target.",
    "neither": "The sentence is wrong about the current model, and not what the label says either.",
    "unreadable": "The words can't be read as an explanation. They count as wrong.",
}
COPIED = " Copying the present answer, “my answer would not change”, would have been right as well."


def does(row: Mapping[str, Any], who: str) -> tuple[str, str]:
    """The likelier answer ("a" or "b") of `who` ("target", "current") to x and to x′."""
    return tuple("a" if float(row[f"{f}_{who}"]) > 0 else "b" for f in ("f", "f_edited"))  # type: ignore[return-value]


def read(row: Mapping[str, Any]) -> Statement | None:
    """The sentence's statement; None where it can't be read."""
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


def whom(row: Mapping[str, Any]) -> str:
    """Which model the sentence is right about: "both", "current", "target", "neither", or "unreadable".

    Right is an exact match: the answer to x′, and whether it differs from the answer to x.
    """
    said = read(row)
    if said is None:
        return "unreadable"
    done = {who: does(row, who) for who in ("current", "target")}
    right = [who for who, (x, edited) in done.items() if (said.answer, said.changed) == (edited, x != edited)]
    return "both" if len(right) == 2 else right[0] if right else "neither"


def verdict(row: Mapping[str, Any]) -> str:
    """A sentence: which model the words are right about, and whether copying the present answer would do as well."""
    x, edited = does(row, "current")
    who = whom(row)
    return VERDICTS[who] + (COPIED if who in ("both", "current") and x == edited else "")


def table(row: Mapping[str, Any]) -> pd.DataFrame:
    """Label, current model and sentence in three rows of text: answer to x, answer to x′, whether it changes."""
    names = {k: f"“{shown(row[f'answer_{k}']).strip()[:80]}”" for k in "ab"}
    lines = []
    for label, who in (("the label: the target did", "target"), ("the current model does", "current")):
        x, edited = does(row, who)
        lines.append((label, names[x], names[edited], "changes" if x != edited else "stays"))
    said = read(row)
    told = ("can't be read", "–") if said is None else (names[said.answer], "changes" if said.changed else "stays")
    lines.append(("the sentence says", "–", *told))
    return pd.DataFrame(lines, columns=["", "answer to x", "answer to x′", "its answer …"])
