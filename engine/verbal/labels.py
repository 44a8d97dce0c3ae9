"""Explanation labels from behavior: the target checkpoint's answers with and without the cue. No torch.

An answer is the likelier one of an example's two: a where f > 0, else b. A label states the answer to x' and whether it
differs from that to x. Labels are fixed: they are made once, at the target, and never updated.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.config import VerbalSpec
from engine.stats.faithfulness import Behavior
from engine.stats.noise import noisy

LEAST_SHARE = 0.4
"""Smallest share of labels that say "changed", and of labels that say "unchanged"."""


@dataclass(frozen=True)
class Answers:
    """Argmax behavior of n examples, booleans [n]: whether the answer is a."""

    x: np.ndarray
    edited: np.ndarray
    """To x'."""

    @classmethod
    def of(cls, behavior: Behavior) -> Answers:
        return cls(np.asarray(behavior.f) > 0, np.asarray(behavior.f_edited) > 0)

    @property
    def changed(self) -> np.ndarray:
        return self.x != self.edited

    def take(self, rows: np.ndarray) -> Answers:
        return Answers(self.x[rows], self.edited[rows])


@dataclass(frozen=True)
class Labels:
    """m labels: the examples that have them, and what they say."""

    rows: np.ndarray
    """Rows of the examples, ascending [m]."""
    edited_is_a: np.ndarray
    """bool [m]: the answer to x' is a."""
    changed: np.ndarray
    """bool [m]"""
    agreement: float
    """Share of the labels that agree with the target's behavior; below 1 with noise."""


def balanced(changed: np.ndarray, rng: np.random.Generator, share: float | None = None) -> np.ndarray:
    """Rows of `changed` [n] that are kept, ascending. The kind that is too common is subsampled until a share `share`
    has changed; by default until each kind has at least LEAST_SHARE. If one kind is absent, all rows are kept."""
    natural = float(changed.mean()) if len(changed) else 0.0
    wanted = float(np.clip(natural, LEAST_SHARE, 1 - LEAST_SHARE)) if share is None else share
    if natural in (0.0, 1.0, wanted):
        return np.arange(len(changed))
    too_common = natural > wanted
    rare = np.flatnonzero(changed != too_common)
    its_share = 1 - wanted if too_common else wanted
    most = int(np.floor(len(rare) * (1 - its_share) / its_share))
    common = rng.permutation(np.flatnonzero(changed == too_common))[:most]
    return np.sort(np.concatenate([rare, common]))


def draw_labels(target: Behavior, rows: np.ndarray, rng: np.random.Generator, spec: VerbalSpec) -> Labels:
    """Labels of the balanced examples, at most `spec.labels` of them. A share `spec.noise` of the labels is then
    exchanged between examples. target: behavior of all examples; rows: those that may be labelled."""
    true = Answers.of(target).take(rows)
    kept = balanced(true.changed, rng, spec.changed_share)
    if spec.labels is not None and spec.labels < len(kept):
        kept = np.sort(rng.permutation(kept)[: spec.labels])
    source = kept[noisy(np.arange(len(kept)), "shuffle", spec.noise, rng).astype(int)]
    edited, changed = true.edited[source], true.changed[source]
    agree = (edited == true.edited[kept]) & (changed == true.changed[kept])
    return Labels(rows[kept], edited, changed, float(agree.mean()))
