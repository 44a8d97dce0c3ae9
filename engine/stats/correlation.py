"""Correlations, partial correlations on splines, paired bootstraps and verdicts.

Shapes: A [n, k] holds k explanations of the same n examples; B [n, m] holds what they are compared with. Undefined
results (a constant column, too few rows) are NaN here and null in a run; no function warns.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from scipy import sparse, stats
from sklearn.preprocessing import SplineTransformer

TINY = 1e-10
"""A sum of squares below this share of the original counts as rounding error."""


def as_columns(a: np.ndarray) -> np.ndarray:
    """[n] or [n, k] as float64 [n, k]."""
    a = np.asarray(a, dtype=np.float64)
    return a[:, None] if a.ndim == 1 else a


def _divide(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    """top / bottom, NaN where the bottom is not above zero."""
    top, bottom = np.broadcast_arrays(top, bottom)
    return np.divide(top, bottom, out=np.full(top.shape, np.nan), where=bottom > 0)


def standardized(a: np.ndarray) -> np.ndarray:
    """Columns with mean 0 and variance 1; a constant column becomes NaN. [n, k]"""
    a = as_columns(a)
    if len(a) == 0:
        return a
    centred = a - a.mean(axis=0)
    square = (centred**2).mean(axis=0)
    # Centring a constant column leaves rounding errors, which are not variance.
    square = np.where(square <= (TINY * np.abs(a).max(axis=0)) ** 2, 0.0, square)
    return _divide(centred, np.sqrt(square))


def pearson(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Pearson correlation of A [n, k] with b [n] or, column by column, B [n, k]: [k]."""
    za, zb = standardized(a), standardized(b)
    if len(za) < 2:
        return np.full(max(za.shape[1], zb.shape[1]), np.nan)
    return np.clip((za * zb).mean(axis=0), -1, 1)


