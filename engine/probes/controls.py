"""Explanations by the controls of a probe: baselines with other inputs, and the null of shuffled targets.

`scorer` scores them. Explanations are in nats, at every checkpoint.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

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
"""Folds for each factor, for the penalty of the text controls. A fit on their many features takes seconds."""


def baselines(observed: Observed, probe: Probe, probes: Sequence[Probe]) -> dict[str, list[np.ndarray]]:
    """Control → explanations [n] at each checkpoint, for one edit's best direct ridge.

    `output`, `output_text` and `text_only` read no hidden state. `other_model` reads another model's. `ceiling` is
    refitted on the current effects. `difference` (if the run has that mode) reads h(x') − h(x).
    """
    names, spec = observed.currents, observed.spec
    train, rows = observed.rows(probe.place.edit, "train"), observed.rows(probe.place.edit, *EVALUATED)
    targets = observed.behavior(observed.target).effect[train]

    def states(models: Sequence[str], place: Place) -> list[tuple[np.ndarray, np.ndarray]]:
        return [(observed.features(n, place, train), observed.features(n, place, rows)) for n in models]

    def frozen(models: Sequence[str], own: Probe) -> list[np.ndarray]:
        hidden = states(models, own.place)
        read = explain(REFERENCE, "frozen", hidden, targets, penalty=own.penalty, spec=spec.explainers)
        return [e[:, 0] for e in read]

    out = {"output": [output(observed.behavior(n).take(rows)) for n in names]}
    out |= _text_baselines(observed, train, rows)
    out["other_model"] = frozen([spec.control_model.name], probe) * len(names)
    effects = [observed.behavior(n).effect[train] for n in names]
    out["ceiling"] = ceiling(states(names, probe.place), effects, probe.penalty)
    for own in probes:
        if (own.kind, own.best, own.place.edit, own.place.mode) == (REFERENCE, True, probe.place.edit, "difference"):
            out["difference"] = frozen(names, own)
    return out


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

    The penalty is that of the ridge at this place. If there is none, it is the middle of the grid.
    """
    spec = observed.spec
    penalties = spec.explainers.penalties
    middle = penalties[len(penalties) // 2]
    penalty = next((p.penalty for p in probes if (p.kind, p.place) == (REFERENCE, place)), middle)
    train, rows = observed.rows(place.edit, "train"), observed.rows(place.edit, *EVALUATED)
    effects = observed.behavior(observed.target).effect[train]
    groups = observed.examples["group"].to_numpy()[train]
    targets = shuffled_targets(effects, groups, spec.metrics.null_shuffles, spec.metrics.seed)
    hidden = hidden_states(observed, place, regime, train, rows)
    return explain(REFERENCE, regime, hidden, targets, penalty=penalty, spec=spec.explainers)


def hidden_states(
    observed: Observed, place: Place, regime: Regime, train: np.ndarray, rows: np.ndarray
) -> Iterator[tuple[np.ndarray | None, np.ndarray]]:
    """Inputs of `explain` at each checkpoint: those of the training rows (None if unused) and of other rows."""
    for name in observed.currents:
        trains = regime != "frozen" or name == observed.start
        yield observed.features(name, place, train) if trains else None, observed.features(name, place, rows)
