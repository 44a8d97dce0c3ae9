"""What the live refit works on, read from a run and cached piece by piece; and one refit with its times.

Cached objects are shared between sessions and never changed. The pieces: training and test rows; their
factorisation (moves with layer, size, checkpoint); the noisy targets (move with kind and seeds) and the null's
shuffled ones, and both in the factorisation's basis. A penalty or a level needs none of them anew.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd
import streamlit as st
from sklearn import linear_model
from threadpoolctl import ThreadpoolController

from dashboard.reading import chosen as settings
from dashboard.reading import data
from dashboard.refit import ridge as refit
from engine.probes.ridge import Targets
from engine.runs.store import Run
from engine.stats.correlation import pearson
from engine.stats.noise import NoiseMatrix, noise_matrix, shuffled_targets

T = TypeVar("T")
LEVELS = tuple(round(0.1 * i, 1) for i in range(11))
SHUFFLES = 200
"""Of the live null at most: the first of the run's own, as many as can be drawn while somebody waits."""

SMALL = 1e9
"""Multiplications of a factorisation, below which a second thread of BLAS gains little and, on a machine whose cores
the browser uses too, loses much: its threads wait for each other."""


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
    return tuple(Run.open(path).kept_layers(checkpoint))


@st.cache_data(max_entries=32, show_spinner=False)
def stored_curve(
    place: Place, explainer: str, regime: str, condition: str | None, kind: str
) -> tuple[pd.DataFrame, pd.Series | None]:
    """The precomputed curve of one kind of noise, and the setting it is of."""
    every = data.metrics(
        place.path, control=None, explainer=explainer, regime=regime, split=place.split, checkpoint=place.checkpoint,
        edit=place.edit, condition=condition,
    )  # fmt: skip
    mine = settings.best(every)
    clean = mine[mine["noise_kind"] == "none"]
    wanted = pd.concat([clean, mine[(mine["noise_kind"] == kind) & (mine["noise"] > 0)]])
    return wanted.sort_values("noise"), clean.iloc[0] if len(clean) else None


@st.cache_resource(max_entries=6, show_spinner=False)  # each holds d × d and n × d numbers
def factorised(place: Place, layer: int, size: int, trained_at: str) -> refit.Factorisation:
    found = rows(place)
    chosen = refit.training_rows(len(found.train), size)
    at_training = data.hidden(place.path, trained_at, layer)[found.train["prompt_id"].to_numpy()[chosen]]
    now = data.hidden(place.path, place.checkpoint, layer)[found.test["prompt_id"].to_numpy()]
    return refit.factorise(at_training, now, found.effects)


@st.cache_resource(max_entries=32, show_spinner=False)
def targets(place: Place, kind: str, size: int, seeds: int, seed: int) -> NoiseMatrix:
    found = rows(place)
    chosen = refit.training_rows(len(found.train), size)
    return noise_matrix(found.train["effect_target"].to_numpy()[chosen], [kind], LEVELS, seeds, seed=seed)


@st.cache_resource(max_entries=4, show_spinner=False)
def shuffled(place: Place, shuffles: int, seed: int) -> np.ndarray:
    """Shuffled targets of all training rows; a smaller training set takes its own rows of them."""
    train = rows(place).train
    return shuffled_targets(train["effect_target"].to_numpy(), train["group"], shuffles, seed)


@st.cache_resource(max_entries=16, show_spinner=False)  # each holds r × levels × seeds numbers
def projected_noise(place: Place, layer: int, size: int, trained_at: str, kind: str, seeds: int, seed: int) -> Targets:
    noise = targets(_fixed(place), kind, size, seeds, seed)
    return factorised(place, layer, size, trained_at).ridge.project_targets(noise.basis)


