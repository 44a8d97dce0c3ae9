"""A study of self-explanation: makes the runs of its cells and keeps metrics and sentences only; it can be resumed.

The pipeline makes the run of every cell. The run is removed once its metrics and its sentences are collected in two
Parquet files, with a hash of the cell's spec. A cell in these files is not made again unless its spec has changed.

The workers may be this process, several of one thread each, or a cluster; their number changes only the time.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from filelock import FileLock

from engine import pipeline
from engine.config import CheckpointSpec, InputError, RunSpec
from engine.progress import Progress, silent
from engine.runs.files import MANIFEST, replace_file
from engine.runs.observed import Observed
from engine.runs.store import Run
from engine.spec_files import relative_paths
from engine.studies.over_seeds import VERDICTS
from engine.studies.samples import jobs, train_job
from engine.studies.verbal_cells import Cell, VerbalStudySpec, cells
from engine.verbal.labels import Answers
from engine.verbal.texts import truthful_sentences
from engine.workers.local import HERE, Told, Workers

METRICS_FILE = "metrics.parquet"
EXPLANATIONS_FILE = "explanations.parquet"
CONTROL_METRICS = ("exact_match", "has_changed_f1", "content_match", "content_match_moved", "content_match_balanced")
Made = dict[str, pd.DataFrame]
"""File → the rows of a cell in it."""


def run_verbal_study(
    spec: VerbalStudySpec,
    seeds: tuple[int, ...],
    base: Path,
    out: Path,
    progress: Progress = silent,
    *,
    make: bool = True,
    workers: Workers = HERE,
) -> pd.DataFrame:
    """Metrics of all cells that are done, one row a setting of records.METRICS with the columns base, task, setting,
    world, seed, digest. They are also written to `out`, together with the sentences.

    base: the folder that the study's paths are relative to. Without `make`, no cell is made; `out` is only read.
    """
    work = list(cells(spec, seeds, base))
    tables = {name: _read_table(out / name) for name in (METRICS_FILE, EXPLANATIONS_FILE)}
    left = [cell for cell in work if make and not is_done(tables[METRICS_FILE], cell)]
    if left:
        out.mkdir(parents=True, exist_ok=True)
    order = {cell.name: number for number, cell in enumerate(work)}
    begun = time.monotonic()
    for number, (cell, made) in enumerate(_made(spec, left, out, progress, workers), start=1):
        for name, own in made.items():
            tables[name] = _with_cell(tables[name], own, cell, order)
            replace_file(out / name, partial(tables[name].to_parquet, index=False, compression="zstd"))
        minutes = _minutes_since(begun) / number * (len(left) - number)
        progress(f"study, about {minutes:.0f} min left", len(work) - len(left) + number, len(work))
    table = tables[METRICS_FILE]
    return table[table["digest"].isin({cell.digest for cell in work})].reset_index(drop=True)


def _minutes_since(begun: float) -> float:
    return (time.monotonic() - begun) / 60


def _read_table(path: Path) -> pd.DataFrame:
    return pd.read_parquet(path, partitioning=None) if path.exists() else pd.DataFrame(columns=["cell", "digest"])


def _with_cell(table: pd.DataFrame, own: pd.DataFrame, cell: Cell, order: Mapping[str, int]) -> pd.DataFrame:
    """The table with a cell's rows replaced, in the order in which cells are made."""
    kept = table[table["cell"] != cell.name]
    both = pd.concat([kept, own], ignore_index=True) if len(kept) else own
    place = both["cell"].map(lambda name: order.get(name, -1))
    return both.iloc[place.argsort(kind="stable")].reset_index(drop=True)


@dataclass
class _Making:
    """Makes cells (a `workers.Work`). Progress is shown only where this process makes them."""

    spec: VerbalStudySpec
    out: Path
    progress: Progress = silent

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"progress": silent}

    def begin(self) -> None:
        """Each cell loads its own models."""

    def do(self, item: Cell, told: Told | None = None) -> Made:
        return _make(self.spec, item, self.out, self.progress)


def _made(
    spec: VerbalStudySpec, left: Sequence[Cell], out: Path, progress: Progress, workers: Workers
) -> Iterator[tuple[Cell, Made]]:
    """Cells as they are ready; none is begun after `spec.until` minutes, but those in progress are finished."""
    begun = time.monotonic()
    in_time = takewhile(lambda _: spec.until is None or _minutes_since(begun) <= spec.until, left)
    with workers.crew(_Making(spec, out.resolve(), progress)) as crew:
        yield from crew.each(in_time)


