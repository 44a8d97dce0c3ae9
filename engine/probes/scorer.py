"""From explanations to the rows of metrics.parquet: scores, controls, nulls and verdicts, by split and checkpoint.

`score_probe` scores one probe; `metric_rows` takes all of them, adds their controls and returns the rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from engine.config import CheckpointSpec, PrimarySpec, Regime
from engine.probes.controls import baselines, shuffled
from engine.probes.kinds import REFERENCE
from engine.probes.probe import CLEAN, Probe, ProbeExplanations
from engine.progress import Progress
from engine.records import CLAIMS
from engine.runs.kept import Kept
from engine.runs.observed import EVALUATED, Observed, Place
from engine.stats.bootstrap import Resamples
from engine.stats.faithfulness import Null, Score, null, score, span_ranking
from engine.stats.noise import NoiseLabel
from engine.stats.unseen import Design, UnseenRun, unseen_run
from engine.stats.verdicts import exceeded, verdicts

LEAST_ROWS = 3
"""A split with fewer rows of an edit is not scored."""
KEPT_CONTROLS = ("output", "output_text", "text_only", "other_model")
"""Controls whose explanations are stored example by example, so that a run can be scored anew."""
RIVALS = (*KEPT_CONTROLS, "stale")
"""Controls that know less than an explainer of hidden states should."""

At = tuple[str, int]
"""A split, and the number of a checkpoint."""
Columns = dict[str, Any]
"""Some columns of one row of records.METRICS."""
Stored = tuple[Columns, np.ndarray, np.ndarray]
"""Explanations that are stored example by example: identifying columns, row numbers [n], explanations [n]."""


@dataclass(frozen=True)
class Sample:
    """The examples of one edit in one split."""

    inside: np.ndarray
    """Positions among the edit's evaluated rows."""
    rows: np.ndarray
    """Row numbers of the examples."""
    design: Design
    resamples: Resamples
    """Bootstrap weights, the same for all probes and checkpoints, so that every comparison is paired."""
    precise: Resamples
    """More draws, for verdicts."""
    unseen: list[UnseenRun]
    """f(x') at each checkpoint, freed from what can be read."""


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
    target = observed.behavior(observed.target)
    for edit in observed.edits:
        evaluated = observed.rows(edit, *EVALUATED)
        for number, split in enumerate(EVALUATED):
            inside = np.flatnonzero(split_of[evaluated] == split)
            rows = evaluated[inside]
            if len(rows) < LEAST_ROWS:
                continue
            design, rng = Design(**observed.factors(rows)), np.random.default_rng([spec.seed, number])
            draws = [design.resamples(rng, n) for n in (spec.bootstrap, max(spec.bootstrap, spec.verdict_draws))]
            behaviors = (observed.behavior(name).take(rows) for name in observed.currents)
            freed = [unseen_run(current, target.take(rows), design, spec.seed) for current in behaviors]
            out[edit, split] = Sample(inside, rows, design, draws[0], draws[1], freed)
    return out


def score_at(
    observed: Observed, sample: Sample, t: int, said: np.ndarray, precise: bool = False, **options: Any
) -> list[Score]:
    """Scores at checkpoint t, on one sample, of explanations [evaluated rows of the edit, k] and options of `score`."""
    current, target = (observed.behavior(name).take(sample.rows) for name in (observed.currents[t], observed.target))
    options |= {"unseen": sample.unseen[t], "confidence": observed.spec.metrics.confidence}
    found = score(said[sample.inside], current, target, sample.precise if precise else sample.resamples, **options)
    sizes = dict(zip(("n_cues", "n_entities"), sample.design.sizes, strict=False))
    return [replace(own, values=own.values | sizes) for own in found]


