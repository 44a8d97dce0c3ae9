"""From a spec to a finished run: a list of steps, each one function.

examples → behavior (and hidden states) of every checkpoint → explanations and metrics → activation patching. A step
writes its parts as soon as they are ready and skips those that are there, so the same call resumes a stopped run.
"""

from __future__ import annotations

import platform
import subprocess
import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from engine.config import CheckpointSpec, InputError, RunSpec
from engine.measuring.stage import drop_pieces, measure
from engine.patching import stage as mechanism
from engine.probes import stage as probes
from engine.progress import Progress, silent
from engine.records import EXPLANATIONS, examples_table, metrics_table
from engine.runs import weights
from engine.runs.files import sha256_of
from engine.runs.kept import drop_kept
from engine.runs.observed import Observed
from engine.runs.store import Run
from engine.spec_files import relative_paths, with_trained_paths
from engine.tasks import task_examples
from engine.training.posttraining import post_train
from engine.verbal import stage as verbal
from engine.workers.local import HERE, Workers

PACKAGES = ("torch", "transformers", "numpy", "scikit-learn", "pandas", "pyarrow", "captum", "streamlit")


class Step(NamedTuple):
    """Some work of a run."""

    stages: tuple[str, ...]
    """Names under which the work reports progress, in this order."""
    work: Callable[[Observed, Progress], None]


def stages(spec: RunSpec) -> list[str]:
    """The names under which a run of the spec reports progress, in order."""
    return [name for step in (*measuring(spec), *explaining(spec)) for name in step.stages]


def measuring(spec: RunSpec, workers: Workers = HERE) -> list[Step]:
    """Behavior of the given checkpoints, then the training of the others and their behavior."""

    def behavior(checkpoint: CheckpointSpec) -> Step:
        return Step((f"behavior {checkpoint.name}",), partial(measure_if_finite, checkpoint, workers=workers))

    steps = [behavior(c) for c in spec.all_checkpoints if not c.trained]
    if spec.post_training:
        steps.append(Step(("post-training",), post_train))
    if spec.verbal:
        steps.append(Step(("explanation training",), verbal.train))
    steps += [behavior(c) for c in spec.all_checkpoints if c.trained]
    if spec.probes and spec.control_model.name not in [c.name for c in spec.all_checkpoints]:
        steps.append(behavior(spec.control_model))
    return steps


def explaining(spec: RunSpec, workers: Workers = HERE) -> list[Step]:
    """Explanations and metrics, then maps of activation patching."""
    names = ["choosing settings", "explaining and scoring", "controls"] if spec.probes else []
    steps = [Step((*names, *(["explaining in words"] if spec.verbal else [])), partial(explain, workers=workers))]
    if spec.patching:
        patching = spec.patching.model_copy(update={"device": spec.device})
        names = [mechanism.stage_of(name) for name in mechanism.patched(spec, patching)]
        steps.append(Step(tuple(names), lambda run, progress: mechanism.make(run.record, patching, progress)))
    return steps


def make_run(spec: RunSpec, out: Path, *, progress: Progress = silent, workers: Workers = HERE) -> Run:
    """Make the run in the folder `out`, or resume it, and return it finished. `spec` has absolute paths (`load_spec`).
    The workers measure, and choose settings of probes; who they are does not change the numbers, if they are machines
    of one kind.

    Raises InputError (bad input, full disk). After any exception the run is marked failed, with one line that says
    why; an interruption (Ctrl-C) leaves it interrupted. In both cases the same call resumes the run.
    """
    out = out.resolve()
    examples = load_examples(spec)
    record = Run.create(out, relative_paths(spec, out), provenance=provenance(spec))
    if record.state == "complete":
        return record
    try:
        if not record.has("examples.parquet"):
            record.write_table("examples.parquet", examples)
        del examples  # a large table; `Observed` reads it when it is needed
        observed = Observed(record, with_trained_paths(spec, out))
        timings = {}
        for name, steps in (("behavior_seconds", measuring), ("explanations_seconds", explaining)):
            started = time.perf_counter()
            for step in steps(observed.spec, workers):
                step.work(observed, progress)
            timings[name] = round(time.perf_counter() - started, 2)
            if record.diverged:
                observed = Observed(record, record.without_diverged(observed.spec))
        drop_hidden(observed)
        verbal.drop_parts(observed)
        drop_kept(record)
        if trained := weights.hashes(out, spec):
            record.note(weights=trained)
        record.tidy()
        record.finish(timings)
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
    """The task's examples as a table, sorted by prompt. Raises InputError if there are too few."""
    table = examples_table(task_examples(spec.task))
    if table.num_rows == 0:
        raise InputError(f"task {spec.task.name}: gives no examples: check its edits and prompts")
    kinds = set(table["edit"].to_pylist())
    if unknown := [e for e in spec.explainers.headline_edits if e not in kinds]:
        raise InputError(f"explainers.headline_edits: no example has the edit {unknown[0]!r}: use {sorted(kinds)}")
    if spec.probes:
        probes.refuse_untrainable(spec, table.select(["edit", "split", "group", "cue", "entity"]).to_pandas())
    return table.sort_by("prompt_id")


