"""Summaries over seeds: the mean with its interval, and the counts of verdicts."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from engine.stats.seeds import random_effects
from engine.studies.over_seeds import counted, over_seeds

NOTHING = (np.nan, np.nan, np.nan)


def rows(*seeds: tuple[float, float, float]) -> pd.DataFrame:
    return pd.DataFrame(seeds, columns=["gap", "gap_low", "gap_high"])


def test_several_seeds_are_combined_with_the_errors_of_their_intervals() -> None:
    estimates, errors = [0.3, 0.5, 0.1], [0.1, 0.2, 0.05]
    seeds = [(y, y - 1.96 * s, y + 1.96 * s) for y, s in zip(estimates, errors, strict=True)]
    expected = random_effects(estimates, errors)
    for some in (rows(*seeds), rows(NOTHING, *seeds)):
        assert over_seeds(some, "gap") == pytest.approx((expected.mean, expected.low, expected.high), abs=1e-4)


def test_rows_without_intervals_give_the_t_interval_of_their_values() -> None:
    expected = random_effects([0.3, 0.5, 0.1], [0, 0, 0])
    found = over_seeds(pd.DataFrame({"gap": [0.3, 0.5, 0.1]}), "gap")
    assert found == pytest.approx((expected.mean, expected.low, expected.high))


def test_a_study_of_one_seed_keeps_its_interval() -> None:
    assert over_seeds(rows((0.2, 0.1, 0.5)), "gap") == pytest.approx((0.2, 0.1, 0.5))
    mean, *interval = over_seeds(rows((0.2, 0.1, 0.5), NOTHING), "gap")
    assert mean == pytest.approx(0.2) and np.isnan(interval).all(), "one value among several seeds has no interval"
    for nothing in (rows(NOTHING), rows(NOTHING, NOTHING), rows()):
        assert np.isnan(over_seeds(nothing, "gap")).all()


def test_verdicts_are_counted() -> None:
    assert counted(pd.Series(["shown"])) == "shown"
    assert counted(pd.Series(["shown", "excluded", "shown"])) == "2× shown, 1× excluded"
    assert counted(pd.Series([None, np.nan])) == "–", "what was not measured"
