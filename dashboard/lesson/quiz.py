"""What may be said at the end: statements, and whether the numbers of the lesson's runs support them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from dashboard.lesson import words
from dashboard.lesson.measures import Contest, Stillness
from dashboard.lesson.words import Reveal
from dashboard.reading import findings

MAY = {"may": "May be said", "not": "May not be said"}


@dataclass(frozen=True)
class Statement:
    """A sentence that somebody might say, and what the measurements say to it."""

    key: str
    text: str
    reveal: Reveal


def statements(
    rows: pd.DataFrame, controls: pd.DataFrame, still: Stillness | None, contest: Contest | None
) -> list[Statement]:
    """The quiz of a story's chosen rows and controls, and of the control runs where they are there."""
    last = rows.iloc[-1].to_dict()
    found = [_right(last), _knows(rows, controls)]
    if contest is not None:
        found.append(_output(contest))
    if still is not None:
        found.append(_still(still))
    return [*found, _aware(last)]


def _right(last: Mapping) -> Statement:
    own, gap = words.of(last, "self"), words.of(last, "gap")
    answer = f"The gap, {words.text(gap, sign=True)}, compares two agreements. Right or wrong is Self alone: "
    answer += f"{words.text(own)}, in words: {findings.grade(last)}."
    reveal = Reveal("not", "Coupled is not correct", answer)
    return Statement("right", "“The gap is above 0, so the explanations are right.”", reveal)


def _knows(rows: pd.DataFrame, controls: pd.DataFrame) -> Statement:
    finding = findings.counterfactual(rows, controls)
    told = "May be said of this run" if finding.settled else "May not be said of this run"
    number = f" Largest: {finding.number}." if finding.number else ""
    reveal = Reveal("may" if finding.settled else "not", told, f"{finding.answer}.{number} {finding.sentence}")
    return Statement("knows", "“These explanations know more of x′ than the present output gives away.”", reveal)


def _output(contest: Contest) -> Statement:
    shown = words.above(contest.output_gap)
    told = "May be said: it was measured" if shown else "May not be said: it was not measured here"
    said = f"In the run of the known positive −f(x) alone has a gap of {words.text(contest.output_gap, sign=True)}."
    return Statement(
        "output",
        "“A gap above 0 can come from the present output alone.”",
        Reveal("may" if shown else "not", told, said),
    )


def _still(still: Stillness) -> Statement:
    found = words.stood_still(still)
    shown = found.answer == "still"
    told = "May be said" if shown else "May not be said"
    return Statement(
        "still", "“Where there was hardly anything to report, the explanation reported nothing.”",
        Reveal("may" if shown else "not", told, f"{found.headline}. {found.sentence}"),
    )  # fmt: skip


def _aware(last: Mapping) -> Statement:
    said = (
        "Nothing here measures awareness. An explainer is a small function of the model's hidden states; "
        f"r = {words.text(words.of(last, 'self'))} is an agreement of two columns of numbers."
    )
    reveal = Reveal("not", "Coupled is not aware", said)
    return Statement("aware", "“The model is aware of why it answers as it does.”", reveal)


def score(guesses: Mapping[str, str | float | None], quiz: list[Statement]) -> str:
    """`3 of 4 answered as the numbers do`, or "" where nothing was answered."""
    answered = [s for s in quiz if guesses.get(s.key) in MAY]
    if not answered:
        return ""
    right = sum(guesses[s.key] == s.reveal.answer for s in answered)
    return f"{right} of {len(answered)} answered as the numbers do."
