"""From metrics to words: what a run shows, and no more than its intervals support.

Each function takes the chosen rows of one explainer and regime over checkpoints (columns:
`engine.records.METRICS`, in order of training) and returns a `Finding`. Nothing here reads a run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from dashboard.text import bracketed, signed

GOOD, FAIR = 0.7, 0.4
"""Words for Self go by the lower end of its interval."""

RIVALS = ("output", "output_text", "text_only", "stale", "other_model", "copy", "contrary", "small_lm")
"""Controls that an explanation has to clear before it is said to know the counterfactual."""
SHARES_CONTENT = "consistency"
"""A control of "would change" alone: its answer to x′ is the model's own, so it knows as much of the unseen run."""


@dataclass(frozen=True)
class Finding:
    """One question answered."""

    question: str
    answer: str
    """A few words."""
    number: str
    """The number they rest on, with its interval."""
    sentence: str
    settled: bool | None
    """True: shown; False: shown not to be so; None: open."""


def estimate(row: Mapping, name: str) -> str:
    """`+0.12 [+0.05, +0.19]`; an en dash where it is not defined."""
    value, low, high = row.get(name), row.get(f"{name}_low"), row.get(f"{name}_high")
    sign = name not in ("self", "orig", "target_current")
    text = signed(value) if sign else signed(value).lstrip("+")
    span = bracketed(low, high)
    return f"{text} {span if sign else span.replace('+', '')}".strip()


def _in_words(rows: pd.DataFrame) -> bool:
    """Whether the explainer is the model itself."""
    return "explainer" in rows and bool((rows["explainer"] == "verbal").any())


def grade(row: Mapping) -> str:
    """good, fair, weak, "not above chance" or "not measured", by the lower end of the interval of Self.

    Above chance means what it means for the verdicts: the interval lies above 0, the value above the null band.
    """
    value, low, chance = row.get("self"), row.get("self_low"), row.get("null_high")
    if value is None or value != value or low is None or low != low:
        return "not measured"
    in_null = chance is not None and chance == chance and value <= chance
    if low <= 0 or in_null:
        return "not above chance"
    return "good" if low >= GOOD else "fair" if low >= FAIR else "weak"


def quality(rows: pd.DataFrame, controls: pd.DataFrame) -> Finding:
    """How well explanations agree with the model they explain, first and last, and where −f(x) does as well."""
    if _in_words(rows):
        return quality_in_words(rows, controls)
    first, last = rows.iloc[0].to_dict(), rows.iloc[-1].to_dict()
    start, end = grade(first), grade(last)
    number = f"{estimate(first, 'self')} → {estimate(last, 'self')}" if len(rows) > 1 else estimate(first, "self")
    answer = start.capitalize() + " where it was trained"
    if len(rows) > 1:
        answer += ", and at the last checkpoint" if end == start else f", {end} at the last checkpoint"
    sentence = (
        "Self: the correlation of the explained effect with the model's own effect, "
        f"at {place(first)}" + (f" and at {place(last)}" if len(rows) > 1 else "") + ". "
        f"Good: the interval lies above {GOOD}; fair: above {FAIR}; weak: above 0; each outside the null band."
    )
    as_good = _matched_by_output(rows, controls, "self")
    if len(as_good):
        sentence += f" −f(x) alone, untrained, agrees as well at {places(as_good)}."
    settled = {"good": True, "fair": True, "weak": None, "not measured": None}.get(end, False)
    return Finding("Are the explanations good?", answer, number, sentence, settled)


def quality_in_words(rows: pd.DataFrame, controls: pd.DataFrame) -> Finding:
    """Whether a model's sentences are right more often than those of every control."""
    told = rows[rows.step > 0] if (rows.step > 0).any() else rows
    last = told.iloc[-1].to_dict()
    there = controls[(controls.checkpoint == last["checkpoint"]) & controls.control.isin((*RIVALS, SHARES_CONTENT))]
    rivals = there.drop_duplicates("control").set_index("control")["self"].dropna()
    sentence = (
        "Self: the share of sentences that are right about the current model, both in the answer to x′ and in whether "
        f"it is another one than to x, at {place(last)}."
    )
    question, number = "Are the explanations good?", estimate(last, "self")
    if rivals.empty:
        return Finding(question, "Nothing to compare with", number, sentence, None)
    best, value = str(rivals.idxmax()), float(rivals.max())
    sentence += f" The best control is {best.replace('_', ' ')}: {signed(value).lstrip('+')}."
    if best == SHARES_CONTENT:
        sentence += " It takes the model's own answer to x′, and reads off whether that is a change."
    if last["self_low"] > value:
        return Finding(question, "Better than every control", number, sentence, True)
    beaten = last.get("self_high") is not None and last["self_high"] < value
    answer = f"Worse than {best.replace('_', ' ')}" if beaten else f"No better than {best.replace('_', ' ')}"
    return Finding(question, answer, number, sentence, False if beaten else None)


def coupling(rows: pd.DataFrame, controls: pd.DataFrame) -> Finding:
    """Whether explanations agree with the current model better than with the target they were trained on."""
    later = rows[rows.checkpoint != rows.target]
    question = "Do they follow the current model?"
    if later.empty:
        return Finding(question, "Nothing to follow", "", "The run has no checkpoint after its target.", None)
    said = later.verdict_coupling.fillna("inconclusive")
    holds, reverses = later[said == "holds"], later[said == "reverses"]
    if len(holds):
        answer = f"Coupled at {_of(holds, later, rows)}"
    elif len(reverses):
        answer = f"No: they recite the target at {_of(reverses, later, rows)}"
    elif (said == "absent").all():
        answer = "No: the gap is absent"
    else:
        answer = "Not established"
    sentence = "Gap: Self − Orig. " + _verdicts(later, said, "gap")
    as_large = _matched_by_output(holds, controls, "gap")
    if len(as_large):
        sentence += f" −f(x) alone, which knows nothing of the edit, has as large a gap at {places(as_large)}."
    if len(reverses) and len(holds):
        sentence += f" At {places(reverses)} they recite the target instead."
    shown = holds if len(holds) else reverses if len(reverses) else later
    best = shown.iloc[shown.gap.abs().fillna(-1).argmax()].to_dict()
    settled = True if len(holds) else False if len(reverses) or (said == "absent").all() else None
    return Finding(question, answer, f"{estimate(best, 'gap')} at {place(best)}", sentence, settled)


