"""A ridge probe that is fitted again while a slider moves: numpy only, with one factorisation for everything.

The parts that depend on few settings (`factorise`, `engine.stats.noise.noise_matrix`, projected targets) are cached by
`dashboard.refit.cached`; a moved slider costs two small products. Levels and seeds that are only plotted need no
predictions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from engine.probes.ridge import Moments, Ridge, Targets
from engine.stats.bootstrap import interval
from engine.stats.noise import NoiseMatrix


@dataclass(frozen=True)
class Factorisation:
    """Training rows factorised and test rows projected."""

    ridge: Ridge
    z: np.ndarray
    """Test rows in the basis of the eigenvectors, [m, r]."""
    test: Moments
    """Moments of the test rows with the effects [m, e]: the current model's, and the target's (clean)."""


def factorise(x_train: np.ndarray, x_test: np.ndarray, effects: np.ndarray) -> Factorisation:
    """X_train [n, d], X_test [m, d], effects [m, e].

    Raises ValueError for fewer than two training rows or numbers that are not finite.
    """
    ridge = Ridge.fit(x_train)
    return Factorisation(ridge, ridge.project(x_test), ridge.moments(x_test, effects))


def training_rows(n: int, size: int) -> np.ndarray:
    """`size` of n row numbers, ascending. A smaller size is a part of a larger one."""
    order = np.random.default_rng((0, 7)).permutation(n)
    return np.sort(order[: max(2, min(size, n))])


def sweep(made: Factorisation, noise: NoiseMatrix, targets: Targets, penalty: float) -> pd.DataFrame:
    """One row per level × seed: noise, seed, noisy_clean, self, orig. targets: the noise's basis, projected."""
    r = made.ridge.correlations_of(targets.mixed(noise.mix), [penalty], made.test)[0]
    rows = pd.DataFrame([(label.level, label.seed) for label in noise.labels], columns=["noise", "seed"])
    rows[["noisy_clean", "self", "orig"]] = np.column_stack([noise.noisy_clean, r[:, :2]])
    return rows


def curve(rows: pd.DataFrame) -> pd.DataFrame:
    """The mean over seeds at every level, ascending, with the range over seeds as `_low` and `_high`."""
    levels = rows.groupby("noise", sort=True)
    columns = {"noisy_clean": levels["noisy_clean"].mean(), "seeds": levels["seed"].nunique()}
    for name in ("self", "orig"):
        columns |= {name: levels[name].mean(), f"{name}_low": levels[name].min(), f"{name}_high": levels[name].max()}
    return pd.DataFrame(columns).reset_index()


def predictions(made: Factorisation, noise: NoiseMatrix, targets: Targets, penalty: float, level: float) -> np.ndarray:
    """The explanation [m] of each test row at one level, averaged over seeds, in nats."""
    columns = [j for j, label in enumerate(noise.labels) if label.level == level]
    mean = targets.mixed(noise.mix[:, columns].mean(axis=1, keepdims=True))
    return made.z @ (mean.right[:, 0] / (made.ridge.eigenvalues + penalty)) + mean.mean[0]


def null_band(made: Factorisation, shuffled: Targets, penalty: float) -> tuple[float, float]:
    """The 95% band of Self when the probe is trained on shuffled targets; NaN if it is not defined."""
    low, high = interval(made.ridge.correlations_of(shuffled, [penalty], made.test)[0, :, 0])
    return float(low), float(high)


def falls_below(levels: np.ndarray, values: np.ndarray, limit: float) -> float | None:
    """The level at which a curve first reaches `limit` from above, by linear interpolation; None if it never does."""
    order = np.argsort(levels)
    order = order[np.isfinite(values[order])]
    levels, values = levels[order], values[order]
    below = np.flatnonzero(values <= limit)
    if not len(below):
        return None
    i = int(below[0])
    if i == 0:
        return float(levels[0])
    return float(np.interp(-limit, -values[i - 1 : i + 1], levels[i - 1 : i + 1]))
