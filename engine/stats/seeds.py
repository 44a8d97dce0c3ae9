"""A mean over seeds that allows for differences between seeds: random-effects meta-analysis.

A seed's estimate differs from the mean over all seeds for two reasons: its examples are a sample (its own error), and
the seed's world, labels and training differ from those of other seeds (variance tau^2 between seeds).

- tau^2: Paule and Mandel 1982, "Consensus values and weighting factors", Journal of Research of the National Bureau of
  Standards 87. It is the tau^2 at which the weighted sum of squares Q(tau^2) equals its expectation k - 1, or 0.
- Interval: Hartung and Knapp 2001, "A refined method for the meta-analysis of controlled clinical trials with binary
  outcome", Statistics in Medicine 20; t with k - 1 degrees of freedom, variance q / sum(weights), q = Q / (k - 1).
  IntHout, Ioannidis and Borm 2014, BMC Medical Research Methodology 14, show that it holds its level with few studies.
- Here q is not allowed below 1 (Knapp and Hartung 2003, Statistics in Medicine 22): few seeds that agree by chance
  would otherwise give an interval narrower than their own errors allow. With Paule and Mandel's tau^2, q is 1
  wherever tau^2 > 0, so q drops out of the code. The result is `ci_eff_re` of statsmodels'
  `combine_effects(..., method_re="iterated", use_t=True)`. Its `ci_eff_re_wls`, with q as it is, is narrower where
  tau^2 = 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import optimize, stats

NO_ERROR = 1e-6
"""An error below this share of the largest one counts as zero."""


@dataclass(frozen=True)
class RandomEffects:
    """The mean over seeds with its interval. `low` and `high` are NaN below two seeds, all numbers without any."""

    mean: float
    low: float
    high: float
    between: float
    """tau: standard deviation between seeds, their own errors taken out. NaN below two seeds."""
    within: float
    """Root mean square of the seeds' own errors."""
    seeds: int
    """Number of estimates that are not NaN."""


def error_of_interval(low: float, high: float, confidence: float = 0.95) -> float:
    """Standard error of an estimate, from the width of its (bootstrap) interval."""
    return float((high - low) / (2 * stats.norm.ppf((1 + confidence) / 2)))


def random_effects(estimates: Sequence[float], errors: Sequence[float], confidence: float = 0.95) -> RandomEffects:
    """One estimate and one standard error for each seed. NaN estimates are left out.

    An error of 0, or a missing one (NaN), comes from a bootstrap that could not vary, such as that of a share at 1.
    It is replaced by the smallest error of the other seeds, because its weight would be infinite. If no seed has an
    error, the interval is the t interval of the estimates.
    """
    y, s = np.asarray(estimates, dtype=np.float64), np.asarray(errors, dtype=np.float64)
    y, s = y[~np.isnan(y)], np.nan_to_num(s[~np.isnan(y)])
    k = len(y)
    if not k:
        return RandomEffects(np.nan, np.nan, np.nan, np.nan, np.nan, 0)
    known = s > NO_ERROR * s.max()
    s = np.where(known, s, s[known].min() if known.any() else 0.0)
    within = float(np.sqrt((s**2).mean()))
    if k == 1:
        return RandomEffects(float(y[0]), np.nan, np.nan, np.nan, within, 1)
    first = float(y[0])
    y = y - first  # exactly 0 where all seeds agree
    between = _variance_between(y, s**2)
    mean, total = _weighted_mean(y, s**2 + between)
    mean += first
    half = stats.t.ppf((1 + confidence) / 2, k - 1) * np.sqrt(1 / total)
    return RandomEffects(mean, float(mean - half), float(mean + half), float(np.sqrt(between)), within, k)


def _weighted_mean(y: np.ndarray, variances: np.ndarray) -> tuple[float, float]:
    """The mean weighted by 1 / variances, and the sum of these weights (infinite if all variances are 0)."""
    if not variances.any():
        return float(y.mean()), np.inf
    weights = 1 / variances
    return float(weights @ y / weights.sum()), float(weights.sum())


def _variance_between(y: np.ndarray, variances: np.ndarray) -> float:
    """Paule and Mandel's tau^2. `variances`: all above 0, or all 0."""
    most = float(y.var(ddof=1))  # an upper bound of tau^2, reached if the estimates have no errors
    if not variances.any():
        return most

    def excess(tau2: float) -> float:
        weights = 1 / (variances + tau2)
        return float(weights @ (y - weights @ y / weights.sum()) ** 2 - (len(y) - 1))

    if excess(0.0) <= 0:
        return 0.0
    return float(optimize.brentq(excess, 0.0, 2 * most, xtol=1e-12 * most, rtol=1e-14))
