"""What scoring explanations will take: one sample is scored, with random numbers in place of behavior."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter

import numpy as np
import pandas as pd

from engine.config import RunSpec
from engine.records import Behavior
from engine.runs.observed import EVALUATED, factors_of
from engine.stats.bootstrap import Resamples
from engine.stats.faithfulness import null, score
from engine.stats.unseen import Design, unseen_run


@dataclass(frozen=True)
class Scoring:
    """Seconds for one row at one checkpoint, from the largest sample of one edit and split."""

    sample: float
    """What all scores of the sample share."""
    plain: float
    """One explainer."""
    precise: float
    """One explainer, with the draws that verdicts need."""
    null: float
    """All explainers on shuffled labels."""


def scoring_of(spec: RunSpec, examples: pd.DataFrame) -> Scoring:
    """examples: the columns edit, split, group, cue and entity of records.EXAMPLES."""
    evaluated = np.flatnonzero(examples["split"].isin(EVALUATED))
    samples = examples.iloc[evaluated].groupby(["edit", "split"], observed=True).ngroup().to_numpy()
    rows = evaluated[samples == np.bincount(samples).argmax()]
    design, rng, m = Design(**factors_of(examples, rows)), np.random.default_rng(0), spec.metrics
    now, then = (Behavior(*rng.normal(size=(2, len(rows)))) for _ in range(2))
    said, shuffles = rng.normal(size=(len(rows), 1)), rng.normal(size=(len(rows), m.null_shuffles))

    def seconds(work: Callable[[], object]) -> float:
        begun = perf_counter()
        work()
        return (perf_counter() - begun) / len(rows)

    unseen = unseen_run(now, then, design, spec.seed)

    def of_score(draws: Resamples) -> float:
        stale = then.effect[:, None]
        return seconds(lambda: score(said, now, then, draws, unseen=unseen, stale=stale, confidence=m.confidence))

    return Scoring(
        seconds(lambda: unseen_run(now, then, design, spec.seed)),
        of_score(design.resamples(rng, m.bootstrap)),
        of_score(design.resamples(rng, max(m.bootstrap, m.verdict_draws))),
        seconds(lambda: null(shuffles, now, then, m.confidence, unseen)),
    )
