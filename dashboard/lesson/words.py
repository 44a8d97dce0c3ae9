"""What the lesson says of what was measured: every sentence here depends on the numbers it gets.

A `Reveal` answers one question of the class: which of the offered answers the measurement supports (None where
it supports none of them), and why, with the number. Nothing here reads a run.
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

UNDECIDED = "open"
STILL_WITHIN = 0.05
"""The explanation stood as still as the effect where it lost no more of r than this."""
HARDLY = 0.95
"""Behavior has hardly moved where the whole interval of ρ lies above this."""


@dataclass(frozen=True)
class Reveal:
    """What the class is told after it has predicted."""

    answer: str
    """The key of the answer that the numbers support, or `UNDECIDED`."""
    headline: str
    sentence: str
    as_told: bool = True
    """False where the numbers contradict what this part of the lesson is there to show."""


def text(e: Estimate, *, sign: bool = False) -> str:
    """`0.81 [0.78, 0.84]`"""
    return interval(e.value, e.low, e.high, sign=sign)


def above(e: Estimate, bound: float = 0.0) -> bool:
    """Whether the whole interval lies above the bound."""
    return e.low is not None and e.low > bound


def below(e: Estimate, bound: float = 0.0) -> bool:
    return e.high is not None and e.high < bound


def of(row: Mapping | pd.Series, name: str) -> Estimate:
    """A number of a metrics row with its interval."""
    values = [row.get(f"{name}{end}") for end in ("", "_low", "_high")]
    return Estimate(*(None if v is None or v != v else float(v) for v in values))


def edit_effect(effect: float, answer: str, undecidable: float) -> Reveal:
    """Step 1: which way one example's answer went. Measured on this example, so without an interval."""
    size = f"f moved by {number(effect, sign=True)} nats"
    if abs(effect) < undecidable:
        return Reveal("same", f"{answer} stays about as likely", f"{size}: less than {undecidable} nats either way.")
    if effect > 0:
        return Reveal("more", f"{answer} becomes likelier", f"{size}. Such a difference, f(x′) − f(x), is an effect Δ.")
    return Reveal("less", f"{answer} becomes less likely", f"{size}. Such a difference, f(x′) − f(x), is an effect Δ.")


def learned(row: Mapping) -> Reveal:
    """Step 2: how well the explainer learned the labels, on examples that it never saw. `row`: at the first
    checkpoint."""
    own, orig, grade = of(row, "self"), of(row, "orig"), findings.grade(row)
    headline = {
        "good": "The explainer has learned it well",
        "fair": "The explainer has learned it fairly well",
        "weak": "The explainer has learned it weakly",
        "not above chance": "The explainer has not learned it",
        "not measured": "This was not measured in this run",
    }[grade]
    sentence = f"On examples that it never saw, r = {text(own)}."
    if row["checkpoint"] == row["target"]:
        sentence += " Here the model explained is the very model that the labels came from, so Self and Orig are one."
    else:
        sentence += f" With the labels' own model r = {text(orig)}: the labels came from another model."
    if grade in ("weak", "not above chance"):
        sentence += " What follows rests on an explainer that knows little."
    return Reveal(grade, headline, sentence, as_told=grade in ("good", "fair"))


def noise(clean: Mapping, noisy: Mapping) -> str:
    """Step 2: what spoilt labels did to an explainer."""
    was, now, level = of(clean, "self"), of(noisy, "self"), float(noisy["noise"])
    if now.value is None or was.value is None:
        return "This noise level was not measured."
    head = f"With {level:.0%} of the labels spoilt ({noisy['noise_kind']}), r = {text(now)}; without, {text(was)}."
    if now.low is not None and was.low is not None and was.high is not None and now.high is not None:
        if now.high < was.low:
            return f"{head} The intervals do not touch: the noise cost something."
        return f"{head} The intervals overlap: a loss this small can't be told from none."
    return head


