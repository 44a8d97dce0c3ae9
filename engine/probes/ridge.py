"""Ridge regression for many targets and penalties at once, in float64, without torch.

With centred X = [n, d] and λ, Q = eigh(XᵀX), each penalty α predicts Z @ (B / (λ + α)), where Z = X_test Q and
B = Qᵀ(XᵀY). All noise levels, seeds and targets are columns of Y, so they share one factorisation. If n < d the same
holds in the n × n dual. An intercept is always fitted and never penalised. α is the alpha of scikit-learn's `Ridge`.
The candidate penalties are `ExplainerSpec.penalties`; `regimes.cross_validate` chooses among them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from engine.stats.correlation import as_columns, pearson

Folds = list[tuple[np.ndarray, np.ndarray]]
"""(train rows, test rows) of each fold."""


@dataclass(frozen=True)
class Targets:
    """Targets Y [n, k] in the basis of a factorisation; made by `Ridge.project_targets(Y)`."""

    right: np.ndarray
    """B [r, k], in the basis of the eigenvectors."""
    mean: np.ndarray
    """[k]"""
    largest: float
    """max |Y|, the scale of rounding errors."""

    def mixed(self, mix: np.ndarray) -> Targets:
        """The targets Y @ mix, mix [k, j], without forming Y @ mix (see `noise.NoiseMatrix`)."""
        return Targets(self.right @ mix, self.mean @ mix, self.largest)


@dataclass(frozen=True)
class Moments:
    """Second moments of X_test and truths [n_test, m], which determine correlations; made by `Ridge.moments`."""

    square: np.ndarray
    """ZᵀZ [r, r] of the centred projected inputs."""
    with_truths: np.ndarray
    """Zᵀ truths, [r, m]"""
    norms: np.ndarray
    """Norms of the centred truths, [m]."""
    rows: int


@dataclass(frozen=True)
class Ridge:
    """One factorisation of training inputs X [n, d], made by `Ridge.fit(X)`."""

    mean: np.ndarray
    """[d]"""
    eigenvalues: np.ndarray
    """λ [r] of the centred XᵀX (primal, r = d) or XXᵀ (dual, r = n)."""
    vectors: np.ndarray
    """Eigenvectors, [d, d] or [n, n]."""
    centred: np.ndarray
    """X − mean, [n, d]"""

    @classmethod
    def fit(cls, x: np.ndarray) -> Ridge:
        """Factorise X [n, d]. Raises ValueError for fewer than two rows or for numbers that are not finite."""
        x = np.asarray(x, dtype=np.float64)
        if x.ndim != 2 or len(x) < 2:
            raise ValueError(f"ridge needs at least two training rows, X has shape {x.shape}")
        mean = x.mean(axis=0)
        centred = x - mean
        n, d = x.shape
        gram = centred.T @ centred if n >= d else centred @ centred.T
        if not np.isfinite(gram).all():
            raise ValueError("ridge: the inputs hold NaN or infinite numbers")
        values, vectors = np.linalg.eigh(gram)
        return cls(mean, values.clip(min=0.0), vectors, centred)

    @property
    def dual(self) -> bool:
        return self.centred.shape[0] < self.centred.shape[1]

    def _right(self, y: np.ndarray) -> np.ndarray:
        """B [r, k] of targets Y [n, k]. X is centred, so Y need not be."""
        return self.vectors.T @ y if self.dual else self.vectors.T @ (self.centred.T @ y)

    def project_targets(self, y: np.ndarray) -> Targets:
        """Targets Y [n, k] in the basis of the eigenvectors. Reuse the result if only the penalty changes."""
        y = as_columns(y)
        mean = y.mean(axis=0)
        return Targets(self._right(y - mean), mean, np.abs(y).max(initial=0.0))

    def project(self, x: np.ndarray) -> np.ndarray:
        """Z [n_test, r]: inputs in the basis of the eigenvectors. Reuse the result if only Y changes."""
        return self._rotated(np.asarray(x, dtype=np.float64) - self.mean)

    def _rotated(self, x: np.ndarray) -> np.ndarray:
        return (x @ self.centred.T) @ self.vectors if self.dual else x @ self.vectors

    def predict(self, y: np.ndarray, penalties: Sequence[float], x_test: np.ndarray) -> np.ndarray:
        """Predictions [penalties, n_test, k] at X_test [n_test, d] of ridges fitted to Y [n, k]."""
        targets = self.project_targets(y)
        shrunk = targets.right / (self.eigenvalues[:, None] + _penalties(penalties)[:, None, None])  # [penalties, r, k]
        out = self.project(x_test) @ shrunk
        out += targets.mean
        return out

    def correlations_of(self, targets: Targets, penalties: Sequence[float], test: Moments) -> np.ndarray:
        """Pearson r [penalties, k, m] of the predictions with the truths; NaN if a prediction is constant.

        Variances and covariances of the predictions follow from the second moments of X_test in the basis of the
        eigenvectors, so one column costs r² operations instead of n_test · r.
        """
        alphas = _penalties(penalties)
        shrunk = targets.right[:, None, :] / (self.eigenvalues[:, None] + alphas)[:, :, None]  # [r, penalties, k]
        flat = shrunk.reshape(len(targets.right), -1)
        spread = np.sqrt((flat * (test.square @ flat)).sum(axis=0).clip(min=0.0))
        rounding = 1e-12 * targets.largest * np.sqrt(test.rows)
        bottom = np.outer(np.where(spread > rounding, spread, 0.0), test.norms)
        top = flat.T @ test.with_truths
        out = np.divide(top, bottom, out=np.full(top.shape, np.nan), where=bottom > 0)
        return np.clip(out, -1, 1).reshape(len(alphas), targets.right.shape[1], -1)

    def moments(self, x_test: np.ndarray, truths: np.ndarray) -> Moments:
        """Second moments of X_test [n_test, d] and truths [n_test, m]."""
        x = np.asarray(x_test, dtype=np.float64)
        truths = as_columns(truths)
        x, truths = x - x.mean(axis=0), truths - truths.mean(axis=0)
        if self.dual:
            z = self._rotated(x)
            square, with_truths = z.T @ z, z.T @ truths
        else:
            square, with_truths = self.vectors.T @ (x.T @ x) @ self.vectors, self.vectors.T @ (x.T @ truths)
        return Moments(square, with_truths, np.sqrt((truths**2).sum(axis=0)), len(x))

    def coefficients(self, y: np.ndarray, penalty: float) -> tuple[np.ndarray, np.ndarray]:
        """Weights [d, k] and intercepts [k]."""
        targets = self.project_targets(y)
        right = targets.right / (self.eigenvalues + _penalties([penalty])[0])[:, None]
        weights = self.centred.T @ (self.vectors @ right) if self.dual else self.vectors @ right
        return weights, targets.mean - self.mean @ weights

    def leave_groups_out(self, y: np.ndarray, penalties: Sequence[float], groups: Iterable) -> np.ndarray:
        """Predictions [penalties, n, k] for each training row by the ridge fitted without its group.

        Exact, from the same factorisation: the held-out residuals of group G are (I − H_GG)⁻¹ e_G.
        """
        y, alphas = as_columns(y), _penalties(penalties)
        targets = self.project_targets(y)
        # Training rows in the basis of the eigenvectors, [n, r].
        left = self.vectors * self.eigenvalues if self.dual else self.centred @ self.vectors
        codes = _codes(groups)
        order = np.argsort(codes, kind="stable")
        parts = np.split(order, np.flatnonzero(np.diff(codes[order])) + 1)
        out = np.empty((len(alphas), *y.shape))
        for p, penalty in enumerate(alphas):
            shrink = 1 / (self.eigenvalues + penalty)
            fitted = left @ (targets.right * shrink[:, None]) + targets.mean
            # The hat matrix is left · shrink · leftᵀ. In the dual, left already contains λ once.
            other = (self.vectors if self.dual else left) * shrink
            for rows in parts:
                hat = 1 / len(y) + left[rows] @ other[rows].T
                out[p, rows] = y[rows] - np.linalg.solve(np.eye(len(rows)) - hat, y[rows] - fitted[rows])
        return out


def _penalties(penalties: Sequence[float]) -> np.ndarray:
    alphas = np.asarray(penalties, dtype=np.float64).ravel()
    if not (alphas > 0).all():
        raise ValueError(f"ridge penalties must be above zero, not {alphas.min()}")
    return alphas


def _codes(values: Iterable) -> np.ndarray:
    """The values as numbers from 0, in order of appearance; a missing value is a value too."""
    return pd.factorize(np.asarray(values, dtype=object), use_na_sentinel=False)[0]


def _fold_of(codes: np.ndarray, folds: int, rng: np.random.Generator) -> np.ndarray:
    """The fold of each row, [n]. Rows with equal codes share a fold; folds have about equal numbers of rows."""
    sizes = np.bincount(codes)
    folds = min(folds, len(sizes))
    fold_of_value, filled = np.empty(len(sizes), dtype=int), np.zeros(folds)
    order = rng.permutation(len(sizes))
    for value in order[np.argsort(-sizes[order], kind="stable")]:  # the largest first, each into the emptiest fold
        fold_of_value[value] = np.argmin(filled)
        filled[fold_of_value[value]] += sizes[value]
    return fold_of_value[codes]


def grouped_folds(
    groups: Iterable, cue: Iterable | None = None, entity: Iterable | None = None, folds: int = 5, seed: int = 0
) -> Folds:
    """Folds for choosing a penalty: (train, test) row numbers, each row tested exactly once.

    If every row has a cue and an entity, and there are at least two distinct values of each, folds are two-way: cues
    and entities are dealt into folds separately. Each pair (cue fold, entity fold) tests the rows in both and trains on
    the rows in neither, as the held-out split does. Otherwise whole groups are held out. There are never more folds
    than distinct values. Raises ValueError for a single group.
    """
    rng = np.random.default_rng(seed)
    factors = [np.asarray(values, dtype=object) for values in (cue, entity) if values is not None]
    if len(factors) == 2 and not any(pd.isna(values).any() or len(set(values)) < 2 for values in factors):
        by_cue, by_entity = (_fold_of(_codes(values), folds, rng) for values in factors)
        pairs = [
            (np.flatnonzero((by_cue != c) & (by_entity != e)), np.flatnonzero((by_cue == c) & (by_entity == e)))
            for c in range(by_cue.max() + 1)
            for e in range(by_entity.max() + 1)
        ]
        pairs = [(train, test) for train, test in pairs if len(train) >= 2 and len(test)]
        if pairs:
            return pairs
    codes = _codes(groups)
    if codes.max(initial=-1) < 1:
        raise ValueError("cross-validation needs at least two groups")
    fold = _fold_of(codes, folds, rng)
    return [(np.flatnonzero(fold != f), np.flatnonzero(fold == f)) for f in range(fold.max() + 1)]


def cross_validated_predictions(
    x: np.ndarray, y: np.ndarray, folds: Folds, penalties: Sequence[float]
) -> tuple[np.ndarray, np.ndarray]:
    """Out-of-fold predictions [penalties, rows, k] from X [n, d] and Y [n, k], and their row numbers [rows].

    One-way folds (train on all rows that are not tested) share one factorisation. Two-way folds need one each.
    """
    x, y = np.asarray(x, dtype=np.float64), as_columns(y)
    rows = np.concatenate([test for _, test in folds])
    if len(rows) == len(x) and all(len(train) + len(test) == len(x) for train, test in folds):
        fold_of = np.empty(len(x), dtype=int)
        fold_of[rows] = np.repeat(np.arange(len(folds)), [len(test) for _, test in folds])
        return Ridge.fit(x).leave_groups_out(y, penalties, fold_of)[:, rows], rows
    parts = [Ridge.fit(x[train]).predict(y[train], penalties, x[test]) for train, test in folds]
    return np.concatenate(parts, axis=1), rows


def cross_validated_correlation(x: np.ndarray, y: np.ndarray, folds: Folds, penalties: Sequence[float]) -> np.ndarray:
    """Correlation [penalties, k] of out-of-fold predictions, pooled over folds, with Y [n, k]."""
    predictions, rows = cross_validated_predictions(x, y, folds, penalties)
    truth = as_columns(y)[rows]
    return np.stack([pearson(p, truth) for p in predictions])
