"""The explanation stage: choose settings, train explainers on fixed targets, score them at every checkpoint.

Nothing here looks at a gap before everything is chosen: settings are picked by grouped cross-validation of
the correlation with the targets, at the checkpoint where the explainers are trained.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pyarrow as pa

from engine.config import ConcurrentSpec, ExplainerKind, Regime, RunSpec
from engine.probes import scorer as metrics
from engine.probes.regimes import REGIMES, best, cross_validate
from engine.probes.regimes import explain as predict
from engine.probes.ridge import grouped_folds
from engine.probes.setting import CLEAN, Explained, Setting
from engine.progress import Progress
from engine.records import EXPLANATIONS
from engine.run.observed import EVALUATED, Observed, Place, concurrent_part
from engine.run.store import Run
from engine.stats.noise import NoiseLabel, NoiseMatrix, noise_matrix

DIGITS = 3
"""Explanations are kept to a thousandth of a nat: a third of the space."""
STORED_NOISE = 0.5
"""The one level of noise whose explanations are kept example by example."""


def choose(observed: Observed, kind: ExplainerKind) -> list[Setting]:
    """All settings of one kind of explainer, each with its best penalty; marks `best` and `chosen`.

    Ridge costs next to nothing and maps everything; linear and mlp are trained where the headline is looked for.
    """
    spec = observed.spec.explainers
    modes = spec.modes if kind == "ridge" else tuple(m for m in spec.modes if m == "direct")
    target = observed.behavior(observed.target).effect
    settings = []
    for edit in observed.edits if kind == "ridge" else observed.headline_edits:
        rows = observed.rows(edit, "train")
        if len(rows) < 2 * spec.folds:
            continue
        folds = None
        if spec.cross_validation == "grouped":
            folds = grouped_folds(**observed.factors(rows), folds=spec.folds, seed=observed.spec.seed)
        for place in observed.places(modes, [edit]):
            x = observed.features(observed.start, place, rows)
            scores = cross_validate(kind, x, target[rows], folds, spec, seed=observed.spec.seed)
            penalty = best(scores)
            settings.append(Setting(kind, place, penalty, float(scores[penalty])))

    def winner(among: list[Setting]) -> Setting | None:
        return max(among, key=lambda s: np.nan_to_num(s.cv, nan=-2.0), default=None)

    winners = [
        winner([s for s in settings if (s.place.edit, s.place.mode) == key])
        for key in dict.fromkeys((s.place.edit, s.place.mode) for s in settings)
    ]
    headline = winner([s for s in settings if s.place.mode == "direct" and s.place.edit in observed.headline_edits])
    return [replace(s, best=s in winners, chosen=s is headline) for s in settings]


def labels_of(observed: Observed, setting: Setting, rows: np.ndarray) -> NoiseMatrix:
    """The fixed targets of the training rows: clean, and with every noise for the chosen setting."""
    target = observed.behavior(observed.target).effect[rows]
    noise = observed.spec.noise
    seeds = noise.seeds if setting.kind == "ridge" else min(noise.seeds, observed.spec.explainers.seeds)
    levels = noise.levels if setting.chosen else ()
    return noise_matrix(target, noise.kinds if levels else (), levels, seeds, seed=observed.spec.seed)


def explain_setting(observed: Observed, setting: Setting, regime: Regime) -> Explained:
    """Train one setting under one regime on the fixed targets, and apply it at every checkpoint."""
    place, spec = setting.place, observed.spec.explainers
    train, rows = observed.rows(place.edit, "train"), observed.rows(place.edit, *EVALUATED)
    matrix = labels_of(observed, setting, train)
    labels, noisy_clean, n = matrix.labels, matrix.noisy_clean, len(rows)

    def hidden() -> Iterator[tuple[np.ndarray | None, np.ndarray]]:
        then = observed.features(observed.start, place, rows)
        for name in observed.currents:
            x_train = None
            if regime != "frozen" or name == observed.start:
                x_train = observed.features(name, place, train)
            # the same explainer is also asked about the first checkpoint's hidden states: `stale`
            yield x_train, np.concatenate([observed.features(name, place, rows), then])

    if setting.kind == "ridge":  # linear in its targets: predict the basis, mix the predictions
        predicted = predict("ridge", regime, hidden(), matrix.basis, penalty=setting.penalty, spec=spec)
        predicted = [p @ matrix.mix for p in predicted]
    else:
        copies = np.concatenate([np.zeros(spec.seeds - 1, dtype=int), np.arange(len(labels))])
        labels, noisy_clean = tuple(labels[c] for c in copies), noisy_clean[copies]
        targets = matrix.targets[:, copies]
        seed = observed.spec.seed
        predicted = predict(setting.kind, regime, hidden(), targets, penalty=setting.penalty, spec=spec, seed=seed)
    now, then = [p[:n] for p in predicted], [p[n:] for p in predicted]
    return Explained(setting, regime, rows, labels, noisy_clean, now, then)


def regimes_of(setting: Setting, spec: RunSpec) -> list[Regime]:
    if setting.condition:
        return ["online"]
    return [regime for regime in spec.explainers.regimes if regime in REGIMES[setting.kind]]


def concurrent_setting(record: Run, concurrent: ConcurrentSpec) -> Setting:
    """The explainer that was trained beside the base model (`training/posttraining`)."""
    layer = record.manifest["notes"]["post_training"]["layer"]
    place = Place(concurrent.edit, "direct", "last", layer)
    condition = f"concurrent, gradient {concurrent.gradient}"
    return Setting(concurrent.kind, place, penalty=0.0, cv=float("nan"), best=True, condition=condition)


def read_concurrent(observed: Observed, record: Run, setting: Setting) -> Explained:
    """What the concurrent explainer said when each checkpoint was saved; `stale` is what it said at the first."""
    rows = observed.rows(setting.place.edit, *EVALUATED)
    said = [record.read_arrays(concurrent_part(n))["explanation"][:, None].astype(float) for n in observed.currents]
    return Explained(setting, "online", rows, (CLEAN,), np.ones(1), said, [said[0]] * len(said))


def of_probes(record: Run, spec: RunSpec, observed: Observed, progress: Progress) -> tuple[list[pa.Table], list[dict]]:
    """Tables of explanations and rows of metrics of every probe."""
    kinds = spec.explainers.kinds
    settings: list[Setting] = []
    for done, kind in enumerate(kinds):
        progress("choosing settings", done, len(kinds))
        settings += choose(observed, kind)
    progress("choosing settings", len(kinds), len(kinds))
    if spec.post_training and spec.post_training.concurrent:
        settings.append(concurrent_setting(record, spec.post_training.concurrent))
    work = [(s, regime) for s in settings for regime in regimes_of(s, spec)]
    scorer = metrics.Scorer(observed)
    tables: list[pa.Table] = []
    for done, (setting, regime) in enumerate(work):
        progress("explaining and scoring", done, len(work))
        if setting.condition:
            explained = read_concurrent(observed, record, setting)
        else:
            explained = explain_setting(observed, setting, regime)
        scorer.add(explained)
        if setting.best and setting.place.mode == "direct":
            tables += stored(observed, explained)
    progress("explaining and scoring", len(work), len(work))
    controls = scorer.controls(settings, progress)
    tables += [explanation_rows(observed, **row) for row in controls]
    return tables, scorer.rows()


def stored(observed: Observed, explained: Explained) -> Iterator[pa.Table]:
    """The rows of one Explained that are kept example by example, averaged over seeds."""
    kept = [CLEAN, *(NoiseLabel(kind, STORED_NOISE, 0) for kind in observed.spec.noise.kinds)]
    for label in kept:
        columns = [i for i, own in enumerate(explained.labels) if (own.kind, own.level) == (label.kind, label.level)]
        if not columns:
            continue
        for checkpoint, explanations in zip(observed.spec.checkpoints, explained.explanations, strict=True):
            setting = metrics.naming(observed, checkpoint, explained.setting, explained.regime, label)
            values = explanations[:, columns].mean(axis=1)
            yield explanation_rows(observed, setting, explained.rows, values)


def explanation_rows(observed: Observed, setting: dict, rows: np.ndarray, explanations: np.ndarray) -> pa.Table:
    """Rows of records.EXPLANATIONS; what names the setting is the same in all of them."""
    n = len(rows)
    columns = []
    for column in EXPLANATIONS:
        if column.name == "example_id":
            values = pa.array(observed.examples["example_id"].to_numpy()[rows]).dictionary_encode()
        elif column.name == "explanation":
            values = pa.array(np.round(explanations, DIGITS).astype(np.float32))
        elif setting.get(column.name) is None:
            values = pa.nulls(n, column.type)
        elif pa.types.is_dictionary(column.type):
            values = pa.DictionaryArray.from_arrays(np.zeros(n, dtype=np.int32), [setting[column.name]])
        else:
            values = pa.repeat(pa.scalar(setting[column.name], column.type), n)
        columns.append(values)
    return pa.Table.from_arrays(columns, schema=EXPLANATIONS)
