"""What the lesson says about a measurement: every sentence here depends on the numbers it gets.

A `Reveal` answers one question to the class: which of the offered answers the measurement supports, and why, with the
number. Nothing here reads a run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from dashboard.charts import interval, number
from dashboard.lesson.measures import Contest, Stillness
from dashboard.reading import findings
from dashboard.reading.agreement import Estimate
from dashboard.reading.chosen import NOT_SCORED

UNDECIDED = "open"
STILL_WITHIN = 0.05
"""The explanation stood as still as the effect if it lost at most this much more of r."""
HARDLY = 0.95
"""Behavior has hardly moved if the whole interval of ρ lies above this."""


@dataclass(frozen=True)
class Reveal:
    """What the class is told after it has predicted."""

    answer: str
    """The key of the answer that the numbers support, or `UNDECIDED`."""
    headline: str
    sentence: str
    as_expected: bool = True
    """False where the numbers contradict what this part of the lesson is there to show."""


def with_interval(e: Estimate, *, sign: bool = False) -> str:
    """`0.81 [0.78, 0.84]`"""
    return interval(e.value, e.low, e.high, sign=sign)


def signed(e: Estimate) -> str:
    """`+0.12 [+0.05, +0.19]`"""
    return with_interval(e, sign=True)


def above(e: Estimate, bound: float = 0.0) -> bool:
    """Whether the whole interval lies above the bound."""
    return e.low is not None and e.low > bound


def below(e: Estimate, bound: float = 0.0) -> bool:
    """Whether the whole interval lies below the bound."""
    return e.high is not None and e.high < bound


def metric(row: Mapping | pd.Series, name: str) -> Estimate:
    """A number of a row of metrics with its interval."""
    values = [row.get(f"{name}{end}") for end in ("", "_low", "_high")]
    return Estimate(*(None if v is None or v != v else float(v) for v in values))


def edit_effect(effect: float, answer: str, undecidable: float) -> Reveal:
    """Step 1: which way one example's answer went. It is one measurement and has no interval."""
    size = f"f moved by {number(effect, sign=True)} nats"
    if abs(effect) < undecidable:
        return Reveal("same", f"{answer} stays about as likely", f"{size}: less than {undecidable} nats either way.")
    way, word = ("more", "likelier") if effect > 0 else ("less", "less likely")
    return Reveal(way, f"{answer} becomes {word}", f"{size}. Such a difference, f(x′) − f(x), is an effect Δ.")


LEARNED = {
    "good": "The explainer has learned it well",
    "fair": "The explainer has learned it fairly well",
    "weak": "The explainer has learned it weakly",
    "not above chance": "The explainer has not learned it",
    "not measured": "This was not measured in this run",
}


def learned(row: Mapping) -> Reveal:
    """Step 2: how well the explainer learned the labels, on unseen examples. row: metrics at the first checkpoint."""
    grade = findings.grade(row)
    sentence = f"On examples that it never saw, r = {with_interval(metric(row, 'self'))}."
    if row["checkpoint"] == row["target"]:
        sentence += " The labels came from the very model that is explained here, so Self and Orig are one."
    else:
        orig = with_interval(metric(row, "orig"))
        sentence += f" The labels came from another model; with that model r = {orig}."
    if grade in ("weak", "not above chance"):
        sentence += " What follows rests on an explainer that knows little."
    return Reveal(grade, LEARNED[grade], sentence, as_expected=grade in ("good", "fair"))


def drifted(rho: Estimate, place: str) -> Reveal:
    """Step 3: how far behavior moved."""
    at = f"At {place} the effects agree with those at the target with ρ = {with_interval(rho)}."
    if above(rho, HARDLY):
        return Reveal("hardly", "Behavior has hardly moved", f"{at} There is little to follow.", as_expected=False)
    if below(rho, HARDLY):
        far = "Little is left of the old behavior" if below(rho, 0.5) else "Behavior has drifted"
        return Reveal("moved", far, f"{at} The labels, made before, still say what the model did then.")
    return Reveal(UNDECIDED, "How far behavior moved is open", f"{at} The interval leaves it open.", as_expected=False)


