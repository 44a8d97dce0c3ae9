"""From what the checkpoints said to tables of explanations and rows of metrics, with controls and verdicts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from engine.config import CheckpointSpec, RunSpec
from engine.records import EXPLANATIONS
from engine.runs.observed import EVALUATED, Observed
from engine.stats.correlation import Resamples, bootstrap_weights
from engine.stats.faithfulness import Null, Score, verdicts
from engine.tasks import WORDINGS
from engine.verbal import controls
from engine.verbal.labels import Answers, Labels
from engine.verbal.score import HEADLINE, INTELLIGIBLE, Said, null, parse, score, warnings
from engine.verbal.texts import evaluated, labelled_edits, labels_of


def said_part(name: str) -> str:
    """Where the words of a checkpoint, or of a control's model, stand until the run is complete."""
    return f"said/{name}.parquet"


def condition_of(spec: RunSpec) -> str:
    """What is varied between runs of this kind, in words; noise has columns of its own."""
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
    """Of the examples."""
    resamples: Resamples
    units: np.ndarray
    """Entity, or group, of each."""


def parts(observed: Observed) -> Iterator[Part]:
    rows = evaluated(observed)
    edit, split = (observed.examples[c].to_numpy()[rows] for c in ("edit", "split"))
    for kind in observed.edits:
        for name in EVALUATED:
            inside = np.flatnonzero((edit == kind) & (split == name))
            if len(inside) < 3:
                continue
            rng = np.random.default_rng([observed.spec.metrics.seed, EVALUATED.index(name)])
            factors = observed.factors(rows[inside])
            weights = bootstrap_weights(rng, observed.spec.metrics.bootstrap, **factors)
            units = factors.get("entity", factors["groups"])
            yield Part(kind, name, inside, rows[inside], weights, units)


def judge(observed: Observed) -> tuple[list[pa.Table], list[dict[str, Any]]]:
    """Tables of explanations and rows of metrics. What every checkpoint says must have been written (`ask`)."""
    record, spec = observed.record, observed.spec
    assert spec.verbal is not None
    rows = evaluated(observed)
    wording = WORDINGS[spec.task.name]
    examples = observed.examples
    pairs = list(zip(examples["answer_a"].iloc[rows], examples["answer_b"].iloc[rows], strict=True))

    def heard(name: str) -> tuple[list[str], Said]:
        words = record.read_table(said_part(name))["text"].to_pylist()
        return words, parse(wording, words, pairs)

    said = {c.name: heard(c.name) for c in spec.checkpoints}
    labels = labels_of(observed)
    fixed = {name: heard(name)[1] for name in spec.verbal.controls}
    texts = _text_controls(observed, labels, rows)
    stale = _stale(spec, said)
    out: list[dict[str, Any]] = []
    told: list[str] = []
    for part in parts(observed):
        scores: list[dict[str, Score]] = []
        nulls: list[Null] = []
        for checkpoint in spec.checkpoints:
            now = Answers.of(observed.behavior(checkpoint.name)).take(part.rows)
            then = Answers.of(observed.behavior(observed.target)).take(part.rows)
            mine = said[checkpoint.name][1].take(part.inside)
            of_controls = {
                "copy": controls.copy(now),
                "contrary": controls.contrary(now),
                "consistency": controls.consistency(mine, now),
                **{name: control.take(part.inside) for name, control in (fixed | texts(checkpoint.name)).items()},
            }
            own = score(
                mine,
                now,
                then,
                part.resamples,
                units=part.units,
                stale=stale and stale.take(part.inside),
                confidence=spec.metrics.confidence,
            )
            scores.append(own)
            shuffles, seed = spec.metrics.null_shuffles, spec.metrics.seed
            nulls.append(null(mine, now, then, part.units, shuffles, seed, spec.metrics.confidence))
            told += [f"{checkpoint.name}, {part.edit}, {part.split}: {w}" for w in warnings(own) if checkpoint.trained]
            out += _rows(observed, checkpoint, part, own)
            for name, control in of_controls.items():
                of_control = score(
                    control, now, then, part.resamples, units=part.units, confidence=spec.metrics.confidence
                )
                out += _rows(observed, checkpoint, part, of_control, name)
            out.append(_null_row(observed, checkpoint, part, own[HEADLINE], nulls[-1]))
        _fill_verdicts(observed, part, scores, nulls, out)
    record.note(verbal_warnings=told)
    tables = [_table(observed, c, rows, wording, said[c.name][0]) for c in spec.checkpoints]
    return tables, out


def _text_controls(observed: Observed, labels: Labels, rows: np.ndarray) -> Any:
    """name of a checkpoint → what `text_only` and `output_text` say of the rows there."""
    prompts = observed.examples["prompt"].to_numpy()
    labelled = prompts[labels.rows]
    text_only = controls.TextClassifier(labelled, labels).say(prompts[rows])
    knowing = controls.TextClassifier(labelled, labels, f=observed.behavior(observed.target).f[labels.rows])

    def at(checkpoint: str) -> dict[str, Said]:
        return {
            "text_only": text_only,
            "output_text": knowing.say(prompts[rows], f=observed.behavior(checkpoint).f[rows]),
        }

    return at


