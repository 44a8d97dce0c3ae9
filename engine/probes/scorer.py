"""From explanations to the rows of metrics.parquet: scores, controls, nulls and verdicts, by split and checkpoint.

`score_probe` scores one probe; `metric_rows` takes all of them, adds their controls and returns the rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.config import CheckpointSpec, Regime
from engine.probes.controls import baselines, shuffled
from engine.probes.kinds import REFERENCE
from engine.probes.probe import CLEAN, Probe, ProbeExplanations
from engine.progress import Progress
from engine.runs.observed import EVALUATED, Observed, Place
from engine.stats.correlation import Resamples, bootstrap_weights
from engine.stats.faithfulness import Null, Score, null, score, span_ranking, verdicts
from engine.stats.noise import NoiseLabel

LEAST_ROWS = 3
"""A split with fewer rows of an edit is not scored."""
KEPT_CONTROLS = ("output", "output_text")
"""Controls whose explanations are stored example by example."""

At = tuple[str, int]
"""A split, and the number of a checkpoint."""
Columns = dict[str, Any]
"""Some columns of one row of records.METRICS."""
ToStore = tuple[Columns, np.ndarray, np.ndarray]
"""Identifying columns, row numbers [n] and explanations [n] of one control at one checkpoint."""


@dataclass(frozen=True)
class Sample:
    """The examples of one edit in one split."""

    inside: np.ndarray
    """Positions among the edit's evaluated rows."""
    rows: np.ndarray
    """Row numbers of the examples."""
    resamples: Resamples
    """Bootstrap weights, the same for all probes and checkpoints, so that every comparison is paired."""


Samples = dict[tuple[str, str], Sample]
"""By edit and split."""


@dataclass(frozen=True)
class Trajectory:
    """One of the best direct probes under one regime, without label noise: the input of controls and verdicts."""

    probe: Probe
    regime: Regime
    rows: np.ndarray
    explanations: list[np.ndarray]
    """[n] at each checkpoint, averaged over seeds."""
    stale: list[np.ndarray]
    scores: dict[At, Score]


@dataclass(frozen=True)
class Scored:
    """One probe under one regime, scored."""

    rows: dict[At, list[Columns]]
    """One row for each noise level; the first is the one without noise."""
    trajectory: Trajectory | None
    """None unless the probe is one of the best direct ones, because bootstrap draws need much memory."""


def naming(
    observed: Observed,
    checkpoint: CheckpointSpec,
    probe: Probe,
    regime: Regime,
    label: NoiseLabel = CLEAN,
    control: str | None = None,
) -> Columns:
    """The columns that identify a setting (records.SETTING), and `chosen`."""
    place = probe.place
    return {
        "checkpoint": checkpoint.name,
        "target": observed.target,
        "step": checkpoint.step,
        "explainer": probe.kind,
        "condition": probe.condition,
        "control": control,
        "edit": place.edit,
        "mode": place.mode,
        "position": place.position,
        "layer": place.layer,
        "penalty": probe.penalty,
        "regime": regime,
        "noise_kind": label.kind,
        "noise": label.level,
        "chosen": probe.chosen,
    }


def samples_of(observed: Observed) -> Samples:
    """The examples of every edit and split with enough of them to be scored."""
    out: Samples = {}
    spec, split_of = observed.spec.metrics, observed.examples["split"].to_numpy()
    for edit in observed.edits:
        evaluated = observed.rows(edit, *EVALUATED)
        for number, split in enumerate(EVALUATED):
            inside = np.flatnonzero(split_of[evaluated] == split)
            rows = evaluated[inside]
            if len(rows) >= LEAST_ROWS:
                rng = np.random.default_rng([spec.seed, number])
                resamples = bootstrap_weights(rng, spec.bootstrap, **observed.factors(rows))
                out[edit, split] = Sample(inside, rows, resamples)
    return out


