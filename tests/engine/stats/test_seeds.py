"""Random effects over seeds: against statsmodels, against plain loops, and by what must hold."""

from __future__ import annotations

import math
from dataclasses import astuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.meta_analysis import combine_effects

from engine.stats.seeds import error_of_interval, random_effects

ALIKE, APART = [0.30, 0.31, 0.29], [0.1, 0.5, 0.9]
SEEDS = st.lists(st.tuples(st.floats(-1, 1), st.floats(0.01, 1)), min_size=2, max_size=6)


def plain(estimates: list[float], errors: list[float]) -> tuple[float, float, float, float]:
    """Mean, low, high and tau^2, with tau^2 found by halving."""
    k = len(estimates)

    def at(tau2: float) -> tuple[float, float, float]:
        mean = total = square = 0.0
        for y, s in zip(estimates, errors, strict=True):
            total += 1 / (s * s + tau2)
            mean += y / (s * s + tau2)
        for y, s in zip(estimates, errors, strict=True):
            square += (y - mean / total) ** 2 / (s * s + tau2)
        return mean / total, total, square

    below, above = 0.0, 100.0
    for _ in range(200):
        middle = (below + above) / 2
        below, above = (middle, above) if at(middle)[2] > k - 1 else (below, middle)
    mean, total, square = at(below)
    half = stats.t.ppf(0.975, k - 1) * math.sqrt(max(1.0, square / (k - 1)) / total)
    return mean, mean - half, mean + half, below


def drawn(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    errors = rng.uniform(0.02, 0.3, int(rng.integers(2, 9)))
    return 0.3 + rng.normal(0, rng.choice([0, 0.05, 0.4])) + rng.normal(0, 1, len(errors)) * errors * 1.5, errors


@pytest.mark.parametrize("seed", range(40))
def test_mean_interval_and_tau_are_those_of_statsmodels(seed):
    estimates, errors = drawn(seed)
    found = random_effects(estimates.tolist(), errors.tolist(), 0.9)
    # A smaller atol fails in statsmodels: where rounding makes Q - (k - 1) negative at the solution, tau2 becomes 0.
    theirs = combine_effects(estimates, errors**2, method_re="iterated", use_t=True, alpha=0.1, atol=1e-6)
    _, interval, _, plain_hartung_knapp = theirs.conf_int(alpha=0.1)
    assert (found.mean, found.between**2) == pytest.approx((theirs.mean_effect_re, theirs.tau2), abs=1e-5)
    assert (found.low, found.high) == pytest.approx(tuple(interval), abs=1e-5)
    if theirs.tau2 > 0:
        assert (found.low, found.high) == pytest.approx(tuple(plain_hartung_knapp), abs=1e-5)
    else:
        assert found.low <= plain_hartung_knapp[0] and found.high >= plain_hartung_knapp[1]


def test_statsmodels_was_asked_with_and_without_differences_between_seeds():
    between = [random_effects(*map(np.ndarray.tolist, drawn(seed))).between for seed in range(40)]
    assert 5 < sum(tau > 0 for tau in between) < 35


@given(SEEDS)
@settings(deadline=None)
def test_it_is_the_plain_loop(seeds):
    estimates, errors = map(list, zip(*seeds, strict=True))
    found = random_effects(estimates, errors)
    *expected, tau2 = plain(estimates, errors)
    assert [found.mean, found.low, found.high] == pytest.approx(expected, abs=1e-6)
    assert found.between**2 == pytest.approx(tau2, abs=1e-8)


@given(SEEDS, st.floats(-10, 10), st.randoms(use_true_random=False))
@settings(deadline=None)
def test_a_constant_shifts_and_the_order_of_seeds_changes_nothing(seeds, constant, random):
    mixed = random.sample(seeds, len(seeds))
    estimates, errors = map(list, zip(*seeds, strict=True))
    found = random_effects(estimates, errors)
    moved = random_effects([y + constant for y, _ in mixed], [s for _, s in mixed])
    expected = (found.mean + constant, found.low + constant, found.high + constant)
    assert (moved.mean, moved.low, moved.high) == pytest.approx(expected, abs=1e-6)
    assert (moved.between, moved.within) == pytest.approx((found.between, found.within), abs=1e-5)


@pytest.mark.parametrize(("seeds", "tau"), [(3, 0.0), (3, 0.3), (6, 0.1)])
def test_the_interval_covers_the_mean_over_all_seeds(seeds, tau):
    rng, draws, covered = np.random.default_rng([7, seeds]), 1000, 0
    for _ in range(draws):
        errors = rng.uniform(0.05, 0.15, seeds)
        found = random_effects(rng.normal(0.4, np.sqrt(tau**2 + errors**2)).tolist(), errors.tolist())
        covered += found.low <= 0.4 <= found.high
    assert covered / draws >= 0.93  # 2.5 standard errors below 0.95 are 0.933


def test_seeds_that_agree_are_as_wide_as_their_errors_and_seeds_that_differ_are_wider():
    alike, apart = (random_effects(estimates, [0.1, 0.1, 0.1]) for estimates in (ALIKE, APART))
    t = stats.t.ppf(0.975, 2)
    assert alike.between == 0 and alike.high - alike.mean == pytest.approx(t * 0.1 / np.sqrt(3))
    assert apart.between == pytest.approx(np.sqrt(np.var(APART, ddof=1) - 0.1**2))
    assert apart.high - apart.mean == pytest.approx(t * stats.sem(APART))
    assert (apart.mean, apart.within, apart.seeds) == pytest.approx((0.5, 0.1, 3))


def test_one_seed_has_no_interval_two_have_a_wide_one_and_nan_is_left_out():
    one = random_effects([0.4, np.nan], [0.1, 0.1])
    assert (one.mean, one.within, one.seeds) == (0.4, pytest.approx(0.1), 1)
    assert np.isnan([one.low, one.high, one.between]).all()
    two = random_effects([0.4, np.nan, 0.5], [0.1, 0.1, 0.1])
    assert two == random_effects([0.4, 0.5], [0.1, 0.1])
    assert two.high - two.low == pytest.approx(2 * stats.t.ppf(0.975, 1) * 0.1 / np.sqrt(2))
    for nothing in (random_effects([], []), random_effects([np.nan], [0.1])):
        assert np.isnan(astuple(nothing)[:5]).all() and nothing.seeds == 0


def test_errors_that_are_zero_or_missing():
    for errors in ([0.0, 0.0, 0.0], [np.nan, np.nan, np.nan]):
        found = random_effects(APART, errors)
        expected = stats.t.interval(0.95, 2, np.mean(APART), stats.sem(APART))
        assert (found.low, found.high, found.within) == pytest.approx((*expected, 0))
        same = random_effects([0.3, 0.3, 0.3], errors)
        assert (same.mean, same.low, same.high, same.between) == (0.3, 0.3, 0.3, 0)
    for absent in (0.0, np.nan, 1e-17):
        assert random_effects([1.0, 0.9, 0.8], [absent, 0.1, 0.2]) == random_effects([1.0, 0.9, 0.8], [0.1, 0.1, 0.2])


@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.99])
def test_the_error_of_a_normal_interval_is_its_standard_deviation(confidence):
    low, high = stats.norm.interval(confidence, 0.3, 0.07)
    assert error_of_interval(low, high, confidence) == pytest.approx(0.07)
    assert error_of_interval(0.2, 0.2, confidence) == 0
    assert np.isnan(error_of_interval(np.nan, np.nan, confidence))
