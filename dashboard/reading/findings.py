"""Says in words what the metrics of a run show, and no more than the intervals support.

Each function takes the chosen rows of one explainer and regime over checkpoints (columns: `engine.records.METRICS`, in
order of training) and returns a `Finding`. Nothing here reads a run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from dashboard.reading.chosen import NOT_SCORED
from dashboard.reading.glossary import MEANING
from dashboard.text import bracketed, number, signed
from engine.records import WORD_CONTROLS
from engine.stats.unseen import LEAST_LEFT
from engine.stats.verdicts import EFFECT, POWER

GOOD, FAIR = 0.7, 0.4
"""Self is graded by the lower end of its interval."""

IN_WORDS = tuple(control for control in WORD_CONTROLS if control != "null")
"""Controls of explanations in words that Self is compared with."""
SHARES_CONTENT = "consistency"
"""Its answer to x′ is the model's own, so it knows as much of the unseen answer."""
UNTESTABLE = "not testable"
"""Verdict of a checkpoint whose numbers never headline, as long as there are others."""
NOT_TESTED = "not tested"
"""Instead of a verdict, for a row that has none."""
OLD = "Not scored yet: this run was made by an earlier version"
RESCORE = "The command “coupling rescore RUN” adds the verdicts from what the run has stored. No model is run."


@dataclass(frozen=True)
class Finding:
    """The answer to one question."""

    question: str
    answer: str
    """A few words."""
    number: str
    """The number behind the answer, with its interval."""
    sentence: str
    """What was asked, in one sentence."""
    why: str
    """The verdicts behind the answer, and what else is to be known."""
    settled: bool | None
    """True: shown; False: shown not to be so; None: open."""
    unsettled: str = "not settled"
    """In a word, for a question that is open."""
    matched: bool = False
    """Whether −f(x), which knows nothing of the edit, does as well where the number was read."""


def estimate(row: Mapping, name: str) -> str:
    """`+0.12 [+0.05, +0.19]`; an en dash if it is not defined."""
    value, low, high = row.get(name), row.get(f"{name}_low"), row.get(f"{name}_high")
    sign = name not in ("self", "orig", "target_current")
    text = signed(value) if sign else signed(value).lstrip("+")
    span = bracketed(low, high)
    return f"{text} {span if sign else span.replace('+', '')}".strip()


def grade(row: Mapping) -> str:
    """good, fair, weak, "not above chance" or "not measured", by the lower end of the interval of Self.

    Above chance: the interval is above 0, and the value is above the null band.
    """
    value, low, chance = row["self"], row["self_low"], row.get("null_high")
    if pd.isna(value) or pd.isna(low):
        return "not measured"
    if low <= 0 or (pd.notna(chance) and value <= chance):
        return "not above chance"
    return "good" if low >= GOOD else "fair" if low >= FAIR else "weak"


def quality(rows: pd.DataFrame, controls: pd.DataFrame) -> Finding:
    """How well explanations agree with the model they explain, first and last, and where −f(x) does as well."""
    question = "Are the explanations good?"
    if (rows.explainer == "verbal").any():
        return _quality_in_words(question, rows, controls)
    first, last = rows.iloc[0].to_dict(), rows.iloc[-1].to_dict()
    start, end = grade(first), grade(last)
    number, answer, where = _named(first, "self"), f"{start.capitalize()} where it was trained", f"at {place(first)}"
    if len(rows) > 1:
        number += f" → {estimate(last, 'self')}"
        answer += ", and at the last checkpoint" if end == start else f", {end} at the last checkpoint"
        where += f" and at {place(last)}"
    sentence = f"Self: the correlation of the explanations with what the edits do to the model at that step, {where}."
    why = f"Good: the interval lies above {GOOD}; fair: above {FAIR}; weak: above 0; each outside the null band."
    as_good = _matched_by_output(rows, controls, "self")
    if len(as_good):
        why += f" −f(x) alone, untrained, agrees as well at {places(as_good)}."
    settled = {"good": True, "fair": True, "weak": None, "not measured": None}.get(end, False)
    matched = last["checkpoint"] in set(as_good.checkpoint)
    return Finding(
        question, answer, number, sentence, why, settled, "in part" if end == "weak" else "not measured", matched
    )