def provenance(spec: RunSpec) -> dict[str, Any]:
    """Content hashes of the inputs, versions, and the machine; no paths, no names of people."""
    import torch

    others = [spec.other_model] if spec.other_model else []
    content = {c.name: sha256_of(c.path) for c in (*spec.all_checkpoints, *others) if c.path and Path(c.path).exists()}
    drift = spec.verbal and spec.verbal.drift
    dialogues = (spec.post_training and spec.post_training.dialogues) or (drift and drift.dialogues)
    for name, file in (("dialogues", dialogues), ("examples", spec.task.path)):
        if file and Path(file).is_file():
            content[name] = sha256_of(file)
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


def measure_if_finite(checkpoint: CheckpointSpec, observed: Observed, progress: Progress, workers: Workers) -> None:
    """`measure`, or note that a later checkpoint diverged: it is not testable, and the run goes on without it.

    Raises DivergedError for the first checkpoint, the target and the control model, on which all others depend.
    """
    from engine.model.sizes import DivergedError

    record = observed.record
    if checkpoint.name in record.diverged or _dropped(checkpoint, observed):
        return
    try:
        measure(checkpoint, observed, progress, workers)
    except DivergedError as error:
        if checkpoint not in observed.spec.checkpoints[1:]:
            raise
        record.note(diverged=record.diverged | {checkpoint.name: str(error)})
        drop_pieces(record, checkpoint.name)
        for part in [p for p in record.parts if p.startswith(f"hidden/{checkpoint.name}/")]:
            record.drop(part)


def _dropped(checkpoint: CheckpointSpec, observed: Observed) -> bool:
    """Whether this is the control model of a run that was killed as it dropped what only its explanations needed."""
    return checkpoint == observed.spec.control_model and observed.record.has("metrics.parquet")


def explain(observed: Observed, progress: Progress = silent, workers: Workers = HERE) -> None:
    """Write explanations.parquet and metrics.parquet of a run whose behavior is measured."""
    record, spec = observed.record, observed.spec
    if record.has("explanations.parquet") and record.has("metrics.parquet"):
        return
    tables, rows = probes.of_probes(observed, progress, workers) if spec.probes else ([], [])
    if spec.verbal:
        verbal.ask(observed, progress)
        verbal_tables, verbal_rows = verbal.judge(observed)
        tables, rows = tables + verbal_tables, rows + verbal_rows
    table = pa.concat_tables(tables).unify_dictionaries() if tables else EXPLANATIONS.empty_table()
    record.write_table("explanations.parquet", table)
    record.write_table("metrics.parquet", metrics_table(rows))


def drop_hidden(observed: Observed) -> None:
    """Remove the hidden states that the spec does not keep, and everything of an untrained control model."""
    record, spec = observed.record, observed.spec
    control, keep = spec.control_model.name, spec.hidden.keep
    for part in [p for p in record.parts if p.startswith("hidden/")]:
        _, checkpoint, name = part.split("/")
        if keep == "none" or checkpoint == control or (keep == "prompts" and name.startswith("examples-")):
            record.drop(part)
    if record.has(f"behavior/{control}.parquet") and spec.other_model is None:
        record.drop(f"behavior/{control}.parquet")
