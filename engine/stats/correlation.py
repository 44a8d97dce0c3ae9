"""Correlations, partial correlations on splines, paired bootstraps and verdicts.

Shapes: A [n, k] holds k explanations of the same n examples; B [n, m] holds what they are compared with. Undefined
results (a constant column, too few rows) are NaN here and null in a run; no function warns.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import stats
from sklearn.preprocessing import SplineTransformer

TINY = 1e-10
"""A sum of squares below this share of the original counts as rounding error."""


def as_columns(a: np.ndarray) -> np.ndarray:
    """[n] or [n, k] as float64 [n, k]."""
    a = np.asarray(a, dtype=np.float64)
    return a[:, None] if a.ndim == 1 else a


def divide(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
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
    return divide(centred, np.sqrt(square))


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


def nothing_beyond(r: np.ndarray, a: np.ndarray, b_square: np.ndarray) -> np.ndarray:
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
    out = divide(ra.T @ rb, np.sqrt(np.outer((ra**2).sum(axis=0), square)))
    out[nothing_beyond(ra, a, square)] = 0.0
    return np.clip(out, -1, 1)


def seed_interval(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float, float]:
    """Mean of independent seeds with its t interval: (mean, low, high); low and high are NaN below 5 seeds."""
    v = np.asarray(values, dtype=np.float64)
    v = v[~np.isnan(v)]
    if len(v) < 5:
        return (float(v.mean()) if len(v) else np.nan), np.nan, np.nan
    half = stats.t.ppf((1 + confidence) / 2, len(v) - 1) * v.std(ddof=1) / np.sqrt(len(v))
    return float(v.mean()), float(v.mean() - half), float(v.mean() + half)


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
