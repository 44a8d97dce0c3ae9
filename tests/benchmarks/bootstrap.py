"""Bootstrapped correlations of many explainers at once, beside loops and gathers.

2,000 draws of groups, 2,000 rows, 20 explainers scored on the same examples. All sides draw the same groups
from the same generator, so the answers are the same number by number.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from engine.stats.bootstrap import bootstrap_pearson, bootstrap_weights
from tests.benchmarks.side_by_side import side_by_side

DRAWS, ROWS, EXPLAINERS = 2000, 2000, 20


def problem(groups: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Explanations [n, k], effects [n], groups [n] of equal size."""
    rng = np.random.default_rng(0)
    effects = rng.normal(size=ROWS)
    explanations = effects[:, None] + rng.normal(size=(ROWS, EXPLAINERS))
    return explanations, effects, np.repeat(np.arange(groups), ROWS // groups)


def ours(explanations: np.ndarray, effects: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """[draws, explainers]"""
    resamples = bootstrap_weights(np.random.default_rng(1), DRAWS, groups)
    return bootstrap_pearson(resamples, explanations, effects)[..., 0]


def _drawn_rows(groups: np.ndarray) -> np.ndarray:
    """Row numbers [draws, n]: the rows of the drawn groups, one after the other."""
    rng, count = np.random.default_rng(1), groups.max() + 1
    size = len(groups) // count
    drawn = rng.integers(0, count, (DRAWS, count))
    return (drawn[:, :, None] * size + np.arange(size)).reshape(DRAWS, -1)


def loop(explanations: np.ndarray, effects: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """numpy.corrcoef for every draw and explainer."""
    by_explainer = np.ascontiguousarray(explanations.T)
    out = np.empty((DRAWS, EXPLAINERS))
    for d, drawn in enumerate(_drawn_rows(groups)):
        truth = effects[drawn]
        for j in range(EXPLAINERS):
            out[d, j] = np.corrcoef(by_explainer[j][drawn], truth)[0, 1]
    return out


def gather(explanations: np.ndarray, effects: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """All draws of an explainer gathered into one array and correlated without a loop over draws."""
    drawn = _drawn_rows(groups)
    truth = effects[drawn]
    truth -= truth.mean(axis=1, keepdims=True)
    truth /= np.sqrt((truth**2).sum(axis=1, keepdims=True))
    out = np.empty((DRAWS, EXPLAINERS))
    for j in range(EXPLAINERS):
        told = explanations[:, j][drawn]
        told -= told.mean(axis=1, keepdims=True)
        out[:, j] = np.einsum("dn,dn->d", told, truth) / np.sqrt(np.einsum("dn,dn->d", told, told))
    return out


def rows() -> list[dict[str, Any]]:
    """Measured rows of the benchmark table."""
    out = []
    cases = ((200, "groups", (200, 15)), (ROWS, "single rows (hardest case, no goal)", (None, None)))
    for groups, kind, goals in cases:
        given = problem(groups)
        note = f"{DRAWS} draws, {ROWS} rows in {groups} groups, {EXPLAINERS} explainers; drawing is timed too"
        peers = (("loop of numpy.corrcoef", loop, 3), ("vectorised gather", gather, 5))
        for (peer_name, peer, repetitions), goal in zip(peers, goals, strict=True):
            name = f"bootstrap of {kind}: {peer_name}"
            sides = (lambda _, g=given: ours(*g)), (lambda _, g=given, p=peer: p(*g))
            out.append(side_by_side(name, *sides, goal=goal, tolerance=1e-10, repetitions=repetitions, note=note))
    return out
