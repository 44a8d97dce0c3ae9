"""One live refit, from parts that are read from a run and cached.

All sessions share the cached objects; nobody may change them. The parts are: training and test rows; their
factorisation (depends on layer, size and checkpoint); the noisy targets (depend on kind, size and seeds) and the
shuffled targets of the null; and both projected onto the basis of the factorisation. None depends on penalty or level.
"""

from __future__ import annotations

import functools
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import streamlit as st
from sklearn import linear_model
from threadpoolctl import ThreadpoolController

from dashboard.reading import chosen, data
from dashboard.reading.tables import cached_per_run
from dashboard.refit import live_ridge
from engine.probes.ridge import Targets
from engine.runs.store import Run
from engine.stats.correlation import pearson
from engine.stats.noise import NoiseMatrix, noise_matrix, shuffled_targets

LEVELS = tuple(round(0.1 * i, 1) for i in range(11))
SHUFFLES = 200
"""Largest number of shuffles of the live null: more would take longer than a user waits. They are the run's first."""

SMALL = 1e9
"""Multiplications of a factorisation. Below this, BLAS gets one thread: a second one gains little, and it loses much
time to waiting where the browser uses the same cores."""


@dataclass(frozen=True)
class Sliders:
    """The settings of one refit."""

    kind: str
    level: float
    layer: int
    penalty: float
    size: int
    """Training rows."""
    seeds: int


@dataclass(frozen=True)
class RefitCase:
    """The examples and models of a refit."""

    path: Path
    checkpoint: str
    regime: str
    """frozen: trained at the first checkpoint; refit: at the current one."""
    edit: str
    split: str
    stamp: str

    @property
    def trained_at(self) -> str:
        """The checkpoint whose hidden states the probe is trained on."""
        return data.spec(self.path).checkpoints[0].name if self.regime == "frozen" else self.checkpoint


@dataclass(frozen=True)
class Refit:
    """The result of one refit."""

    curve: pd.DataFrame
    """One row per level, averaged over seeds (`live_ridge.curve`)."""
    explanation: np.ndarray
    """[m] at the selected level, averaged over seeds, nats."""
    null: tuple[float, float]
    """The 95% band of Self under shuffled targets."""
    ceiling: float

    @property
    def clean(self) -> float:
        """Self without noise."""
        return float(self.curve["self"].iloc[0])

    @property
    def breaks_at(self) -> float | None:
        """The level at which Self enters the null band; None if it never does."""
        return self._falls_to(max(self.null[1], 0.0))

    @property
    def keeps_until(self) -> float | None:
        """The level at which Self falls to nine tenths of `clean`; None if it never does."""
        return self._falls_to(0.9 * self.clean)

    def _falls_to(self, limit: float) -> float | None:
        return live_ridge.falls_below(self.curve["noise"].to_numpy(), self.curve["self"].to_numpy(), limit)


@st.cache_resource(max_entries=8, show_spinner=False)
def rows(case: RefitCase) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Training and test examples of a case, with the columns of `data.behavior`."""
    behavior = data.behavior(case.path, case.checkpoint)
    mine = behavior[behavior["edit"] == case.edit]
    train, test = (mine[mine["split"] == split].reset_index(drop=True) for split in ("train", case.split))
    return train, test


@cached_per_run(st.cache_data, max_entries=32)
def layers(path: Path, checkpoint: str) -> tuple[int, ...]:
    """Layers whose h(x) at the last position the run keeps; empty if it keeps no hidden states."""
    return tuple(Run.open(path).kept_layers(checkpoint))


@cached_per_run(st.cache_data, max_entries=32)
def stored_curve(
    path: Path, setting: data.Setting, split: str, edit: str, kind: str
) -> tuple[pd.DataFrame, pd.Series | None]:
    """The run's own curve over one kind of noise (rows of metrics), and its noise-free row."""
    mine = chosen.best(data.setting_metrics(path, setting, split=split, edit=edit))
    clean = mine[mine["noise_kind"] == "none"]
    wanted = pd.concat([clean, mine[(mine["noise_kind"] == kind) & (mine["noise"] > 0)]])
    return wanted.sort_values("noise"), clean.iloc[0] if len(clean) else None


def _training(case: RefitCase, size: int) -> pd.DataFrame:
    train, _ = rows(case)
    return train.iloc[live_ridge.training_rows(len(train), size)]


@st.cache_resource(max_entries=6, show_spinner=False)  # each holds d × d and n × d numbers
def factorised(case: RefitCase, layer: int, size: int) -> live_ridge.Factorisation:
    train, (_, test) = _training(case, size), rows(case)
    at_training = data.hidden(case.path, case.trained_at, layer)[train["prompt_id"].to_numpy()]
    now = data.hidden(case.path, case.checkpoint, layer)[test["prompt_id"].to_numpy()]
    return live_ridge.factorise(at_training, now, test[["effect_current", "effect_target"]].to_numpy(np.float64))


