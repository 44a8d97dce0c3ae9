"""Says in words what the metrics of a run show, and no more than the intervals support.

Each function takes the chosen rows of one explainer and regime over checkpoints (columns: `engine.records.METRICS`, in
order of training) and returns a `Finding`. Nothing here reads a run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from dashboard.text import bracketed, signed

GOOD, FAIR = 0.7, 0.4
"""Self is graded by the lower end of its interval."""

RIVALS = ("output", "output_text", "text_only", "stale", "other_model", "copy", "contrary", "small_lm")
"""Controls that an explanation has to beat before it is said to know the counterfactual."""
SHARES_CONTENT = "consistency"
"""A control only of "would change": its answer to x′ is the model's own, so it knows as much of the unseen run."""


@dataclass(frozen=True)
class Finding:
    """The answer to one question."""

    question: str
    answer: str
    """A few words."""
    number: str
    """The number behind the answer, with its interval."""
    sentence: str
    settled: bool | None
    """True: shown; False: shown not to be so; None: open."""


def estimate(row: Mapping, name: str) -> str:
    """`+0.12 [+0.05, +0.19]`; an en dash if it is not defined."""
    value, low, high = row.get(name), row.get(f"{name}_low"), row.get(f"{name}_high")
    sign = name not in ("self", "orig", "target_current")
    text = signed(value) if sign else signed(value).lstrip("+")
    span = bracketed(low, high)
    return f"{text} {span if sign else span.replace('+', '')}".strip()


def grade(row: Mapping) -> str:
    """good, fair, weak, "not above chance" or "not measured", by the lower end of the interval of Self.

    Above chance has the meaning of the verdicts: the interval is above 0, and the value is above the null band.
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
    number, answer, where = estimate(first, "self"), f"{start.capitalize()} where it was trained", f"at {place(first)}"
    if len(rows) > 1:
        number += f" → {estimate(last, 'self')}"
        answer += ", and at the last checkpoint" if end == start else f", {end} at the last checkpoint"
        where += f" and at {place(last)}"
    sentence = (
        f"Self: the correlation of the explained effect with the model's own effect, {where}. "
        f"Good: the interval lies above {GOOD}; fair: above {FAIR}; weak: above 0; each outside the null band."
    )
    as_good = _matched_by_output(rows, controls, "self")
    if len(as_good):
        sentence += f" −f(x) alone, untrained, agrees as well at {places(as_good)}."
    settled = {"good": True, "fair": True, "weak": None, "not measured": None}.get(end, False)
    return Finding(question, answer, number, sentence, settled)


def _quality_in_words(question: str, rows: pd.DataFrame, controls: pd.DataFrame) -> Finding:
    """Whether a model's sentences are right more often than those of every control."""
    told = rows[rows.step > 0] if (rows.step > 0).any() else rows
    last = told.iloc[-1].to_dict()
    there = controls[(controls.checkpoint == last["checkpoint"]) & controls.control.isin((*RIVALS, SHARES_CONTENT))]
    rivals = there.drop_duplicates("control").set_index("control")["self"].dropna()
    sentence = (
        "Self: the share of sentences that are right about the current model, both in the answer to x′ and in whether "
        f"it differs from the answer to x, at {place(last)}."
    )
    number = estimate(last, "self")
    if rivals.empty:
        return Finding(question, "Nothing to compare with", number, sentence, None)
    best, value = str(rivals.idxmax()), float(rivals.max())
    name = best.replace("_", " ")
    sentence += f" The best control is {name}: {signed(value).lstrip('+')}."
    if best == SHARES_CONTENT:
        sentence += " It takes the model's own answer to x′, and reads off whether that is a change."
    if last["self_low"] > value:
        return Finding(question, "Better than every control", number, sentence, True)
    beaten = last.get("self_high") is not None and last["self_high"] < value
    answer = f"{'Worse' if beaten else 'No better'} than {name}"
    return Finding(question, answer, number, sentence, False if beaten else None)


def coupling(rows: pd.DataFrame, controls: pd.DataFrame) -> Finding:
    """Whether explanations agree with the current model better than with the target they were trained on."""
    question = "Do they follow the current model?"
    later = rows[rows.checkpoint != rows.target]
    if later.empty:
        return Finding(question, "Nothing to follow", "", NO_LATER, None)
    said = later.verdict_coupling.fillna("inconclusive")
    holds, reverses = later[said == "holds"], later[said == "reverses"]
    settled: bool | None = False
    if len(holds):
        answer, settled = f"Coupled at {_share(holds, later, rows)}", True
    elif len(reverses):
        answer = f"No: they recite the target at {_share(reverses, later, rows)}"
    elif (said == "absent").all():
        answer = "No: the gap is absent"
    else:
        answer, settled = "Not established", None
    sentence = "Gap: Self − Orig. " + _verdicts(later, said, "gap")
    as_large = _matched_by_output(holds, controls, "gap")
    if len(as_large):
        sentence += f" −f(x) alone, which knows nothing of the edit, has as large a gap at {places(as_large)}."
    if len(reverses) and len(holds):
        sentence += f" At {places(reverses)} they recite the target instead."
    shown = next(part for part in (holds, reverses, later) if len(part))
    best = shown.iloc[shown.gap.abs().fillna(-1).argmax()].to_dict()
    return Finding(question, answer, f"{estimate(best, 'gap')} at {place(best)}", sentence, settled)


