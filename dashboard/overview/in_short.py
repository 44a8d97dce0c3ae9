"""The result of a run in a few plain sentences, read at the last checkpoint that can be tested."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from dashboard.reading import findings
from dashboard.text import signed

RULE = "takes the model's present answer with its sign turned and knows nothing of the edit"
COPY = "copies the model's present answer and knows nothing of the edit"


def in_short(rows: pd.DataFrame, controls: pd.DataFrame) -> str:
    """Plain text; rows and controls as in `findings`."""
    later = rows[rows.checkpoint != rows.target]
    testable = later[later.verdict_coupling.notna() & (later.verdict_coupling != findings.UNTESTABLE)]
    if testable.empty:
        return "This run cannot tell whether the explanations follow the model: no later checkpoint can be tested."
    last = testable.iloc[-1].to_dict()
    return " ".join(part for part in (_follows(testable), _rule(last, controls), _knows(last)) if part)


def _follows(testable: pd.DataFrame) -> str:
    last = testable.iloc[-1].to_dict()
    now, then = _agreement(last)
    at = f"At {findings.place(last)}"
    if last["verdict_coupling"] == "shown":
        before = testable["verdict_coupling"].iloc[:-1] == "shown"
        if not before.all():
            how_many = f"at {before.sum()} of {len(before)} tested before it"
            at += f", and {how_many}" if before.any() else ", but at none tested before it"
        return (
            f"{at}, the explanations agree more with the model as it is now ({now}) than with the old labels ({then})."
        )
    if findings.reciting(testable)[-1]:
        return (
            f"{at}, the explanations repeat the old labels ({then}) and do not follow the model as it is now ({now})."
        )
    return (
        f"{at}, it is not shown that the explanations follow the model: their agreement with the model as it is now "
        f"is {now}, and with the old labels {then}."
    )


def _agreement(row: Mapping) -> tuple[str, str]:
    """Self and Orig: shares of right sentences, or correlations, whose scale is said once."""
    if row["explainer"] == "verbal":
        return f"{row['self']:.0%} of sentences right", f"{row['orig']:.0%}"
    now, then = (signed(row[name]).lstrip("+") for name in ("self", "orig"))
    return f"{now}, where 1 is perfect", then


def _rule(last: Mapping, controls: pd.DataFrame) -> str:
    """The sentence on the simplest control: a rule that reads the present output alone."""
    spoken = last["explainer"] == "verbal"
    control = "copy" if spoken else "output"
    there = controls[(controls.checkpoint == last["checkpoint"]) & (controls.control == control)].dropna(subset="self")
    if there.empty or pd.isna(last["self"]):
        return ""
    value, gap, rule = float(there["self"].iloc[0]), there["gap"].iloc[0], COPY if spoken else RULE
    number = f"{value:.0%}" if spoken else signed(value).lstrip("+")
    if value >= last["self"]:
        return f"But a simple rule, which {rule}, agrees with the model at least as well ({number})."
    as_far = ", but its gap to the old labels is as large" if gap >= last["gap"] else ""
    return f"A simple rule, which {rule}, agrees with the model less ({number}){as_far}."


def _knows(last: Mapping) -> str:
    verdict = last.get("verdict_unseen")
    if verdict == "shown":
        known = "something of the answer to the edited prompt that the present answer does not tell"
        return f"The explanations do know {known}."
    if isinstance(verdict, str) and verdict != findings.UNTESTABLE:
        return "It is not shown that the explanations know more than the present answer tells."
    return ""
