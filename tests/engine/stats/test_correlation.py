"""Correlations, bootstraps and verdicts against scipy, plain loops and known coverage."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats
from sklearn.linear_model import LinearRegression

from engine.records import VERDICTS
from engine.stats import correlation as c

RNG = np.random.default_rng(0)
NUMBERS = st.floats(-1e3, 1e3, width=32)


@pytest.fixture(autouse=True)
def _no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@given(
    hnp.arrays(np.float64, st.tuples(st.integers(2, 20), st.just(3)), elements=NUMBERS),
    st.integers(0, 1000),
)
@settings(max_examples=60, deadline=None)
def test_pearson_is_scipys_or_undefined(a, seed):
    b = np.random.default_rng(seed).normal(size=len(a))
    for column, r in zip(a.T, c.pearson(a, b), strict=True):
        if np.ptp(column) == 0:
            assert np.isnan(r)
        elif np.ptp(column) > 1e-6 * np.abs(column).max():
            assert r == pytest.approx(stats.pearsonr(column, b)[0], abs=1e-7)


@given(hnp.arrays(np.float64, 30, elements=st.integers(0, 8).map(float)), st.floats(0.1, 10), st.floats(-5, 5))
@settings(max_examples=40, deadline=None)
def test_correlations_ignore_scale_and_offset(a, scale, offset):
    b = np.sin(np.arange(30.0)) + a
    np.testing.assert_allclose(c.pearson(a, b), c.pearson(scale * a + offset, b), atol=1e-9)
    np.testing.assert_allclose(c.spearman(a, b), c.spearman(scale * a + offset, b), atol=1e-9)


def test_spearman_is_scipys_with_ties():
    a, b = RNG.integers(0, 5, 100), RNG.integers(0, 5, 100)
    assert c.spearman(a, b)[0] == pytest.approx(stats.spearmanr(a, b)[0])


def test_nothing_to_correlate():
    assert np.isnan(c.pearson(np.zeros((0, 2)), np.zeros(0))).all()
    assert np.isnan(c.spearman(np.zeros(1), np.zeros(1))).all()
    assert np.isnan(c.pearson(np.full(20, 0.1), RNG.normal(size=20))).all()


def _spline_case(n=400):
    u, v = RNG.normal(size=n), RNG.normal(size=n)
    a = np.stack([np.sin(u) + RNG.normal(size=n), u**2 + v + RNG.normal(size=n)], axis=1)
    b = np.stack([u**2 + RNG.normal(size=n), a[:, 0] + np.exp(v / 2)], axis=1)
    return u, v, a, b


def test_partial_correlation_is_that_of_residuals():
    u, v, a, b = _spline_case()
    z = c.spline_basis(u, v)
    np.testing.assert_allclose(z.T @ z, np.eye(z.shape[1]), atol=1e-10)

    def left(x):
        return x - LinearRegression().fit(z, x).predict(z)

    expected = [[stats.pearsonr(left(x), left(y))[0] for y in b.T] for x in a.T]
    np.testing.assert_allclose(c.partial(a, b, z), expected, atol=1e-9)


def test_splines_take_out_smooth_confounders():
    u, v, *_ = _spline_case(3000)
    a, b = np.tanh(2 * u) + v**2 + RNG.normal(size=3000), np.exp(u / 2) - v**2 + RNG.normal(size=3000)
    assert abs(c.pearson(a, b)[0]) > 0.2
    assert abs(c.partial(a, b, c.spline_basis(u, v))[0, 0]) < 0.06


@pytest.mark.parametrize(
    "variables",
    [
        (np.zeros(50), np.zeros(50)),
        (np.zeros(50), np.arange(50.0)),
        (np.arange(50.0), np.arange(50.0)),
        (np.repeat([0.0, 1.0], 25), np.r_[np.zeros(49), 1.0]),
        (np.r_[np.zeros(40), np.arange(10.0)], np.arange(50.0) % 6),
        (np.arange(50.0), np.arange(50.0) + 1e-9 * RNG.normal(size=50)),
    ],
)
def test_degenerate_variables_still_give_an_orthonormal_basis(variables):
    z = c.spline_basis(*variables)
    np.testing.assert_allclose(z.T @ z, np.eye(z.shape[1]), atol=1e-8)
    assert z.shape[1] <= 1 + 14
    for v in variables:  # whatever the knots, the variables themselves are taken out
        assert c.residuals(v, z) == pytest.approx(0, abs=1e-4)
    assert np.isfinite(c.partial(RNG.normal(size=50), RNG.normal(size=50), z)).all()


def test_partial_correlation_where_nothing_is_left():
    u = RNG.normal(size=100)
    z, other = c.spline_basis(u), RNG.normal(size=100)
    assert c.partial(-3 * u + 1, other, z)[0, 0] == 0  # fully explained: knows nothing beyond
    assert np.isnan(c.partial(np.ones(100), other, z)[0, 0])  # constant
    assert np.isnan(c.partial(other, u, z)[0, 0])  # nothing to know
    assert np.isnan(c.partial(other[:5], u[:5], c.spline_basis(u[:5]))[0, 0])  # too few rows


GROUPS = RNG.integers(0, 25, 300)
CUE, ENTITY = RNG.integers(0, 12, 300), RNG.integers(0, 15, 300)


def test_one_way_weights_count_group_draws():
    w = c.bootstrap_weights(np.random.default_rng(1), 50, GROUPS)
    assert w.rows.shape == (50, 300) and w.n_groups == 25
    for rows in w.rows:
        counts = [set(rows[g == GROUPS]) for g in range(25)]
        assert all(len(count) == 1 for count in counts) and sum(count.pop() for count in counts) == 25


def test_two_way_weights_are_products_of_the_factors_draws():
    w = c.bootstrap_weights(np.random.default_rng(1), 20, GROUPS, CUE, ENTITY).rows
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
    a = c.bootstrap_weights(np.random.default_rng(1), 20, GROUPS, CUE, missing)
    np.testing.assert_array_equal(a.rows, c.bootstrap_weights(np.random.default_rng(1), 20, GROUPS).rows)
    alone = c.bootstrap_weights(np.random.default_rng(1), 20, np.zeros(300))
    draws = c.bootstrap_pearson(alone, RNG.normal(size=300), RNG.normal(size=300))
    assert np.isnan(c.interval(draws)).all()


@pytest.mark.parametrize("two_way", [False, True])
def test_bootstrapped_correlations_are_those_of_repeated_rows(two_way):
    u, v, a, b = _spline_case(300)
    factors = (CUE, ENTITY) if two_way else (None, None)
    w = c.bootstrap_weights(np.random.default_rng(2), 10, GROUPS, *factors)
    pearson, partial = c.bootstrap_pearson(w, a, b), c.bootstrap_partial(w, a, b, z := c.spline_basis(u, v), chunk=1)
    for d, weights in enumerate(w.rows.astype(int)):
        rows = np.repeat(np.arange(300), weights)
        for j in range(2):
            np.testing.assert_allclose(pearson[d, :, j], c.pearson(a[rows], b[rows, j]), atol=1e-10)

        def left(x, rows=rows):
            return x[rows] - LinearRegression(fit_intercept=False).fit(z[rows], x[rows]).predict(z[rows])

        expected = [[stats.pearsonr(left(x), left(y))[0] for y in b.T] for x in a.T]
        np.testing.assert_allclose(partial[d], expected, atol=1e-7)


def test_bootstrap_of_undefined_correlations_is_undefined_or_zero():
    u = RNG.normal(size=300)
    w, z = c.bootstrap_weights(np.random.default_rng(2), 10, GROUPS), c.spline_basis(u)
    constant, read = np.ones(300), 2 * u
    a, b = np.stack([constant, read], axis=1), RNG.normal(size=300)
    draws = c.bootstrap_partial(w, a, b, z)
    assert np.isnan(draws[:, 0]).all() and (draws[:, 1] == 0).all()
    assert np.isnan(c.bootstrap_pearson(w, a, b)[:, 0]).all()
    assert np.isnan(c.bootstrap_partial(w, b, u, z)).all()


def test_percentile_interval_covers():
    """95% of intervals from independent groups hold the true correlation, within what 150 trials can say."""
    rng, inside = np.random.default_rng(3), 0
    for _ in range(150):
        a = rng.normal(size=200)
        b = 0.6 * a + 0.8 * rng.normal(size=200)
        low, high = c.interval(c.bootstrap_pearson(c.bootstrap_weights(rng, 300, np.arange(200)), a, b)[:, 0, 0])
        inside += low <= 0.6 <= high
    assert 0.87 <= inside / 150 <= 0.99


def test_simultaneous_bands_cover_all_checkpoints_at_once():
    rng, inside, trials, alone = np.random.default_rng(4), 0, 400, 0
    covariance = 0.5 * np.eye(5) + 0.5
    for _ in range(trials):
        estimate = rng.multivariate_normal(np.zeros(5), covariance)
        draws = estimate + rng.multivariate_normal(np.zeros(5), covariance, size=500)
        low, high, p = c.simultaneous(estimate, draws)
        inside += bool(((low <= 0) & (high >= 0)).all())
        alone += bool((p < 0.05).any())
    assert 0.92 <= inside / trials <= 0.98
    assert 0.02 <= alone / trials <= 0.08


def test_simultaneous_band_of_an_identity_is_a_point():
    draws = np.stack([np.zeros(100), RNG.normal(1, 0.1, 100), np.full(100, np.nan)], axis=1)
    low, high, p = c.simultaneous([0.0, 1.0, np.nan], draws)
    assert low[0] == high[0] == 0 and p[0] == 1
    assert low[1] > 0.7 and p[1] < 0.02
    assert np.isnan([low[2], high[2], p[2]]).all()


@given(
    st.floats(-1, 1), st.floats(0, 0.5), st.floats(-0.3, 0.3), st.floats(0, 0.2), st.floats(0.001, 0.1), st.booleans()
)
@settings(max_examples=200, deadline=None)
def test_verdict_says_only_what_the_interval_supports(estimate, half, null_middle, null_half, absent, testable):
    low, high, band = estimate - half, estimate + half, (null_middle - null_half, null_middle + null_half)
    said = c.verdict(low, high, estimate, *band, absent, testable)
    mirrored = c.verdict(-high, -low, -estimate, -band[1], -band[0], absent, testable)
    assert said in VERDICTS
    assert mirrored == {"holds": "reverses", "reverses": "holds"}.get(said, said)
    assert (said == "not testable") == (not testable)
    if said == "holds":
        assert low > 0 and not band[0] <= estimate <= band[1]
    if said == "absent":
        assert low >= -absent and high <= absent


def test_verdict_without_numbers():
    assert c.verdict(np.nan, np.nan, 0.5, None, None, 0.03, True) == "inconclusive"
    assert c.verdict(0.1, 0.2, np.nan, None, None, 0.03, True) == "not testable"
    assert c.verdict(0.1, 0.2, 0.15, None, None, 0.03, True) == "holds"