NO_LATER = "The run has no checkpoint after its target."
GAP_IN_WORDS = (
    "the share of sentences with the current answer to x′, less the share with the label's, on examples where the two "
    "differ. In half of these x′ has the same answer as x, so reading only the answer to x scores 0."
)
GAP_IN_NUMBERS = (
    "the correlation of the explanation with the current model's f(x′), less that with the target's f(x′), with f(x) "
    "of both models held fixed."
)


def counterfactual(rows: pd.DataFrame, controls: pd.DataFrame) -> Finding:
    """Whether explanations know more of the unseen run than the present output gives away."""
    question = "Do they know more than the output gives away?"
    later = rows[rows.checkpoint != rows.target]
    if later.empty:
        return Finding(question, "Nothing to know", "", NO_LATER, None)
    said = later.verdict_counterfactual.fillna("inconclusive")
    holds = later[said == "holds"]
    clear = holds[[cleared(row, controls) for row in holds.to_dict("records")]] if len(holds) else holds
    if len(clear):
        answer = f"Yes, at {_share(clear, later, rows)}"
    elif len(holds):
        answer = "Not shown: a control does as well"
    elif (said == "not testable").all():
        answer = "Not testable in this run"
    else:
        answer = "No: nothing beyond the output" if (said == "absent").all() else "Not shown"
    meaning = GAP_IN_WORDS if (rows.explainer == "verbal").any() else GAP_IN_NUMBERS
    sentence = f"Counterfactual gap: {meaning} " + _verdicts(later, said, "counterfactual_gap")
    if len(holds) > len(clear):
        rest = holds[~holds.checkpoint.isin(clear.checkpoint)]
        sentence += f" At {places(rest)} change tracking or a control rules this out."
    shown = clear if len(clear) else later
    best = shown.iloc[shown.counterfactual_gap.fillna(-9).argmax()].to_dict()
    settled = True if len(clear) else False if said.isin(("absent", "reverses")).all() else None
    number = f"{estimate(best, 'counterfactual_gap')} at {place(best)}"
    return Finding(question, answer, number, sentence, settled)


def cleared(row: Mapping, controls: pd.DataFrame) -> bool:
    """Whether the lower ends of counterfactual gap and change tracking are above 0 and above every control's value.
    False without a control to compare with."""
    rivals = controls[(controls.checkpoint == row["checkpoint"]) & controls.control.isin(RIVALS)]
    for name in ("counterfactual_gap", "change_tracking"):
        low, others = row.get(f"{name}_low"), rivals[name].dropna()
        if low is None or not low > 0 or others.empty or not (others < low).all():
            return False
    return True


def _matched_by_output(rows: pd.DataFrame, controls: pd.DataFrame, name: str) -> pd.DataFrame:
    """The rows whose value is no larger than that of the untrained −f(x)."""
    output = controls[controls.control == "output"].drop_duplicates("checkpoint").set_index("checkpoint")[name]
    return rows[(rows.checkpoint.map(output).astype(float) >= rows[name].astype(float)).to_numpy(bool)]


def _verdicts(later: pd.DataFrame, said: pd.Series, name: str) -> str:
    """`Holds at steps 100 and 200; inconclusive at step 300.`"""
    text = "; ".join(f"{verdict} at {places(later[said == verdict])}" for verdict in said.unique()) + "."
    unsettled = later[(said == "inconclusive") & (later[f"{name}_low"].astype(float) > 0)]
    if len(unsettled):
        text += (
            f" At {places(unsettled)} the interval excludes 0, but shuffled labels give as much, or the band over all "
            "checkpoints does not exclude it."
        )
    return text[0].upper() + text[1:]


def place(row: Mapping) -> str:
    """`step 100`."""
    return f"step {int(row['step'])}"


def places(rows: pd.DataFrame) -> str:
    """`step 100`, `steps 100, 200 and 300`."""
    steps = [f"{int(s)}" for s in rows.step]
    if len(steps) == 1:
        return f"step {steps[0]}"
    return f"steps {', '.join(steps[:-1])} and {steps[-1]}" if steps else "no step"


def _share(some: pd.DataFrame, later: pd.DataFrame, rows: pd.DataFrame) -> str:
    """`2 of 5 later checkpoints`; "checkpoints" if the target is no checkpoint of this model."""
    noun = "checkpoints" if len(later) == len(rows) else "later checkpoints"
    if len(later) == 1:
        return f"the {noun.removesuffix('s')}"
    return f"all {len(later)} {noun}" if len(some) == len(later) else f"{len(some)} of {len(later)} {noun}"


def shared_setting(rows: pd.DataFrame, names: Sequence[str]) -> dict[str, object]:
    """The columns that hold one value in all rows, with that value."""
    return {n: rows[n].iloc[0] for n in names if rows[n].nunique(dropna=False) == 1 and pd.notna(rows[n].iloc[0])}
