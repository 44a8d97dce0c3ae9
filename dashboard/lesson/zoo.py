"""Step 7: five hand-built explainers without their names; which of them knows the unseen answer?"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
import pandas as pd
import streamlit as st

from dashboard.charts import interval, learn
from dashboard.charts import zoo as charts
from dashboard.lesson import classroom, from_runs, measures, wall
from dashboard.lesson.classroom import say
from dashboard.lesson.roles import LessonRun
from dashboard.lesson.words import Reveal, above, metric, signed, with_interval
from dashboard.reading.agreement import Estimate, behavior, design
from dashboard.text import escaped
from dashboard.widgets.figures import show
from engine.records import CLAIMS
from engine.stats.bootstrap import Resamples
from engine.stats.faithfulness import score
from engine.stats.unseen import unseen_run
from engine.zoo.lookalikes import ZOO, Sight

SHOWN = ("forgetting", "contradicting", "present output", "reciting", "oracle")
HONEST = "oracle"
LABELS = {letter: letter for letter in "ABCDE"}
MEASURES = {"self": "Self", "gap": "gap", "unseen": "unseen", "unseen_over_stale": "over stale"}


@dataclass(frozen=True)
class Cages:
    """The explainers of `SHOWN`, scored and in an order that does not tell who they are."""

    n: int
    n_groups: int
    of_letter: dict[str, str]  # name in the zoo
    numbers: dict[str, dict[str, Estimate]]  # letter → measure → value
    why_not: str | None  # why nothing can be said of the unseen answer


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
    of_letter, by_letter = dict(zip(LABELS, names, strict=True)), dict(zip(LABELS, numbers, strict=True))
    return Cages(len(rows), measures.group_count(rows), of_letter, by_letter, freed.why_not)


@st.cache_data(max_entries=16, show_spinner=False)
def cages(run: LessonRun) -> Cages | None:
    """The five on a run's behavior at its last checkpoint; None with too few examples."""
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
        st.info(f"Nothing can be said of the unseen answer here: {found.why_not if found else 'too few examples'}.")
        return
    st.html(table(found))
    say(
        "Unseen: what an explanation tells of f(x′) beyond the outputs that anybody can read. Over stale: what reading "
        "the current model adds to that. –: nothing is left of the explanation once the outputs are known."
    )
    say(wall.about(run, found.n, found.n_groups))
    key = f"7:{run.key}"
    own = classroom.choice(key, "Which of these five explainers is the honest one?", LABELS)
    if not own.shown:
        return
    classroom.answer_choice(own, honest(found), LABELS, key)
    picture(run, found)
    st.html(f'<ul class="recap">{"".join(f"<li>{escaped(line)}</li>" for line in unmasked(found))}</ul>')
    say(
        "Each number is judged by its own interval: of 40 that are truly 0, one lies above 0 by chance. At the target, "
        "reciting fools Self too. The command coupling zoo RUN scores many more look-alikes."
    )


def picture(run: LessonRun, found: Cages) -> None:
    """The five by name in every measure: where a measure works, the oracle stands apart."""
    five = [
        charts.Animal(
            f"{at}, {name}", charts.knows(name), {h: wall.triple(found.numbers[at][m]) for m, h in MEASURES.items()}
        )
        for at, name in found.of_letter.items()
    ]
    lines = (
        f"{one.name}: {', '.join(f'{head} {interval(*of, sign=True)}' for head, of in one.values.items())}"
        for one in five
    )
    figure = learn.projected(charts.zoo(five, row=46, abreast=2), legend=True).update_xaxes(nticks=3)
    about = wall.about(run, found.n, found.n_groups)
    show(figure, key="cages", path=run.path, alt=f"The five explainers. {'; '.join(lines)}", about=about)


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
    passing = [key for key, of in found.numbers.items() if all(above(of[name]) for name in CLAIMS["unseen"])]
    numbers = " and ".join(f"{MEASURES[name]} {signed(found.numbers[letter][name])}" for name in CLAIMS["unseen"])
    if passing == [letter]:
        return Reveal(letter, f"{letter} is the honest one", f"It alone has {numbers}, both above 0.")
    said = f"It has {numbers}. Both lie above 0 for {', '.join(passing) or 'none of the five'}."
    return Reveal(letter, f"{letter} is the honest one, and these data do not show it", said, as_expected=False)


def unmasked(found: Cages) -> list[str]:
    """A line for each: its name, what it does, and which measures it fools."""

    def fools(letter: str) -> str:
        high = [head for measure, head in MEASURES.items() if above(found.numbers[letter][measure])]
        return f" It fools {' and '.join(high) or 'none of the four numbers'}."

    return [f"{at}, {n}: {ZOO[n].says}.{'' if n == HONEST else fools(at)}" for at, n in found.of_letter.items()]
