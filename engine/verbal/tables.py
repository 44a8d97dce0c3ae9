"""From the checkpoints' sentences to tables of explanations and rows of metrics, with controls and verdicts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from engine.config import CheckpointSpec, MetricSpec, RunSpec
from engine.records import EXPLANATIONS
from engine.runs.observed import EVALUATED, Observed
from engine.runs.store import Run
from engine.stats.correlation import Resamples, bootstrap_weights
from engine.stats.faithfulness import Null, Score, verdicts
from engine.tasks import WORDINGS
from engine.verbal import controls
from engine.verbal.labels import Answers
from engine.verbal.score import HEADLINE, INTELLIGIBLE, Said, null_of_words, parse, score_words, warnings_of
from engine.verbal.texts import answer_pairs, evaluated, labelled_edits, labels_of


def said_part(name: str) -> str:
    """The part that holds the words of a checkpoint, or of a control's model, until the run is complete."""
    return f"said/{name}.parquet"


def condition_of(spec: RunSpec) -> str:
    """The options that vary between runs of this kind, in words; noise has columns of its own."""
    verbal, task = spec.verbal, spec.task
    assert verbal is not None
    words = [f"β {verbal.beta:g}"]
    if verbal.drift is None:
        words.append("no drift")
    else:
        words.append("drift after" if verbal.schedule == "labels_first" else "concurrent")
        words += ["words held"] if verbal.drift.hold_words else []
        words += ["drift of unlabelled entities"] if verbal.drift.entities == "unlabelled" else []
    words += [f"{verbal.labels} labels"] if verbal.labels else []
    words += [f"{verbal.changed_share:.0%} of the labels say changed"] if verbal.changed_share else []
    if spec.target_checkpoint.name != spec.checkpoints[0].name:
        words.append(f"labels of {spec.target_checkpoint.family}")
    words += ["unknown entities"] if task.unknown_entities else []
    words += ["forced choice"] if verbal.decoding == "choice" else []
    words += [f"LoRA rank {verbal.lora.rank}"] if verbal.lora else []
    return ", ".join(words)


@dataclass(frozen=True)
class Part:
    """One kind of edit in one split."""

    edit: str
    split: str
    inside: np.ndarray
    """Places among the evaluated rows."""
    rows: np.ndarray
    """Row numbers of the examples."""
    resamples: Resamples
    units: np.ndarray
    """Each example's entity, or its group."""


def parts(observed: Observed) -> Iterator[Part]:
    rows = evaluated(observed)
    edit, split = (observed.examples[c].to_numpy()[rows] for c in ("edit", "split"))
    for kind in observed.edits:
        for number, name in enumerate(EVALUATED):
            inside = np.flatnonzero((edit == kind) & (split == name))
            if len(inside) < 3:
                continue
            rng = np.random.default_rng([observed.spec.metrics.seed, number])
            factors = observed.factors(rows[inside])
            weights = bootstrap_weights(rng, observed.spec.metrics.bootstrap, **factors)
            yield Part(kind, name, inside, rows[inside], weights, factors.get("entity", factors["groups"]))


def judge(record: Run, observed: Observed) -> tuple[list[pa.Table], list[dict[str, Any]]]:
    """Tables of explanations and rows of metrics. The words of every checkpoint must have been written (`ask`)."""
    spec, metrics = observed.spec, observed.spec.metrics
    assert spec.verbal is not None
    rows = evaluated(observed)
    pairs = answer_pairs(observed.examples.iloc[rows])
    asked = (*observed.currents, *spec.verbal.controls)
    words = {name: record.read_table(said_part(name))["text"].to_pylist() for name in asked}
    said = {name: parse(WORDINGS[spec.task.name], own, pairs) for name, own in words.items()}
    fixed = {name: said[name] for name in spec.verbal.controls}
    read_texts = _text_controls(observed, rows)
    stale = None
    if spec.verbal.schedule == "labels_first":
        stale = next(said[c.name] for c in spec.checkpoints if c.step == spec.verbal.label_steps)
    out: list[dict[str, Any]] = []
    told: list[str] = []
    for part in parts(observed):
        heads: list[dict[str, Any]] = []
        scores: list[dict[str, Score]] = []
        nulls: list[Null] = []
        label = Answers.of(observed.behavior(observed.target)).take(part.rows)
        for checkpoint in spec.checkpoints:
            name = checkpoint.name
            now = Answers.of(observed.behavior(name)).take(part.rows)
            mine = said[name].take(part.inside)
            common: dict[str, Any] = {"now": now, "label": label, "units": part.units, "confidence": metrics.confidence}
            own = score_words(mine, resamples=part.resamples, stale=stale and stale.take(part.inside), **common)
            null = null_of_words(mine, shuffles=metrics.null_shuffles, seed=metrics.seed, **common)
            named = _naming(observed, checkpoint, part.edit) | {"split": part.split}
            own_rows = {metric: named | one.values for metric, one in own.items()}
            out += own_rows.values()
            if checkpoint.trained:
                told += [f"{name}, {part.edit}, {part.split}: {warning}" for warning in warnings_of(own)]
            of_controls = {
                "copy": controls.copy(now),
                "contrary": controls.contrary(now),
                "consistency": controls.consistency(mine, now),
                **{control: by.take(part.inside) for control, by in (fixed | read_texts[name]).items()},
            }
            for control, by in of_controls.items():
                out += [
                    named | {"control": control} | one.values
                    for one in score_words(by, resamples=part.resamples, **common).values()
                ]
            shared = {column: own[HEADLINE].values[column] for column in SHARED_WITH_NULL}
            out.append(named | {"control": "null"} | shared | null.values)
            heads.append(own_rows[HEADLINE])
            scores.append(own)
            nulls.append(null)
        _fill_verdicts(metrics, heads, scores, nulls)
    record.record(verbal_warnings=told)
    return [_explanations(observed, c, rows, words[c.name]) for c in spec.checkpoints], out


