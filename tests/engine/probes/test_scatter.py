"""Scatter matrices of parts, added, give what all rows give at once."""

from __future__ import annotations

import numpy as np
import pytest

from engine.probes.ridge import cross_validated_correlation, grouped_folds
from engine.probes.scatter import Cells, Scatter, added, cross_validated, scatters

PENALTIES = (0.1, 10.0, 1000.0)


def data(n: int = 240, d: int = 12, mean: float = 50.0) -> tuple[np.ndarray, np.ndarray, np.random.Generator]:
    """Hidden states with a large mean, as some directions of a transformer have, and targets."""
    rng = np.random.default_rng(3)
    x = rng.normal(size=(n, d)) + mean
    return x, x @ rng.normal(size=d) + rng.normal(size=n), rng


def test_parts_in_any_order_are_the_whole():
    z, _, rng = data()
    parts = [Scatter.of(part) for part in np.split(z, [1, 7, 100])]
    for order in ([0, 1, 2, 3], [3, 1, 0, 2]):
        found, whole = added([parts[i] for i in order]), Scatter.of(z)
        assert found.rows == len(z)
        np.testing.assert_allclose(found.mean, whole.mean, rtol=1e-12)
        np.testing.assert_allclose(found.around, whole.around, rtol=1e-9, atol=1e-9)
    weights, shift = rng.normal(size=(12, 2)), np.array([1.0, -2.0])
    mapped, wanted = Scatter.of(z).mapped(weights, shift), Scatter.of(z @ weights + shift)
    np.testing.assert_allclose(mapped.mean, wanted.mean, rtol=1e-9)
    np.testing.assert_allclose(mapped.around, wanted.around, rtol=1e-9)


@pytest.mark.parametrize("two_way", [True, False])
@pytest.mark.parametrize("parts", [1, 5])
def test_cross_validation_is_that_of_the_rows(two_way: bool, parts: int):
    x, y, rng = data()
    cue, entity = (np.array([f"{c}{i}" for i in rng.integers(0, 9, len(x))], dtype=object) for c in "ce")
    folds = grouped_folds(cue, *((cue, entity) if two_way else ()), folds=4)
    cells = Cells.of(folds, len(x))
    assert len(cells) == (16 if two_way else 4)
    pieces = []
    for rows in np.array_split(np.arange(len(x)), parts):
        pieces.append(scatters(x[rows], y[rows], cells.of_row[rows], len(cells)))
    found = [added(of_cell) for of_cell in zip(*pieces, strict=True)]
    wanted = cross_validated_correlation(x, y, folds, PENALTIES)[:, 0]
    np.testing.assert_allclose(cross_validated(found, cells, PENALTIES), wanted, atol=1e-9)


def test_what_is_constant_has_no_correlation():
    x, _, _ = data()
    folds = grouped_folds(np.arange(len(x)) % 5, folds=5)
    cells = Cells.of(folds, len(x))
    constant = scatters(x, np.full(len(x), 0.1), cells.of_row, len(cells))
    assert np.isnan(cross_validated(constant, cells, PENALTIES)).all()
