"""Drawn worlds: two models' outputs with two-way random effects, to try measures where the truth is known."""

from __future__ import annotations

import numpy as np

from engine.records import Behavior
from engine.stats.unseen import Design

Drawn = tuple[Behavior, Behavior, Design]
"""The current model's behavior, the target's, and the design."""


def draw(rng: np.random.Generator, rows: int = 1200, cues: int = 48, entities: int = 120, alike: bool = False) -> Drawn:
    """One world. Its correlations, shares of variance and bends are drawn too.

    Each of f_0(x), f_0(x'), f_t(x), f_t(x') is a sum of an entity's, a cue's and the pair's own effect and an
    interaction of entity and cue, bent by one of three functions. alike: x' is the same for all cues of an entity,
    as when an edit deletes the cue; then the entity's other prompts tell f(x').
    """
    cell = rng.choice(cues * entities, rows, replace=False)
    cue, entity = cell // entities, cell % entities
    between_edits, between_models = rng.uniform(0.2, 0.95), rng.uniform(0.2, 0.9)
    correlation = np.kron([[1, between_models], [between_models, 1]], [[1, between_edits], [between_edits, 1]])
    mix = np.linalg.cholesky(correlation).T
    of_entity, of_cue, of_pair = (rng.normal(size=(k, 4)) @ mix for k in (entities, cues, rows))
    if alike:
        of_cue[:, [1, 3]] = of_pair[:, [1, 3]] = 0
    share = np.sqrt(rng.dirichlet([2, 2, 2]))
    f = share[0] * of_entity[entity] + share[1] * of_cue[cue] + share[2] * of_pair
    f = f + rng.uniform(0, 0.7) * of_entity[entity] * of_cue[cue]
    f = (lambda a: 2 * a, lambda a: 3 * np.tanh(a), np.sinh)[rng.integers(3)](f)
    if rng.random() < 0.3:  # the current model is shifted as a whole
        f[:, 2:] += rng.normal()
    return Behavior(f[:, 2], f[:, 3]), Behavior(f[:, 0], f[:, 1]), Design(cell, cue, entity)