def drifted(rho: Estimate, place: str) -> Reveal:
    """Step 3: how far behavior moved."""
    at = f"At {place} the effects agree with those at the target with ρ = {text(rho)}."
    if above(rho, HARDLY):
        return Reveal("hardly", "Behavior has hardly moved", f"{at} There is little to follow.", as_told=False)
    if below(rho, HARDLY):
        far = "Little is left of the old behavior" if below(rho, 0.5) else "Behavior has drifted"
        return Reveal("moved", far, f"{at} The labels, made before, still say what the model did then.")
    return Reveal(UNDECIDED, "How far behavior moved is open", f"{at} The interval leaves it open.", as_told=False)


def followed(rows: pd.DataFrame, controls: pd.DataFrame) -> Reveal:
    """Step 4: whom the explanation follows at the last checkpoint, by the computed verdict."""
    last = rows.iloc[-1].to_dict()
    place, verdict = findings.place(last), last.get("verdict_coupling")
    own, orig, gap = of(last, "self"), of(last, "orig"), of(last, "gap")
    numbers = f"At {place}: Self {text(own)}, Orig {text(orig)}, gap {text(gap, sign=True)}."
    holds = rows[(rows["verdict_coupling"] == "holds") & (rows["checkpoint"] != rows["target"])]
    if last["checkpoint"] == last["target"]:
        return Reveal(UNDECIDED, "Nothing to follow", "The run has no checkpoint after its target.", as_told=False)
    if findings.grade(last) == "not above chance" and not above(orig):
        return Reveal("neither", "Neither: it agrees with no one", f"{numbers} Chance does as well.", as_told=False)
    if verdict == "holds":
        told = "The explanation follows the model as it is now"
        return Reveal("self", told, f"{numbers} The computed verdict: coupling holds at {findings.places(holds)}.")
    if verdict == "reverses":
        told = "The explanation recites the old labels"
        return Reveal("orig", told, f"{numbers} The gap lies below 0, outside the null band.", as_told=False)
    said = f"{numbers} The verdict is “{verdict or 'inconclusive'}”: "
    if above(gap) or below(gap):
        said += "the interval at this checkpoint excludes 0, but the band over all checkpoints or the null does not."
    else:
        said += "the interval of the gap includes 0, so the class can't be told who is right."
    if len(holds):
        said += f" It holds at {findings.places(holds)}."
    return Reveal(UNDECIDED, "It can't be told", said, as_told=False)


def effect_held(s: Stillness, held: bool) -> str:
    """Step 5: how far the effect moved beside f(x). `held`: whether the run's numbers are those of a null."""
    effect, f = s["effect"].spread, s["f"].spread
    size = f"by {number(effect.value)} against {number(f.value)} nats (sd of the change)"
    if not held:
        return f"Their difference, the effect Δ, should hardly move; here it moved {size}."
    return f"Their difference, the effect Δ, hardly moves: {size}. An explanation of Δ has hardly anything to report."


def stood_still(s: Stillness) -> Reveal:
    """Step 5: whether the explanation stood as still as the effect did."""
    effect, explanation = s["effect"], s["explanation"]
    numbers = (
        f"Before and after, the effect agrees with itself with r = {text(effect.kept)}, the explanation with "
        f"r = {text(explanation.kept)}; the difference is {text(s.excess, sign=True)}."
    )
    if above(s.excess):
        told = "The explanation moved, though there was hardly anything to report"
        return Reveal("moved", told, f"{numbers} It should have stood still, and did not.", as_told=False)
    if s.excess.high is not None and s.excess.high <= STILL_WITHIN:
        return Reveal("still", "The explanation stood still, as it should", numbers)
    return Reveal(UNDECIDED, "It can't be told", f"{numbers} The interval leaves it open.", as_told=False)


