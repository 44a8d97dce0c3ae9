"""Records shared by training, scoring and controls: a probe (its input and its choice) and its explanations."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.config import ExplainerKind, Regime
from engine.runs.observed import Place
from engine.stats.noise import NoiseLabel

CLEAN = NoiseLabel("none", 0.0, 0)


@dataclass(frozen=True)
class Probe:
    """An explainer's place and penalty, and how it was chosen."""

    kind: ExplainerKind
    place: Place
    penalty: float
    cv: float
    """Cross-validated correlation with the targets."""
    best: bool = False
    """The best of its kind, edit and mode."""
    chosen: bool = False
    """The headline probe: the best direct one of its kind among the headline edits."""
    condition: str | None = None
    """The training of a concurrent explainer, in words; None for all other probes."""

    @property
    def leads(self) -> bool:
        """Whether it is the best of its kind in direct mode. Only such probes get controls and verdicts."""
        return self.best and self.place.mode == "direct"


@dataclass(frozen=True)
class ProbeExplanations:
    """One probe under one regime: explanations of the evaluated rows at every checkpoint."""

    probe: Probe
    regime: Regime
    rows: np.ndarray
    """Row numbers of the examples, [n]."""
    labels: tuple[NoiseLabel, ...]
    """The noise of each column, [k]. Several seeds of one noise level are several columns."""
    noisy_clean: np.ndarray
    """corr(noisy, clean targets) of each column, [k]."""
    explanations: list[np.ndarray]
    """[n, k] at each checkpoint, nats."""
    stale: list[np.ndarray]
    """[n, k] at each checkpoint: the same explainer on the first checkpoint's hidden states."""
