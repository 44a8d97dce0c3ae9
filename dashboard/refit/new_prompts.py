"""Explains prompts that are not in the run: the run's frozen ridge, fitted again from its hidden states.

There is one ridge per kind of edit, at the setting that cross-validation chose. It is trained on the first checkpoint's
h(x) at the last position and on the target's fixed effects, so it never sees the edit.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import streamlit as st

from dashboard.reading import chosen, data
from dashboard.reading.tables import cached_per_run
from dashboard.refit import cached
from engine.probes.ridge import Ridge
from engine.runs.store import RunError

USUAL = 0.99
"""A prompt is unlike the run's own prompts if its leverage exceeds this quantile of theirs."""


@dataclass(frozen=True)
class Choice:
    """The setting of the explainer of one kind of edit."""

    edit: str
    layer: int
    penalty: float
    chosen: bool
    """Whether it is the run's headline setting."""


@dataclass(frozen=True)
class FittedRidge:
    """The explainer of one kind of edit. `says` and `leverage` take h [width]."""

    choice: Choice
    weights: np.ndarray
    """[width]"""
    intercept: float
    ridge: Ridge

    def says(self, hidden: np.ndarray) -> float:
        """The explanation, in nats."""
        return float(hidden @ self.weights + self.intercept)

    def leverage(self, hidden: np.ndarray) -> float:
        """The distance of h from the training prompts in the metric of the ridge: xᵀ(XᵀX + α)⁻¹x of centred x."""
        return float(_leverages(self.ridge, hidden[None], self.choice.penalty)[0])


def _leverages(ridge: Ridge, hidden: np.ndarray, penalty: float) -> np.ndarray:
    """[n] of hidden [n, width]."""
    squared = ridge.project(hidden) ** 2 / (ridge.eigenvalues + penalty)
    if not ridge.dual:
        return squared.sum(axis=1)
    return (((hidden - ridge.mean) ** 2).sum(axis=1) - squared.sum(axis=1)) / penalty  # Woodbury


@cached_per_run(st.cache_data, max_entries=16)
def choices(path: Path) -> list[Choice]:
    """The explainers that can be fitted again, the run's headline first. If there are none, `why_none` says why."""
    setting = data.Setting(explained_at(path)[0], "ridge", "frozen")
    rows = data.setting_metrics(path, setting, mode="direct", noise_kind="none")
    rows = rows[(rows["position"].isna() | (rows["position"] == "last")) & rows["penalty"].notna()]
    rows = chosen.best(rows[rows["layer"].isin(cached.layers(path, setting.checkpoint))]).drop_duplicates("edit")
    found = [
        Choice(str(edit), int(layer), float(penalty), bool(is_chosen))
        for edit, layer, penalty, is_chosen in rows[["edit", "layer", "penalty", "chosen"]].itertuples(index=False)
    ]
    return sorted(found, key=lambda choice: (not choice.chosen, choice.edit))


def why_none(path: Path) -> str:
    """Says why a run has no explainer for new prompts."""
    if not cached.layers(path, explained_at(path)[0]):
        return (
            "This run keeps no hidden states, so its explainer can't be fitted again: there is no explanation of new "
            "prompts. A run made with hidden.keep: prompts has one."
        )
    return "This run has no ridge that reads h(x) at the last position, so there is no explanation of new prompts."


@cached_per_run(st.cache_resource, max_entries=8)
def fitted(path: Path, choice: Choice) -> FittedRidge:
    """The explainer of one kind of edit; raises RunError."""
    start = explained_at(path)[0]
    train, _ = cached.rows(cached.RefitCase(path, start, "frozen", choice.edit, "train", data.stamp(path)))
    x = data.hidden(path, start, choice.layer)[train["prompt_id"].to_numpy()].astype(np.float64)
    try:
        ridge = Ridge.fit(x)
    except ValueError as error:
        raise RunError(f"{path.name}: the explainer of {choice.edit} can't be fitted again: {error}") from None
    weights, intercepts = ridge.coefficients(train["effect_target"].to_numpy(np.float64), choice.penalty)
    return FittedRidge(choice, weights[:, 0], float(intercepts[0]), ridge)


@cached_per_run(st.cache_data, max_entries=64)
def _usual_leverage(path: Path, choice: Choice, checkpoint: str) -> float:
    hidden = data.hidden(path, checkpoint, choice.layer).astype(np.float64)
    return float(np.quantile(_leverages(fitted(path, choice).ridge, hidden, choice.penalty), USUAL))


def is_unlike(path: Path, explainer: FittedRidge, checkpoint: str, hidden: np.ndarray) -> bool | None:
    """Whether h [width] is farther from the training prompts than nearly all of the run's own prompts at a checkpoint.

    None if the run keeps no hidden states of it. Raises RunError if these have another width.
    """
    if explainer.choice.layer not in cached.layers(path, checkpoint):
        return None
    return explainer.leverage(hidden) > _usual_leverage(path, explainer.choice, checkpoint)


def explained_at(path: Path) -> tuple[str, ...]:
    """The checkpoints whose hidden states the explainers read, the first one first."""
    return tuple(c.name for c in data.spec(path).checkpoints)