def _quality_in_words(question: str, rows: pd.DataFrame, controls: pd.DataFrame) -> Finding:
    """Whether a model's sentences are right more often than those of every control."""
    told = rows[rows.step > 0] if (rows.step > 0).any() else rows
    last = told.iloc[-1].to_dict()
    there = controls[(controls.checkpoint == last["checkpoint"]) & controls.control.isin(IN_WORDS)]
    rivals = there.drop_duplicates("control").set_index("control")["self"].dropna()
    sentence = (
        "Self: the share of sentences that are right about the current model, both in the answer to x′ and in whether "
        f"it differs from the answer to x, at {place(last)}."
    )
    number = _named(last, "self")
    if rivals.empty:
        return Finding(question, "Nothing to compare with", number, sentence, "", None)
    best, value = str(rivals.idxmax()), float(rivals.max())
    name = best.replace("_", " ")
    why = f"The best control is {name}: {signed(value).lstrip('+')}."
    if best == SHARES_CONTENT:
        why += " It takes the model's own answer to x′, and reads off whether that is a change."
    if last["self_low"] > value:
        return Finding(question, "Better than every control", number, sentence, why, True)
    beaten = last.get("self_high") is not None and last["self_high"] < value
    answer = f"{'Worse' if beaten else 'No better'} than {name}"
    return Finding(question, answer, number, sentence, why, False if beaten else None)


def coupling(rows: pd.DataFrame, controls: pd.DataFrame) -> Finding:
    """Whether explanations agree with the current model better than with the target they were trained on."""
    question = "Do they follow the current model?"
    later = rows[rows.checkpoint != rows.target]
    if later.empty:
        return Finding(question, "Nothing to follow", "", NO_LATER, "", None)
    said = _said(later, "coupling")
    if (said == NOT_SCORED).all():
        return Finding(question, OLD, _last(later, "gap"), RESCORE, "", None)
    shown, recites = later[said == "shown"], later[reciting(later)]
    settled: bool | None = False
    if len(shown):
        answer, settled = f"Yes, at {_share(shown, later, rows)}", True
    elif len(recites):
        answer = f"No: they repeat the labels at {_share(recites, later, rows)}"
    elif said.isin(AGAINST).all():
        answer = "No: coupling is excluded"
    else:
        answer, settled = _open(said), None
    sentence = (
        "Gap: agreement with the model as it is now (Self) minus agreement with the old labels (Orig). To follow the "
        "model is called coupling. Yes: Self and gap lie above 0, in intervals that hold for all checkpoints at once."
    )
    why = _verdicts(later, "coupling") + _alone_above(later, "coupling", "gap")
    as_large = _matched_by_output(shown, controls, "gap")
    if len(as_large):
        why += f" −f(x) alone, which knows nothing of the edit, has as large a gap at {places(as_large)}."
    if len(recites) and len(shown):
        why += f" At {places(recites)} they repeat the labels instead."
    best = next(part for part in (shown, recites, later[said != UNTESTABLE], later) if len(part))
    why += _chance(best, "gap")
    last = _last_row(best, "gap") or {}
    matched = last.get("checkpoint") in set(as_large.checkpoint)
    return Finding(question, answer, _last(best, "gap"), sentence, why, settled, matched=matched)


def reciting(rows: pd.DataFrame) -> np.ndarray:
    """Whether explanations agree with the target, and less with the current model, [n] bool."""
    excluded = _said(rows, "coupling").isin(AGAINST)
    numbers = rows[["gap_high", "orig_low"]].astype(float)
    return (excluded & (numbers.gap_high < 0) & (numbers.orig_low > 0)).to_numpy(bool)


NO_LATER = "The run has no checkpoint after its target."
AGAINST = ("excluded", "reversed")
UNSEEN = f"Unseen: {MEANING['unseen'][0].lower()}{MEANING['unseen'][1:]}"
UNSEEN_IN_WORDS = (
    "Among examples with the same label, the same present answer and a like f(x′) of the target, how much "
    "more often a sentence says answer a where the answer to x′ is a. It must be above 0, and above that of a "
    "classifier of the text."
)
UNSEEN_IN_NUMBERS = (
    "The correlation of the explanation with f(x′), after both are freed from what "
    "the outputs tell: f(x) now, f(x) and f(x′) of the target. It must be above 0, and above that of the same "
    "explainer on the target's hidden states."
)


