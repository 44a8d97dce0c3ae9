"""From the checkpoints' sentences to tables of explanations and rows of metrics, with controls and verdicts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import pyarrow as pa

from engine.config import CheckpointSpec, MetricSpec, RunSpec
from engine.records import CLAIMS, EXPLANATIONS
from engine.runs.observed import EVALUATED, Observed
from engine.stats.bootstrap import Resamples
from engine.stats.faithfulness import Null, Score
from engine.stats.unseen import Design
from engine.stats.verdicts import exceeded, verdicts
from engine.tasks import WORDINGS
from engine.verbal import controls
from engine.verbal.labels import Answers
from engine.verbal.score import (
    HEADLINE,
    INTELLIGIBLE,
    Said,
    null_of_words,
    score_words,
    statements,
    strata,
    warnings_of,
)
from engine.verbal.texts import answer_pairs, evaluated, labelled_edits, labels_of


def said_part(name: str) -> str:
    """The part that holds the words of a checkpoint, or of a control's model, until the run is complete."""
    return f"said/{name}.parquet"


def condition_of(spec: RunSpec) -> str:
    """The options that vary between runs of this kind, in words; noise has columns of its own."""
    verbal = spec.verbal
    assert verbal is not None
    drift, target = verbal.drift, spec.target_checkpoint
    schedule = "drift after" if verbal.schedule == "labels_first" else "concurrent"
    words = {
        f"β {verbal.beta:g}": True,
        schedule if drift else "no drift": True,
        "words held": drift and drift.hold_words,
        "drift of unlabelled entities": drift and drift.entities == "unlabelled",
        f"{verbal.labels} labels": verbal.labels,
        f"{verbal.changed_share or 0:.0%} of the labels say changed": verbal.changed_share,
        f"labels of {target.family}": target.name != spec.checkpoints[0].name,
        "unknown entities": spec.task.unknown_entities,
        "forced choice": verbal.decoding == "choice",
        f"LoRA rank {verbal.lora and verbal.lora.rank}": verbal.lora,
    }
    return ", ".join(word for word, holds in words.items() if holds)


@dataclass(frozen=True)
class Part:
    """The n evaluated examples of one kind of edit in one split.

    rows [n]: row numbers of the examples. inside [n]: places of these among all evaluated rows. precise: more draws
    than `resamples`, for the model's own sentences and their verdicts.
    """

    edit: str
    split: str
    inside: np.ndarray
    rows: np.ndarray
    resamples: Resamples
    precise: Resamples
    design: Design

    @property
    def units(self) -> np.ndarray:
        """The entity of each example, or its group, [n]."""
        return self.design.groups if self.design.entity is None else self.design.entity


def parts(observed: Observed) -> Iterator[Part]:
    rows, spec = evaluated(observed), observed.spec.metrics
    edit, split = (observed.examples[c].to_numpy()[rows] for c in ("edit", "split"))
    for kind, (number, name) in product(observed.edits, enumerate(EVALUATED)):
        inside = np.flatnonzero((edit == kind) & (split == name))
        if len(inside) < 3:
            continue
        design = Design(**observed.factors(rows[inside]))
        rng = np.random.default_rng([spec.seed, number])
        draws = [design.resamples(rng, n) for n in (spec.bootstrap, max(spec.bootstrap, spec.verdict_draws))]
        yield Part(kind, name, inside, rows[inside], draws[0], draws[1], design)


def judge(observed: Observed, words: dict[str, list[str]] | None = None) -> tuple[list[pa.Table], list[dict[str, Any]]]:
    """Tables of explanations and rows of metrics.

    words: for each checkpoint and control model, what it said of the evaluated examples; by default as `ask` wrote it.
    """
    record, spec = observed.record, observed.spec
    assert spec.verbal is not None
    rows = evaluated(observed)
    pairs = answer_pairs(observed.examples.iloc[rows])
    if words is None:
        names = (*observed.currents, *spec.verbal.controls)
        words = {name: record.read_table(said_part(name))["text"].to_pylist() for name in names}
    said = {name: statements(WORDINGS[spec.task.name], own, pairs) for name, own in words.items()}
    read_texts = _text_controls(observed, rows)
    out: list[dict[str, Any]] = []
    told: list[str] = []
    for part in parts(observed):
        judged = []
        for checkpoint in spec.checkpoints:
            taken = {name: own.take(part.inside) for name, own in (said | read_texts[checkpoint.name]).items()}
            judged.append(_judge_part(observed, checkpoint, part, taken, out))
            if checkpoint.trained:
                about = f"{checkpoint.name}, {part.edit}, {part.split}"
                told += [f"{about}: {warning}" for warning in warnings_of(judged[-1].scores)]
        _fill_verdicts(spec.metrics, judged)
    record.note(verbal_warnings=told)
    return [_explanations(observed, c, rows, words[c.name]) for c in spec.checkpoints], out