def counterfactual(rows: pd.DataFrame, controls: pd.DataFrame) -> Finding:
    """Whether explanations know more of the unseen run than the present output gives away."""
    later = rows[rows.checkpoint != rows.target]
    question = "Do they know more than the output gives away?"
    if later.empty:
        return Finding(question, "Nothing to know", "", "The run has no checkpoint after its target.", None)
    said = later.verdict_counterfactual.fillna("inconclusive")
    holds = later[said == "holds"]
    clear = holds[[cleared(row, controls) for row in holds.to_dict("records")]] if len(holds) else holds
    if len(clear):
        answer = f"Yes, at {_of(clear, later, rows)}"
    elif len(holds):
        answer = "Not shown: a control does as well"
    elif (said == "not testable").all():
        answer = "Not testable in this run"
    elif (said == "absent").all():
        answer = "No: nothing beyond the output"
    else:
        answer = "Not shown"
    if _in_words(rows):
        meaning = (
            "on examples whose answer to x′ is no longer what the label says, half of them with the present answer and "
            "half without, the share of sentences with the current answer less that with the label's. What reads the "
            "present answer alone scores 0."
        )
    else:
        meaning = (
            "what the explanation knows of f(x′), with f(x) before and after held fixed, less what it knew of it at "
            "the first checkpoint."
        )
    sentence = f"Counterfactual gap: {meaning} " + _verdicts(later, said, "counterfactual_gap")
    if len(holds) > len(clear):
        rest = holds[~holds.checkpoint.isin(clear.checkpoint)]
        sentence += f" At {places(rest)} change tracking or a control does not let us say it."
    shown = clear if len(clear) else later
    best = shown.iloc[shown.counterfactual_gap.fillna(-9).argmax()].to_dict()
    settled = True if len(clear) else False if said.isin(("absent", "reverses")).all() else None
    number = (
        f"{estimate(best, 'counterfactual_gap')} at {place(best)}" if best["counterfactual_gap"] is not None else ""
    )
    return Finding(question, answer, number, sentence, settled)


def cleared(row: Mapping, controls: pd.DataFrame) -> bool:
    """Counterfactual gap and change tracking above 0 and above every control's, by their intervals' lower ends.
    Without a control to compare with, nothing is cleared."""
    rivals = controls[(controls.checkpoint == row["checkpoint"]) & controls.control.isin(RIVALS)]
    for name in ("counterfactual_gap", "change_tracking"):
        low, others = row.get(f"{name}_low"), rivals[name].dropna()
        if low is None or not low > 0 or others.empty or not (others < low).all():
            return False
    return True


def _matched_by_output(rows: pd.DataFrame, controls: pd.DataFrame, name: str) -> pd.DataFrame:
    """Those rows at which the untrained −f(x) has at least the explainer's value."""
    output = controls[controls.control == "output"].drop_duplicates("checkpoint").set_index("checkpoint")[name]
    pairs = zip(rows.checkpoint, rows[name], strict=True)
    return rows[[bool(output.get(checkpoint, float("nan")) >= value) for checkpoint, value in pairs]]


def _verdicts(later: pd.DataFrame, said: pd.Series, name: str) -> str:
    """`Holds at steps 100 and 200; inconclusive at step 300.`"""
    parts = [f"{v} at {places(later[said == v])}" for v in dict.fromkeys(said)]
    text = "; ".join(parts) + "."
    open_yet = later[(said == "inconclusive") & (later[f"{name}_low"].astype(float) > 0)]
    if len(open_yet):
        text += (
            f" At {places(open_yet)} the interval excludes 0, but shuffled labels give as much, or the band over all "
            "checkpoints does not exclude it."
        )
    return text[0].upper() + text[1:]


def place(row: Mapping) -> str:
    step = row.get("step")
    return f"step {int(step)}" if step is not None and step == step else str(row["checkpoint"])


def places(rows: pd.DataFrame) -> str:
    """`step 100`, `steps 100, 200 and 300`."""
    steps = [f"{int(s)}" for s in rows.step]
    if len(steps) == 1:
        return f"step {steps[0]}"
    return f"steps {', '.join(steps[:-1])} and {steps[-1]}" if steps else "no step"


def _of(some: pd.DataFrame, later: pd.DataFrame, rows: pd.DataFrame) -> str:
    """`2 of 5 later checkpoints`; not "later" where the target is no checkpoint of this model."""
    noun = "checkpoints" if len(later) == len(rows) else "later checkpoints"
    if len(later) == 1:
        return f"the {noun.removesuffix('s')}"
    return f"all {len(later)} {noun}" if len(some) == len(later) else f"{len(some)} of {len(later)} {noun}"


def shared_setting(rows: pd.DataFrame, names: Sequence[str]) -> dict[str, object]:
    """Those of the columns that hold one value in all rows."""
    return {n: rows[n].iloc[0] for n in names if rows[n].nunique(dropna=False) == 1 and pd.notna(rows[n].iloc[0])}