def unseen(rows: pd.DataFrame, controls: pd.DataFrame) -> Finding:
    """Whether explanations know more of the answer to the edited prompt than the outputs of their own prompt tell."""
    question = "Do they know more than the outputs tell?"
    later = rows[rows.checkpoint != rows.target]
    if later.empty:
        return Finding(question, "Nothing to know", "", NO_LATER, "", None)
    said = _said(later, "unseen")
    if (said == NOT_SCORED).all():
        return Finding(question, OLD, "", RESCORE, "", None)
    shown = later[said == "shown"]
    settled: bool | None = None
    if len(shown):
        answer, settled = f"Yes, at {_share(shown, later, rows)}", True
        if not any(over(row) for row in shown.to_dict("records")):
            answer += ", over no control"
    elif said.isin(AGAINST).all():
        answer, settled = "No: nothing beyond the outputs", False
    else:
        answer = _open(said)
    meaning = UNSEEN_IN_WORDS if (rows.explainer == "verbal").any() else UNSEEN_IN_NUMBERS
    best = next(part for part in (shown, later[said != UNTESTABLE], later) if len(part))
    own, strongest = (_verdicts(later, claim) for claim in ("unseen", "outputs"))
    why = f"{meaning} {own}{_alone_above(later, 'unseen', 'unseen')}{_over_controls(shown)}"
    beyond_all = "the same." if strongest == own else f"{strongest[0].lower()}{strongest[1:]}"
    why += f" Beyond all outputs, those of the other prompts too: {beyond_all}"
    why += _chance(best, "unseen")
    if (later.get("primary", pd.Series(dtype=object)) == True).any():  # noqa: E712 (it may hold nulls)
        why += " This is the run's primary hypothesis."
    if of := sizes(later):
        why += f" Data: {of}."
    return Finding(question, answer, _last(best, "unseen"), UNSEEN, why, settled)


def _said(rows: pd.DataFrame, claim: str) -> pd.Series:
    """The verdict on a claim in each row."""
    name = f"verdict_{claim}"
    return rows[name].fillna(NOT_TESTED)


def _open(said: pd.Series) -> str:
    """The answer where a claim is neither shown nor excluded."""
    return next((f"{word.capitalize()} in this run" for word in (UNTESTABLE, NOT_TESTED) if (said == word).all()),
                "Not shown")  # fmt: skip


def _last_row(rows: pd.DataFrame, name: str) -> dict | None:
    """The last row with a value. The largest one would be chosen by what it shows."""
    known = rows[rows[name].notna()]
    return None if known.empty else known.iloc[-1].to_dict()


def _last(rows: pd.DataFrame, name: str) -> str:
    """`Gap +0.12 [+0.05, +0.19] at step 100`; "" if no row has a value."""
    last = _last_row(rows, name)
    return "" if last is None else f"{_named(last, name)} at {place(last)}"


def _named(row: Mapping, name: str) -> str:
    """`Gap +0.12 [+0.05, +0.19]`."""
    return f"{name.capitalize()} {estimate(row, name)}"


def over(row: Mapping, claim: str = "unseen") -> list[str]:
    """The names of the controls that the explainer exceeds, in words."""
    names = row.get(f"over_{claim}")
    if not isinstance(names, str):
        return []
    known = {"output": "−f(x) alone", "output_text": "text and output"}
    return [known.get(name, name.replace("_", " ")) for name in names.split(",")]


def _over_controls(shown: pd.DataFrame) -> str:
    """` It exceeds text only and stale at step 100; no control at step 200.`; "" if nothing is shown."""
    by_names: dict[str, list[int]] = {}
    for i, row in enumerate(shown.to_dict("records")):
        by_names.setdefault(listed(over(row)) or "no control", []).append(i)
    parts = "; ".join(f"{names} at {places(shown.iloc[at])}" for names, at in by_names.items())
    return f" In paired comparisons it exceeds {parts}." if parts else ""


def sizes(rows: pd.DataFrame) -> str:
    """`48 cues × 120 entities`: how often each factor of the examples is varied; "" where there are no factors."""
    known = rows.reindex(columns=["n_cues", "n_entities"]).dropna()
    return f"{int(known.n_cues.max())} cues × {int(known.n_entities.max())} entities" if len(known) else ""


def _matched_by_output(rows: pd.DataFrame, controls: pd.DataFrame, name: str) -> pd.DataFrame:
    """The rows whose value is no larger than that of the untrained −f(x)."""
    output = controls[controls.control == "output"].drop_duplicates("checkpoint").set_index("checkpoint")[name]
    return rows[(rows.checkpoint.map(output).astype(float) >= rows[name].astype(float)).to_numpy(bool)]