def spearman(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Pearson correlation of the ranks, ties averaged: [k]."""
    a, b = as_columns(a), as_columns(b)
    if len(a) < 2:
        return np.full(max(a.shape[1], b.shape[1]), np.nan)
    return pearson(stats.rankdata(a, axis=0), stats.rankdata(b, axis=0))


def spline_basis(*variables: np.ndarray, knots: int = 5) -> np.ndarray:
    """Orthonormal basis Z [n, q] of a constant and additive cubic splines of each variable [n].

    Knots stand at quantiles. A variable with few distinct values gets fewer knots; a constant one is skipped.
    Linearly dependent columns (f_t = f_0 at the first checkpoint) are dropped.
    """
    n = len(variables[0])
    if n == 0:
        return np.zeros((0, 1))
    columns = [np.ones((n, 1))]
    for variable in variables:
        v = as_columns(variable)
        distinct = len(np.unique(v))
        if distinct < 2 or np.isnan(standardized(v)).any():
            continue
        if distinct <= 4:
            columns.append(np.stack([v[:, 0] == level for level in np.unique(v)[1:]], axis=1).astype(float))
            continue
        quantiles = np.unique(np.quantile(v, np.linspace(0, 1, min(knots, distinct // 2 + 1))))
        if len(quantiles) < 2:
            quantiles = np.array([v.min(), v.max()])
        splines = SplineTransformer(degree=3, knots=quantiles[:, None], include_bias=False)
        columns += [standardized(v), splines.fit_transform(v)]
    stacked = np.concatenate(columns, axis=1)
    centred = stacked[:, 1:] - stacked[:, 1:].mean(axis=0)
    norms = np.linalg.norm(centred, axis=0)
    centred = centred[:, norms > 0] / norms[norms > 0]
    left, singular, _ = np.linalg.svd(centred, full_matrices=False)
    kept = left[:, singular > 1e-6 * singular.max(initial=0)]
    return np.concatenate([np.full((n, 1), 1 / np.sqrt(n)), kept], axis=1)


def residuals(a: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Residuals of A [n, k] on the orthonormal columns of Z [n, q]; exactly 0 where Z explains a column fully."""
    a = as_columns(a)
    a = a - a.mean(axis=0)
    left = a - z @ (z.T @ a)
    left -= z @ (z.T @ left)  # a second pass removes the rounding error of the first
    return np.where((left**2).sum(axis=0) > TINY * (a**2).sum(axis=0), left, 0.0)


def _nothing_beyond(r: np.ndarray, a: np.ndarray, b_square: np.ndarray) -> np.ndarray:
    """Where A varies and Z explains it fully, [k, m] bool. Its partial correlation is 0 there, not undefined."""
    varies = ~np.isnan(standardized(a)).any(axis=0)
    vanishes = (r == 0).all(axis=0)
    return (varies & vanishes)[:, None] & (b_square > 0)


def partial(a: np.ndarray, b: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Partial correlation of A [n, k] with B [n, m] given Z (from `spline_basis`): [k, m].

    NaN where a column of A is constant, where Z explains a column of B fully, or with fewer than three degrees of
    freedom. 0 by convention where Z explains a varying column of A fully.
    """
    a, b = as_columns(a), as_columns(b)
    if len(a) < z.shape[1] + 3:
        return np.full((a.shape[1], b.shape[1]), np.nan)
    ra, rb = residuals(a, z), residuals(b, z)
    square = (rb**2).sum(axis=0)
    out = _divide(ra.T @ rb, np.sqrt(np.outer((ra**2).sum(axis=0), square)))
    out[_nothing_beyond(ra, a, square)] = 0.0
    return np.clip(out, -1, 1)


@dataclass(frozen=True)
class Resamples:
    """Bootstrap weights [draws, n], stored per unit (rows that are always drawn together).

    Use one object for all explanations of the same examples: their intervals are then paired.
    """

    weights: np.ndarray
    """[draws, units]; NaN if there is only one unit, so that intervals are null instead of having width 0."""
    unit: np.ndarray
    """The unit of each row, [n]."""
    n_groups: int

    @property
    def rows(self) -> np.ndarray:
        """W [draws, n]"""
        return self.weights[:, self.unit]

    def sums(self, values: np.ndarray) -> np.ndarray:
        """Weighted sums W @ values of [n, m]: [draws, m]."""
        return self.weights @ (self._membership @ values)  # rows of one unit share their weight: add them first

    @cached_property
    def _membership(self) -> sparse.csr_matrix:
        """[units, n], 1 where the row belongs to the unit."""
        n = len(self.unit)
        return sparse.csr_matrix((np.ones(n), (self.unit, np.arange(n))), shape=(self.weights.shape[1], n))


def _codes(values: Iterable) -> np.ndarray:
    return pd.factorize(np.asarray(values, dtype=object))[0]


def bootstrap_weights(
    rng: np.random.Generator,
    draws: int,
    groups: Iterable,
    cue: Iterable | None = None,
    entity: Iterable | None = None,
) -> Resamples:
    """Seeded bootstrap weights for rows with these groups [n].

    If every row has a cue and an entity: the two-way pigeonhole bootstrap. Cues and entities are drawn with
    replacement, independently, and a row's weight is the product of its two counts (Owen 2007, "The pigeonhole
    bootstrap", Annals of Applied Statistics 1). It is conservative: variance between rows that no factor explains
    counts up to three times. Otherwise whole groups are drawn.
    """
    group = pd.factorize(np.asarray(groups, dtype=object), use_na_sentinel=False)[0]
    n_groups = int(group.max(initial=-1)) + 1
    if cue is not None and entity is not None:
        c, e = _codes(cue), _codes(entity)
        if min(c.min(initial=0), e.min(initial=0)) >= 0 and max(c.max(initial=0), e.max(initial=0)) > 0:
            cells, unit = np.unique(np.stack([c, e], axis=1), axis=0, return_inverse=True)
            by_cue, by_entity = _multinomial(rng, draws, c.max() + 1), _multinomial(rng, draws, e.max() + 1)
            return Resamples(by_cue[:, cells[:, 0]] * by_entity[:, cells[:, 1]], unit.ravel(), n_groups)
    weights = _multinomial(rng, draws, n_groups) if n_groups > 1 else np.full((draws, n_groups), np.nan)
    return Resamples(weights, group, n_groups)


def _multinomial(rng: np.random.Generator, draws: int, units: int) -> np.ndarray:
    """How often each unit is drawn, [draws, units]; counting draws is much faster than `rng.multinomial`."""
    counts = np.empty((draws, units))
    chunk = max(1, 2**15 // units)  # stays in the processor's cache
    offsets = np.arange(chunk)[:, None] * units
    for start in range(0, draws, chunk):
        part = counts[start : start + chunk]
        drawn = rng.integers(0, units, part.shape)
        drawn += offsets[: len(part)]
        part[:] = np.bincount(drawn.ravel(), minlength=part.size).reshape(part.shape)
    return counts


def bootstrap_pearson(resamples: Resamples, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Weighted correlations of A [n, k] with B [n, m] in every draw: [draws, k, m]."""
    za, zb = standardized(a), standardized(b)  # standardised first, so that raw moments lose no digits
    k, m = za.shape[1], zb.shape[1]
    products = (za[:, :, None] * zb[:, None, :]).reshape(len(za), k * m)
    total = resamples.sums(np.ones((len(za), 1)))
    moments = resamples.sums(np.concatenate([za, zb, za**2, zb**2, products], axis=1))
    moments = _divide(moments, total)
    ma, mb, aa, bb, ab = np.split(moments, np.cumsum([k, m, k, m]), axis=1)
    covariance = ab.reshape(-1, k, m) - ma[:, :, None] * mb[:, None, :]
    va, vb = _variance(aa, ma), _variance(bb, mb)
    return np.clip(_divide(covariance, np.sqrt(va[:, :, None] * vb[:, None, :])), -1, 1)


def _variance(square: np.ndarray, mean: np.ndarray) -> np.ndarray:
    variance = square - mean**2
    return np.where(variance > TINY, variance, 0.0)


def bootstrap_partial(resamples: Resamples, a: np.ndarray, b: np.ndarray, z: np.ndarray, chunk: int = 32) -> np.ndarray:
    """Partial correlations of A [n, k] with B [n, m] given Z [n, q] in every draw: [draws, k, m].

    The knots are fixed; each draw refits the regression on Z from weighted second moments, all draws in one batched
    solve. `chunk` columns of A are processed at a time, which takes n × q × chunk numbers of memory.
    """
    a, b = as_columns(a), as_columns(b)
    n, q = z.shape
    draws = len(resamples.weights)
    out = np.full((draws, a.shape[1], b.shape[1]), np.nan)
    if n < q + 3:
        return out
    # Residuals first: the result is the same (Frisch–Waugh–Lovell), with less rounding error.
    ra, rb = residuals(a, z), residuals(b, z)
    ra, rb = ra / _nonzero(np.abs(ra).max(axis=0)), rb / _nonzero(np.abs(rb).max(axis=0))
    z = z * np.sqrt(n)
    inverse = _pseudo_inverse(resamples.sums(_products(z, z)).reshape(draws, q, q))
    zb = resamples.sums(_products(z, rb)).reshape(draws, q, -1)
    solved = inverse @ zb
    bb = _left(resamples.sums(rb**2), (zb * solved).sum(axis=1))
    for start in range(0, a.shape[1], chunk):
        part = ra[:, start : start + chunk]
        za = resamples.sums(_products(z, part)).reshape(draws, q, -1)
        aa = _left(resamples.sums(part**2), (za * (inverse @ za)).sum(axis=1))
        ab = resamples.sums(_products(part, rb)).reshape(draws, part.shape[1], -1)
        ab -= np.swapaxes(za, 1, 2) @ solved
        out[:, start : start + chunk] = _divide(ab, np.sqrt(aa[:, :, None] * bb[:, None, :]))
    zero = _nothing_beyond(ra, a, (rb**2).sum(axis=0))
    out[:, zero] = 0.0
    return np.clip(out, -1, 1)


def _nonzero(scale: np.ndarray) -> np.ndarray:
    return np.where(scale > 0, scale, 1.0)


def _left(square: np.ndarray, explained: np.ndarray) -> np.ndarray:
    return np.where(square - explained > TINY * square, square - explained, 0.0)


def _products(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return (u[:, :, None] * v[:, None, :]).reshape(len(u), -1)


def _pseudo_inverse(matrices: np.ndarray) -> np.ndarray:
    """Pseudo-inverses of symmetric matrices [draws, q, q], singular where a draw leaves a spline without rows."""
    bad = np.isnan(matrices).any(axis=(1, 2))
    values, vectors = np.linalg.eigh(np.where(bad[:, None, None], 0.0, matrices))
    kept = values > 1e-9 * values.max(axis=1, keepdims=True)
    inverse = np.divide(1.0, values, out=np.zeros_like(values), where=kept)
    return (vectors * inverse[:, None, :]) @ np.swapaxes(vectors, 1, 2)


def interval(draws: np.ndarray, confidence: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
    """Percentile interval (low, high) over the first axis, ignoring NaN; NaN where no draw is defined."""
    tail = (1 - confidence) / 2
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # all-NaN columns are expected
        low, high = np.nanquantile(draws, [tail, 1 - tail], axis=0)
    return low, high


def simultaneous(
    estimates: np.ndarray, draws: np.ndarray, confidence: float = 0.95
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Max-|t| bands over T checkpoints: (low [T], high [T], p [T]).

    estimates [T], draws [D, T] of paired bootstraps. A band covers all checkpoints at once; p is the share of draws
    whose largest |t| reaches that of the checkpoint. Where the draws do not vary (target = current), the band is
    the estimate itself, and p = 1 if the estimate is 0.
    """
    estimates = np.asarray(estimates, dtype=np.float64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        centre, spread = np.nanmean(draws, axis=0), np.nanstd(draws, axis=0)
        t = _divide(np.abs(draws - centre), np.where(spread > 1e-12, spread, 0.0))
        largest = np.nanmax(t, axis=1) if t.size else np.empty(0)
    largest = np.sort(largest[~np.isnan(largest)])
    critical = np.quantile(largest, confidence) if len(largest) else 0.0
    low, high = estimates - critical * spread, estimates + critical * spread
    own = np.where(spread > 1e-12, np.abs(_divide(estimates, spread)), np.where(estimates == 0, 0.0, np.inf))
    reached = len(largest) - np.searchsorted(largest, own, side="left")
    p = np.where(np.isnan(spread) | np.isnan(estimates), np.nan, (reached + 1) / (len(largest) + 1))
    return low, high, np.where(own == 0, 1.0, p)


def verdict(
    low: float,
    high: float,
    estimate: float,
    null_low: float | None,
    null_high: float | None,
    absent_within: float,
    testable: bool,
) -> str:
    """One of records.VERDICTS, from a simultaneous interval and the null control's band.

    `holds`, `reverses`: the interval lies above or below 0, and the estimate outside the null band. `absent`: the
    interval lies inside ±absent_within. `not testable`: `testable` is False, or the estimate is NaN. `inconclusive`:
    everything else, and any missing interval.
    """
    if not testable or np.isnan(estimate):
        return "not testable"
    if np.isnan(low) or np.isnan(high):
        return "inconclusive"
    inside_null = null_low is not None and null_high is not None and null_low <= estimate <= null_high
    if low > 0 and not inside_null:
        return "holds"
    if high < 0 and not inside_null:
        return "reverses"
    return "absent" if -absent_within <= low and high <= absent_within else "inconclusive"
