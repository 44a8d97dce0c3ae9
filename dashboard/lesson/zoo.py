"""Step 7: five hand-built explainers without their names; which of them knows the unseen run?"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
import pandas as pd
import streamlit as st

from dashboard.lesson import classroom, from_runs, measures, wall
from dashboard.lesson.classroom import say
from dashboard.lesson.roles import LessonRun
from dashboard.lesson.words import Reveal, above, metric, signed, with_interval
from dashboard.reading.agreement import Estimate, behavior, design
from dashboard.text import escaped
from engine.stats.bootstrap import Resamples
from engine.stats.faithfulness import score
from engine.stats.unseen import unseen_run
from engine.zoo.lookalikes import ZOO, Sight

SHOWN = ("forgetting", "contradicting", "present output", "reciting", "oracle")
HONEST = "oracle"
LETTERS = "ABCDE"
LABELS = {letter: letter for letter in LETTERS}
MEASURES = {"self": "Self", "gap": "gap", "unseen": "unseen", "unseen_over_stale": "over stale"}
CLAIM = ("unseen", "unseen_over_stale")
"""Both have to lie above 0 before an explainer is said to know the unseen run."""


@dataclass(frozen=True)
class Cages:
    """The explainers of `SHOWN`, scored and in an order that does not tell who they are."""

    n: int
    n_groups: int
    of_letter: dict[str, str]
    """Letter → name in the zoo."""
    numbers: dict[str, dict[str, Estimate]]
    """Letter → measure → its value."""
    why_not: str | None
    """Why nothing can be said of the unseen run; None where something can."""


def scored(rows: pd.DataFrame, weights: Resamples | None, seed: int) -> Cages:
    """rows: f_… and f_edited_… of target and current, group, cue, entity. weights: for intervals."""
    now, then, of = behavior(rows, "current"), behavior(rows, "target"), design(rows)
    rng = np.random.default_rng(seed)
    names = [SHOWN[i] for i in rng.permutation(len(SHOWN))]
    sight = Sight(now, then, of, *rng.normal(size=(2, len(rows))))
    said, stale = (np.stack([ZOO[n].explain(s) for n in names], axis=1) for s in (sight, sight.stale))
    freed = unseen_run(now, then, of, outputs=False)
    found = score(said, now, then, weights, unseen=freed, stale=stale)
    numbers = [{name: metric(own.values, name) for name in MEASURES} for own in found]
    of_letter, numbers_of = (dict(zip(LETTERS, values, strict=True)) for values in (names, numbers))
    return Cages(len(rows), measures.group_count(rows), of_letter, numbers_of, freed.why_not)


@st.cache_data(max_entries=16, show_spinner=False)
def cages(run: LessonRun) -> Cages | None:
    """The five on the behavior of a run at its last checkpoint; None with too few examples."""
    rows = from_runs.explained(run, run.last)
    return None if len(rows) < 3 else scored(rows, measures.weights_of(rows), zlib.crc32(run.key.encode()))


def which(run: LessonRun) -> None:
    """Step 7."""
    say(
        "Five explainers, built by hand, explain this run's own behavior. One of them knows the answer to the unseen "
        "x′, with noise. The other four only look like it."
    )
    found = cages(run)
    if found is None or found.why_not:
        st.info(f"Nothing can be said of the unseen run here: {found.why_not if found else 'too few examples'}.")
        return
    st.html(table(found))
    say(
        "Unseen: what an explanation tells of f(x′) beyond the outputs that anybody can read. Over stale: what reading "
        "the current model adds to that. –: nothing is left of the explanation once the outputs are known."
    )
    st.caption(wall.about(run, found.n, found.n_groups))
    key = f"7:{run.key}"
    own = classroom.choice(key, "Which of these five explainers is the honest one?", LABELS)
    if not own.shown:
        return
    classroom.answer_choice(own, honest(found), LABELS, key)
    st.html(f'<ul class="recap">{"".join(f"<li>{escaped(line)}</li>" for line in unmasked(found))}</ul>')
    say("Each number is judged by its own interval. Of 40 that are truly 0, one lies above 0 by chance.")
    say("The command coupling zoo RUN scores many more of them on a run.")


def table(found: Cages) -> str:
    """The numbers of the five as HTML, without names."""
    heads = "".join(f'<th scope="col">{escaped(head)}</th>' for head in ("", *MEASURES.values()))
    lines = [
        f'<tr><th scope="row">{letter}</th>{"".join(f"<td>{escaped(_cell(n, of[n]))}</td>" for n in MEASURES)}</tr>'
        for letter, of in found.numbers.items()
    ]
    return f'<table class="zoo"><thead><tr>{heads}</tr></thead><tbody>{"".join(lines)}</tbody></table>'


def _cell(name: str, e: Estimate) -> str:
    return "–" if e.value is None else with_interval(e) if name == "self" else signed(e)


def honest(found: Cages) -> Reveal:
    """Whether unseen and over stale tell the oracle from the rest."""
    letter = next(key for key, name in found.of_letter.items() if name == HONEST)
    passing = [key for key, of in found.numbers.items() if all(above(of[name]) for name in CLAIM)]
    numbers = " and ".join(f"{MEASURES[name]} {signed(found.numbers[letter][name])}" for name in CLAIM)
    if passing == [letter]:
        return Reveal(letter, f"{letter} is the honest one", f"It alone has {numbers}, both above 0.")
    said = f"It has {numbers}. Both lie above 0 for {', '.join(passing) or 'none of the five'}."
    return Reveal(letter, f"{letter} is the honest one, and these data do not show it", said, as_expected=False)


def unmasked(found: Cages) -> list[str]:
    """A line for each: its name, what it does, and which measures it fools."""
    lines = []
    for letter, name in found.of_letter.items():
        high = [head for measure, head in MEASURES.items() if above(found.numbers[letter][measure])]
        fools = f"It fools {' and '.join(high) or 'none of the four numbers'}."
        lines.append(f"{letter}, {name}: {ZOO[name].says}. {'' if name == HONEST else fools}".strip())
    return lines
