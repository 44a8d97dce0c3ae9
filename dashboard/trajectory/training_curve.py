"""Faithfulness of an explainer while it trains.

The explainer is trained again here, at the first checkpoint of a run and on the run's fixed targets. It is evaluated on
every checkpoint at a few of its own training steps.

A run keeps the explanations of trained explainers only; its hidden states are enough to train one in seconds. Torch is
imported when a curve is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from dashboard.reading import agreement, data
from engine.config import ExplainerSpec
from engine.runs.store import RunError
from engine.stats.bootstrap import bootstrap_pearson, interval
from engine.stats.correlation import pearson

KINDS = ("linear", "mlp")  # those of `NeuralExplainers`
"""Explainers that have training steps: a ridge is solved at once."""
KEPT = 16


@dataclass(frozen=True)
class Asked:
    """The explainer to train, and the split to evaluate it on."""

    path: Path
    kind: str
    edit: str
    split: str
    layer: int
    weight_decay: float


def watched_steps(total: int, count: int = 9) -> tuple[int, ...]:
    """`count` training steps or fewer, from 1 to `total`, each about the same times the one before."""
    return tuple(sorted({round(step) for step in np.geomspace(1, total, min(count, total))}))


def training(
    asked: Asked,
    x: np.ndarray,
    targets: np.ndarray,
    evaluated: Mapping[str, np.ndarray],
    steps: Sequence[int],
    spec: ExplainerSpec,
    seed: int,
) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
    """Train an explainer on X [n, d] and targets [n]; at each of `steps` (rising), its explanations of every X_eval
    [m, d] in `evaluated`, each [m] nats.

    Trained as in the engine: the mean of `spec.seeds` replicates, each with its own initial weights.
    """
    from engine.probes.neural import NeuralExplainers

    options: dict[str, Any] = {"width": spec.width, "learning_rate": spec.learning_rate, "batch": spec.batch}
    options |= {"weight_decays": asked.weight_decay, "seed": seed}
    probes = NeuralExplainers(asked.kind, x.shape[1], spec.seeds, **options)
    replicated = np.repeat(np.asarray(targets, np.float64)[:, None], spec.seeds, axis=1)
    done = 0
    for step in steps:
        probes.train(x, replicated, step - done)
        done = step
        yield step, {name: probes.predict(rows).mean(axis=1) for name, rows in evaluated.items()}


def scored(rows: pd.DataFrame, said: np.ndarray, weights: agreement.Resamples) -> dict[str, float | int | None]:
    """Self, Orig and gap of explanations [m], each with its 95% bootstrap by group; rows as of `data.behavior`."""
    effects = rows[["effect_current", "effect_target"]].to_numpy(np.float64)
    r = pearson(np.column_stack([said, said]), effects)
    drawn = bootstrap_pearson(weights, said, effects)[:, 0]
    found: dict[str, float | int | None] = {"n": len(rows), "n_groups": int(rows["group"].nunique(dropna=False))}
    values = {"self": r[0], "orig": r[1], "gap": r[0] - r[1]}
    draws = {"self": drawn[:, 0], "orig": drawn[:, 1], "gap": drawn[:, 0] - drawn[:, 1]}
    for name, value in values.items():
        low, high = interval(draws[name])
        found |= {name: float(value), f"{name}_low": float(low), f"{name}_high": float(high)}
    return found


def curve(asked: Asked, progress: Callable[[float], None], draws: int = 300) -> pd.DataFrame:
    """One row for each training step and checkpoint: training_step, checkpoint, n, n_groups, and self, orig, gap with
    their intervals.

    Trained at the first checkpoint on effects of the target. `progress` gets the finished share. Raises RunError where
    the run keeps no hidden states of the layer, or has too few examples.
    """
    spec = data.spec(asked.path)
    names = [c.name for c in spec.checkpoints]
    start = data.behavior(asked.path, names[0])
    mine = (start["edit"] == asked.edit).to_numpy()
    train = start[mine & (start["split"] == "train").to_numpy()]
    tests, evaluated = {}, {}
    for name in names:
        rows = data.behavior(asked.path, name)
        tests[name] = rows[mine & (rows["split"] == asked.split).to_numpy()]
        evaluated[name] = data.hidden(asked.path, name, asked.layer)[tests[name]["prompt_id"].to_numpy()]
    if len(train) < 10 or len(tests[names[0]]) < 5:
        raise RunError(
            f"{asked.path.name}: too few examples to train on ({len(train)}) or to ask about ({len(tests[names[0]])})"
        )
    x = data.hidden(asked.path, names[0], asked.layer)[train["prompt_id"].to_numpy()]
    targets = train["effect_target"].to_numpy()
    weights = agreement.resamples(tests[names[0]], draws, spec.metrics.seed)
    steps, found = watched_steps(spec.explainers.steps), []
    for step, said in training(asked, x, targets, evaluated, steps, spec.explainers, spec.seed):
        for name in names:
            found.append({"training_step": step, "checkpoint": name} | scored(tests[name], said[name], weights))
        progress((steps.index(step) + 1) / len(steps))
    return pd.DataFrame(found)


@st.cache_resource
def curves() -> dict[tuple[Asked, str], pd.DataFrame]:
    """The last `KEPT` curves that any session has trained, by the question and the run's stamp."""
    return {}


def trained(asked: Asked, stamp: str, progress: Callable[[float], None]) -> pd.DataFrame:
    """The curve, trained now; kept in `curves`."""
    curves()[asked, stamp] = found = curve(asked, progress)
    for old in list(curves())[:-KEPT]:
        curves().pop(old, None)
    return found
