"""Does an explainer become more faithful while it trains? One is trained again here, at the run's first checkpoint and
on the run's fixed targets, and asked about every checkpoint at a few of its own training steps.

A run keeps only what trained explainers say; its hidden states are enough to train one in seconds. Needs torch, which
is imported when a curve is asked for.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import streamlit as st

from dashboard.reading import agreement, data
from engine.config import ExplainerSpec
from engine.probes.kinds import EXPLAINERS
from engine.runs.store import RunError
from engine.stats.correlation import bootstrap_pearson, interval, pearson

KINDS = tuple(kind for kind, explainer in EXPLAINERS.items() if "online" in explainer.regimes)
"""What has training steps: a ridge is solved at once."""
KEPT = 16


@dataclass(frozen=True)
class Asked:
    """What to train, and on which examples to watch it."""

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
    kind: str, x: np.ndarray, targets: np.ndarray, evaluated: Mapping[str, np.ndarray], steps: Sequence[int],
    *, weight_decay: float, spec: ExplainerSpec, seed: int,
) -> Iterator[tuple[int, dict[str, np.ndarray]]]:  # fmt: skip
    """At each of `steps` (rising), what an explainer of X [n, d] and targets [n] says of every X_eval [m, d], [m] nats.

    As the engine trains one: `spec.seeds` replicates, each with initial weights of its own, averaged.
    """
    from engine.probes.neural import NeuralExplainers

    probes = NeuralExplainers(
        kind, x.shape[1], spec.seeds, weight_decays=weight_decay, width=spec.width, learning_rate=spec.learning_rate,
        batch=spec.batch, seed=seed,
    )  # fmt: skip
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
    for name, value, draws in (
        ("self", r[0], drawn[:, 0]), ("orig", r[1], drawn[:, 1]), ("gap", r[0] - r[1], drawn[:, 0] - drawn[:, 1]),
    ):  # fmt: skip
        low, high = interval(draws)
        found |= {name: float(value), f"{name}_low": float(low), f"{name}_high": float(high)}
    return found


def curve(asked: Asked, progress: Callable[[float], None], draws: int = 300) -> pd.DataFrame:
    """A row a training step and checkpoint: training_step, checkpoint, n, n_groups, and self, orig, gap with bounds.

    Trained at the first checkpoint on effects of the target; `progress` hears the share that is done. Raises RunError
    where the run keeps no hidden states of the layer, or too few examples.
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
    hidden = data.hidden(asked.path, names[0], asked.layer)[train["prompt_id"].to_numpy()]
    weights = agreement.resamples(tests[names[0]], draws, spec.metrics.seed)
    steps = watched_steps(spec.explainers.steps)
    found = []
    for step, said in training(
        asked.kind, hidden, train["effect_target"].to_numpy(), evaluated, steps, weight_decay=asked.weight_decay,
        spec=spec.explainers, seed=spec.seed,
    ):  # fmt: skip
        for name in names:
            found.append({"training_step": step, "checkpoint": name} | scored(tests[name], said[name], weights))
        progress((steps.index(step) + 1) / len(steps))
    return pd.DataFrame(found)


class Curves:
    """Curves that were asked for, shared by all sessions; one is trained at a time."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[Asked, str], pd.DataFrame] = OrderedDict()
        self._lock = threading.Lock()

    def known(self, asked: Asked, stamp: str) -> pd.DataFrame | None:
        return self._kept.get((asked, stamp))

    def get(self, asked: Asked, stamp: str, progress: Callable[[float], None]) -> pd.DataFrame:
        """The curve, trained now unless it is known."""
        with self._lock:
            if (asked, stamp) not in self._kept:
                self._kept[asked, stamp] = curve(asked, progress)
                while len(self._kept) > KEPT:
                    self._kept.popitem(last=False)
            return self._kept[asked, stamp]


@st.cache_resource
def curves() -> Curves:
    return Curves()
