"""Hand-built explainers whose answer is known, to see which measure is fooled by which of them.

An explainer is given both models' outputs on the same examples and returns explanations [n] in nats. Its stale reading,
what it says of the target's hidden states, is the same function of the target's outputs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from engine.records import Behavior
from engine.stats.unseen import Design

NOISE = 0.5
"""Standard deviation of the noise that look-alikes add, as a share of that of the explanation."""


@dataclass(frozen=True)
class Sight:
    """What an explainer sees at one checkpoint."""

    now: Behavior
    target: Behavior
    design: Design
    fixed: np.ndarray
    """Standard normal noise [n] that is the same at every checkpoint."""
    fresh: np.ndarray
    """Standard normal noise [n] of this checkpoint alone."""

    @property
    def stale(self) -> Sight:
        """The same explainer on the target's hidden states, with other fresh noise."""
        return Sight(self.target, self.target, self.design, self.fixed, np.roll(self.fresh, 1))


@dataclass(frozen=True)
class LookAlike:
    """One of the zoo."""

    says: str
    """What it does, in words."""
    explain: Callable[[Sight], np.ndarray]
    answers: dict[str, bool]
    """Claim → whether it may be shown of this explainer. A claim that is missing may be answered either way."""


def _noisy(explanation: np.ndarray, noise: np.ndarray, share: float = NOISE) -> np.ndarray:
    return explanation + share * explanation.std() * noise


def _levels(values: np.ndarray) -> np.ndarray:
    return np.digitize(values, np.quantile(values, [0.2, 0.4, 0.6, 0.8])).astype(float)


def _moved(s: Sight) -> np.ndarray:
    change = np.abs(s.now.f - s.target.f)
    return change > np.median(change)


def _cue_push(s: Sight) -> np.ndarray:
    """Mean Δ_0 of the examples with the same cue, or in the same group."""
    codes = s.design.factors[0] if s.design.factors else s.design.held_out
    return (np.bincount(codes, s.target.effect) / np.bincount(codes))[codes]


def _entity_output(s: Sight) -> np.ndarray:
    return s.design.others(s.now.f)[:, -1] if s.design.factors else np.zeros(len(s.now.f))


def _half(s: Sight) -> np.ndarray:
    return np.where(s.fixed > 0, s.now.f_edited, s.target.f_edited)


NOTHING = {"coupling": False, "unseen": False, "outputs": False}
OUTPUT = {"unseen": False, "outputs": False}
ALL = {"unseen": True, "outputs": True}

ZOO: dict[str, LookAlike] = {
    "constant": LookAlike("says 1 nat of every example", lambda s: np.ones(len(s.now.f)), NOTHING),
    "noise": LookAlike("says a random number, drawn anew at each checkpoint", lambda s: s.fresh, NOTHING),
    "forgetting": LookAlike(
        "repeats 40 % of its label, with noise, once the model has moved",
        lambda s: (1.0 if s.now is s.target else 0.4) * s.target.effect + NOISE * s.target.effect.std() * s.fixed,
        NOTHING,
    ),
    "contradicting": LookAlike(
        "says the opposite of its label once the model has moved",
        lambda s: _noisy((1 if s.now is s.target else -1) * s.target.effect, s.fresh),
        NOTHING,
    ),
    "reciting": LookAlike("repeats its label, with noise", lambda s: _noisy(s.target.effect, s.fresh), NOTHING),
    "reciting f₀(x′)": LookAlike(
        "repeats the target's unseen output, with noise", lambda s: _noisy(s.target.f_edited, s.fresh), NOTHING
    ),
    "present output": LookAlike("reads −f(x), which it can see", lambda s: -s.now.f, OUTPUT),
    "present output, bent": LookAlike("reads −tanh f(x)", lambda s: -np.tanh(s.now.f), OUTPUT),
    "present output, stepped": LookAlike("reads −f(x) in five steps", lambda s: -_levels(s.now.f), OUTPUT),
    "present output, noisy": LookAlike("reads −f(x) with noise", lambda s: _noisy(-s.now.f, s.fresh), OUTPUT),
    "label × output": LookAlike(
        "multiplies its label with f(x), with noise", lambda s: _noisy(s.target.effect * s.now.f, s.fresh), OUTPUT
    ),
    "forgets where it moved": LookAlike(
        "repeats its label, and says 0 where f(x) has moved", lambda s: s.target.effect * ~_moved(s), OUTPUT
    ),
    "flips where it moved": LookAlike(
        "repeats its label, and its opposite where f(x) has moved",
        lambda s: np.where(_moved(s), -1, 1) * s.target.effect,
        OUTPUT,
    ),
    "text alone": LookAlike(
        "predicts the label from the text, with the cue's push doubled",
        lambda s: s.target.effect + _cue_push(s),
        OUTPUT,
    ),
    "entity output": LookAlike("reads the mean f(x) of the entity's other prompts", _entity_output, {"outputs": False}),
    "stale": LookAlike(
        "knows f₀(x′) of the target, and not the current model's",
        lambda s: _noisy(s.target.f_edited, s.fixed),
        NOTHING,
    ),
    "oracle": LookAlike(
        "knows the current model's f(x′), with as much noise", lambda s: _noisy(s.now.f_edited, s.fixed, 1), ALL
    ),
    "oracle that recites": LookAlike(
        "the oracle plus its label", lambda s: _noisy(s.now.f_edited, s.fixed, 1) + s.target.effect, ALL
    ),
    "oracle of half": LookAlike(
        "knows the current f(x′) in half of the examples and the target's in the others",
        lambda s: _noisy(_half(s), s.fresh),
        ALL,
    ),
}
"""By name, in the order in which they are shown."""
