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
from engine.stats.bootstrap import Resamples, bootstrap_weights
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
class Scored:
    """One probe under one regime, scored at every checkpoint and split.

    The last three fields are empty unless the probe leads (`Probe.leads`), because they need much memory.
    """

    probe: Probe
    regime: Regime
    rows: np.ndarray
    """Row numbers of the evaluated examples, [n]."""
    metrics: dict[At, list[Columns]]
    """One row for each noise level; the first is the one without noise."""
    scores: dict[At, Score]
    """Scores without label noise."""
    explanations: list[np.ndarray]
    """[n] at each checkpoint without label noise, averaged over seeds."""
    stale: list[np.ndarray]
    """The same explainer on the first checkpoint's hidden states, [n] at each checkpoint."""


def naming(
    observed: Observed,
    checkpoint: CheckpointSpec,
    probe: Probe,
    regime: Regime,
    label: NoiseLabel = CLEAN,
    control: str | None = None,
) -> Columns:
    """The columns that identify a setting (records.SETTING), and `chosen`."""
    of_checkpoint = {"checkpoint": checkpoint.name, "target": observed.target, "step": checkpoint.step}
    of_probe = {"explainer": probe.kind, "condition": probe.condition, "penalty": probe.penalty, "chosen": probe.chosen}
    of_label = {"regime": regime, "noise_kind": label.kind, "noise": label.level}
    return of_checkpoint | of_probe | vars(probe.place) | of_label | {"control": control}


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


def _scores(observed: Observed, sample: Sample, t: int, said: Sequence[np.ndarray], **options: Any) -> list[Score]:
    """Scores at checkpoint t, on one sample, of the explanations at each checkpoint [evaluated rows of the edit, k]."""
    names = (observed.currents[t], observed.target, observed.start)
    current, target, start = (observed.behavior(name).take(sample.rows) for name in names)
    options |= {"at_start": said[0][sample.inside], "start": start, "confidence": observed.spec.metrics.confidence}
    return score(said[t][sample.inside], current, target, sample.resamples, **options)


def score_probe(observed: Observed, samples: Samples, explained: ProbeExplanations) -> Scored:
    """Score one probe under one regime: a row for every checkpoint, split and noise level."""
    probe, said = explained.probe, explained.explanations
    levels = list(dict.fromkeys((label.kind, label.level) for label in explained.labels))
    average = [levels.index((label.kind, label.level)) for label in explained.labels]
    columns_of = [[i for i, a in enumerate(average) if a == number] for number in range(len(levels))]
    metrics: dict[At, list[Columns]] = {}
    clean: dict[At, Score] = {}
    for t, checkpoint in enumerate(observed.spec.checkpoints):
        for split in EVALUATED:
            if (sample := samples.get((probe.place.edit, split))) is None:
                continue
            stale = explained.stale[t][sample.inside]
            scores = _scores(observed, sample, t, said, stale=stale, average=average)
            metrics[split, t] = [
                naming(observed, checkpoint, probe, explained.regime, NoiseLabel(*level, 0))
                | {"split": split, "cv": probe.cv, "noisy_clean": float(np.mean(explained.noisy_clean[columns]))}
                | own.values
                for level, columns, own in zip(levels, columns_of, scores, strict=True)
            ]
            if probe.leads:
                clean[split, t] = scores[0]
    now, then = ([e[:, columns_of[0]].mean(axis=1) for e in each if probe.leads] for each in (said, explained.stale))
    return Scored(probe, explained.regime, explained.rows, metrics, clean, now, then)


