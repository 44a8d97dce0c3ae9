"""What a run will take, before anything is spent: tokens, minutes, memory and disk of every stage.

A few examples are measured with the models of the spec, in memory, and one batch is trained on; nothing is written. All
else follows from counts. The time of probes is that of one cross-validation on random states of the real shape. These
are estimates, within a factor of two or so.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute

from engine.config import CheckpointSpec, RunSpec
from engine.measuring.piece import Measuring
from engine.measuring.scoring_cost import scoring_of
from engine.measuring.training_cost import Training, training_of
from engine.patching import stage as mechanism
from engine.patching.maps import REGIONS
from engine.probes.kinds import EXPLAINERS, REFERENCE
from engine.probes.regimes import cross_validate
from engine.probes.ridge import grouped_folds
from engine.probes.scorer import KEPT_CONTROLS
from engine.progress import Progress, silent
from engine.runs.observed import EVALUATED
from engine.runs.pieces import CHARACTERS_A_TOKEN, Layout

LEAST_PROMPTS = 3
"""Prompts that are measured at least, with all their edits: as many as fill a batch. Twice; the second time counts."""
WORDS = 24
"""Tokens of a question with its explanation, about."""
MOST_ROWS = 2000
"""Rows of the cross-validation that is timed."""


@dataclass(frozen=True)
class Cost:
    """What one stage will take. None: it does not apply, or nothing is known of it."""

    stage: str
    tokens: int | None = None
    seconds: float | None = None
    memory: int | None = None
    """Bytes at the peak, of the models in use and what is held beside them."""
    disk: int | None = None
    """Bytes in the finished run."""

    @property
    def tokens_a_second(self) -> float | None:
        return self.tokens / self.seconds if self.tokens and self.seconds else None


@dataclass(frozen=True)
class Sample:
    """A few examples, measured with one model."""

    tokens_a_character: float
    tokens: int
    """Of measuring all examples."""
    tokens_a_second: float
    weights: int
    width: int
    layers: int
    batch: int
    """Bytes of one batch, at most."""
    training: Training | None = None
    """Of the checkpoint that the run trains further."""


def forecast(spec: RunSpec, examples: pa.Table, progress: Progress = silent) -> list[Cost]:
    """The stages of a run in order. `spec` has absolute paths. Raises InputError as the run would."""
    samples: dict[str, Sample] = {}
    models = [c for c in (*spec.all_checkpoints, spec.control_model) if not c.trained]
    families = {c.family: c for c in reversed(models)}
    for done, (family, checkpoint) in enumerate(families.items()):
        progress("measuring a few examples", done, len(families))
        samples[family] = _sampled(spec, checkpoint, examples)
    progress("measuring a few examples", len(families), len(families))
    return [*_measuring(spec, examples, samples), *_explaining(spec, examples, samples)]


def _sampled(spec: RunSpec, checkpoint: CheckpointSpec, examples: pa.Table) -> Sample:
    from engine.model.batch_size import bytes_a_token
    from engine.model.behavior import measure

    work = Measuring.of(spec, checkpoint, Path("-"), spec.chat)
    work.examples = examples
    work.begin()
    facts = work.facts()
    layout = Layout.of(examples, facts.tokens_a_batch, facts.head)
    wanted = CHARACTERS_A_TOKEN * facts.tokens_a_batch
    ids = examples["prompt_id"].to_numpy()
    last = max(LEAST_PROMPTS - 1, ids[min(np.searchsorted(layout.weight[1:], wanted), len(ids) - 1)])
    few = examples.slice(0, int(np.searchsorted(ids, last, side="right")))
    options: dict[str, Any] = {"hidden": work.hidden, "examples_too": work.examples_too, "batch_size": spec.batch_size}
    first = measure(work.loaded, few, **options)
    begun = perf_counter()
    again = measure(work.loaded, few, **options, trial=first.report.trial)
    seconds = perf_counter() - begun
    model, tokens = work.loaded.model, again.report.tokens
    a_character = tokens / layout.amount(0, len(few))
    in_all = round(a_character * layout.amount(0, len(examples)))
    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    batch = facts.tokens_a_batch * bytes_a_token(model)
    one = Sample(a_character, in_all, tokens / seconds, weights, work.loaded.width, work.loaded.n_layers, batch)
    if checkpoint.family != spec.checkpoints[0].family or not any(c.trained for c in spec.checkpoints):
        return one
    return replace(one, training=training_of(spec, work.loaded, examples))


def _measuring(spec: RunSpec, examples: pa.Table, samples: dict[str, Sample]) -> Iterator[Cost]:
    first = samples[spec.checkpoints[0].family]

    def behavior(checkpoint: CheckpointSpec) -> Cost:
        one = samples[checkpoint.family]
        disk = _hidden_bytes(spec, checkpoint, examples, one) + 8 * len(examples)
        seconds = one.tokens / one.tokens_a_second
        return Cost(f"behavior {checkpoint.name}", one.tokens, seconds, one.weights + one.batch, disk)

    yield from (behavior(c) for c in spec.all_checkpoints if not c.trained)
    trained = [c for c in spec.checkpoints if c.trained]
    if first.training:
        yield _training(spec, examples, first, first.training, [c.step for c in trained])
    yield from (behavior(c) for c in trained)
    if spec.probes and spec.control_model.name not in [c.name for c in spec.all_checkpoints]:
        yield behavior(spec.control_model)


def _training(spec: RunSpec, examples: pa.Table, one: Sample, training: Training, steps: list[int]) -> Cost:
    tokens = round(max(steps) * _tokens_a_step(spec, examples, one, training))
    seconds = tokens / training.tokens_a_second + max(steps) * training.optimizer_seconds
    # Gradients, and up to two moments of each; before an adapter is trained, its merge is tried on a copy.
    memory = training.weights + max(3 * training.trained + training.batch, training.weights if spec.lora else 0)
    kept = spec.post_training or (spec.verbal and spec.verbal.keep_checkpoints)
    stage = "post-training" if spec.post_training else "explanation training"
    return Cost(stage, tokens, seconds, memory, training.saved * len(steps) if kept else 0)


def _hidden_bytes(spec: RunSpec, checkpoint: CheckpointSpec, examples: pa.Table, one: Sample) -> int:
    """Bytes of the hidden states of a checkpoint that the finished run keeps."""
    if not spec.probes or checkpoint not in spec.checkpoints or spec.hidden.keep == "none":
        return 0
    size = (2 if spec.hidden.dtype == "float16" else 4) * one.width * len(set(spec.hidden.layers))
    prompts = len(pa.compute.unique(examples["prompt_id"]))
    spans = 2 if "span" in spec.hidden.positions else 0
    of_examples = (1 + spans) * len(examples) if spec.hidden.keep == "all" else 0
    return size * (prompts + of_examples)


def _tokens_a_step(spec: RunSpec, examples: pa.Table, one: Sample, training: Training) -> float:
    """Tokens of a training step, from the mean length of what it reads."""
    if spec.post_training:
        return spec.post_training.prompts_a_step * training.tokens_a_dialogue
    mean = _mean_tokens(examples, one)
    assert spec.verbal is not None
    held = 1 if spec.verbal.beta else 0
    drift = spec.verbal.drift.prompts_a_step if spec.verbal.drift else 0
    return spec.verbal.prompts_a_step * ((1 + held) * mean + WORDS) + drift * mean


def _mean_tokens(examples: pa.Table, one: Sample) -> float:
    """Tokens of a prompt."""
    return float(pa.compute.mean(pa.compute.utf8_length(examples["prompt"])).as_py()) * _tokens_of_text(one)


def _tokens_of_text(one: Sample) -> float:
    """Tokens a character of a text that is read in full: at least as many as where prefixes are shared."""
    return max(one.tokens_a_character, 0.2)


def _explaining(spec: RunSpec, examples: pa.Table, samples: dict[str, Sample]) -> Iterator[Cost]:
    first = samples[spec.checkpoints[0].family]
    if spec.probes:
        yield from _probes(spec, examples, first)
    split = np.asarray(examples["split"].to_pylist())
    if spec.verbal:
        asked = int((split != "train").sum()) * (len(spec.checkpoints) + len(spec.verbal.controls))
        tokens = round(asked * (_mean_tokens(examples, first) + WORDS))
        # A generated token costs a forward of its own.
        yield Cost("explaining in words", tokens, 2 * tokens / first.tokens_a_second, first.weights + first.batch)
    if spec.patching:
        per_edit = min(spec.patching.examples, int((split == spec.patching.split).sum()))
        edits = max(1, len(spec.patching.edits))
        rows = per_edit * edits * (first.layers + 1) * len(REGIONS)
        tokens = round(rows * _mean_tokens(examples, first))
        for name in mechanism.patched(spec, spec.patching):
            seconds = tokens / first.tokens_a_second
            yield Cost(mechanism.stage_of(name), tokens, seconds, first.weights + first.batch, 16 * rows)


def _probes(spec: RunSpec, examples: pa.Table, one: Sample) -> Iterator[Cost]:
    """Cross-validation is timed for each kind of probe; explaining repeats about as much at each checkpoint. Scoring is
    timed on one sample."""
    frame = examples.select(["edit", "split", "group", "cue", "entity"]).to_pandas()
    edit, train = frame["edit"], frame["split"] == "train"
    rows, edits = int(train.sum()), edit.nunique()
    positions, layers = len(spec.hidden.positions), len(set(spec.hidden.layers))
    rng = np.random.default_rng(0)
    n = max(2 * spec.explainers.folds, min(rows // max(1, edits), MOST_ROWS))
    x, y = rng.normal(size=(n, one.width)), rng.normal(size=n)
    folds = grouped_folds(rng.integers(n // 2, size=n), folds=spec.explainers.folds)
    scale = max(1.0, rows / edits / n)
    scoring, evaluated = scoring_of(spec, frame), edit[frame["split"].isin(EVALUATED)]
    every = len(evaluated) * len(spec.checkpoints)
    choosing, explaining, controls = 0.0, every * scoring.sample, every * len(KEPT_CONTROLS) * scoring.precise
    for kind in spec.explainers.kinds:
        explainer, asked = EXPLAINERS[kind], spec.explainers.headline_edits
        its_edits = edit.unique() if explainer.cheap or not asked else asked
        read = int(evaluated.isin(its_edits).sum()) * len(spec.checkpoints)
        inputs = positions * layers * (len(spec.explainers.modes) if explainer.cheap else 1)
        regimes = len([r for r in spec.explainers.regimes if r in explainer.regimes])
        begun = perf_counter()
        cross_validate(kind, x, y, folds, spec.explainers, seed=0)
        once = (perf_counter() - begun) * scale
        choosing += len(its_edits) * inputs * once
        explaining += len(its_edits) * inputs * regimes * len(spec.checkpoints) * once / spec.explainers.folds
        explaining += regimes * read * ((inputs - 1) * scoring.plain + scoring.precise)
        controls += regimes * read * scoring.precise + (regimes * read * scoring.null if kind == REFERENCE else 0)
    memory = 8 * 3 * rows * one.width
    yield Cost("choosing settings", None, choosing, memory)
    yield Cost("explaining and scoring", None, explaining, memory, 8 * len(examples) * len(spec.checkpoints))
    yield Cost("controls", None, controls, memory)


def markdown(costs: list[Cost], out: Path) -> str:
    """The forecast as a table, with its sums, and the disk's free space."""
    total = Cost(
        "all",
        sum(cost.tokens or 0 for cost in costs),
        sum(cost.seconds or 0 for cost in costs),
        max((cost.memory or 0 for cost in costs), default=0),
        sum(cost.disk or 0 for cost in costs),
    )
    lines = ["| stage | tokens | tokens a second | minutes | memory | disk |", "|---|---|---|---|---|---|"]
    for cost in [*costs, total]:
        tokens = "–" if cost.tokens is None else f"{cost.tokens:,}"
        minutes = "–" if cost.seconds is None else f"{cost.seconds / 60:.2g}"
        rate = f"{cost.tokens_a_second:,.0f}" if cost.tokens_a_second and cost is not total else "–"
        lines.append(f"| {cost.stage} | {tokens} | {rate} | {minutes} | {_size(cost.memory)} | {_size(cost.disk)} |")
    there = next(folder for folder in (out.absolute(), *out.absolute().parents) if folder.exists())
    free = shutil.disk_usage(there).free
    lines.append("")
    lines.append(f"Estimates from a few examples; nothing was written. Free on the disk of {out}: {_size(free)}.")
    if (total.disk or 0) > free:
        lines.append("The run does not fit there.")
    return "\n".join(lines)


def _size(count: int | None) -> str:
    if not count:
        return "–"
    unit = next((u for u in ("KiB", "MiB", "GiB") if count < 1024 * _UNITS[u]), "TiB")
    return f"{count / _UNITS[unit]:,.3g} {unit}"


_UNITS: dict[str, Any] = {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
