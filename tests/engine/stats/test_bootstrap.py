"""Bootstraps, intervals and bands against repeated rows, known weights and known coverage."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from scipy import stats

from engine.stats import bootstrap as boot

RNG = np.random.default_rng(0)
GROUPS = RNG.integers(0, 25, 300)
CUE, ENTITY = RNG.integers(0, 12, 300), RNG.integers(0, 15, 300)


@pytest.fixture(autouse=True)
def _no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def test_one_way_weights_count_group_draws():
    w = boot.bootstrap_weights(np.random.default_rng(1), 50, GROUPS)
    assert w.rows.shape == (50, 300) and w.n_groups == 25
    for rows in w.rows:
        counts = [set(rows[g == GROUPS]) for g in range(25)]
        assert all(len(count) == 1 for count in counts) and sum(count.pop() for count in counts) == 25


def test_two_way_weights_are_products_of_the_factors_draws():
    w = boot.bootstrap_weights(np.random.default_rng(1), 20, GROUPS, CUE, ENTITY).rows
    rng = np.random.default_rng(1)
    by_cue, by_entity = (
        np.array([np.bincount(rng.integers(0, m, m), minlength=m) for _ in range(20)]) for m in (12, 15)
    )
    order = {factor: list(dict.fromkeys(values)) for factor, values in (("c", CUE), ("e", ENTITY))}
    expected = [
        [by_cue[d, order["c"].index(x)] * by_entity[d, order["e"].index(y)] for x, y in zip(CUE, ENTITY, strict=True)]
        for d in range(20)
    ]
    np.testing.assert_array_equal(w, expected)


def test_missing_factors_fall_back_on_groups_and_one_group_has_no_interval():
    missing = np.array([None, *ENTITY[1:]], dtype=object)
    a = boot.bootstrap_weights(np.random.default_rng(1), 20, GROUPS, CUE, missing)
    np.testing.assert_array_equal(a.rows, boot.bootstrap_weights(np.random.default_rng(1), 20, GROUPS).rows)
    alone = boot.bootstrap_weights(np.random.default_rng(1), 20, np.zeros(300))
    draws = boot.bootstrap_pearson(alone, RNG.normal(size=300), RNG.normal(size=300))
    assert np.isnan(boot.interval(draws)).all()


@pytest.mark.parametrize("two_way", [False, True])
def test_bootstrapped_correlations_are_those_of_repeated_rows(two_way):
    a, b = RNG.normal(size=(300, 2)), RNG.normal(size=(300, 2))
    factors = (CUE, ENTITY) if two_way else (None, None)
    w = boot.bootstrap_weights(np.random.default_rng(2), 10, GROUPS, *factors)
    found = boot.bootstrap_pearson(w, a, b)
    for d, weights in enumerate(w.rows.astype(int)):
        rows = np.repeat(np.arange(300), weights)
        expected = [[stats.pearsonr(x[rows], y[rows])[0] for y in b.T] for x in a.T]
        np.testing.assert_allclose(found[d], expected, atol=1e-9)


def test_bootstrap_of_undefined_correlations_is_undefined():
    w = boot.bootstrap_weights(np.random.default_rng(2), 10, GROUPS)
    assert np.isnan(boot.bootstrap_pearson(w, np.ones(300), RNG.normal(size=300))).all()


def test_percentile_interval_covers():
    """95% of intervals from independent groups hold the true correlation, within what 150 trials can say."""
    rng, inside = np.random.default_rng(3), 0
    for _ in range(150):
        a = rng.normal(size=200)
        b = 0.6 * a + 0.8 * rng.normal(size=200)
        low, high = boot.interval(
            boot.bootstrap_pearson(boot.bootstrap_weights(rng, 300, np.arange(200)), a, b)[:, 0, 0]
        )
        inside += low <= 0.6 <= high
    assert 0.87 <= inside / 150 <= 0.99


def test_simultaneous_bands_cover_all_checkpoints_at_once():
    rng, inside, trials, alone = np.random.default_rng(4), 0, 400, 0
    covariance = 0.5 * np.eye(5) + 0.5
    for _ in range(trials):
        estimate = rng.multivariate_normal(np.zeros(5), covariance)
        draws = estimate + rng.multivariate_normal(np.zeros(5), covariance, size=500)
        low, high, p = boot.simultaneous(estimate, draws)
        inside += bool(((low <= 0) & (high >= 0)).all())
        alone += bool((p < 0.05).any())
    assert 0.92 <= inside / trials <= 0.98
    assert 0.02 <= alone / trials <= 0.08


def test_simultaneous_band_of_an_identity_is_a_point():
    draws = np.stack([np.zeros(100), RNG.normal(1, 0.1, 100), np.full(100, np.nan)], axis=1)
    low, high, p = boot.simultaneous([0.0, 1.0, np.nan], draws)
    assert low[0] == high[0] == 0 and p[0] == 1
    assert low[1] > 0.7 and p[1] < 0.02
    assert np.isnan([low[2], high[2], p[2]]).all()
