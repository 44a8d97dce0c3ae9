"""Summaries over seeds: the interval of a mean, and the counts of verdicts."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from engine.studies.over_seeds import counted, mean_interval


def rows(*seeds: tuple[float, float, float]) -> pd.DataFrame:
    return pd.DataFrame(seeds, columns=["gap", "gap_low", "gap_high"])


def test_the_interval_of_several_seeds_is_that_of_independent_errors() -> None:
    rng = np.random.default_rng(0)
    spreads = np.array([0.1, 0.2, 0.05])
    mean, low, high = mean_interval(rows(*((0.3, 0.3 - 1.96 * s, 0.3 + 1.96 * s) for s in spreads)), "gap")
    means = rng.normal(0.3, spreads, size=(100_000, 3)).mean(axis=1)
    assert mean == pytest.approx(0.3)
    assert (low, high) == pytest.approx(tuple(np.quantile(means, [0.025, 0.975])), abs=5e-3)


def test_one_seed_keeps_its_interval_and_seeds_without_a_value_are_left_out() -> None:
    nothing = (np.nan, np.nan, np.nan)
    assert mean_interval(rows((0.2, 0.1, 0.5)), "gap") == pytest.approx((0.2, 0.1, 0.5))
    assert mean_interval(rows((0.2, 0.1, 0.5), nothing), "gap") == pytest.approx((0.2, 0.1, 0.5))
    assert np.isnan(mean_interval(rows(nothing), "gap")).all()


def test_verdicts_are_counted() -> None:
    assert counted(pd.Series(["holds"])) == "holds"
    assert counted(pd.Series(["holds", "absent", "holds"])) == "2× holds, 1× absent"