def _scores(
    observed: Observed,
    sample: Sample,
    checkpoint: str,
    explanations: np.ndarray,
    at_start: np.ndarray,
    stale: np.ndarray | None = None,
    average: Sequence[int] | None = None,
) -> list[Score]:
    """Scores of explanations [evaluated rows of the edit, k] on one sample."""
    return score(
        explanations[sample.inside],
        observed.behavior(checkpoint).take(sample.rows),
        observed.behavior(observed.target).take(sample.rows),
        sample.resamples,
        stale=None if stale is None else stale[sample.inside],
        at_start=at_start[sample.inside],
        start=observed.behavior(observed.start).take(sample.rows),
        average=average,
        confidence=observed.spec.metrics.confidence,
    )


def score_probe(observed: Observed, samples: Samples, explained: ProbeExplanations) -> Scored:
    """Score one probe under one regime: a row for every checkpoint, split and noise level."""
    probe, said, stale = explained.probe, explained.explanations, explained.stale
    levels = list(dict.fromkeys((label.kind, label.level) for label in explained.labels))
    average = [levels.index((label.kind, label.level)) for label in explained.labels]
    columns_of = [[i for i, a in enumerate(average) if a == number] for number in range(len(levels))]
    rows: dict[At, list[Columns]] = {}
    clean: dict[At, Score] = {}
    for t, checkpoint in enumerate(observed.spec.checkpoints):
        for split in EVALUATED:
            if (sample := samples.get((probe.place.edit, split))) is None:
                continue
            scores = _scores(observed, sample, checkpoint.name, said[t], said[0], stale[t], average)
            clean[split, t] = scores[0]
            rows[split, t] = [
                naming(observed, checkpoint, probe, explained.regime, NoiseLabel(*level, 0))
                | {"split": split, "cv": probe.cv, "noisy_clean": float(np.mean(explained.noisy_clean[columns]))}
                | own.values
                for level, columns, own in zip(levels, columns_of, scores, strict=True)
            ]
    if not probe.best or probe.place.mode != "direct":
        return Scored(rows, None)
    now, then = ([e[:, columns_of[0]].mean(axis=1) for e in of_columns] for of_columns in (said, stale))
    return Scored(rows, Trajectory(probe, explained.regime, explained.rows, now, then, clean))


def metric_rows(
    observed: Observed, samples: Samples, scored: Sequence[Scored], probes: Sequence[Probe], progress: Progress
) -> tuple[list[Columns], list[ToStore]]:
    """All rows of a run: those of the probes, then those of their controls; and the controls' stored explanations."""
    trajectories = [one.trajectory for one in scored if one.trajectory]
    nulls: list[dict[At, Null]] = []
    of_controls: list[Columns] = []
    stored: list[ToStore] = []
    found: dict[tuple[Place, Regime], dict[At, Null]] = {}
    for done, own in enumerate(trajectories):
        progress("controls", done, len(trajectories))
        # Linear and mlp use the null of a ridge, because 200 shuffles of their own would take hours. `online` uses the
        # null of `refit`.
        key: tuple[Place, Regime] = (own.probe.place, "frozen" if own.regime == "frozen" else "refit")
        if key not in found:
            found[key] = null_bands(observed, samples, *key, probes)
        nulls.append(found[key])
        of_controls += null_rows(observed, own, found[key])
        of_controls += control_rows(observed, samples, own, "stale", own.stale)
        if (own.probe.kind, own.regime) == (REFERENCE, "frozen"):
            for name, explanations in baselines(observed, own.probe, probes).items():
                of_controls += control_rows(observed, samples, own, name, explanations)
                if name in KEPT_CONTROLS:
                    for checkpoint, values in zip(observed.spec.checkpoints, explanations, strict=True):
                        names = naming(observed, checkpoint, own.probe, own.regime, control=name)
                        stored.append((names, own.rows, values))
    progress("controls", len(trajectories), len(trajectories))
    verdict = verdict_columns(observed, trajectories, nulls)
    more = zip(nulls, verdict, span_rankings(observed, trajectories), strict=True)
    rows: list[Columns] = []
    for one in scored:
        null_at, verdict_at, ranking_at = next(more) if one.trajectory else ({}, {}, {})
        for at, (clean, *noisy) in one.rows.items():
            if one.trajectory:
                band = {name: null_at[at].values[name] for name in ("null_mean", "null_low", "null_high")}
                clean = clean | band | verdict_at[at] | {"span_ranking": ranking_at[at]}
            rows += [clean, *noisy]
    return rows + of_controls, stored


