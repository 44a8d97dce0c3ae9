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
from tests.benchmarks.side_by_side import same_threads, seconds, side_by_side

LEVELS = tuple(round(0.1 * i, 1) for i in range(11))
PENALTIES = tuple(np.logspace(-1, 4, 10))
ROWS, DIMENSIONS, SEEDS = 2000, 256, 20


def problem(rows: int = ROWS, dimensions: int = DIMENSIONS, seeds: int = SEEDS, kind: str = "shuffle"):
    """X [n, d], noisy targets (NoiseMatrix), X_test, effects [n_test]."""
    rng = np.random.default_rng(0)
    x, x_test = rng.normal(size=(rows, dimensions)), rng.normal(size=(rows, dimensions))
    weights = rng.normal(size=dimensions)
    noise = noise_matrix(x @ weights + rng.normal(size=rows), [kind], LEVELS, seeds)
    return x, noise, x_test, x_test @ weights + rng.normal(size=rows)


def all_columns(noise: Any) -> np.ndarray:
    """Y [n, 220]: level 0 stands once for every seed, as in the loop that the peers run."""
    y = noise.targets
    return np.concatenate([np.repeat(y[:, :1], SEEDS - 1, axis=1), y], axis=1)


def sweep(x: np.ndarray, y: np.ndarray, x_test: np.ndarray, effects: np.ndarray) -> np.ndarray:
    """Ours: [penalties, columns]."""
    ridge = Ridge.fit(x)
    return ridge.correlations_of(ridge.project_targets(y), PENALTIES, ridge.moments(x_test, effects))[..., 0]


def rows() -> list[dict[str, Any]]:
    """Measured rows of the benchmark table."""
    x, noise, x_test, effects = problem()
    y = all_columns(noise)
    k = y.shape[1]

    def loop_of_one_penalty(repetition: int) -> np.ndarray:
        penalty = PENALTIES[repetition % len(PENALTIES)]
        fits = (PeerRidge(alpha=penalty).fit(x, y[:, j]).predict(x_test) for j in range(k))
        return np.array([np.corrcoef(e, effects)[0, 1] for e in fits])

    def same_penalty(ours: np.ndarray, theirs: np.ndarray, state: list[int] = [0]) -> float:  # noqa: B006
        apart = float(np.abs(ours[state[0] % len(PENALTIES)] - theirs).max())
        state[0] += 1
        return apart

    def multi_target(_: int) -> np.ndarray:
        return np.stack([pearson(PeerRidge(alpha=a).fit(x, y).predict(x_test), effects) for a in PENALTIES])

    def ours(_: int) -> np.ndarray:
        return sweep(x, y, x_test, effects)

    gaussian = problem(kind="gaussian")[1]
    y_gaussian = gaussian.targets

    def multi_target_gaussian(_: int) -> np.ndarray:
        return np.stack([pearson(PeerRidge(alpha=a).fit(x, y_gaussian).predict(x_test), effects) for a in PENALTIES])

    def ours_gaussian(_: int) -> np.ndarray:
        ridge = Ridge.fit(x)
        targets = ridge.project_targets(gaussian.basis).mixed(gaussian.mix)
        return ridge.correlations_of(targets, PENALTIES, ridge.moments(x_test, effects))[..., 0]

    size = f"{ROWS} × {DIMENSIONS}, {k} targets, {len(PENALTIES)} penalties"
    return [
        side_by_side(
            "ridge sweep: loop of scikit-learn Ridge",
            ours,
            loop_of_one_penalty,
            goal=400,
            tolerance=1e-8,
            difference=same_penalty,
            repetitions=5,
            scale=len(PENALTIES),
            note=f"{size}; the loop runs one penalty a repetition, its time × {len(PENALTIES)}",
        ),
        side_by_side(
            "ridge sweep: one multi-target Ridge per penalty",
            ours,
            multi_target,
            goal=6,
            tolerance=1e-8,
            repetitions=15,
            note=size,
        ),
        side_by_side(
            "ridge sweep, Gaussian noise: one multi-target Ridge per penalty",
            ours_gaussian,
            multi_target_gaussian,
            goal=6,
            tolerance=1e-8,
            repetitions=15,
            note=f"{size}; noise is linear in the targets: {gaussian.basis.shape[1]} right-hand sides",
        ),
    ]


def growth(repetitions: int = 5) -> list[dict[str, Any]]:
    """How the sweep's cost grows with n, d and the number of noise levels: seconds, ours and multi-target Ridge."""
    out = []
    cases = [("n", {"rows": n}) for n in (500, 1000, 2000, 4000, 8000)]
    cases += [("d", {"dimensions": d}) for d in (64, 128, 256, 512)]
    cases += [("noise levels", {"levels": m}) for m in (1, 3, 6, 11)]
    for axis, change in cases:
        levels = change.pop("levels", len(LEVELS))
        x, noise, x_test, effects = problem(**change)
        y = noise.targets[:, [i for i, label in enumerate(noise.labels) if label.level <= LEVELS[levels - 1]]]

        def peer(x=x, y=y, x_test=x_test, effects=effects) -> list[np.ndarray]:
            return [pearson(PeerRidge(alpha=a).fit(x, y).predict(x_test), effects) for a in PENALTIES]

        timed = []
        with same_threads():
            for _ in range(repetitions):
                own = seconds(lambda x=x, y=y, t=x_test, e=effects: sweep(x, y, t, e))[0]
                timed.append((own, seconds(peer)[0]))
        value = {"n": len(x), "d": x.shape[1], "noise levels": levels}[axis]
        own, theirs = np.median(timed, axis=0)
        out.append({"axis": axis, "value": value, "ours": float(own), "theirs": float(theirs)})
    return out