@st.cache_resource(max_entries=8, show_spinner=False)  # each holds r × shuffles numbers
def projected_null(place: Place, layer: int, size: int, trained_at: str, shuffles: int, seed: int) -> Targets:
    null = shuffled(_fixed(place), shuffles, seed)
    return factorised(place, layer, size, trained_at).ridge.project_targets(null[refit.training_rows(len(null), size)])


@st.cache_resource(max_entries=64, show_spinner=False)
def ceiling(place: Place, layer: int, size: int, penalty: float) -> float:
    """Self of a ridge trained on the current model's own effects."""
    found = rows(place)
    chosen = refit.training_rows(len(found.train), size)
    own = found.train["effect_current"].to_numpy(np.float64)[chosen]
    if place.regime != "frozen":  # the same hidden states as the explainer's
        made = factorised(place, layer, size, place.checkpoint)
        return float(made.ridge.correlations_of(made.ridge.project_targets(own), [penalty], made.test)[0, 0, 0])
    states = data.hidden(place.path, place.checkpoint, layer)
    train, test = (states[part["prompt_id"].to_numpy()].astype(np.float64) for part in (found.train, found.test))
    said = linear_model.Ridge(alpha=penalty).fit(train[chosen], own).predict(test)
    return float(pearson(said, found.effects[:, 0])[0])


def run(place: Place, choice: Choice) -> Live:
    """Refit at every level and seed; the example-wise explanation at the level chosen."""
    small = choice.size * data.hidden(place.path, place.checkpoint, choice.layer).shape[1] ** 2 < SMALL
    with _blas().limit(limits=1, user_api="blas") if small else nullcontext():
        return _run(place, choice)


@functools.cache
def _blas() -> ThreadpoolController:
    return ThreadpoolController()


def _run(place: Place, choice: Choice) -> Live:
    spent: dict[str, float] = {}

    def timed(name: str, work: Callable[[], T]) -> T:
        start = time.perf_counter()
        result = work()
        spent[name] = 1_000 * (time.perf_counter() - start)
        return result

    spec = data.spec(place.path)
    seed, shuffles, null_seed = spec.seed, min(spec.metrics.null_shuffles, SHUFFLES), spec.metrics.seed
    trained_at = spec.checkpoints[0].name if place.regime == "frozen" else place.checkpoint
    at = (place, choice.layer, choice.size, trained_at)
    made = timed("factorise", lambda: factorised(*at))
    noise = timed("noise", lambda: targets(_fixed(place), choice.kind, choice.size, choice.seeds, seed))
    noisy = timed("project noise", lambda: projected_noise(*at, choice.kind, choice.seeds, seed))
    swept = timed("sweep", lambda: refit.curve(refit.sweep(made, noise, noisy, choice.penalty)))
    explanation = timed("predict", lambda: refit.predictions(made, noise, noisy, choice.penalty, choice.level))
    timed("shuffle", lambda: shuffled(_fixed(place), shuffles, null_seed))
    null_targets = timed("project null", lambda: projected_null(*at, shuffles, null_seed))
    null = timed("null", lambda: refit.null_band(made, null_targets, choice.penalty))
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


def _fixed(place: Place) -> Place:
    """The targets are the same at every checkpoint and split: one entry of the cache serves all."""
    return replace(place, checkpoint=data.spec(place.path).checkpoints[0].name, regime="frozen", split="train")


def flips(found: Rows, before: np.ndarray, after: np.ndarray) -> pd.DataFrame:
    """Test examples whose predicted sign changed, the largest change first."""
    changed = refit.flipped(before, after)
    frame = found.test.loc[changed, ["example_id", "effect_current", "effect_target", "group"]]
    frame = frame.assign(before=before[changed], after=after[changed])
    right = (frame["after"] >= 0) == (frame["effect_current"] >= 0)
    frame["now right about the current model"] = np.where(right, "yes", "no")
    order = (frame["after"] - frame["before"]).abs().sort_values(ascending=False, kind="stable").index
    return frame.loc[order].reset_index(drop=True)
