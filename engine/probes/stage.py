"""The explanation stage: choose probes, train them on fixed targets, score them at every checkpoint."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
import pandas as pd
import pyarrow as pa

from engine.config import ConcurrentSpec, InputError, Regime, RunSpec
from engine.probes.choosing import choose
from engine.probes.controls import hidden_states
from engine.probes.kinds import EXPLAINERS
from engine.probes.probe import CLEAN, Probe, ProbeExplanations
from engine.probes.regimes import explain
from engine.probes.ridge import grouped_folds
from engine.probes.scorer import Samples, Scored, Stored, metric_rows, naming, samples_of, score_probe
from engine.progress import Progress
from engine.records import EXPLANATIONS
from engine.runs.kept import Kept
from engine.runs.observed import EVALUATED, Observed, Place, concurrent_part, factors_of
from engine.stats.faithfulness import Band, Null, Score
from engine.stats.noise import NoiseLabel, noise_matrix
from engine.workers.local import Workers

DIGITS = 3
"""Decimals of the stored explanations, in nats. Rounding saves two thirds of the space."""
STORED_NOISE = 0.5
"""The one noise level whose explanations are stored example by example."""


def refuse_untrainable(spec: RunSpec, examples: pd.DataFrame) -> None:
    """Raise InputError for examples on which no explainer can be chosen or none can be scored, before any is measured.

    examples: records.EXAMPLES, or its columns edit, split, group, cue and entity.
    """
    asked = spec.explainers
    edit, split = examples["edit"].to_numpy(), examples["split"].to_numpy()
    cheap = any(EXPLAINERS[kind].cheap for kind in asked.kinds)
    headline = asked.headline_edits or tuple(dict.fromkeys(edit))
    least, enough = 2 * asked.folds, []
    for name in dict.fromkeys(edit) if cheap else headline:
        rows = np.flatnonzero((edit == name) & (split == "train"))
        if len(rows) < least:
            continue
        if asked.cross_validation == "grouped":
            try:
                grouped_folds(**factors_of(examples, rows), folds=asked.folds, seed=spec.seed)
            except ValueError:
                why = "are in one group, and explainers are chosen by holding out groups"
                raise InputError(
                    f"examples: all training examples of the edit {name!r} {why}: give each row the `group` it belongs "
                    "to, or leave `group` out, and each prompt is one"
                ) from None
        enough += [name] if name in headline and np.isin(split[edit == name], EVALUATED).any() else []
    if not enough:
        why = f"{least} examples of the split train (2 x explainers.folds) and one of {', '.join(EVALUATED)}"
        raise InputError(f"examples: no kind of edit has {why}: give more examples, or fewer folds")


def explain_probe(observed: Observed, probe: Probe, regime: Regime) -> ProbeExplanations:
    """Train one probe under one regime on the fixed targets, and apply it at every checkpoint."""
    place, spec, seed = probe.place, observed.spec.explainers, observed.spec.seed
    train, rows = observed.rows(place.edit, "train"), observed.rows(place.edit, *EVALUATED)
    explainer, noise = EXPLAINERS[probe.kind], observed.spec.noise
    # Only the chosen probe gets label noise, of every kind and level.
    levels = noise.levels if probe.chosen else ()
    seeds = noise.seeds if explainer.cheap else min(noise.seeds, spec.seeds)
    target = observed.behavior(observed.target).effect[train]
    matrix = noise_matrix(target, noise.kinds if levels else (), levels, seeds, seed=seed)
    labels, noisy_clean, n = matrix.labels, matrix.noisy_clean, len(rows)

    # The second half is for the control `stale`: the same explainer on the first checkpoint's hidden states.
    first = observed.features(observed.start, place, rows)
    states = hidden_states(observed, place, regime, train, rows)
    hidden = ((x_train, np.concatenate([x, first])) for x_train, x in states)

    if explainer.linear_in_targets:  # predict the basis, then mix the predictions
        targets = matrix.basis
    else:  # spec.seeds initialisations of the clean targets, one of each noisy column
        copies = np.concatenate([np.zeros(spec.seeds - 1, dtype=int), np.arange(len(labels))])
        labels, noisy_clean = tuple(labels[c] for c in copies), noisy_clean[copies]
        targets = matrix.targets[:, copies]
    predicted = explain(probe.kind, regime, hidden, targets, penalty=probe.penalty, spec=spec, seed=seed)
    if explainer.linear_in_targets:
        predicted = [p @ matrix.mix for p in predicted]
    now, then = [p[:n] for p in predicted], [p[n:] for p in predicted]
    return ProbeExplanations(probe, regime, rows, labels, noisy_clean, now, then)


def concurrent_probe(observed: Observed, concurrent: ConcurrentSpec) -> Probe:
    """The explainer that was trained beside the base model (`training/posttraining`)."""
    layer = observed.record.manifest["notes"]["post_training"]["layer"]
    place = Place(concurrent.edit, "direct", "last", layer)
    condition = f"concurrent, gradient {concurrent.gradient}"
    return Probe(concurrent.kind, place, penalty=0.0, cv=float("nan"), best=True, condition=condition)


def read_concurrent(observed: Observed, probe: Probe) -> ProbeExplanations:
    """The concurrent explainer's explanations from when each checkpoint was saved; `stale`: those at the first one."""
    rows = observed.rows(probe.place.edit, *EVALUATED)
    parts = [observed.record.read_arrays(concurrent_part(name)) for name in observed.currents]
    said = [part["explanation"][:, None].astype(float) for part in parts]
    return ProbeExplanations(probe, "online", rows, (CLEAN,), np.ones(1), said, [said[0]] * len(said))


