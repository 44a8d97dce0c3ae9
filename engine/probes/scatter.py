"""Scatter matrices: what ridge regression needs to know of some rows, m² numbers however many rows they are.

Rows are read once, in any parts and on any machines; parts are added, projected and regressed upon afterwards.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add

import numpy as np

from engine.probes.ridge import Folds
from engine.stats.correlation import TINY, divide


@dataclass(frozen=True)
class Scatter:
    """Count, mean and scatter of rows Z [n, m]."""

    rows: int
    mean: np.ndarray
    """[m]"""
    around: np.ndarray
    """Σ (z − mean)(z − mean)ᵀ, [m, m]"""

    @classmethod
    def of(cls, z: np.ndarray) -> Scatter:
        mean = z.mean(axis=0)
        centred = z - mean
        return cls(len(z), mean, centred.T @ centred)

    def __add__(self, other: Scatter) -> Scatter:
        """Of the rows of both (Chan, Golub & LeVeque 1983, whose sums lose no digits to large means)."""
        rows, apart = self.rows + other.rows, other.mean - self.mean
        between = (self.rows * other.rows / rows) * np.outer(apart, apart)
        return Scatter(rows, self.mean + apart * (other.rows / rows), self.around + other.around + between)

    def mapped(self, weights: np.ndarray, shift: np.ndarray) -> Scatter:
        """Of the rows Z W + b, W [m, j], b [j]."""
        return Scatter(self.rows, self.mean @ weights + shift, weights.T @ self.around @ weights)


@dataclass(frozen=True)
class Cells:
    """Rows that every fold treats alike form a cell."""

    of_row: np.ndarray
    """The cell of each row, [n]."""
    trains: np.ndarray
    """[cells, folds], bool: whether the fold trains on the cell."""
    tests: np.ndarray

    @classmethod
    def of(cls, folds: Folds, rows: int) -> Cells:
        marks = np.zeros((rows, 2 * len(folds)), dtype=bool)
        for f, (train, test) in enumerate(folds):
            marks[train, f] = marks[test, len(folds) + f] = True
        kinds, of_row = np.unique(marks, axis=0, return_inverse=True)
        return cls(of_row.ravel(), kinds[:, : len(folds)], kinds[:, len(folds) :])

    def __len__(self) -> int:
        return len(self.trains)


def scatters(x: np.ndarray, y: np.ndarray, cells: np.ndarray, count: int) -> list[Scatter | None]:
    """Of (X [n, d], y [n]) in each of `count` cells; None for a cell without a row."""
    z = np.column_stack([x, y])
    return [Scatter.of(z[own]) if (own := cells == cell).any() else None for cell in range(count)]


def added(parts: Iterable[Scatter | None]) -> Scatter:
    """Of all rows. At least one part has rows."""
    return reduce(add, (part for part in parts if part is not None))


def cross_validated(found: Sequence[Scatter | None], cells: Cells, penalties: Sequence[float]) -> np.ndarray:
    """Correlation [penalties] of out-of-fold ridge predictions, pooled over folds, with y; NaN if they are constant.

    found: the scatter of (X, y) in each cell. The same as `ridge.cross_validated_correlation`, without the rows.
    """
    alphas = np.asarray(penalties, dtype=np.float64)

    def chosen(marks: np.ndarray) -> Scatter:
        return added(part for part, mark in zip(found, marks, strict=True) if mark)

    tested = []
    for train, test in zip(cells.trains.T, cells.tests.T, strict=True):
        known = chosen(train)
        values, vectors = np.linalg.eigh(known.around[:-1, :-1])
        right = vectors.T @ known.around[:-1, -1]
        weights = vectors @ (right[:, None] / (values.clip(min=0.0)[:, None] + alphas))  # [d, penalties]
        # Maps (x, y) to the predictions and y.
        to = np.zeros((len(known.mean), len(alphas) + 1))
        to[:-1, :-1], to[-1, -1] = weights, 1.0
        shift = np.append(known.mean[-1] - known.mean[:-1] @ weights, 0.0)
        tested.append(chosen(test).mapped(to, shift))
    pooled = added(tested)
    spread = np.sqrt(np.diag(pooled.around))
    spread = np.where(spread > TINY * np.sqrt(pooled.rows) * np.abs(pooled.mean), spread, 0.0)
    return divide(pooled.around[:-1, -1], spread[:-1] * spread[-1]).clip(-1, 1)