def is_done(table: pd.DataFrame, cell: Cell) -> bool:
    """Whether a cell's metrics are there and were made from exactly this spec."""
    return bool(((table["cell"] == cell.name) & (table["digest"] == cell.digest)).any())


def worth_keeping(table: pd.DataFrame) -> pd.DataFrame:
    """Rows and columns of records.METRICS that the tables need: the explainer by every metric, its controls by those in
    CONTROL_METRICS, the chosen probes without noise; columns that are not empty."""
    of_probes = table["explainer"] != "verbal"
    kept = table["control"].isna() | table["metric"].isin(CONTROL_METRICS)
    rows = table[np.where(of_probes, table["chosen"] & (table["noise"] == 0), kept)]
    always = {"world", "control", "why_not", *VERDICTS}
    return rows[[c for c in rows if c in always or rows[c].notna().any()]]


def _make(spec: VerbalStudySpec, cell: Cell, out: Path, progress: Progress = silent) -> Made:
    trains = spec.models == "fresh" or cell.shape is not None
    resolved = _with_trained_models(spec, cell, out, progress) if trains else cell.spec
    folder = out / f".{cell.name}"
    if (folder / MANIFEST).exists() and Run.open(folder).spec != relative_paths(resolved, folder.resolve()):
        shutil.rmtree(folder)
    finished = pipeline.make_run(resolved, folder, progress=progress)
    about = {name: getattr(cell, name) for name in ("base", "task", "setting", "world", "seed", "digest")}
    metrics = worth_keeping(finished.read_table(METRICS_FILE).to_pandas()).assign(cell=cell.name, **about)
    made = {METRICS_FILE: metrics, EXPLANATIONS_FILE: spoken(finished).assign(cell=cell.name)}
    shutil.rmtree(folder, ignore_errors=True)
    return made


def spoken(finished: Run) -> pd.DataFrame:
    """The sentence about each held-out and validation example of the headline edit at each checkpoint, beside the label
    and the right sentence, all three in the same wording."""
    examples = finished.read_table("examples.parquet").to_pandas()
    said = finished.read_table(EXPLANATIONS_FILE).to_pandas()
    said = said[said["chosen"]].merge(examples.assign(row=range(len(examples))), on="example_id", suffixes=("", "_"))
    said = said[said["split"].isin(["validation", "test_heldout"])]
    observed = Observed(finished, finished.spec)
    frames = []
    for checkpoint, own in said.groupby("checkpoint", observed=True, sort=False):
        answers = (
            Answers.of(observed.behavior(name)).take(own["row"].to_numpy()) for name in (checkpoint, observed.target)
        )
        right, label = (truthful_sentences(own, true, finished.spec.task.name) for true in answers)
        told = own[["split", "example_id", "text"]].assign(checkpoint=checkpoint, right=right, label=label)
        frames.append(told)
    return pd.concat(frames, ignore_index=True).astype(str).astype("category")


def _with_trained_models(spec: VerbalStudySpec, cell: Cell, out: Path, progress: Progress) -> RunSpec:
    """The cell's spec with the sample checkpoints that it names trained for the cell's seed or shape. Those that are
    there already are not trained again."""
    seed = cell.seed if spec.models == "fresh" else 0
    shape = cell.shape.model_dump() if cell.shape else None
    words = [f"seed-{seed}", *(f"{name}-{value}" for name, value in (shape or {}).items())]
    home = out / "models" / "-".join(words) / cell.task
    plan = {job.name: replace(job, shape=shape) for job in jobs()}

    def trained(checkpoint: CheckpointSpec | None) -> CheckpointSpec | None:
        if checkpoint is None or checkpoint.trained:
            return checkpoint
        job = plan.get(checkpoint.name)
        if job is None or job.start:
            raise InputError(
                f"{cell.setting}: {checkpoint.name} is not a first checkpoint of the sample models: use `models: given`"
            )
        home.mkdir(parents=True, exist_ok=True)
        with FileLock(home / ".lock"):  # another worker may train the same checkpoint
            path = train_job(home.resolve(), cell.task, seed, job, progress)
        return checkpoint.model_copy(update={"path": str(path)})

    return cell.spec.model_copy(
        update={
            "target": trained(cell.spec.target),
            "checkpoints": tuple(trained(c) for c in cell.spec.checkpoints),
            "other_model": trained(cell.spec.other_model),
        }
    )