def of_probes(observed: Observed, progress: Progress, workers: Workers) -> tuple[list[pa.Table], list[dict]]:
    """Tables of explanations and rows of metrics of every probe and control. The workers choose settings."""
    spec, kept = observed.spec, Kept(observed.record, (Null, Band, Place, Probe, Score, Scored))
    probes = choose(observed, progress, workers, kept)
    work = [(probe, r) for probe in probes for r in spec.explainers.regimes if r in EXPLAINERS[probe.kind].regimes]
    if spec.post_training and spec.post_training.concurrent:
        probes.append(concurrent_probe(observed, spec.post_training.concurrent))
        work.append((probes[-1], "online"))
    samples = samples_of(observed)
    scored: list[Scored] = []
    to_store: list[Stored] = []
    for done, (probe, regime) in enumerate(work):
        progress("explaining and scoring", done, len(work))
        name = f"explaining {probe.kind} {probe.place} {regime} {probe.condition}"
        one, of_one = kept.made(name, partial(explained_and_scored, observed, samples, probe, regime))
        scored.append(one)
        to_store += of_one
    progress("explaining and scoring", len(work), len(work))
    rows, of_controls = metric_rows(observed, samples, scored, probes, progress, kept)
    return [explanation_rows(observed, *each) for each in (*to_store, *of_controls)], rows


def explained_and_scored(
    observed: Observed, samples: Samples, probe: Probe, regime: Regime
) -> tuple[Scored, list[Stored]]:
    """Scores of one probe under one regime, and its explanations if they are to be stored."""
    explained = read_concurrent(observed, probe) if probe.condition else explain_probe(observed, probe, regime)
    scored = score_probe(observed, samples, explained)
    return scored, list(stored(observed, explained)) if probe.leads else []


def stored(observed: Observed, explained: ProbeExplanations) -> Iterator[Stored]:
    """The explanations of one probe that are stored example by example, averaged over seeds."""
    kept = [CLEAN, *(NoiseLabel(kind, STORED_NOISE, 0) for kind in observed.spec.noise.kinds)]
    for label in kept:
        columns = [i for i, own in enumerate(explained.labels) if (own.kind, own.level) == (label.kind, label.level)]
        for checkpoint, explanations in zip(observed.spec.checkpoints, explained.explanations, strict=True):
            if columns:
                names = naming(observed, checkpoint, explained.probe, explained.regime, label)
                yield names, explained.rows, explanations[:, columns].mean(axis=1)


def explanation_rows(observed: Observed, names: dict, rows: np.ndarray, explanations: np.ndarray) -> pa.Table:
    """Rows of records.EXPLANATIONS [n] that share the identifying columns `names`."""
    n = len(rows)

    def column(field: pa.Field) -> pa.Array:
        if field.name == "example_id":
            return pa.array(observed.examples["example_id"].to_numpy()[rows]).dictionary_encode()
        if field.name == "explanation":
            return pa.array(np.round(explanations, DIGITS).astype(np.float32))
        if names.get(field.name) is None:
            return pa.nulls(n, field.type)
        if pa.types.is_dictionary(field.type):
            return pa.DictionaryArray.from_arrays(np.zeros(n, dtype=np.int32), [names[field.name]])
        return pa.repeat(pa.scalar(names[field.name], field.type), n)

    return pa.Table.from_arrays([column(field) for field in EXPLANATIONS], schema=EXPLANATIONS)
