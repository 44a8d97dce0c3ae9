"""The run's explainer for prompts that are not in the run: its frozen ridge, fitted again from the kept hidden states.

One for each kind of edit, at the setting that cross-validation chose, trained on the first checkpoint's h(x) and the
target's fixed effects. It reads h(x) at the last position only: it never sees the edit.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import streamlit as st

from dashboard.reading import chosen as settings
from dashboard.reading import data
from dashboard.refit import cached
from engine.probes.ridge import Ridge
from engine.runs.store import RunError

USUAL = 0.99
"""The share of a run's own prompts whose leverage counts as usual."""


@dataclass(frozen=True)
class Choice:
    """The setting of one kind of edit's explainer."""

    edit: str
    layer: int
    penalty: float
    chosen: bool
    """The run's headline."""


@dataclass(frozen=True)
class Explainer:
    """A fitted ridge. `says` and `leverage` take h [width]."""

    choice: Choice
    trained_at: str
    n: int
    """Training examples."""
    weights: np.ndarray
    """[width]"""
    intercept: float
    ridge: Ridge

    def says(self, hidden: np.ndarray) -> float:
        """The explanation, in nats."""
        return float(hidden @ self.weights + self.intercept)

    def leverage(self, hidden: np.ndarray) -> float:
        """How far h lies from the training prompts, in the metric of the ridge: xᵀ(XᵀX + α)⁻¹x of centred x."""
        return float(_leverages(self.ridge, hidden[None], self.choice.penalty)[0])


def _leverages(ridge: Ridge, hidden: np.ndarray, penalty: float) -> np.ndarray:
    """[n] of hidden [n, width]."""
    squared = ridge.project(hidden) ** 2 / (ridge.eigenvalues + penalty)
    if not ridge.dual:
        return squared.sum(axis=1)
    return (((hidden - ridge.mean) ** 2).sum(axis=1) - squared.sum(axis=1)) / penalty  # Woodbury


@st.cache_data(max_entries=16, show_spinner=False)
def _choices(path: Path, stamp: str) -> list[Choice]:
    start = data.spec(path).checkpoints[0].name
    rows = data.metrics(
        path, control=None, condition=None, explainer="ridge", regime="frozen", mode="direct", noise_kind="none",
        checkpoint=start,
    )  # fmt: skip
    rows = rows[(rows["position"].isna() | (rows["position"] == "last")) & rows["penalty"].notna()]
    rows = settings.best(rows[rows["layer"].isin(cached.layers(path, start, stamp))]).drop_duplicates("edit")
    return [
        Choice(str(edit), int(layer), float(penalty), bool(chosen))
        for edit, layer, penalty, chosen in rows[["edit", "layer", "penalty", "chosen"]].itertuples(index=False)
    ]


def choices(path: Path) -> list[Choice]:
    """The explainers that can be fitted again, the run's headline first; none where `why_none` says why."""
    return sorted(_choices(path, data.stamp(path)), key=lambda c: (not c.chosen, c.edit))


def why_none(path: Path) -> str:
    """In words, why a run has no explainer for new prompts."""
    start = data.spec(path).checkpoints[0].name
    if not cached.layers(path, start, data.stamp(path)):
        return (
            "This run keeps no hidden states, so its explainer can't be fitted again: there is no explanation of new "
            "prompts. A run made with hidden.keep: prompts has one."
        )
    return "This run has no ridge that reads h(x) at the last position, so there is no explanation of new prompts."


@st.cache_resource(max_entries=8, show_spinner=False)
def _fitted(path: Path, choice: Choice, stamp: str) -> Explainer:
    start = data.spec(path).checkpoints[0].name
    behavior = data.behavior(path, start)
    train = behavior[(behavior["edit"] == choice.edit) & (behavior["split"] == "train")]
    x = data.hidden(path, start, choice.layer)[train["prompt_id"].to_numpy()].astype(np.float64)
    try:
        ridge = Ridge.fit(x)
    except ValueError as error:
        raise RunError(f"{path.name}: the explainer of {choice.edit} can't be fitted again: {error}") from None
    weights, intercepts = ridge.coefficients(train["effect_target"].to_numpy(np.float64), choice.penalty)
    return Explainer(choice, start, len(train), weights[:, 0], float(intercepts[0]), ridge)


def fitted(path: Path, choice: Choice) -> Explainer:
    """The explainer of one kind of edit; raises RunError."""
    return _fitted(path, choice, data.stamp(path))


@st.cache_data(max_entries=64, show_spinner=False)
def _usual(path: Path, choice: Choice, checkpoint: str, stamp: str) -> float:
    hidden = data.hidden(path, checkpoint, choice.layer).astype(np.float64)
    return float(np.quantile(_leverages(fitted(path, choice).ridge, hidden, choice.penalty), USUAL))


def is_unlike(path: Path, explainer: Explainer, checkpoint: str, hidden: np.ndarray) -> bool | None:
    """Whether h [width] lies farther from the training prompts than nearly all of the run's own prompts do at this
    checkpoint; None where the run keeps no hidden states of it. Raises RunError for those of another width."""
    if explainer.choice.layer not in cached.layers(path, checkpoint, data.stamp(path)):
        return None
    return explainer.leverage(hidden) > _usual(path, explainer.choice, checkpoint, data.stamp(path))


def explained_at(path: Path) -> tuple[str, ...]:
    """The checkpoints whose hidden states the explainers read."""
    return tuple(c.name for c in data.spec(path).checkpoints)