def null_gap(first: Mapping, last: Mapping) -> str:
    """Step 5: what the gap can say in a world where Δ hardly moves, and what Self says beside it.

    |r(e, a) − r(e, b)| is at most √(2(1 − r(a, b))), whatever e is.
    """
    gap, before, after = of(last, "gap"), of(first, "self"), of(last, "self")
    said, rho = f"The gap is {text(gap, sign=True)}. ", of(last, "target_current").value
    if rho is not None:
        bound = float(np.sqrt(max(2 * (1 - rho), 0.0)))
        said += f"With ρ = {number(rho)} no explanation whatever could have a gap beyond ±{number(bound)}: "
        said += "where Δ hardly moves, a small gap is no merit. "
    if before.low is None or after.high is None or after.low is None or before.high is None:
        return said
    if after.high < before.low:
        return said + f"It hides that the explanation became worse: Self fell from {text(before)} to {text(after)}."
    if after.low > before.high:
        return said + f"Self rose from {text(before)} to {text(after)}."
    return said + f"Self was {text(before)} and is {text(after)}: no change can be told."


def output_alone(c: Contest) -> Reveal:
    """Step 6: what −f(x), which never saw an edit, reaches in a world where only f(x) moved."""
    o = f"−f(x) alone agrees with the present effects with r = {text(c.output_self)}, and its gap is "
    o += f"{text(c.output_gap, sign=True)}."
    if above(c.output_gap):
        told = "A gap without any knowledge of the counterfactual"
        return Reveal("looks", told, f"{o} It knows nothing of x′, was never trained, and seems coupled all the same.")
    if below(c.output_gap):
        told = "−f(x) agrees better with the old behavior"
        return Reveal("not", told, f"{o} In this run the known positive does not show.", as_told=False)
    told = "The known positive does not show in this run"
    return Reveal(UNDECIDED, told, f"{o} The interval includes 0.", as_told=False)


def against_output(c: Contest) -> str:
    """Step 6: the explanation's own gap beside that of −f(x)."""
    said = f"The explanation: Self {text(c.self)}, gap {text(c.gap, sign=True)}. "
    if above(c.gap_difference):
        said += f"Its gap is larger than that of −f(x), by {text(c.gap_difference, sign=True)}."
    elif above(c.gap):
        said += "It has a gap too. f(x′) hardly moved, so this gap need not be more than the output being read."
    elif below(c.gap):
        said += "It has no gap that had to be explained away: it agrees better with the old labels."
    else:
        said += "Its own gap can't be told from 0 here: it does not even read the output well enough to look coupled."
    if above(c.self_difference):
        return f"{said} In plain agreement it is better than −f(x), by {text(c.self_difference, sign=True)}."
    if below(c.self_difference):
        return f"{said} In plain agreement −f(x) is better, by {text(_negated(c.self_difference), sign=True)}."
    return f"{said} In plain agreement the two can't be told apart."


def _negated(e: Estimate) -> Estimate:
    return Estimate(*(None if v is None else -v for v in (e.value, e.high, e.low)))


def role_contradicted(role: str, f: float, f_edited: float, effect: float) -> str:
    """A run that was named for a role, or chosen by hand, but moved otherwise."""
    wanted = {
        "null": "f(x) and f(x′) move and Δ hardly does",
        "lookalike": "f(x) moves and f(x′) does not",
        "story": "f(x), f(x′) and Δ all move",
    }[role]
    return (
        f"This run does not do what this step needs ({wanted}). Measured, in units of the spread at the target: "
        f"f(x) moved by {number(f)}, f(x′) by {number(f_edited)}, Δ by {number(effect)}. Read on with that in mind."
    )


def guess_against(guess: float, measured: Estimate, name: str) -> str:
    """A predicted number beside the measured interval."""
    if measured.value is None:
        return "This number is not defined in this run."
    head = f"Predicted {number(guess)}; measured {name} = {text(measured)}."
    if measured.low is None or measured.high is None:
        return head
    if measured.low <= guess <= measured.high:
        return f"{head} The prediction lies inside the interval."
    side = "too high" if guess > measured.high else "too low"
    return f"{head} The prediction was {side}."


def votes_against(votes: Mapping[str, int], right: str, labels: Mapping[str, str]) -> str:
    """A show of hands beside the answer that the numbers support; "" without hands."""
    total = sum(votes.values())
    if not total:
        return ""
    if right not in votes:
        return f"{total} hands; the numbers support none of the answers."
    share = votes[right] / total
    return f"{votes[right]} of {total} hands ({share:.0%}) were for “{labels[right]}”, which the numbers support."