def followed(rows: pd.DataFrame) -> Reveal:
    """Step 4: whom the explanation follows at the last checkpoint, by the computed verdict."""
    last = rows.iloc[-1].to_dict()
    place, verdict = findings.place(last), last.get("verdict_coupling")
    orig, gap = metric(last, "orig"), metric(last, "gap")
    numbers = f"At {place}: Self {with_interval(metric(last, 'self'))}, Orig {with_interval(orig)}, gap {signed(gap)}."
    shown = rows[(rows["verdict_coupling"] == "shown") & (rows["checkpoint"] != rows["target"])]
    if last["checkpoint"] == last["target"]:
        answer, headline, said = UNDECIDED, "Nothing to follow", "The run has no checkpoint after its target."
    elif findings.grade(last) == "not above chance" and not above(orig):
        answer, headline, said = "neither", "Neither: it agrees with no one", f"{numbers} Chance does as well."
    elif verdict == "shown":
        said = f"{numbers} The computed verdict: coupling is shown at {findings.places(shown)}."
        return Reveal("self", "The explanation follows the model as it is now", said)
    elif verdict in findings.AGAINST and below(gap) and above(orig):
        answer, headline = "orig", "The explanation recites the old labels"
        said = f"{numbers} The gap lies below 0, and Orig above it. The computed verdict on coupling: {verdict}."
    else:
        answer, headline, said = UNDECIDED, "It can't be told", f"{numbers} {_undecided(last)}"
        said += f" Coupling is shown at {findings.places(shown)}." if len(shown) else ""
    return Reveal(answer, headline, said, as_expected=False)


def _undecided(last: Mapping) -> str:
    verdict, gap = last.get("verdict_coupling"), metric(last, "gap")
    if verdict == NOT_SCORED:
        return f"{findings.OLD}."
    power = last.get("power_coupling")
    why = "the interval of the gap includes 0, so the class can't be told who is right."
    if verdict == "excluded":
        why = "a gap that counts is not there."
    elif above(gap) or below(gap):
        why = "the interval at this checkpoint excludes 0, but the band over all checkpoints does not."
    elif verdict == "not shown" and power is not None and not pd.isna(power):
        why += f" A gap and a Self of {findings.EFFECT:g} would be shown in {power:.0%} of such runs."
    return f"The verdict is “{verdict if isinstance(verdict, str) else findings.NOT_TESTED}”: {why}"


def effect_held(s: Stillness, held: bool) -> str:
    """Step 5: how far the effect moved beside f(x). `held`: whether the run's numbers are those of a null."""
    effect, f = s.moves["effect"].spread, s.moves["f"].spread
    size = f"by {number(effect.value)} against {number(f.value)} nats (sd of the change)"
    if not held:
        return f"Their difference, the effect Δ, should hardly move; here it moved {size}."
    return f"Their difference, the effect Δ, hardly moves: {size}. An explanation of Δ has hardly anything to report."


def stood_still(s: Stillness) -> Reveal:
    """Step 5: whether the explanation stood as still as the effect did."""
    effect, explanation = (with_interval(s.moves[name].kept) for name in ("effect", "explanation"))
    numbers = f"Before and after, the effect agrees with itself with r = {effect}, the explanation with "
    numbers += f"r = {explanation}; the difference is {signed(s.excess)}."
    if above(s.excess):
        told = "The explanation moved, though there was hardly anything to report"
        return Reveal("moved", told, f"{numbers} It should have stood still, and did not.", as_expected=False)
    if s.excess.high is not None and s.excess.high <= STILL_WITHIN:
        return Reveal("still", "The explanation stood still, as it should", numbers)
    return Reveal(UNDECIDED, "It can't be told", f"{numbers} The interval leaves it open.", as_expected=False)