def _verdicts(later: pd.DataFrame, claim: str) -> str:
    """`Shown at steps 100 and 200; not shown (power 0.45 at 0.2; an effect of 0.31 would be …) at step 300.`"""
    said = _said(later, claim)
    by_word = {word: later[said == word] for word in said.unique()}
    text = "; ".join(f"{word}{_why(rows, word, claim)} at {places(rows)}" for word, rows in by_word.items())
    return f"{text[0].upper()}{text[1:]}."


def _alone_above(later: pd.DataFrame, claim: str, name: str) -> str:
    """A sentence on checkpoints whose own interval lies above 0 though the claim is not shown; "" if there is none."""
    some = later[(_said(later, claim) == "not shown") & (later[f"{name}_low"].astype(float) > 0)]
    if some.empty:
        return ""
    too = {"coupling": "Self", "unseen": "its lead over the stale reading"}[claim]
    return (
        f" At {places(some)} the interval of that checkpoint alone lies above 0, but a verdict rests on the band over "
        f"all checkpoints, and on {too}."
    )


def _chance(best: pd.DataFrame, name: str) -> str:
    """A sentence with the permutation p of the last value; "" where there is none."""
    row = _last_row(best, name)
    p = None if row is None else row.get(f"{name}_p")
    return "" if row is None or p is None or pd.isna(p) else f" Permutation p at {place(row)}: {number(p, 3)}."


def _why(rows: pd.DataFrame, word: str, claim: str) -> str:
    """What a verdict is said with, in brackets, with a leading space; "" if it needs nothing."""
    if word == "not shown":
        power, effect = (_range(rows.get(f"{name}_{claim}")) for name in ("power", "detectable"))
        return f" (power {power} at {EFFECT:g}; an effect of {effect} would be shown in {POWER:.0%})"
    if word != UNTESTABLE:
        return ""
    reasons = listed(list(dict.fromkeys(r for row in rows.to_dict("records") if (r := untestable(row, claim)))))
    return f" ({reasons})" if reasons else ""


def untestable(row: Mapping, claim: str) -> str:
    """Why a claim can't be tested; "" where the row does not say."""
    if claim == "coupling":
        rho = row.get("target_current")
        if row["explainer"] == "verbal" or pd.isna(rho) or pd.isna(row["self"]):
            return ""
        return f"the effects are the target's, ρ = {number(rho)}"
    for name in ("why_not", "why_not_outputs")[: 2 if claim == "outputs" else 1]:
        if isinstance(why := row.get(name), str):
            return why.replace("x'", "x′")
    if pd.notna(row["unseen"]) and pd.isna(row["unseen_over_stale"]):
        return "there is no reading of the target's hidden states to compare with"
    left = row.get("left")
    return "the explanations say nothing beyond the outputs" if pd.notna(left) and left < LEAST_LEFT else ""


def _range(values: pd.Series | None) -> str:
    """`0.45`, or `0.45 to 0.62` over several rows."""
    known = [] if values is None else values.dropna().astype(float).tolist()
    if not known:
        return "unknown"
    low, high = number(min(known)), number(max(known))
    return low if low == high else f"{low} to {high}"


def listed(words: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else "".join(words)


def place(row: Mapping) -> str:
    """`step 100`."""
    return f"step {int(row['step'])}"


def places(rows: pd.DataFrame) -> str:
    """`step 100`, `steps 100, 200 and 300`."""
    steps = [f"{int(s)}" for s in rows.step]
    return f"step{'' if len(steps) == 1 else 's'} {listed(steps)}" if steps else "no step"


def _share(some: pd.DataFrame, later: pd.DataFrame, rows: pd.DataFrame) -> str:
    """`2 of 5 later checkpoints`; "checkpoints" if the target is no checkpoint of this model."""
    noun = "checkpoints" if len(later) == len(rows) else "later checkpoints"
    if len(later) == 1:
        return f"the {noun.removesuffix('s')}"
    return f"all {len(later)} {noun}" if len(some) == len(later) else f"{len(some)} of {len(later)} {noun}"


def shared_setting(rows: pd.DataFrame, names: Sequence[str]) -> dict[str, object]:
    """The columns that hold one value in all rows, with that value."""
    return {n: rows[n].iloc[0] for n in names if rows[n].nunique(dropna=False) == 1 and pd.notna(rows[n].iloc[0])}
