"""What the controls of a probe say: baselines that read other inputs, and the null of shuffled targets.

Scoring them is the work of `scorer`. Every function returns explanations at every checkpoint, in nats.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from engine.config import Regime
from engine.probes.kinds import REFERENCE
from engine.probes.probe import Probe
from engine.probes.regimes import ceiling, explain
from engine.probes.ridge import grouped_folds
from engine.probes.text_controls import TextControl, output
from engine.runs.observed import EVALUATED, Observed, Place
from engine.stats.noise import shuffled_targets

TEXT_FOLDS = 2
"""Folds per factor for the penalty of the text controls. Few, because one fit on so many features takes seconds."""


def baselines(observed: Observed, probe: Probe, probes: Sequence[Probe]) -> dict[str, list[np.ndarray]]:
    """Control → explanations [n] at each checkpoint, for one edit's best direct ridge.

    `output`, `output_text` and `text_only` read no hidden state; `other_model` reads another model's; `ceiling`
    is refitted on the current effects; `difference` (where the run has that mode) reads h(x') − h(x).
    """
    names, spec = observed.currents, observed.spec
    train, rows = observed.rows(probe.place.edit, "train"), observed.rows(probe.place.edit, *EVALUATED)
    targets = observed.behavior(observed.target).effect[train]

    def frozen(models: Sequence[str], own: Probe, penalty: float) -> list[np.ndarray]:
        states = _states(observed, models, own.place, train, rows)
        read = explain(REFERENCE, "frozen", states, targets, penalty=penalty, spec=spec.explainers)
        return [e[:, 0] for e in read]

    out = {"output": [output(observed.behavior(n).take(rows)) for n in names]}
    out |= _text_baselines(observed, train, rows)
    out["other_model"] = frozen([spec.control_model.name], probe, probe.penalty) * len(names)
    effects = [observed.behavior(n).effect[train] for n in names]
    out["ceiling"] = ceiling(_states(observed, names, probe.place, train, rows), effects, probe.penalty)
    for own in probes:
        if (own.kind, own.best, own.place.edit, own.place.mode) == (REFERENCE, True, probe.place.edit, "difference"):
            out["difference"] = frozen(names, own, own.penalty)
    return out


def _states(
    observed: Observed, models: Sequence[str], place: Place, train: np.ndarray, rows: np.ndarray
) -> list[tuple[np.ndarray, np.ndarray]]:
    return [(observed.features(n, place, train), observed.features(n, place, rows)) for n in models]


def _text_baselines(observed: Observed, train: np.ndarray, rows: np.ndarray) -> dict[str, list[np.ndarray]]:
    examples = observed.examples
    metadata = examples[[c for c in examples.columns if c.startswith("meta_")]]
    prompts = examples["prompt"].to_numpy()
    folds = grouped_folds(**observed.factors(train), folds=TEXT_FOLDS, seed=observed.spec.seed)
    target = observed.behavior(observed.target)
    given = (prompts[train], metadata.iloc[train], target.effect[train], folds)
    asked = (prompts[rows], metadata.iloc[rows])
    with_output = TextControl.fit(*given, f=target.f[train])
    explained = [with_output.predict(*asked, f=observed.behavior(n).f[rows]) for n in observed.currents]
    text = TextControl.fit(*given).predict(*asked)
    return {"output_text": explained, "text_only": [text] * len(observed.currents)}


def shuffled(observed: Observed, place: Place, regime: Regime, probes: Sequence[Probe]) -> list[np.ndarray]:
    """Explanations [n, shuffles] at each checkpoint, by ridges trained on group-wise shuffled targets.

    The penalty is that of the ridge at this place; without one, the middle of the grid.
    """
    spec = observed.spec
    penalties = spec.explainers.penalties
    middle = penalties[len(penalties) // 2]
    penalty = next((p.penalty for p in probes if (p.kind, p.place) == (REFERENCE, place)), middle)
    train, rows = observed.rows(place.edit, "train"), observed.rows(place.edit, *EVALUATED)
    effects = observed.behavior(observed.target).effect[train]
    groups = observed.examples["group"].to_numpy()[train]
    targets = shuffled_targets(effects, groups, spec.metrics.null_shuffles, spec.metrics.seed)
    states = (
        (
            observed.features(n, place, train) if regime == "refit" or n == observed.start else None,
            observed.features(n, place, rows),
        )
        for n in observed.currents
    )
    return explain(REFERENCE, regime, states, targets, penalty=penalty, spec=spec.explainers)
