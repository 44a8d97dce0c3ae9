"""Label noise for fixed targets: seeded, and laid out so that one factorisation serves all of it.

A level is a share in [0, 1]: of rows whose targets are shuffled among themselves (`shuffle`), of
rows whose sign is flipped (`flip`), or the standard deviation of added noise in units of the
targets' own (`gaussian`). Level 0 changes nothing. What noise did to the labels is read off
corr(noisy, clean), which is the x axis of every noise plot.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd

Noise = Callable[[np.ndarray, float, np.random.Generator, np.ndarray], np.ndarray]


def _chosen(level: float, rng: np.random.Generator, units: np.ndarray) -> np.ndarray:
    """Rows of a share `level` of the units, in random order of units and of rows in a unit.

    The order is drawn before the share is cut, so a generator in the same state gives nested
    choices: what level 0.2 changes, level 0.3 changes too.
    """
    order = rng.permutation(units.max() + 1)
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    rows = np.lexsort((rng.permutation(len(units)), place[units]))
    taken = place[units[rows]] < round(level * len(order))
    return rows[taken]


def shuffle(targets: np.ndarray, level: float, rng: np.random.Generator, units: np.ndarray) -> np.ndarray:
    """Targets of the chosen units change places; units of several rows move as blocks."""
    rows = _chosen(level, rng, units)
    noisy = targets.copy()
    noisy[rows] = targets[_blocks_moved(rows, units, rng)]
    return noisy


def _blocks_moved(rows: np.ndarray, units: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The same rows with their units in a new order, and new order within units too.

    Without the second shuffle, rows that stand in the same order in every unit would keep what
    that order means, and a null made this way would not be centred on zero.
    """
    order = rng.permutation(units.max() + 1)
    return rows[np.lexsort((rng.permutation(len(rows)), order[units[rows]]))]


def flip(targets: np.ndarray, level: float, rng: np.random.Generator, units: np.ndarray) -> np.ndarray:
    """The sign of the chosen units' targets is flipped."""
    noisy = targets.copy()
    rows = _chosen(level, rng, units)
    noisy[rows] = -noisy[rows]
    return noisy


def gaussian(targets: np.ndarray, level: float, rng: np.random.Generator, units: np.ndarray) -> np.ndarray:
    """Adds normal noise of standard deviation level × sd(targets), one draw a unit."""
    return targets + level * _unit_noise(targets, rng, units)


def _unit_noise(targets: np.ndarray, rng: np.random.Generator, units: np.ndarray) -> np.ndarray:
    return targets.std() * rng.standard_normal(units.max() + 1)[units]


NOISE: dict[str, Noise] = {"shuffle": shuffle, "flip": flip, "gaussian": gaussian}


def _units(n: int, groups: Iterable | None) -> np.ndarray:
    return np.arange(n) if groups is None else pd.factorize(np.asarray(groups), use_na_sentinel=False)[0]


def noisy(
    targets: np.ndarray, kind: str, level: float, rng: np.random.Generator, groups: Iterable | None = None
) -> np.ndarray:
    """Targets [n] with noise of one kind and level; with `groups` [n], whole groups are hit together.

    `none` is a kind too. Raises ValueError for a level outside [0, 1] or an unknown kind.
    """
    targets = np.asarray(targets, dtype=np.float64)
    if not 0 <= level <= 1:
        raise ValueError(f"noise level {level} is not between 0 and 1")
    if kind == "none" or level == 0 or len(targets) == 0:
        return targets.copy()
    if kind not in NOISE:
        raise ValueError(f"noise kind {kind!r} is none of {', '.join(NOISE)}")
    return NOISE[kind](targets, level, rng, _units(len(targets), groups))


@dataclass(frozen=True)
class NoiseLabel:
    """What one column of noisy targets is. Level 0 has the kind `none`, and one seed."""

    kind: str
    level: float
    seed: int


@dataclass(frozen=True)
class NoiseMatrix:
    """All noisy targets as `basis @ mix`.

    Explainers that are linear in their targets predict from the basis [n, b] alone and mix the
    predictions: Gaussian noise at every level costs 1 + seeds columns in place of levels × seeds.
    """

    labels: tuple[NoiseLabel, ...]
    basis: np.ndarray
    """[n, b]; column 0 is the clean targets."""
    mix: np.ndarray
    """[b, k]"""

    @property
    def targets(self) -> np.ndarray:
        """Y [n, k], a column a label."""
        return self.basis @ self.mix

    @property
    def noisy_clean(self) -> np.ndarray:
        """corr(noisy, clean) of each column, [k]."""
        centred = self.targets - self.targets.mean(axis=0)
        norms = np.linalg.norm(centred, axis=0)
        bottom = norms * norms[0]
        return np.divide(centred.T @ centred[:, 0], bottom, out=np.full(len(norms), np.nan), where=bottom > 0)


def noise_matrix(
    targets: np.ndarray, kinds: Iterable[str], levels: Iterable[float], seeds: int, seed: int = 0
) -> NoiseMatrix:
    """Noisy targets for all kinds × levels × seeds, the clean ones first.

    targets [n], in nats. Each (kind, seed) has its own generator, the same at all its levels, so
    that curves over levels are smooth. Returns a NoiseMatrix.
    """
    targets = np.asarray(targets, dtype=np.float64)
    units = np.arange(len(targets))
    columns, labels, mixes = [targets], [NoiseLabel("none", 0.0, 0)], [{0: 1.0}]
    levels = [level for level in levels if level > 0]
    for kind in kinds:
        for s in range(seeds):
            key = (seed, list(NOISE).index(kind), s)
            if kind == "gaussian":
                columns.append(_unit_noise(targets, np.random.default_rng(key), units))
            for level in levels:
                labels.append(NoiseLabel(kind, level, s))
                if kind == "gaussian":
                    mixes.append({0: 1.0, len(columns) - 1: level})
                else:
                    columns.append(noisy(targets, kind, level, np.random.default_rng(key)))
                    mixes.append({len(columns) - 1: 1.0})
    mix = np.zeros((len(columns), len(mixes)))
    for j, entries in enumerate(mixes):
        for b, weight in entries.items():
            mix[b, j] = weight
    return NoiseMatrix(tuple(labels), np.stack(columns, axis=1), mix)


def shuffled_targets(targets: np.ndarray, groups: Iterable | None, shuffles: int, seed: int = 0) -> np.ndarray:
    """Y [n, shuffles] of group-wise shuffled targets: the right-hand sides of the null control."""
    targets = np.asarray(targets, dtype=np.float64)
    rng = np.random.default_rng(seed)
    units = _units(len(targets), groups)
    return np.stack([shuffle(targets, 1.0, rng, units) for _ in range(shuffles)], axis=1)