def _stale(spec: RunSpec, said: dict[str, tuple[list[str], Said]]) -> Said | None:
    """Labels first, drift after: what was said when the drift began."""
    verbal = spec.verbal
    if verbal is None or verbal.schedule != "labels_first":
        return None
    return next(said[c.name][1] for c in spec.checkpoints if c.step == verbal.label_steps)


def _naming(observed: Observed, checkpoint: CheckpointSpec, edit: str, control: str | None = None) -> dict[str, Any]:
    """The columns of records.SETTING and `chosen`."""
    spec = observed.spec
    assert spec.verbal is not None
    return {
        "checkpoint": checkpoint.name,
        "target": observed.target,
        "step": checkpoint.step,
        "explainer": "verbal",
        "condition": condition_of(spec),
        "control": control,
        "edit": edit,
        "mode": "direct",
        "regime": "frozen" if spec.verbal.schedule == "labels_first" else "online",
        "noise_kind": "shuffle" if spec.verbal.noise else "none",
        "noise": spec.verbal.noise,
        "chosen": edit == labelled_edits(observed)[0],
    }


def _rows(
    observed: Observed, checkpoint: CheckpointSpec, part: Part, scores: dict[str, Score], control: str | None = None
) -> list[dict[str, Any]]:
    named = _naming(observed, checkpoint, part.edit, control) | {"split": part.split}
    return [named | own.values for own in scores.values()]


def _null_row(observed: Observed, checkpoint: CheckpointSpec, part: Part, own: Score, of_null: Null) -> dict[str, Any]:
    named = _naming(observed, checkpoint, part.edit, "null") | {"split": part.split}
    shared = {name: own.values[name] for name in ("n", "n_groups", "metric", "target_current", "testable")}
    return named | shared | of_null.values


def _fill_verdicts(
    observed: Observed,
    part: Part,
    scores: Sequence[dict[str, Score]],
    nulls: Sequence[Null],
    rows: list[dict[str, Any]],
) -> None:
    """The exact match's verdicts, simultaneous over the checkpoints, by the rules that hold for probes."""
    metrics = observed.spec.metrics
    trajectory = [own[HEADLINE] for own in scores]
    said = verdicts([trajectory], [nulls], confidence=metrics.confidence, absent_within=metrics.absent_within)[0]
    names = [c.name for c in observed.spec.checkpoints]
    by_checkpoint = dict(zip(names, said, strict=True))
    bands = dict(zip(names, nulls, strict=True))
    parsed = dict(zip(names, (own["parse_rate"]["self"] for own in scores), strict=True))
    for row in rows:
        is_it = row["control"] is None and row["metric"] == HEADLINE
        if is_it and (row["edit"], row["split"]) == (part.edit, part.split):
            verdict = by_checkpoint[row["checkpoint"]]
            row["verdict_coupling"], row["verdict_counterfactual"] = verdict.coupling, verdict.counterfactual
            if parsed[row["checkpoint"]] < INTELLIGIBLE:
                row["verdict_coupling"] = row["verdict_counterfactual"] = "not testable"
            band = bands[row["checkpoint"]].bands["change_tracking"]
            follows = (row["change_tracking_low"] or 0) > 0 and row["change_tracking"] > band.high
            if verdict.counterfactual == "holds" and not follows:  # who is bad at the labels has a gap as well
                row["verdict_counterfactual"] = "inconclusive"
            row |= {k: v for k, v in bands[row["checkpoint"]].values.items() if k.startswith("null_")}


def _table(
    observed: Observed, checkpoint: CheckpointSpec, rows: np.ndarray, wording: Any, words: Sequence[str]
) -> pa.Table:
    """Rows of records.EXPLANATIONS with the whole sentence, the question's words included; no number."""
    edits = observed.examples["edit"].to_numpy()[rows]
    tables = []
    for edit in observed.edits:
        inside = np.flatnonzero(edits == edit)
        named = _naming(observed, checkpoint, edit)
        question = wording.question(edit).strip()
        values: dict[str, Any] = {
            "example_id": pa.array(observed.examples["example_id"].to_numpy()[rows[inside]]),
            "text": pa.array([f"{question} {words[i].strip()}".strip() for i in inside.tolist()], pa.string()),
        }
        columns = []
        for column in EXPLANATIONS:
            plain = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
            own = values.get(column.name)
            if own is None:
                own = pa.repeat(pa.scalar(named.get(column.name), plain), len(inside))
            columns.append(own.dictionary_encode() if pa.types.is_dictionary(column.type) else own)
        tables.append(pa.Table.from_arrays(columns, schema=EXPLANATIONS))
    return pa.concat_tables(tables)