def score_probe(observed: Observed, samples: Samples, explained: ProbeExplanations) -> Scored:
    """Score one probe under one regime: a row for every checkpoint, split and noise level."""
    probe, said = explained.probe, explained.explanations
    levels = list(dict.fromkeys((label.kind, label.level) for label in explained.labels))
    average = np.array([levels.index((label.kind, label.level)) for label in explained.labels])
    # What gets verdicts, a leading probe without label noise, needs more draws.
    is_precise = probe.leads & (average == 0)
    columns = [(np.flatnonzero(is_precise == precise), precise) for precise in (True, False)]
    metrics: dict[At, list[Columns]] = {}
    clean: dict[At, Score] = {}
    for t, checkpoint in enumerate(observed.spec.checkpoints):
        for split in EVALUATED:
            if (sample := samples.get((probe.place.edit, split))) is None:
                continue
            scores: list[Score] = []
            for some, precise in columns:
                if not len(some):
                    continue
                stale = explained.stale[t][np.ix_(sample.inside, some)]
                options = {"precise": precise, "stale": stale, "average": average[some]}
                scores += score_at(observed, sample, t, said[t][:, some], **options)
            metrics[split, t] = [
                naming(observed, checkpoint, probe, explained.regime, NoiseLabel(*level, 0))
                | {"split": split, "cv": probe.cv, "noisy_clean": float(np.mean(explained.noisy_clean[average == i]))}
                | own.values
                for i, (level, own) in enumerate(zip(levels, scores, strict=True))
            ]
            if probe.leads:
                clean[split, t] = scores[0]
    now, then = ([e[:, average == 0].mean(axis=1) for e in each if probe.leads] for each in (said, explained.stale))
    return Scored(probe, explained.regime, explained.rows, metrics, clean, now, then)


def metric_rows(
    observed: Observed,
    samples: Samples,
    scored: Sequence[Scored],
    probes: Sequence[Probe],
    progress: Progress,
    kept: Kept,
) -> tuple[list[Columns], list[Stored]]:
    """All rows of a run: those of the probes, then those of their controls; and the controls' stored explanations."""
    leading = [one for one in scored if one.probe.leads]
    nulls: list[dict[At, Null]] = []
    of_controls: list[Columns] = []
    stored: list[Stored] = []
    found: dict[tuple[Place, Regime], dict[At, Null]] = {}
    rivals: dict[str, Rivals] = {}
    stale: list[Rivals] = []

    def store(own: Scored, name: str, explanations: Sequence[np.ndarray]) -> None:
        for checkpoint, values in zip(observed.spec.checkpoints, explanations, strict=True):
            names = naming(observed, checkpoint, own.probe, own.regime, control=name)
            stored.append((names, own.rows, values))

    for done, own in enumerate(leading):
        progress("controls", done, len(leading))
        # Linear and mlp use the null of a ridge, because 200 shuffles of their own would take hours. `online` uses the
        # null of `refit`.
        key: tuple[Place, Regime] = (own.probe.place, "frozen" if own.regime == "frozen" else "refit")
        if key not in found:
            shuffles = partial(null_bands, observed, samples, *key, probes)
            found[key] = kept.made(f"null {key[0]} {key[1]}", shuffles)
        nulls.append(found[key])
        names = ("n", "n_groups", "metric", "target_current", "why_not", "n_cues", "n_entities")
        for at, clean_score in own.scores.items():
            shared = {name: clean_score.values.get(name) for name in names}
            of_controls.append(_control_row(observed, own, "null", at, shared | found[key][at].values))
        of_stale = partial(control_scores, observed, samples, own, own.stale)
        stale.append({"stale": kept.made(f"stale {own.probe.kind} {key[0]} {own.regime}", of_stale)})
        of_controls += control_rows(observed, own, "stale", stale[-1]["stale"])
        if own.regime != "frozen":  # a frozen explainer's is its explanation at the first checkpoint
            store(own, "stale", own.stale)
        if (own.probe.kind, own.regime) == (REFERENCE, "frozen"):
            edit = own.probe.place.edit
            of_edit = rivals.setdefault(edit, {})
            controls = kept.made(f"controls {edit}", partial(baselines, observed, own.probe, probes))
            for name, explanations in controls.items():
                scores = partial(control_scores, observed, samples, own, explanations)
                of_edit[name] = kept.made(f"control {name} {edit}", scores)
                of_controls += control_rows(observed, own, name, of_edit[name])
                if name in KEPT_CONTROLS:
                    store(own, name, explanations)
    progress("controls", len(leading), len(leading))
    beside = [rivals.get(own.probe.place.edit, {}) | mine for own, mine in zip(leading, stale, strict=True)]
    judged = verdict_columns(observed, leading, beside)
    more = zip(nulls, judged, span_rankings(observed, leading), strict=True)
    rows: list[Columns] = []
    for one in scored:
        null_at, verdict_at, ranking_at = next(more) if one.probe.leads else ({}, {}, {})
        for at, (clean, *noisy) in one.metrics.items():
            if one.probe.leads:
                clean = (
                    clean | _of_null(null_at[at], one.scores[at]) | verdict_at[at] | {"span_ranking": ranking_at[at]}
                )
            rows += [clean, *noisy]
    return rows + of_controls, stored


