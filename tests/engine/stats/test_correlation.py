"""Correlations against scipy."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

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