def null_gap(first: Mapping, last: Mapping) -> str:
    """Step 5: what the gap can say in a world where Δ hardly moves, and what Self says beside it.

    |r(e, a) − r(e, b)| is at most √(2(1 − r(a, b))), whatever e is.
    """
    before, after = metric(first, "self"), metric(last, "self")
    said, rho = f"The gap is {signed(metric(last, 'gap'))}. ", metric(last, "target_current").value
    if rho is not None:
        bound = number(float(np.sqrt(max(2 * (1 - rho), 0.0))))
        said += f"With ρ = {number(rho)} no explanation can have a gap beyond ±{bound}: "
        said += "where Δ hardly moves, a small gap is no merit. "
    if before.low is None or before.high is None or after.low is None or after.high is None:
        return said
    was, now = with_interval(before), with_interval(after)
    if after.high < before.low:
        return said + f"It hides that the explanation became worse: Self fell from {was} to {now}."
    if after.low > before.high:
        return said + f"Self rose from {was} to {now}."
    return said + f"Self was {was} and is {now}: no change can be told."


def output_alone(c: Contest) -> Reveal:
    """Step 6: what −f(x), which never saw an edit, reaches in a world where only f(x) moved."""
    numbers = f"−f(x) alone agrees with the present effects with r = {with_interval(c.output_self)}, and its gap is "
    numbers += f"{signed(c.output_gap)}."
    if above(c.output_gap):
        said = f"{numbers} It knows nothing of x′, was never trained, and seems coupled all the same."
        return Reveal("looks", "A gap without any knowledge of the counterfactual", said)
    if below(c.output_gap):
        said = f"{numbers} In this run the known positive does not show."
        return Reveal("not", "−f(x) agrees better with the old behavior", said, as_expected=False)
    said = f"{numbers} The interval includes 0."
    return Reveal(UNDECIDED, "The known positive does not show in this run", said, as_expected=False)


def against_output(c: Contest) -> str:
    """Step 6: the explanation's own gap beside that of −f(x)."""
    said = f"The explanation: Self {with_interval(c.self)}, gap {signed(c.gap)}. "
    if above(c.gap_difference):
        said += f"Its gap is larger than that of −f(x), by {signed(c.gap_difference)}."
    elif above(c.gap):
        said += "It has a gap too. f(x′) hardly moved, so reading the output can account for all of this gap."
    elif below(c.gap):
        said += "It has no gap to account for: it agrees better with the old labels."
    else:
        said += "Its own gap can't be told from 0 here: it does not even read the output well enough to look coupled."
    more = c.self_difference
    if above(more):
        return f"{said} In plain agreement it is better than −f(x), by {signed(more)}."
    if below(more):
        less = Estimate(*(None if v is None else -v for v in (more.value, more.high, more.low)))
        return f"{said} In plain agreement −f(x) is better, by {signed(less)}."
    return f"{said} In plain agreement the two can't be told apart."


def guess_against(guess: float, measured: Estimate, name: str) -> str:
    """A predicted number beside the measured interval."""
    if measured.value is None:
        return "This number is not defined in this run."
    head = f"Predicted {number(guess)}; measured {name} = {with_interval(measured)}."
    if measured.low is None or measured.high is None:
        return head
    if measured.low <= guess <= measured.high:
        return f"{head} The prediction lies inside the interval."
    return f"{head} The prediction was {'too high' if guess > measured.high else 'too low'}."


def votes_against(votes: Mapping[str, int], right: str, labels: Mapping[str, str]) -> str:
    """A show of hands beside the answer that the numbers support; "" without hands."""
    total = sum(votes.values())
    if not total:
        return ""
    if right not in votes:
        return f"{total} hands; the numbers support none of the answers."
    share = votes[right] / total
    return f"{votes[right]} of {total} hands ({share:.0%}) were for “{labels[right]}”, which the numbers support."
