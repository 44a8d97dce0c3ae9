"""The zoo scored: for each look-alike, how often each claim is shown of it, on drawn worlds or on a run's data."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import pandas as pd

from engine.config import InputError
from engine.progress import Progress
from engine.records import CLAIMS
from engine.runs.markdown import intervals, markdown_table
from engine.runs.observed import Observed
from engine.stats.bootstrap import Resamples
from engine.stats.faithfulness import Score, score
from engine.stats.unseen import Design, UnseenRun, unseen_run
from engine.stats.verdicts import verdicts
from engine.zoo.drawn import Drawn, draw
from engine.zoo.lookalikes import ZOO, Sight

FALSE_SHOWN = 0.025
"""Largest share of draws in which a claim may be shown where it is false."""
TRUE_SHOWN = 0.8
"""Smallest share of draws in which a claim should be shown where it is true."""
HEADS = {
    "self": "Self",
    "orig": "Orig",
    "gap": "gap",
    "unseen": "unseen",
    "unseen_over_stale": "over stale",
    "unseen_over_outputs": "over outputs",
}
"""Columns of values → their heads."""
BOOTSTRAP = 1000


def on_worlds(
    draws: int, seed: int = 0, alike: bool = False, progress: Progress | None = None, rows: int = 1200
) -> pd.DataFrame:
    """The zoo on worlds of its own, one a draw. alike and rows: as in `drawn.draw`."""

    def each() -> Iterator[list[dict]]:
        for number in range(draws):
            rng = np.random.default_rng([seed, number])
            world = draw(rng, rows, alike=alike)
            yield _scored(world, unseen_run(*world), world[2].resamples(rng, BOOTSTRAP), rng)
            if progress:
                progress("the zoo on drawn worlds", number + 1, draws)

    return summary(each())


def on_run(
    observed: Observed,
    draws: int,
    *,
    edit: str | None = None,
    checkpoint: str | None = None,
    split: str = "test_heldout",
    seed: int = 0,
    progress: Progress | None = None,
) -> pd.DataFrame:
    """The zoo on the behavior of a run; only the look-alikes' noise is drawn anew.

    edit and checkpoint: by default the first headline edit and the last checkpoint. Raises InputError for one that the
    run does not have, and where nothing can be said of the unseen answer.
    """
    edit, checkpoint = edit or observed.headline_edits[0], checkpoint or observed.currents[-1]
    for kind, name, known in (("edit", edit, observed.edits), ("checkpoint", checkpoint, observed.currents)):
        if name not in known:
            raise InputError(f"{observed.record.path}: has no {kind} {name!r}; it has {', '.join(known)}")
    rows = observed.rows(edit, split)
    current = observed.behavior(checkpoint).take(rows)
    target = observed.behavior(observed.target).take(rows)
    design = Design(**observed.factors(rows))
    unseen = unseen_run(current, target, design)
    if unseen.why_not:
        raise InputError(f"{observed.record.path}: {edit}, {split}, {checkpoint}: not testable: {unseen.why_not}")
    resamples = design.resamples(np.random.default_rng(seed), BOOTSTRAP)

    def each() -> Iterator[list[dict]]:
        for number in range(draws):
            yield _scored((current, target, design), unseen, resamples, np.random.default_rng([seed, number]))
            if progress:
                progress("the zoo on the run's behavior", number + 1, draws)

    return summary(each())


def _scored(world: Drawn, unseen: UnseenRun, resamples: Resamples, rng: np.random.Generator) -> list[dict]:
    """A row for each look-alike: its values, and 1 for each claim that is shown."""
    current, target, design = world
    n = len(current.f)
    sight = Sight(current, target, design, rng.normal(size=n), rng.normal(size=n))
    said = np.stack([own.explain(sight) for own in ZOO.values()], axis=1)
    stale = np.stack([own.explain(sight.stale) for own in ZOO.values()], axis=1)
    values = score(said, current, target, resamples, unseen=unseen, stale=stale)
    return [_row(name, at) for name, at in zip(ZOO, values, strict=True)]


def _row(name: str, at: Score) -> dict:
    words = {claim: verdicts([[at]], claim)[0][0].word for claim in CLAIMS}
    shown = {f"{claim}_shown": float(word == "shown") for claim, word in words.items()}
    untested = {f"{claim}_untested": float(word == "not testable") for claim, word in words.items()}
    return {"explainer": name} | {value: at[value] for value in HEADS} | shown | untested


def summary(draws: Iterable[list[dict]]) -> pd.DataFrame:
    """Means over draws, a row for each look-alike in the zoo's order, and whether each claim's answer is right."""
    frame = pd.DataFrame([row for rows in draws for row in rows])
    means = frame.groupby("explainer", sort=False).mean()
    for claim in CLAIMS:
        means[f"{claim}_right"] = [
            _right(ZOO[name].answers.get(claim), share)
            for name, share in zip(means.index, means[f"{claim}_shown"], strict=True)
        ]
    return means.reset_index()


def _right(answer: bool | None, share: float) -> bool | None:
    if answer is None:
        return None
    return bool(share >= TRUE_SHOWN) if answer else bool(share <= FALSE_SHOWN)


def markdown(table: pd.DataFrame) -> str:
    """The table in Markdown: mean values, then the share of draws in which each claim is shown."""
    columns = {"explainer": table["explainer"].tolist()}
    columns |= {head: intervals(table, name, ends=()) for name, head in HEADS.items()}
    columns |= {f"{claim} shown": [_cell(row, claim) for row in table.to_dict("records")] for claim in CLAIMS}
    return markdown_table(columns)


def _cell(row: dict, claim: str) -> str:
    if row[f"{claim}_untested"] == 1:
        return "not testable"
    mark = {True: " ✓", False: " ✗", None: ""}[row[f"{claim}_right"]]
    return f"{row[f'{claim}_shown']:.3f}{mark}"
