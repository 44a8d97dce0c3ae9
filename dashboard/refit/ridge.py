"""A ridge probe refitted while somebody moves a slider: numpy only, one factorisation for everything.

The pieces that depend on few settings (`factorise`, `engine.stats.noise.noise_matrix`, projected targets) are
cached by the page; what a slider changes costs two small products. No prediction is made for the levels
and seeds that are only plotted.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from engine.probes.ridge import Moments, Ridge, Targets
from engine.stats.noise import NoiseMatrix


@dataclass(frozen=True)
class Factorisation:
    """Training rows factorised, test rows projected."""

    ridge: Ridge
    z: np.ndarray
    """Test rows in the basis of the eigenvectors, [m, r]."""
    test: Moments
    """Of the test rows with the effects [m, e]: the current model's, the target's (clean)."""


def factorise(x_train: np.ndarray, x_test: np.ndarray, effects: np.ndarray) -> Factorisation:
    """X_train [n, d], X_test [m, d], effects [m, e].

    Raises ValueError for fewer than two training rows or numbers not finite.
    """
    ridge = Ridge.fit(x_train)
    return Factorisation(ridge, ridge.project(x_test), ridge.moments(x_test, effects))


def training_rows(n: int, size: int, seed: int = 0) -> np.ndarray:
    """`size` of n rows, in order; smaller sizes of one seed are parts of larger ones."""
    order = np.random.default_rng((seed, 7)).permutation(n)
    return np.sort(order[: max(2, min(size, n))])


def sweep(made: Factorisation, noise: NoiseMatrix, targets: Targets, penalty: float) -> pd.DataFrame:
    """One row for each kind × level × seed: kind, noise, seed, noisy_clean, self, orig.

    targets: the noise's basis, projected (`made.ridge.project_targets(noise.basis)`).
    """
    r = made.ridge.correlations_of(targets.mixed(noise.mix), [penalty], made.test)[0]
    return pd.DataFrame(
        {
            "kind": [label.kind for label in noise.labels],
            "noise": [label.level for label in noise.labels],
            "seed": [label.seed for label in noise.labels],
            "noisy_clean": noise.noisy_clean,
            "self": r[:, 0],
            "orig": r[:, 1],
        }
    )


def curve(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean over seeds at every level, with the range over seeds as `_low` and `_high`; in order of the level."""
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


def null_band(
    made: Factorisation, shuffled: Targets, penalty: float, confidence: float = 0.95
) -> tuple[float, float, float]:
    """Mean and band of Self when the probe is trained on shuffled targets."""
    r = made.ridge.correlations_of(shuffled, [penalty], made.test)[0, :, 0]
    r = r[np.isfinite(r)]
    if not len(r):
        return float("nan"), float("nan"), float("nan")
    tail = (1 - confidence) / 2
    low, high = np.quantile(r, [tail, 1 - tail])
    return float(r.mean()), float(low), float(high)


def falls_below(levels: np.ndarray, values: np.ndarray, limit: float) -> float | None:
    """The level at which a curve first reaches `limit` from above, by linear interpolation; None if it never does."""
    order = np.argsort(levels)
    levels, values = np.asarray(levels, float)[order], np.asarray(values, float)[order]
    below = np.flatnonzero(values <= limit)
    if not len(below):
        return None
    i = int(below[0])
    if i == 0:
        return float(levels[0])
    drop = values[i - 1] - values[i]
    share = (values[i - 1] - limit) / drop if drop > 0 else 1.0
    return float(levels[i - 1] + share * (levels[i] - levels[i - 1]))


def flipped(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """[m] bool: the predicted sign of the effect changed."""
    return (before >= 0) != (after >= 0)
