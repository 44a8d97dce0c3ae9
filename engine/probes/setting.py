"""What an explainer is: where it reads, how it was chosen, what it said. Records shared by the last stages."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.config import ExplainerKind, Regime
from engine.run.observed import Place
from engine.stats.noise import NoiseLabel

CLEAN = NoiseLabel("none", 0.0, 0)


@dataclass(frozen=True)
class Setting:
    """An explainer's place and penalty, and how it came to be chosen."""

    kind: ExplainerKind
    place: Place
    penalty: float
    cv: float
    best: bool = False
    """The best of its kind, edit and mode."""
    chosen: bool = False
    """The headline: the best direct one of its kind among the headline edits."""
    condition: str | None = None
    """What else was varied."""


@dataclass(frozen=True)
class Explained:
    """One setting under one regime: explanations of the evaluated rows at every checkpoint."""

    setting: Setting
    regime: Regime
    rows: np.ndarray
    """Rows of the examples, [n]."""
    labels: tuple[NoiseLabel, ...]
    """Of the columns; seeds of one noise level stand in several columns."""
    noisy_clean: np.ndarray
    """corr(noisy, clean targets) of each column."""
    explanations: list[np.ndarray]
    """[n, k] a checkpoint, nats."""
    stale: list[np.ndarray]
    """[n, k] a checkpoint: the same explainer on the hidden states of the checkpoint it started at."""