# -- controls ----------------------------------------------------------------------------------------


def _control_row(observed: Observed, own: Trajectory, control: str, at: At, values: Columns) -> Columns:
    split, t = at
    names = naming(observed, observed.spec.checkpoints[t], own.probe, own.regime, control=control)
    return names | {"split": split} | values


def control_rows(
    observed: Observed, samples: Samples, own: Trajectory, name: str, explanations: list[np.ndarray]
) -> list[Columns]:
    """Rows of a control with explanations [n] at each checkpoint, beside one trajectory."""
    rows = []
    for split, t in own.scores:
        sample, checkpoint = samples[own.probe.place.edit, split], observed.currents[t]
        (found,) = _scores(observed, sample, checkpoint, explanations[t], explanations[0][:, None])
        rows.append(_control_row(observed, own, name, (split, t), found.values))
    return rows


def null_bands(
    observed: Observed, samples: Samples, place: Place, regime: Regime, probes: Sequence[Probe]
) -> dict[At, Null]:
    """Bands of the scores of ridges on group-wise shuffled targets."""
    target = observed.behavior(observed.target)
    out = {}
    for t, explanations in enumerate(shuffled(observed, place, regime, probes)):
        current = observed.behavior(observed.currents[t])
        for split in EVALUATED:
            if sample := samples.get((place.edit, split)):
                now, then = current.take(sample.rows), target.take(sample.rows)
                out[split, t] = null(explanations[sample.inside], now, then, observed.spec.metrics.confidence)
    return out


def null_rows(observed: Observed, own: Trajectory, bands: dict[At, Null]) -> list[Columns]:
    kept = ("n", "n_groups", "metric", "target_current", "testable")
    return [
        _control_row(observed, own, "null", at, {name: found.values[name] for name in kept} | bands[at].values)
        for at, found in own.scores.items()
    ]


# -- columns that need all trajectories --------------------------------------------------------------


def verdict_columns(
    observed: Observed, trajectories: Sequence[Trajectory], nulls: Sequence[dict[At, Null]]
) -> list[dict[At, Columns]]:
    """Verdicts of each trajectory. The trajectories of one split and edit are one family of tests (max-|t|, Holm)."""
    spec = observed.spec.metrics
    checkpoints = range(len(observed.currents))
    out: list[dict[At, Columns]] = [{} for _ in trajectories]
    for edit in dict.fromkeys(own.probe.place.edit for own in trajectories):
        mine = [i for i, own in enumerate(trajectories) if own.probe.place.edit == edit]
        for split in EVALUATED:
            family = [i for i in mine if (split, 0) in trajectories[i].scores]
            if not family:
                continue
            said = verdicts(
                [[trajectories[i].scores[split, t] for t in checkpoints] for i in family],
                [[nulls[i][split, t] for t in checkpoints] for i in family],
                confidence=spec.confidence,
                absent_within=spec.absent_within,
            )
            for i, own in zip(family, said, strict=True):
                for t, at in enumerate(own):
                    out[i][split, t] = {"verdict_coupling": at.coupling, "verdict_counterfactual": at.counterfactual}
    return out


def span_rankings(observed: Observed, trajectories: Sequence[Trajectory]) -> list[dict[At, float]]:
    """Kendall's τ over the edits of a prompt. Each edit is explained by its own best probe of one kind and regime."""
    split_of = observed.examples["split"].to_numpy()
    keys = [(own.probe.kind, own.regime, own.probe.condition) for own in trajectories]
    out: list[dict[At, float]] = [{} for _ in trajectories]
    for key in dict.fromkeys(keys):
        family = [i for i, own in enumerate(keys) if own == key]
        rows = np.concatenate([trajectories[i].rows for i in family])
        for t, name in enumerate(observed.currents):
            explained = np.concatenate([trajectories[i].explanations[t] for i in family])
            effect = observed.behavior(name).effect[rows]
            for split in EVALUATED:
                inside = split_of[rows] == split
                tau = span_ranking(explained[inside], effect[inside], observed.prompt_id[rows][inside])[0]
                for i in family:
                    out[i][split, t] = float(tau)
    return out