SHARED_WITH_NULL = ("n", "n_groups", "metric", "target_current", "testable")


def _text_controls(observed: Observed, rows: np.ndarray) -> dict[str, dict[str, Said]]:
    """Checkpoint → statements of `text_only` and `output_text` about the rows there."""
    labels = labels_of(observed)
    prompts = observed.examples["prompt"].to_numpy()
    labelled, asked = prompts[labels.rows], prompts[rows]
    text_only = controls.TextClassifier(labelled, labels).say(asked)
    knowing = controls.TextClassifier(labelled, labels, f=observed.behavior(observed.target).f[labels.rows])
    return {
        name: {"text_only": text_only, "output_text": knowing.say(asked, f=observed.behavior(name).f[rows])}
        for name in observed.currents
    }


def _naming(observed: Observed, checkpoint: CheckpointSpec, edit: str) -> dict[str, Any]:
    """The columns of records.SETTING and `chosen`."""
    spec = observed.spec
    assert spec.verbal is not None
    return {
        "checkpoint": checkpoint.name,
        "target": observed.target,
        "step": checkpoint.step,
        "explainer": "verbal",
        "condition": condition_of(spec),
        "control": None,
        "edit": edit,
        "mode": "direct",
        "regime": "frozen" if spec.verbal.schedule == "labels_first" else "online",
        "noise_kind": "shuffle" if spec.verbal.noise else "none",
        "noise": spec.verbal.noise,
        "chosen": edit == labelled_edits(observed)[0],
    }


def _fill_verdicts(
    spec: MetricSpec, heads: Sequence[dict[str, Any]], scores: Sequence[dict[str, Score]], nulls: Sequence[Null]
) -> None:
    """Add the exact match's verdicts to its rows, simultaneous over the checkpoints, by the rules for probes."""
    trajectory = [own[HEADLINE] for own in scores]
    said = verdicts([trajectory], [nulls], confidence=spec.confidence, absent_within=spec.absent_within)[0]
    for row, own, null, verdict in zip(heads, scores, nulls, said, strict=True):
        row["verdict_coupling"], row["verdict_counterfactual"] = verdict.coupling, verdict.counterfactual
        if own["parse_rate"]["self"] < INTELLIGIBLE:
            row["verdict_coupling"] = row["verdict_counterfactual"] = "not testable"
        follows = own[HEADLINE]["change_tracking_low"] > 0
        follows &= own[HEADLINE]["change_tracking"] > null.bands["change_tracking"].high
        if verdict.counterfactual == "holds" and not follows:  # contradicting the labels opens a gap as well
            row["verdict_counterfactual"] = "inconclusive"
        row |= {column: value for column, value in null.values.items() if column.startswith("null_")}


def _explanations(observed: Observed, checkpoint: CheckpointSpec, rows: np.ndarray, words: Sequence[str]) -> pa.Table:
    """Rows of records.EXPLANATIONS with the whole sentence, the question's words included; no number."""
    wording = WORDINGS[observed.spec.task.name]
    examples = observed.examples.iloc[rows]
    table = []
    for edit in observed.edits:
        named, question = _naming(observed, checkpoint, edit), wording.question(edit).strip()
        for i in np.flatnonzero(examples["edit"] == edit).tolist():
            text = f"{question} {words[i].strip()}".strip()
            table.append(named | {"example_id": examples["example_id"].iloc[i], "text": text})
    return pa.Table.from_pylist(table, schema=EXPLANATIONS)
