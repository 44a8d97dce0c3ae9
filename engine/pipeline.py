"""From a spec to a finished run, one function a stage.

examples → behavior (and hidden states) of every checkpoint → explanations and metrics. Every stage writes its
parts as they are ready and skips those that are there, so the same call goes on with a run that was stopped.
`executor` is anything with a lazy, ordered `map(function, items)`: the built-in one here, or one of many processes.
"""

from __future__ import annotations

import functools
import platform
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from engine.config import (
    CheckpointSpec,
    HiddenSpec,
    InputError,
    RunSpec,
    relative_paths,
    with_trained_paths,
)
from engine.patching import stage as mechanism
from engine.probes import stage as probes
from engine.progress import Progress, silent
from engine.records import BEHAVIOR, EXPLANATIONS, examples_table, metrics_table
from engine.runs.observed import Observed
from engine.runs.store import Run, content_hash
from engine.tasks import task_examples
from engine.training.posttraining import post_train
from engine.verbal import stage as verbal

PACKAGES = ("torch", "transformers", "numpy", "scikit-learn", "pandas", "pyarrow", "captum", "streamlit")
SHARD = 4096
"""About how many examples are measured between two parts on disk: what a kill may lose, and a bound on memory."""


class Executor(Protocol):
    def map(self, function: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
        """Results in the order of the items, each as soon as it is ready."""


class Serial:
    """Work in this process, one item after the other."""

    def map(self, function: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
        return map(function, items)


def run(spec: RunSpec, out: Path, *, executor: Executor | None = None, progress: Progress = silent) -> Run:
    """Make the run, or go on with it, and return it finished. `spec` has absolute paths (`load_spec`).

    Raises InputError (bad input, full disk). After any exception the run is marked failed, with one line that says
    why; an interruption (Ctrl-C) leaves it interrupted. In both cases the same call resumes the run.
    """
    out = out.resolve()
    examples = load_examples(spec)
    record = Run.create(out, relative_paths(spec, out), provenance=provenance(spec))
    if record.state == "complete":
        return record
    started = time.perf_counter()
    try:
        if not record.has("examples.parquet"):
            record.write_table("examples.parquet", examples)
        spec = with_trained_paths(spec, out)
        if spec.post_training or spec.verbal:  # the targets are the behavior of the target, measured first
            given = (spec.target_checkpoint, spec.checkpoints[0])
            measure(record, spec, tuple(dict.fromkeys(given)), examples, executor or Serial(), progress)
            post_train(record, spec, progress)
            verbal.train(record, spec, progress)
        everything = (*spec.all_checkpoints, *((spec.control_model,) if spec.probes else ()))
        measure(record, spec, everything, examples, executor or Serial(), progress)
        measured = time.perf_counter()
        explain(record, spec, progress)
        if spec.patching:
            mechanism.make(record, spec.patching.model_copy(update={"device": spec.device}), progress)
        drop_hidden(record, spec)
        verbal.drop_parts(record, spec)
        timings = {"behavior_seconds": measured - started, "explanations_seconds": time.perf_counter() - measured}
        record.finish({name: round(seconds, 2) for name, seconds in timings.items()})
    except InputError as error:
        record.fail(str(error))
        raise
    except Exception as error:
        record.fail(" ".join(f"{type(error).__name__}: {error}".split()))
        raise
    finally:  # Ctrl-C and SystemExit too: no exit leaves the lock held
        record.close()
    return record


def load_examples(spec: RunSpec) -> pa.Table:
    """The task's examples as a table, in the order of their prompts; raises InputError where there are none."""
    table = examples_table(task_examples(spec.task))
    if table.num_rows == 0:
        raise InputError(f"task {spec.task.name}: gives no examples: check its edits and prompts")
    kinds = set(table["edit"].to_pylist())
    if unknown := [e for e in spec.explainers.headline_edits if e not in kinds]:
        raise InputError(f"explainers.headline_edits: no example has the edit {unknown[0]!r}: use {sorted(kinds)}")
    return table.sort_by("prompt_id")


def provenance(spec: RunSpec) -> dict[str, Any]:
    """What the run came from: content hashes, versions, the machine. No paths, no names of people."""
    import torch

    content = {
        c.name: content_hash(c.path)
        for c in (*spec.all_checkpoints, *((spec.other_model,) if spec.other_model else ()))
        if c.path and Path(c.path).is_dir()
    }
    drift = spec.verbal and spec.verbal.drift
    for dialogues in (spec.post_training and spec.post_training.dialogues, drift and drift.dialogues):
        if dialogues and Path(dialogues).is_file():
            content["dialogues"] = content_hash(dialogues)
    if spec.task.path and Path(spec.task.path).is_file():
        content["examples"] = content_hash(spec.task.path)
    return {
        "content": content,
        "git_commit": _git_commit(),
        "packages": {name: version(name) for name in PACKAGES},
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
        "device": spec.device,
        "threads": torch.get_num_threads(),
    }


def _git_commit() -> str | None:
    here = Path(__file__).parent
    try:
        done = subprocess.run(["git", "rev-parse", "HEAD"], cwd=here, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


# -- behavior ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Shard:
    """The work of one worker: some prompts with all their examples, at one checkpoint."""

    checkpoint: CheckpointSpec
    index: int
    examples: pa.Table
    hidden: HiddenSpec | None
    examples_too: bool
    """Whether hidden states of x' or of spans are read."""
    device: str
    dtype: str
    batch_size: int | None = None


def shards(spec: RunSpec, checkpoint: CheckpointSpec, examples: pa.Table) -> list[Shard]:
    """Cut between prompts, after every `SHARD` examples. The target of another family needs no hidden states."""
    prompt = examples["prompt_id"].to_numpy()
    firsts = np.flatnonzero(np.r_[True, prompt[1:] != prompt[:-1]])
    _, begins = np.unique(firsts // SHARD, return_index=True)
    bounds = [*firsts[begins], len(prompt)]
    reads_hidden = spec.probes and (checkpoint in spec.checkpoints or checkpoint == spec.control_model)
    examples_too = "difference" in spec.explainers.modes or "span" in spec.hidden.positions
    return [
        Shard(
            checkpoint,
            index,
            examples.slice(start, stop - start),
            spec.hidden if reads_hidden else None,
            examples_too,
            spec.device,
            spec.dtype,
        )
        for index, (start, stop) in enumerate(pairwise(bounds))
    ]


@functools.lru_cache(maxsize=1)
def _loaded(checkpoint: CheckpointSpec, device: str, dtype: str) -> Any:
    from engine.model.checkpoints import load

    return load(checkpoint, device=device, dtype=dtype)


def measure_shard(shard: Shard) -> Any:
    """Behavior and hidden states of one shard (`behavior.Measured`); pure, so it can run anywhere."""
    from engine.model.behavior import measure as measure_examples

    return measure_examples(
        _loaded(shard.checkpoint, shard.device, shard.dtype),
        shard.examples,
        hidden=shard.hidden,
        examples_too=shard.examples_too,
        batch_size=shard.batch_size,
    )


def measure(
    record: Run,
    spec: RunSpec,
    checkpoints: Sequence[CheckpointSpec],
    examples: pa.Table,
    executor: Executor,
    progress: Progress,
) -> None:
    """Write behavior/<checkpoint>.parquet and hidden/<checkpoint>/… of every checkpoint that lacks them."""
    for checkpoint in checkpoints:
        name = checkpoint.name
        final = f"behavior/{name}.parquet"
        if record.has(final):
            _drop_pieces(record, name)  # killed between writing the whole and dropping its pieces
            continue
        work = shards(spec, checkpoint, examples)
        left = [s for s in work if not record.has(_piece(name, s.index))]
        done = len(work) - len(left)
        progress(f"behavior {name}", done, len(work))
        for shard, measured in zip(left, _in_turn(record, spec, left, executor), strict=True):
            _note(record, name, measured)
            if measured.prompts:
                record.write_arrays(f"hidden/{name}/{shard.index:05d}.safetensors", measured.prompts)
            if measured.examples:
                record.write_arrays(f"hidden/{name}/examples-{shard.index:05d}.safetensors", measured.examples)
            columns = [shard.examples["example_id"], measured.f, measured.f_edited]
            record.write_table(_piece(name, shard.index), pa.table(columns, names=BEHAVIOR.names).cast(BEHAVIOR))
            done += 1
            progress(f"behavior {name}", done, len(work))
        pieces = [_piece(name, s.index) for s in work]
        record.write_table(final, pa.concat_tables([record.read_table(p) for p in pieces]))
        _drop_pieces(record, name)


def _in_turn(record: Run, spec: RunSpec, left: Sequence[Shard], executor: Executor) -> Iterator[Any]:
    """What each shard measures, in order. While no batch size is known, the first shard finds it, alone; every other
    one gets what the record says by then, so that a run that was stopped goes on with the same batches.
    """

    def known(shard: Shard) -> int | None:
        return record.manifest["notes"].get("batch_size", {}).get(shard.checkpoint.name) or spec.batch_size

    if left and known(left[0]) is None:
        yield from executor.map(measure_shard, left[:1])
        left = left[1:]
    yield from executor.map(measure_shard, (replace(shard, batch_size=known(shard)) for shard in left))


def _drop_pieces(record: Run, checkpoint: str) -> None:
    for piece in [part for part in record.parts if part.startswith(f"behavior/{checkpoint}/")]:
        record.drop(piece)


def _piece(checkpoint: str, index: int) -> str:
    return f"behavior/{checkpoint}/{index:05d}.parquet"


def _note(record: Run, checkpoint: str, measured: Any) -> None:
    """Record the smallest batch size that a shard ended with, and the path taken: a list where shards took several."""
    notes = record.manifest["notes"]
    sizes, paths = notes.get("batch_size", {}), notes.get("forward_path", {})
    size = min(measured.report.batch_size, sizes.get(checkpoint, measured.report.batch_size))
    before = paths.get(checkpoint, [])
    taken = list(dict.fromkeys([*([before] if isinstance(before, str) else before), measured.report.path]))
    path = taken if len(taken) > 1 else taken[0]
    if (size, path) != (sizes.get(checkpoint), before):
        record.record(batch_size=sizes | {checkpoint: size}, forward_path=paths | {checkpoint: path})


# -- explanations ------------------------------------------------------------------------------------


def explain(record: Run, spec: RunSpec, progress: Progress = silent) -> None:
    """Write explanations.parquet and metrics.parquet of a run whose behavior is measured."""
    if record.has("explanations.parquet") and record.has("metrics.parquet"):
        return
    observed = Observed(record, spec)
    tables, rows = probes.of_probes(record, spec, observed, progress) if spec.probes else ([], [])
    if spec.verbal:
        verbal.ask(record, spec, observed, progress)
        in_words, scored = verbal.judge(record, observed)
        tables, rows = tables + in_words, rows + scored
    table = pa.concat_tables(tables).unify_dictionaries() if tables else EXPLANATIONS.empty_table()
    record.write_table("explanations.parquet", table)
    record.write_table("metrics.parquet", metrics_table(rows))


def drop_hidden(record: Run, spec: RunSpec) -> None:
    """Remove the hidden states that the finished run is not asked to keep, and the control model's in any case."""
    control = spec.control_model.name
    keep = spec.hidden.keep
    for part in [p for p in record.parts if p.startswith("hidden/")]:
        _, checkpoint, name = part.split("/")
        if keep == "none" or checkpoint == control or (keep == "prompts" and name.startswith("examples-")):
            record.drop(part)
    if record.has(f"behavior/{control}.parquet") and spec.other_model is None:
        record.drop(f"behavior/{control}.parquet")
