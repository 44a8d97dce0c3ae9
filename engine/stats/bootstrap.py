"""Paired bootstraps over groups, or over cues and entities; their intervals and simultaneous bands.

Shapes: A [n, k] holds k explanations of the same n examples; B [n, m] holds what they are compared with. Undefined
results are NaN; no function warns.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from scipy import sparse

from engine.stats.correlation import TINY, divide, standardized


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
    moments = divide(moments, total)
    ma, mb, aa, bb, ab = np.split(moments, np.cumsum([k, m, k, m]), axis=1)
    covariance = ab.reshape(-1, k, m) - ma[:, :, None] * mb[:, None, :]
    va, vb = _variance(aa, ma), _variance(bb, mb)
    return np.clip(divide(covariance, np.sqrt(va[:, :, None] * vb[:, None, :])), -1, 1)


def _variance(square: np.ndarray, mean: np.ndarray) -> np.ndarray:
    variance = square - mean**2
    return np.where(variance > TINY, variance, 0.0)


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
        t = divide(np.abs(draws - centre), np.where(spread > 1e-12, spread, 0.0))
        largest = np.nanmax(t, axis=1) if t.size else np.empty(0)
    largest = np.sort(largest[~np.isnan(largest)])
    critical = np.quantile(largest, confidence) if len(largest) else 0.0
    low, high = estimates - critical * spread, estimates + critical * spread
    own = np.where(spread > 1e-12, np.abs(divide(estimates, spread)), np.where(estimates == 0, 0.0, np.inf))
    reached = len(largest) - np.searchsorted(largest, own, side="left")
    p = np.where(np.isnan(spread) | np.isnan(estimates), np.nan, (reached + 1) / (len(largest) + 1))
    return low, high, np.where(own == 0, 1.0, p)