Rivals = dict[str, dict[At, Score]]
"""Scores of controls, by name."""


def _of_null(null_at: Null, at: Score) -> Columns:
    band = {name: null_at.values[name] for name in ("null_mean", "null_low", "null_high")}
    return band | {f"{name}_p": null_at.p(name, at[name]) for name in ("gap", "unseen")}


def _control_row(observed: Observed, own: Scored, control: str, at: At, values: Columns) -> Columns:
    split, t = at
    names = naming(observed, observed.spec.checkpoints[t], own.probe, own.regime, control=control)
    return names | {"split": split} | values


def control_rows(observed: Observed, own: Scored, control: str, scores: dict[At, Score]) -> list[Columns]:
    return [_control_row(observed, own, control, at, found.values) for at, found in scores.items()]


def explainer_rows(observed: Observed, own: Scored, more: dict[At, Columns]) -> list[Columns]:
    """Rows of a leading probe without label noise. more: further columns, by split and checkpoint."""
    named = [naming(observed, checkpoint, own.probe, own.regime) for checkpoint in observed.spec.checkpoints]
    return [named[at[1]] | {"split": at[0]} | found.values | more[at] for at, found in own.scores.items()]


def control_scores(
    observed: Observed, samples: Samples, own: Scored, explanations: Sequence[np.ndarray]
) -> dict[At, Score]:
    """Scores of a control with explanations [n] at each checkpoint, beside one leading probe.

    Its stale reading is its explanation at the first checkpoint.
    """
    out = {}
    for split, t in own.scores:
        sample = samples[own.probe.place.edit, split]
        stale = explanations[0][sample.inside]
        (out[split, t],) = score_at(observed, sample, t, explanations[t][:, None], precise=True, stale=stale)
    return out


def null_bands(
    observed: Observed, samples: Samples, place: Place, regime: Regime, probes: Sequence[Probe]
) -> dict[At, Null]:
    """Statistics of ridges on group-wise shuffled targets."""
    target = observed.behavior(observed.target)
    out = {}
    for t, explanations in enumerate(shuffled(observed, place, regime, probes)):
        current = observed.behavior(observed.currents[t])
        for split in EVALUATED:
            if sample := samples.get((place.edit, split)):
                now, then = current.take(sample.rows), target.take(sample.rows)
                confidence = observed.spec.metrics.confidence
                out[split, t] = null(explanations[sample.inside], now, then, confidence, sample.unseen[t])
    return out


def verdict_columns(observed: Observed, leading: Sequence[Scored], rivals: Sequence[Rivals]) -> list[dict[At, Columns]]:
    """Verdicts of each leading probe, with power, and the controls that it exceeds.

    All probes of a split are one family of tests (max-|t| over checkpoints, Holm over probes), in which the primary one
    has the full level.
    """
    spec = observed.spec.metrics
    out: list[dict[At, Columns]] = [{} for _ in leading]
    for split in EVALUATED:
        family = [i for i, own in enumerate(leading) if (split, 0) in own.scores]
        primary = next((n for n, i in enumerate(family) if is_primary(spec.primary, leading[i])), None)
        trajectories = [[leading[i].scores[split, t] for t in range(len(observed.currents))] for i in family]
        for claim in CLAIMS:
            options = {"confidence": spec.confidence, "absent_within": spec.absent_within}
            said = verdicts(trajectories, claim, primary=None if claim == "coupling" else primary, **options)
            for n, (i, own) in enumerate(zip(family, said, strict=True)):
                for t, at in enumerate(own):
                    there = {name: scores[split, t] for name, scores in rivals[i].items() if name in RIVALS}
                    over = exceeded(leading[i].scores[split, t], there, claim, spec.confidence)
                    out[i].setdefault((split, t), {"primary": n == primary}).update(at.columns(claim, over))
    return out


def is_primary(primary: PrimarySpec, own: Scored) -> bool:
    """Whether this is the explainer that the spec names."""
    probe = own.probe
    named = (primary.explainer, primary.regime) == (probe.kind, own.regime) and probe.condition is None
    return named and (probe.place.edit == primary.edit if primary.edit else probe.chosen)


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