@dataclass(frozen=True)
class Judged:
    """One checkpoint on one part."""

    row: dict[str, Any]
    """Of the headline metric; verdicts are added."""
    scores: dict[str, Score]
    null: Null
    over: dict[str, list[str]]
    """Claim → the controls that the sentences exceed."""


def _judge_part(
    observed: Observed, checkpoint: CheckpointSpec, part: Part, said: dict[str, Said], out: list[dict[str, Any]]
) -> Judged:
    """Append the rows of one checkpoint on one part to `out`. said: checkpoints and controls → their statements."""
    spec, metrics = observed.spec, observed.spec.metrics
    assert spec.verbal is not None
    behaviors = [observed.behavior(name).take(part.rows) for name in (checkpoint.name, observed.target)]
    now, label = (Answers.of(behavior) for behavior in behaviors)
    others = part.design.others(now.x.astype(np.float64))[:, 1] if part.design.factors else None
    mine, stale = said[checkpoint.name], None
    if spec.verbal.schedule == "labels_first":
        stale = next(said[c.name] for c in spec.checkpoints if c.step == spec.verbal.label_steps)
    common: dict[str, Any] = {"now": now, "label": label, "units": part.units, "confidence": metrics.confidence}
    common |= {"among": strata(now, label, np.abs(behaviors[1].f_edited), others)}
    paired = common | {"text_only": said["text_only"]}
    own = score_words(mine, resamples=part.precise, stale=stale, **paired)
    null = null_of_words(mine, shuffles=metrics.null_shuffles, seed=metrics.seed, **common)
    named = _naming(observed, checkpoint, part.edit) | {"split": part.split}
    named |= dict(zip(("n_cues", "n_entities"), part.design.sizes, strict=False))
    rows = [named | score.values for score in own.values()]
    known = [name for name in (*spec.verbal.controls, "text_only", "output_text") if name in said]
    beside = {}
    for name, control in (controls.of_output(mine, now) | {name: said[name] for name in known}).items():
        scores = score_words(control, resamples=part.resamples, **paired)
        beside[name] = scores[HEADLINE]
        rows += [named | {"control": name} | score.values for score in scores.values()]
    shared = {name: rows[0][name] for name in ("n", "n_groups", "metric", "target_current", "why_not")}
    out += [*rows, named | {"control": "null"} | shared | null.values]
    rivals = {name: score for name, score in beside.items() if name != "consistency"}  # it shares the model's content
    coarse = score_words(mine, resamples=part.resamples, **paired)[HEADLINE]
    over = {claim: exceeded(coarse, rivals, claim, metrics.confidence) for claim in CLAIMS}
    return Judged(rows[0], own, null, over)


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


def _fill_verdicts(spec: MetricSpec, judged: Sequence[Judged]) -> None:
    """Add verdicts to the exact match's rows, simultaneous over the checkpoints, by the rules for probes."""
    trajectory = [at.scores[HEADLINE] for at in judged]
    for claim in CLAIMS:
        said = verdicts([trajectory], claim, confidence=spec.confidence, absent_within=spec.absent_within)[0]
        for at, found in zip(judged, said, strict=True):
            if at.scores["parse_rate"]["self"] < INTELLIGIBLE:
                at.row[f"verdict_{claim}"] = "not testable"  # and so it has no power
                continue
            at.row.update(found.columns(claim, at.over[claim]))
    for at in judged:
        at.row.update({column: value for column, value in at.null.values.items() if column.startswith("null_")})
        at.row.update({f"{name}_p": at.null.p(name, at.scores[HEADLINE][name]) for name in ("gap", "unseen")})


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
