"""What the live refit works on, read from a run and cached piece by piece; and one refit with its times.

Cached objects are shared between sessions and never changed. The pieces: training and test rows; their
factorisation (moves with layer, size, checkpoint); the noisy targets (move with kind and seeds); the null's
shuffled targets. A penalty or a level needs none of them anew.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd
import streamlit as st

from dashboard import data, refit
from engine.noise import NoiseMatrix, noise_matrix, shuffled_targets
from engine.store import Run

T = TypeVar("T")
LEVELS = tuple(round(0.1 * i, 1) for i in range(11))


@dataclass(frozen=True)
class Choice:
    """What the sliders say."""

    kind: str
    level: float
    layer: int
    penalty: float
    size: int
    """Training rows."""
    seeds: int


@dataclass(frozen=True)
class Place:
    """Which rows and models the refit is about."""

    path: Path
    checkpoint: str
    regime: str
    """frozen: trained at the first checkpoint; refit: at the current one."""
    edit: str
    split: str
    stamp: str


@dataclass(frozen=True)
class Rows:
    """Training and test examples of one place, in the run's order."""

    train: pd.DataFrame
    test: pd.DataFrame

    @property
    def effects(self) -> np.ndarray:
        """[m, 2]: the current model's, the target's."""
        return self.test[["effect_current", "effect_target"]].to_numpy(np.float64)


@dataclass(frozen=True)
class Live:
    """The result of one refit."""

    curve: pd.DataFrame
    """By level, averaged over seeds (`refit.curve`)."""
    explanation: np.ndarray
    """[m] at the level chosen, averaged over seeds, nats."""
    null: tuple[float, float, float]
    """Mean, low, high."""
    ceiling: float
    breaks_at: float | None
    keeps_until: float | None
    milliseconds: dict[str, float]
    """Of each part; what came from the cache counts as it came."""


@st.cache_resource(max_entries=8, show_spinner=False)
def rows(place: Place) -> Rows:
    behavior = data.behavior(place.path, place.checkpoint)
    mine = behavior[behavior["edit"] == place.edit]
    return Rows(
        mine[mine["split"] == "train"].reset_index(drop=True), mine[mine["split"] == place.split].reset_index(drop=True)
    )


@st.cache_data(max_entries=32, show_spinner=False)
def layers(path: Path, checkpoint: str, stamp: str) -> tuple[int, ...]:
    """Layers whose h(x) at the last position the run keeps; none where it keeps no hidden states."""
    keys = Run.open(path).hidden_keys(checkpoint)
    return tuple(sorted(int(k.split(".")[1]) for k in keys if k.startswith("last.")))


@st.cache_resource(max_entries=6, show_spinner=False)  # each holds d × d and n × d numbers
def factorised(place: Place, layer: int, size: int, trained_at: str) -> refit.Factorisation:
    found = rows(place)
    chosen = refit.training_rows(len(found.train), size)
    at_training = data.hidden(place.path, trained_at, layer)[found.train["prompt_id"].to_numpy()[chosen]]
    now = data.hidden(place.path, place.checkpoint, layer)[found.test["prompt_id"].to_numpy()]
    return refit.factorise(at_training, now)


@st.cache_resource(max_entries=32, show_spinner=False)
def targets(place: Place, kind: str, size: int, seeds: int, seed: int) -> NoiseMatrix:
    found = rows(place)
    chosen = refit.training_rows(len(found.train), size)
    return noise_matrix(found.train["effect_target"].to_numpy()[chosen], [kind], LEVELS, seeds, seed=seed)


@st.cache_resource(max_entries=16, show_spinner=False)
def shuffled(place: Place, size: int, shuffles: int, seed: int) -> np.ndarray:
    train = rows(place).train.iloc[refit.training_rows(len(rows(place).train), size)]
    return shuffled_targets(train["effect_target"].to_numpy(), train["group"], shuffles, seed)


@st.cache_resource(max_entries=64, show_spinner=False)
def ceiling(place: Place, layer: int, size: int, penalty: float) -> float:
    """Self of a ridge trained on the current model's own effects."""
    found = rows(place)
    chosen = refit.training_rows(len(found.train), size)
    made = factorised(place, layer, size, place.checkpoint)
    own = found.train["effect_current"].to_numpy(np.float64)[chosen][:, None]
    return float(refit.correlations(made, refit.weights(made, own, penalty), found.effects)[0, 0])


def run(place: Place, choice: Choice) -> Live:
    """Refit at every level and seed; the example-wise explanation at the level chosen."""
    spent: dict[str, float] = {}

    def timed(name: str, work: Callable[[], T]) -> T:
        start = time.perf_counter()
        result = work()
        spent[name] = 1_000 * (time.perf_counter() - start)
        return result

    spec = data.spec(place.path)
    first = spec.checkpoints[0].name
    # Rows and training rows do not hang on the current checkpoint, but their factorisation with the test rows does.
    trained_at = first if place.regime == "frozen" else place.checkpoint
    found = rows(place)
    made = timed("factorise", lambda: factorised(place, choice.layer, choice.size, trained_at))
    noise = timed("noise", lambda: targets(_fixed(place, first), choice.kind, choice.size, choice.seeds, spec.seed))
    swept = timed("sweep", lambda: refit.curve(refit.sweep(made, noise, choice.penalty, found.effects)))
    explanation = timed("predict", lambda: refit.predictions(made, noise, choice.penalty, choice.level))
    null_targets = timed(
        "shuffle",
        lambda: shuffled(_fixed(place, first), choice.size, spec.metrics.null_shuffles, spec.metrics.seed),
    )
    null = timed("null", lambda: refit.null_band(made, null_targets, choice.penalty, found.effects))
    top = timed("ceiling", lambda: ceiling(place, choice.layer, choice.size, choice.penalty))
    level, own = swept["noise"].to_numpy(), swept["self"].to_numpy()
    return Live(
        curve=swept,
        explanation=explanation,
        null=null,
        ceiling=top,
        breaks_at=refit.falls_below(level, own, max(null[2], 0.0)),
        keeps_until=refit.falls_below(level, own, 0.9 * own[0]) if own[0] > 0 else None,
        milliseconds=spent,
    )


def _fixed(place: Place, first: str) -> Place:
    """The targets are the same at every checkpoint and split: one entry of the cache serves all."""
    return replace(place, checkpoint=first, regime="frozen")


def flips(found: Rows, before: np.ndarray, after: np.ndarray) -> pd.DataFrame:
    """Test examples whose predicted sign changed, the largest change first."""
    changed = refit.flipped(before, after)
    frame = found.test.loc[changed, ["example_id", "effect_current", "effect_target", "group"]]
    frame = frame.assign(before=before[changed], after=after[changed])
    right = (frame["after"] >= 0) == (frame["effect_current"] >= 0)
    frame["now right about the current model"] = np.where(right, "yes", "no")
    order = (frame["after"] - frame["before"]).abs().sort_values(ascending=False, kind="stable").index
    return frame.loc[order].reset_index(drop=True)
