"""Ridge sweeps, beside scikit-learn.

The sweep is the one of a noise curve: 11 levels × 20 seeds of shuffled targets, 10 penalties, 2,000 training
and 2,000 test rows of 256 dimensions; the answer is the correlation of each of the 2,200 explainers with the
effects. Peers fit, predict and correlate.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.linear_model import Ridge as PeerRidge

from engine.probes.ridge import Ridge
from engine.stats.correlation import pearson
from engine.stats.noise import noise_matrix
from tests.benchmarks.side_by_side import cost, side_by_side

LEVELS = tuple(round(0.1 * i, 1) for i in range(11))
PENALTIES = tuple(np.logspace(-1, 4, 10))
ROWS, DIMENSIONS, SEEDS = 2000, 256, 20


def problem(rows: int = ROWS, dimensions: int = DIMENSIONS, levels: int = len(LEVELS), kind: str = "shuffle"):
    """X [n, d], noisy targets (NoiseMatrix) of the first levels, X_test, effects [n_test]."""
    rng = np.random.default_rng(0)
    x, x_test = rng.normal(size=(rows, dimensions)), rng.normal(size=(rows, dimensions))
    weights = rng.normal(size=dimensions)
    noise = noise_matrix(x @ weights + rng.normal(size=rows), [kind], LEVELS[:levels], SEEDS)
    return x, noise, x_test, x_test @ weights + rng.normal(size=rows)


def ours(x: np.ndarray, y: np.ndarray, x_test: np.ndarray, effects: np.ndarray) -> np.ndarray:
    """[penalties, columns of y]"""
    ridge = Ridge.fit(x)
    return ridge.correlations_of(ridge.project_targets(y), PENALTIES, ridge.moments(x_test, effects))[..., 0]


def multi_target(x: np.ndarray, y: np.ndarray, x_test: np.ndarray, effects: np.ndarray) -> np.ndarray:
    """The same by one scikit-learn Ridge for each penalty."""
    return np.stack([pearson(PeerRidge(alpha=a).fit(x, y).predict(x_test), effects) for a in PENALTIES])


def rows() -> list[dict[str, Any]]:
    """Measured rows of the benchmark table."""
    x, noise, x_test, effects = problem()
    # Level 0 stands once for every seed, as in the loop that the peers run.
    y = np.concatenate([np.repeat(noise.targets[:, :1], SEEDS - 1, axis=1), noise.targets], axis=1)
    shuffled = (x, y, x_test, effects)
    gaussian = problem(kind="gaussian")[1]

    def loop_of_one_penalty(repetition: int) -> tuple[int, np.ndarray]:
        at = repetition % len(PENALTIES)
        fits = (PeerRidge(alpha=PENALTIES[at]).fit(x, column).predict(x_test) for column in y.T)
        return at, np.array([np.corrcoef(e, effects)[0, 1] for e in fits])

    def same_penalty(ours: np.ndarray, theirs: tuple[int, np.ndarray]) -> float:
        return float(np.abs(ours[theirs[0]] - theirs[1]).max())

    def ours_gaussian(_: int) -> np.ndarray:
        ridge = Ridge.fit(x)
        targets = ridge.project_targets(gaussian.basis).mixed(gaussian.mix)
        return ridge.correlations_of(targets, PENALTIES, ridge.moments(x_test, effects))[..., 0]

    size = f"{ROWS} × {DIMENSIONS}, {y.shape[1]} targets, {len(PENALTIES)} penalties"
    loop_note = f"{size}; the loop runs one penalty a repetition, its time × {len(PENALTIES)}"
    gaussian_note = f"{size}; noise is linear in the targets: {gaussian.basis.shape[1]} right-hand sides"
    loop = {"goal": 400, "repetitions": 5, "difference": same_penalty, "scale": len(PENALTIES), "note": loop_note}
    multi = {"goal": 6, "repetitions": 15}
    cases = (
        ("sweep: loop of scikit-learn Ridge", lambda _: ours(*shuffled), loop_of_one_penalty, loop),
        (
            "sweep: one multi-target Ridge per penalty",
            lambda _: ours(*shuffled),
            lambda _: multi_target(*shuffled),
            multi | {"note": size},
        ),
        (
            "sweep, Gaussian noise: one multi-target Ridge per penalty",
            ours_gaussian,
            lambda _: multi_target(x, gaussian.targets, x_test, effects),
            multi | {"note": gaussian_note},
        ),
    )
    return [side_by_side(f"ridge {name}", own, peer, tolerance=1e-8, **more) for name, own, peer, more in cases]


def growth() -> list[dict[str, Any]]:
    """How the sweep's cost grows with n, d and the number of noise levels, beside multi-target Ridge."""
    axes = {
        "n": ("rows", (500, 1000, 2000, 4000, 8000)),
        "d": ("dimensions", (64, 128, 256, 512)),
        "noise levels": ("levels", (1, 3, 6, 11)),
    }
    out = []
    for axis, (option, values) in axes.items():
        for value in values:
            x, noise, x_test, effects = problem(**{option: value})
            given = (x, noise.targets, x_test, effects)
            out.append(cost(axis, value, lambda g=given: ours(*g), lambda g=given: multi_target(*g)))
    return out