def metric_rows(
    observed: Observed, samples: Samples, scored: Sequence[Scored], probes: Sequence[Probe], progress: Progress
) -> tuple[list[Columns], list[tuple[Columns, np.ndarray, np.ndarray]]]:
    """All rows of a run: those of the probes, then those of their controls; and the controls' stored explanations:
    identifying columns, row numbers [n] and explanations [n]."""
    leading = [one for one in scored if one.probe.leads]
    nulls: list[dict[At, Null]] = []
    of_controls: list[Columns] = []
    stored = []
    found: dict[tuple[Place, Regime], dict[At, Null]] = {}
    for done, own in enumerate(leading):
        progress("controls", done, len(leading))
        # Linear and mlp use the null of a ridge, because 200 shuffles of their own would take hours. `online` uses the
        # null of `refit`.
        key: tuple[Place, Regime] = (own.probe.place, "frozen" if own.regime == "frozen" else "refit")
        if key not in found:
            found[key] = null_bands(observed, samples, *key, probes)
        nulls.append(found[key])
        kept = ("n", "n_groups", "metric", "target_current", "testable")
        for at, clean_score in own.scores.items():
            shared = {name: clean_score.values[name] for name in kept}
            of_controls.append(_control_row(observed, own, "null", at, shared | found[key][at].values))
        of_controls += control_rows(observed, samples, own, "stale", own.stale)
        if (own.probe.kind, own.regime) == (REFERENCE, "frozen"):
            for name, explanations in baselines(observed, own.probe, probes).items():
                of_controls += control_rows(observed, samples, own, name, explanations)
                if name in KEPT_CONTROLS:
                    for checkpoint, values in zip(observed.spec.checkpoints, explanations, strict=True):
                        names = naming(observed, checkpoint, own.probe, own.regime, control=name)
                        stored.append((names, own.rows, values))
    progress("controls", len(leading), len(leading))
    more = zip(nulls, verdict_columns(observed, leading, nulls), span_rankings(observed, leading), strict=True)
    rows: list[Columns] = []
    for one in scored:
        null_at, verdict_at, ranking_at = next(more) if one.probe.leads else ({}, {}, {})
        for at, (clean, *noisy) in one.metrics.items():
            if one.probe.leads:
                band = {name: null_at[at].values[name] for name in ("null_mean", "null_low", "null_high")}
                clean = clean | band | verdict_at[at] | {"span_ranking": ranking_at[at]}
            rows += [clean, *noisy]
    return rows + of_controls, stored


def _control_row(observed: Observed, own: Scored, control: str, at: At, values: Columns) -> Columns:
    split, t = at
    names = naming(observed, observed.spec.checkpoints[t], own.probe, own.regime, control=control)
    return names | {"split": split} | values


def control_rows(
    observed: Observed, samples: Samples, own: Scored, name: str, explanations: list[np.ndarray]
) -> list[Columns]:
    """Rows of a control with explanations [n] at each checkpoint, beside one leading probe."""
    said = [e[:, None] for e in explanations]
    rows = []
    for split, t in own.scores:
        (found,) = _scores(observed, samples[own.probe.place.edit, split], t, said)
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


def verdict_columns(
    observed: Observed, leading: Sequence[Scored], nulls: Sequence[dict[At, Null]]
) -> list[dict[At, Columns]]:
    """Verdicts of each leading probe. Those of one split and edit are one family of tests (max-|t|, Holm)."""
    spec = observed.spec.metrics
    checkpoints = range(len(observed.currents))
    edits = [own.probe.place.edit for own in leading]
    out: list[dict[At, Columns]] = [{} for _ in leading]
    for edit in dict.fromkeys(edits):
        for split in EVALUATED:
            family = [i for i, own in enumerate(leading) if edits[i] == edit and (split, 0) in own.scores]
            if not family:
                continue
            said = verdicts(
                [[leading[i].scores[split, t] for t in checkpoints] for i in family],
                [[nulls[i][split, t] for t in checkpoints] for i in family],
                confidence=spec.confidence,
                absent_within=spec.absent_within,
            )
            for i, own in zip(family, said, strict=True):
                for t, at in enumerate(own):
                    out[i][split, t] = {"verdict_coupling": at.coupling, "verdict_counterfactual": at.counterfactual}
    return out


def span_rankings(observed: Observed, leading: Sequence[Scored]) -> list[dict[At, float]]:
    """Kendall's τ over the edits of a prompt. Each edit is explained by its own best probe of one kind and regime."""
    split_of = observed.examples["split"].to_numpy()
    keys = [(own.probe.kind, own.regime, own.probe.condition) for own in leading]
    out: list[dict[At, float]] = [{} for _ in leading]
    for key in dict.fromkeys(keys):
        family = [i for i, own in enumerate(keys) if own == key]
        rows = np.concatenate([leading[i].rows for i in family])
        for t, name in enumerate(observed.currents):
            explained = np.concatenate([leading[i].explanations[t] for i in family])
            effect = observed.behavior(name).effect[rows]
            for split in EVALUATED:
                inside = split_of[rows] == split
                tau = span_ranking(explained[inside], effect[inside], observed.prompt_id[rows][inside])[0]
                for i in family:
                    out[i][split, t] = float(tau)
    return out