def _of_targets(case: RefitCase) -> RefitCase:
    """One case for all checkpoints and splits, as they have the same targets: one cache entry serves all."""
    first = data.spec(case.path).checkpoints[0].name
    return replace(case, checkpoint=first, regime="frozen", split="train")


@st.cache_resource(max_entries=32, show_spinner=False)
def _noise(case: RefitCase, kind: str, size: int, seeds: int) -> NoiseMatrix:
    targets = _training(case, size)["effect_target"].to_numpy()
    return noise_matrix(targets, [kind], LEVELS, seeds, seed=data.spec(case.path).seed)


@st.cache_resource(max_entries=4, show_spinner=False)
def _shuffled(case: RefitCase) -> np.ndarray:
    """Shuffled targets of all training rows. A smaller training set takes its own rows of them."""
    (train, _), about = rows(case), data.spec(case.path).metrics
    shuffles = min(about.null_shuffles, SHUFFLES)
    return shuffled_targets(train["effect_target"].to_numpy(), train["group"], shuffles, about.seed)


@st.cache_resource(max_entries=16, show_spinner=False)  # each holds r × levels × seeds numbers
def _projected_noise(case: RefitCase, layer: int, size: int, kind: str, seeds: int) -> Targets:
    return factorised(case, layer, size).ridge.project_targets(_noise(_of_targets(case), kind, size, seeds).basis)


@st.cache_resource(max_entries=8, show_spinner=False)  # each holds r × shuffles numbers
def _projected_null(case: RefitCase, layer: int, size: int) -> Targets:
    null = _shuffled(_of_targets(case))
    return factorised(case, layer, size).ridge.project_targets(null[live_ridge.training_rows(len(null), size)])


@st.cache_resource(max_entries=64, show_spinner=False)
def _ceiling(case: RefitCase, layer: int, size: int, penalty: float) -> float:
    """Self of a ridge that is trained on the current model's own effects and hidden states."""
    train, (_, test) = _training(case, size), rows(case)
    own = train["effect_current"].to_numpy(np.float64)
    if case.regime != "frozen":  # the explainer reads the same hidden states
        made = factorised(case, layer, size)
        return float(made.ridge.correlations_of(made.ridge.project_targets(own), [penalty], made.test)[0, 0, 0])
    states = data.hidden(case.path, case.checkpoint, layer)
    x, x_test = (states[part["prompt_id"].to_numpy()].astype(np.float64) for part in (train, test))
    said = linear_model.Ridge(alpha=penalty).fit(x, own).predict(x_test)
    return float(pearson(said, test["effect_current"].to_numpy(np.float64))[0])


@functools.cache
def _blas() -> ThreadpoolController:
    return ThreadpoolController()


@st.cache_resource(max_entries=64, show_spinner=False)
def refit(case: RefitCase, sliders: Sliders) -> Refit:
    """Refit at every level and seed."""
    s = sliders
    small = s.size * data.hidden(case.path, case.checkpoint, s.layer).shape[1] ** 2 < SMALL
    with _blas().limit(limits=1, user_api="blas") if small else nullcontext():
        made = factorised(case, s.layer, s.size)
        noise = _noise(_of_targets(case), s.kind, s.size, s.seeds)
        noisy = _projected_noise(case, s.layer, s.size, s.kind, s.seeds)
        return Refit(
            curve=live_ridge.curve(live_ridge.sweep(made, noise, noisy, s.penalty)),
            explanation=live_ridge.predictions(made, noise, noisy, s.penalty, s.level),
            null=live_ridge.null_band(made, _projected_null(case, s.layer, s.size), s.penalty),
            ceiling=_ceiling(case, s.layer, s.size, s.penalty),
        )


def flips(test: pd.DataFrame, before: np.ndarray, after: np.ndarray) -> pd.DataFrame:
    """Test examples whose predicted sign changed between two explanations [m], the largest change first."""
    changed = (before >= 0) != (after >= 0)
    frame = test.loc[changed, ["example_id", "effect_current", "effect_target", "group"]]
    frame = frame.assign(before=before[changed], after=after[changed])
    right = (frame["after"] >= 0) == (frame["effect_current"] >= 0)
    frame["now right about the current model"] = np.where(right, "yes", "no")
    order = (frame["after"] - frame["before"]).abs().sort_values(ascending=False, kind="stable").index
    return frame.loc[order].reset_index(drop=True)
