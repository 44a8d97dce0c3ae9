"""Label noise for fixed targets, seeded.

A level lies in [0, 1]. `shuffle`: the share of rows whose targets are shuffled among themselves. `flip`: the share of
rows whose sign is flipped. `gaussian`: the standard deviation of added noise, in units of the targets' own. Level 0
changes nothing. corr(noisy, clean) measures the damage and is the x axis of every noise plot.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

Noise = Callable[[np.ndarray, Sequence[float], np.random.Generator, np.ndarray], np.ndarray]
"""(targets [n], levels, generator, unit of each row [n]) → noisy targets [n, levels]."""


def _order(rng: np.random.Generator, units: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows in random order (units, then rows in a unit), and the rank of each row's unit, [n] each.

    Every level takes the first units of one order, so choices are nested: level 0.3 changes what level 0.2 changes.
    """
    order = rng.permutation(units.max() + 1)
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    rows = _sorted(place[units], rng.permutation(len(units)))
    return rows, place[units[rows]]


def _sorted(first: np.ndarray, then: np.ndarray) -> np.ndarray:
    """Row numbers ordered by `first`, ties by `then` (a permutation); several times faster than `numpy.lexsort`."""
    return np.argsort(first * len(then) + then)


def _shares(levels: Sequence[float], rng: np.random.Generator, units: np.ndarray) -> Iterator[np.ndarray]:
    """For each level, the rows of that share of the units. The generator is in the same state at every level."""
    rows, place = _order(rng, units)
    state, count = rng.bit_generator.state, int(units.max()) + 1
    for level in levels:
        rng.bit_generator.state = state
        yield rows[place < round(level * count)]


def shuffle(targets: np.ndarray, levels: Sequence[float], rng: np.random.Generator, units: np.ndarray) -> np.ndarray:
    """Permute the targets of the chosen units; a unit of several rows moves as a block."""
    noisy = np.repeat(targets[:, None], len(levels), axis=1)
    for column, rows in enumerate(_shares(levels, rng, units)):
        noisy[rows, column] = targets[_blocks_moved(rows, units, rng)]
    return noisy


def _blocks_moved(rows: np.ndarray, units: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The same rows with their units in a new order, shuffled within each unit.

    Without the shuffle within units, a pattern over the order of rows that all units share would survive, and the
    null would not be centred on zero.
    """
    order = rng.permutation(units.max() + 1)
    return rows[_sorted(order[units[rows]], rng.permutation(len(rows)))]


def flip(targets: np.ndarray, levels: Sequence[float], rng: np.random.Generator, units: np.ndarray) -> np.ndarray:
    """Flip the sign of the chosen units' targets."""
    noisy = np.repeat(targets[:, None], len(levels), axis=1)
    for column, rows in enumerate(_shares(levels, rng, units)):
        noisy[rows, column] *= -1
    return noisy


def gaussian(targets: np.ndarray, levels: Sequence[float], rng: np.random.Generator, units: np.ndarray) -> np.ndarray:
    """Add normal noise of standard deviation level × sd(targets), one draw per unit."""
    return targets[:, None] + np.outer(_unit_noise(targets, rng, units), levels)


def _unit_noise(targets: np.ndarray, rng: np.random.Generator, units: np.ndarray) -> np.ndarray:
    return targets.std() * rng.standard_normal(units.max() + 1)[units]


NOISE: dict[str, Noise] = {"shuffle": shuffle, "flip": flip, "gaussian": gaussian}


def _units(n: int, groups: Iterable | None) -> np.ndarray:
    return np.arange(n) if groups is None else pd.factorize(np.asarray(groups), use_na_sentinel=False)[0]


def noisy(
    targets: np.ndarray, kind: str, level: float, rng: np.random.Generator, groups: Iterable | None = None
) -> np.ndarray:
    """Targets [n] with noise of one kind (or `none`) and level; with `groups` [n], noise is drawn per group.

    Raises ValueError for a level outside [0, 1] or an unknown kind.
    """
    targets = np.asarray(targets, dtype=np.float64)
    if not 0 <= level <= 1:
        raise ValueError(f"noise level {level} is not between 0 and 1")
    if kind == "none" or level == 0 or len(targets) == 0:
        return targets.copy()
    if kind not in NOISE:
        raise ValueError(f"noise kind {kind!r} is none of {', '.join(NOISE)}")
    return NOISE[kind](targets, [level], rng, _units(len(targets), groups))[:, 0]


@dataclass(frozen=True)
class NoiseLabel:
    """Which noise one column of targets has. Level 0 has the kind `none` and one seed."""

    kind: str
    level: float
    seed: int


@dataclass(frozen=True)
class NoiseMatrix:
    """All noisy targets as `basis @ mix`.

    An explainer that is linear in its targets predicts the basis and mixes the predictions. Gaussian noise then costs
    1 + seeds columns instead of levels × seeds.
    """

    labels: tuple[NoiseLabel, ...]
    basis: np.ndarray
    """[n, b]; column 0 is the clean targets."""
    mix: np.ndarray
    """[b, k]"""

    @property
    def targets(self) -> np.ndarray:
        """Y [n, k], one column per label."""
        return self.basis @ self.mix

    @cached_property
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

    targets [n], in nats. Each (kind, seed) has one generator for all levels, so that curves over levels are smooth.
    """
    targets = np.asarray(targets, dtype=np.float64)
    units = np.arange(len(targets))
    columns, labels, mixes = [targets], [NoiseLabel("none", 0.0, 0)], [{0: 1.0}]
    levels = [level for level in levels if level > 0]
    for kind in kinds:
        for s in range(seeds):
            rng = np.random.default_rng((seed, list(NOISE).index(kind), s))
            labels += [NoiseLabel(kind, level, s) for level in levels]
            first = len(columns)
            if kind == "gaussian":
                columns.append(_unit_noise(targets, rng, units))
                mixes += [{0: 1.0, first: level} for level in levels]
            else:
                columns += list(NOISE[kind](targets, levels, rng, units).T)
                mixes += [{first + i: 1.0} for i in range(len(levels))]
    mix = np.zeros((len(columns), len(mixes)))
    for j, entries in enumerate(mixes):
        for b, weight in entries.items():
            mix[b, j] = weight
    return NoiseMatrix(tuple(labels), np.stack(columns, axis=1), mix)


def shuffled_targets(targets: np.ndarray, groups: Iterable | None, shuffles: int, seed: int = 0) -> np.ndarray:
    """Targets of the null control, Y [n, shuffles]: whole groups shuffled, and rows within them."""
    targets = np.asarray(targets, dtype=np.float64)
    rng = np.random.default_rng(seed)
    units = _units(len(targets), groups)
    return np.concatenate([shuffle(targets, [1.0], rng, units) for _ in range(shuffles)], axis=1)
