"""Correlations.

Shapes: A [n, k] holds k explanations of the same n examples; B [n, m] holds what they are compared with. Undefined
results (a constant column, too few rows) are NaN here and null in a run; no function warns.
"""

from __future__ import annotations

import numpy as np
from scipy import stats

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
