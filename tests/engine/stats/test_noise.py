"""Label noise: exact shares, seeded, nested over levels, linear where it says so."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.stats.noise import NOISE, noise_matrix, noisy, shuffled_targets

LEVELS = tuple(round(0.1 * i, 1) for i in range(11))


def targets(n: int = 200) -> np.ndarray:
    return np.random.default_rng(1).normal(0.5, 2.0, n)


@pytest.mark.parametrize("kind", NOISE)
@given(level=st.sampled_from(LEVELS), seed=st.integers(0, 1000))
@settings(max_examples=25, deadline=None)
def test_same_generator_state_same_noise(kind, level, seed):
    y = targets(50)
    one, two = (noisy(y, kind, level, np.random.default_rng(seed)) for _ in range(2))
    np.testing.assert_array_equal(one, two)
    np.testing.assert_array_equal(y, targets(50))  # the input is left alone
    if level == 0:
        np.testing.assert_array_equal(one, y)


@given(level=st.sampled_from(LEVELS), seed=st.integers(0, 1000))
@settings(max_examples=25, deadline=None)
def test_shuffle_permutes_and_flip_flips_the_share(level, seed):
    y = targets(80)
    shuffled = noisy(y, "shuffle", level, np.random.default_rng(seed))
    np.testing.assert_array_equal(np.sort(shuffled), np.sort(y))
    assert (shuffled != y).sum() <= round(level * 80)
    flipped = noisy(y, "flip", level, np.random.default_rng(seed))
    np.testing.assert_array_equal(np.abs(flipped), np.abs(y))
    assert (flipped != y).sum() == round(level * 80)


def test_changed_rows_are_nested_over_levels():
    y = targets()
    changed = [set(np.flatnonzero(noisy(y, "flip", level, np.random.default_rng(3)) != y)) for level in LEVELS]
    assert all(a <= b for a, b in itertools.pairwise(changed))


def test_gaussian_noise_has_the_stated_size():
    y = targets(20000)
    added = noisy(y, "gaussian", 0.5, np.random.default_rng(0)) - y
    assert added.std() == pytest.approx(0.5 * y.std(), rel=0.03)
    assert np.corrcoef(added, y)[0, 1] == pytest.approx(0, abs=0.03)


@pytest.mark.parametrize("kind", NOISE)
def test_groups_are_hit_together(kind):
    y, groups = np.repeat(np.arange(40.0) - 17, 5), np.repeat([f"g{i}" for i in range(40)], 5)
    changed = (noisy(y, kind, 0.5, np.random.default_rng(0), groups) != y).reshape(40, 5)
    zero = y.reshape(40, 5)[:, 0] == 0  # the sign of zero can't be seen
    assert np.all(changed.all(axis=1) | ~changed.any(axis=1) | zero)
    assert changed.any()


def test_group_shuffle_moves_whole_groups_of_unequal_size():
    rng = np.random.default_rng(0)
    groups = rng.integers(0, 30, 300)
    y = rng.normal(size=300)
    y_null = shuffled_targets(y, groups, 200, seed=1)
    assert y_null.shape == (300, 200)
    np.testing.assert_allclose(np.sort(y_null, axis=0), np.sort(y)[:, None].repeat(200, axis=1))
    r = [np.corrcoef(column, y)[0, 1] for column in y_null.T]
    assert abs(np.mean(r)) < 2.5 * np.std(r) / np.sqrt(200)


def test_group_shuffle_forgets_the_order_within_groups():
    """Rows that stand in the same order in every group must not keep a shared pattern."""
    y, groups = np.tile(np.arange(10.0), 30), np.repeat(np.arange(30), 10)
    r = [np.corrcoef(column, y)[0, 1] for column in shuffled_targets(y, groups, 100).T]
    assert abs(np.mean(r)) < 0.05


def test_wrong_kind_and_level_are_refused():
    with pytest.raises(ValueError, match="between 0 and 1"):
        noisy(targets(), "shuffle", 1.5, np.random.default_rng(0))
    with pytest.raises(ValueError, match="none of"):
        noisy(targets(), "salt", 0.5, np.random.default_rng(0))


def test_noise_matrix_labels_and_columns_belong_together():
    y = targets()
    matrix = noise_matrix(y, NOISE, LEVELS, seeds=3, seed=7)
    assert matrix.targets.shape == (200, 1 + 3 * 10 * 3) == (200, len(matrix.labels))
    assert matrix.basis.shape[1] == 1 + 2 * 10 * 3 + 3  # gaussian: one column a seed
    assert matrix.labels[0].kind == "none" and [label.level for label in matrix.labels].count(0.0) == 1
    np.testing.assert_array_equal(matrix.targets[:, 0], y)
    for label, column, r in zip(matrix.labels, matrix.targets.T, matrix.noisy_clean, strict=True):
        assert r == pytest.approx(np.corrcoef(column, y)[0, 1])
        if label.kind == "flip":
            assert (column != y).sum() == round(label.level * 200)
        if label.kind == "gaussian":
            assert (column - y).std() == pytest.approx(label.level * y.std(), rel=0.2)
    again = noise_matrix(y, NOISE, LEVELS, seeds=3, seed=7)
    np.testing.assert_array_equal(again.targets, matrix.targets)
    assert not np.array_equal(noise_matrix(y, NOISE, LEVELS, seeds=3, seed=8).targets, matrix.targets)


def test_constant_targets_give_no_warning():
    matrix = noise_matrix(np.zeros(10), NOISE, (0.0, 0.5), seeds=1)
    assert np.isnan(matrix.noisy_clean).all()
