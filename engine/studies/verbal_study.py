"""A study of self-explanation: base runs × seeds × worlds × settings, metrics and sentences only, resumable.

Every cell is a run of its own, made by the pipeline and removed once its metrics, and what was said of each example,
are gathered in two Parquet files with a hash of its spec: a cell that stands there is not made again, unless its spec
has changed. A seed draws the prompts and the held-out cells, the labels, the order of training and the rules that
behavior drifts to. With `models: fresh` it also trains the first checkpoints, its own θ0; with `given`, all seeds start
from those that the base names, or, where a setting has a `shape`, from one of that shape that has learnt the same.

Several workers are processes of one thread each: their number changes nothing but the time. A single one is this
process, with all its threads.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pandas as pd
import yaml
from filelock import FileLock
from pydantic import Field, model_validator

from engine import pipeline
from engine.config import CheckpointSpec, InputError, RunSpec, Strict, WorldName
from engine.progress import Progress, silent
from engine.runs.files import MANIFEST, replace_file
from engine.runs.observed import Observed
from engine.runs.store import Run
from engine.spec_files import parse_spec, relative_paths, resolve_paths
from engine.studies.samples import jobs, train_job
from engine.verbal.labels import Answers
from engine.verbal.texts import in_words

METRICS = "metrics.parquet"
EXPLANATIONS = "explanations.parquet"
SECONDS_A_MINUTE = 60
OF_CONTROLS = ("exact_match", "has_changed_f1", "content_match", "content_match_moved", "content_match_balanced")


class ShapeSpec(Strict):
    """Of a first checkpoint that is trained for a setting, in place of the sample models'."""

    width: int = Field(ge=8)
    layers: int = Field(ge=1)
    heads: int = Field(4, ge=1)

    @model_validator(mode="after")
    def _heads_divide_the_width(self) -> ShapeSpec:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is no multiple of heads {self.heads}")
        return self


class SettingSpec(Strict):
    """What one setting changes in the base runs."""

    name: str = Field(min_length=1, description="in the table")
    changes: dict[str, Any] = Field(
        default_factory=dict, description="dotted key of a run spec → value; {task} in a text is the task's name"
    )
    reported: str = Field("", description="what the paper is quoted with, shown beside what is measured")
    tasks: tuple[str, ...] = Field((), description="only the base runs of these tasks; empty: all")
    seeds: tuple[int, ...] = Field((), description="only these of the study's seeds; empty: all")
    shape: ShapeSpec | None = Field(None, description="start from models of this shape, trained for it")


class VerbalStudySpec(Strict):
    """`seeds` × `base` × `worlds` × `settings`; settings are made in their order, each on all seeds."""

    base: tuple[str, ...] = Field(min_length=1, description="run specs with a `verbal` section, relative to this file")
    worlds: tuple[WorldName, ...] = Field((), description="in place of the base's; empty: as it stands there")
    settings: tuple[SettingSpec, ...] = Field((), description="each changes the base; empty: the base alone")
    vary: dict[str, tuple[Any, ...]] = Field(
        default_factory=dict, description="dotted key → values, one key at a time: a setting for each value"
    )
    models: Literal["given", "fresh"] = Field("given", description="whether a seed trains first checkpoints of its own")
    until: Annotated[float, Field(gt=0)] | None = Field(None, description="minutes; no further cell is begun after it")

    @model_validator(mode="after")
    def _names_are_distinct(self) -> VerbalStudySpec:
        names = [s.name for s in self.all_settings]
        if len(set(names)) < len(names):
            raise ValueError("two settings have the same name")
        return self

    @property
    def all_settings(self) -> tuple[SettingSpec, ...]:
        varied = [
            SettingSpec(name=f"{key.rpartition('.')[2]} {value}", changes={key: value})
            for key, values in self.vary.items()
            for value in values
        ]
        return (*self.settings, *varied) or (SettingSpec(name="base"),)


@dataclass(frozen=True)
class Cell:
    """One run of the study."""

    base: str
    task: str
    setting: str
    world: str | None
    seed: int
    spec: RunSpec
    digest: str
    """Of the spec and the shape, paths left out."""
    shape: ShapeSpec | None = None

    @property
    def name(self) -> str:
        words = [self.base, self.setting, *([self.world] if self.world else []), f"seed-{self.seed}"]
        return "--".join("".join(c if c.isalnum() or c in ".-" else "-" for c in word) for word in words)


def changed(data: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Plain data with dotted keys set; sections that are not there are made, None removes what is there."""
    out: dict[str, Any] = json.loads(json.dumps(data))
    for key, value in changes.items():
        at = out
        *sections, last = key.split(".")
        for section in sections:
            if not isinstance(at.get(section), dict):
                at[section] = {}
            at = at[section]
        at[last] = value
    return out


def cells(spec: VerbalStudySpec, seeds: tuple[int, ...], folder: Path) -> Iterator[Cell]:
    """In the order in which they are made. Raises InputError for a base or a change that makes no sense."""
    bases = [(path, _read(folder / path)) for path in spec.base]
    for setting in spec.all_settings:
        for seed in [s for s in seeds if not setting.seeds or s in setting.seeds]:
            for path, data in bases:
                task = data.get("task", {}).get("name", "")
                if setting.tasks and task not in setting.tasks:
                    continue
                for world in spec.worlds or (None,):
                    yield _cell(spec, setting, seed, folder / path, data, world)


def _cell(
    spec: VerbalStudySpec, setting: SettingSpec, seed: int, path: Path, data: dict[str, Any], world: str | None
) -> Cell:
    if not isinstance(data.get("verbal"), dict):
        raise InputError(f"{path}: has no section verbal: give the spec of a self-explaining run")
    own: dict[str, Any] = {"seed": seed, "task.seed": seed, "patching": None}  # of maps a study keeps nothing
    drifts = isinstance(data["verbal"].get("drift"), dict) and data["verbal"]["drift"].get("world")
    if drifts:
        own |= {"verbal.drift.seed": seed} | ({"verbal.drift.world": world} if world else {})
        own |= {"verbal.drift.rules_seed": seed} if spec.models == "fresh" else {}
    task = data.get("task", {}).get("name", "")
    plain = changed(changed(data, own), _of_task(setting.changes, task))
    parsed = parse_spec(plain, f"{path} ({setting.name})", RunSpec)
    told = parsed.model_dump(mode="json", exclude_defaults=True)  # a new option that is left alone changes nothing
    told |= {"shape": setting.shape.model_dump()} if setting.shape else {}
    digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]
    resolved = resolve_paths(parsed, path.parent.resolve())
    return Cell(path.stem, parsed.task.name, setting.name, world, seed, resolved, digest, setting.shape)


def _of_task(value: Any, task: str) -> Any:
    """{task} in every text replaced by the task's name."""
    if isinstance(value, dict):
        return {key: _of_task(inner, task) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_of_task(inner, task) for inner in value]
    return value.replace("{task}", task) if isinstance(value, str) else value


def _read(path: Path) -> dict[str, Any]:
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{path}: can't be read: {error}") from None
    if not isinstance(data, dict):
        raise InputError(f"{path}: is no run spec: give a mapping of keys to values")
    return data


@dataclass(frozen=True)
class Made:
    """What is kept of a cell: its rows of the two tables."""

    metrics: pd.DataFrame
    explanations: pd.DataFrame


def run(
    spec: VerbalStudySpec,
    seeds: tuple[int, ...],
    base: Path,
    out: Path,
    progress: Progress = silent,
    *,
    make: bool = True,
    workers: int = 1,
) -> pd.DataFrame:
    """Metrics of all cells that are done, one row a setting of records.METRICS with the columns base, task, setting,
    world, seed, digest; also written to `out`, and beside it what was said. base: the folder that the study's paths are
    relative to. Without `make` only what is there is read."""
    work = list(cells(spec, seeds, base))
    tables = {name: _read_table(out / name) for name in (METRICS, EXPLANATIONS)}
    left = [cell for cell in work if make and not is_done(tables[METRICS], cell)]
    if left:
        out.mkdir(parents=True, exist_ok=True)
    order = {cell.name: number for number, cell in enumerate(work)}
    begun = time.monotonic()
    for number, (cell, made) in enumerate(_made(spec, left, out, progress, workers), start=1):
        for name, own in ((METRICS, made.metrics), (EXPLANATIONS, made.explanations)):
            tables[name] = _with_cell(tables[name], own, cell, order)
            replace_file(out / name, partial(tables[name].to_parquet, index=False, compression="zstd"))
        minutes = (time.monotonic() - begun) / SECONDS_A_MINUTE
        more = f"about {minutes / number * (len(left) - number):.0f} min left"
        progress(f"study, {more}", len(work) - len(left) + number, len(work))
    table = tables[METRICS]
    digests = {cell.digest for cell in work}
    return table[table["digest"].isin(digests)].reset_index(drop=True) if len(table) else table


def _read_table(path: Path) -> pd.DataFrame:
    return pd.read_parquet(path) if path.exists() else pd.DataFrame()


def _with_cell(table: pd.DataFrame, own: pd.DataFrame, cell: Cell, order: Mapping[str, int]) -> pd.DataFrame:
    """The table with a cell's rows in place of those that it had, in the order in which cells are made."""
    kept = table[table["cell"] != cell.name] if len(table) else table
    both = pd.concat([kept, own], ignore_index=True) if len(kept) else own
    place = both["cell"].map(lambda name: order.get(name, -1))
    return both.iloc[place.argsort(kind="stable")].reset_index(drop=True)


def _made(
    spec: VerbalStudySpec, left: Sequence[Cell], out: Path, progress: Progress, workers: int
) -> Iterator[tuple[Cell, Made]]:
    """Cells as they are ready; none is begun after `spec.until` minutes."""
    begun = time.monotonic()

    def late() -> bool:
        return spec.until is not None and (time.monotonic() - begun) / SECONDS_A_MINUTE > spec.until

    if workers == 1:
        for cell in left:
            if late():
                return
            yield cell, _make(spec, cell, out, progress)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_one_thread) as pool:
        futures = {pool.submit(_make, spec, cell, out): cell for cell in left}
        try:
            for future in as_completed(futures):
                if late():
                    pool.shutdown(wait=False, cancel_futures=True)  # what is under way is finished and kept
                if not future.cancelled():
                    yield futures[future], future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in pool._processes.values():
                process.terminate()
            raise


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"


def is_done(table: pd.DataFrame, cell: Cell) -> bool:
    """Whether a cell's metrics are there, made from the very same spec."""
    return bool(len(table)) and bool(((table["cell"] == cell.name) & (table["digest"] == cell.digest)).any())


def worth_keeping(table: pd.DataFrame) -> pd.DataFrame:
    """The explainer by every metric, its controls by those that tables show, of probes beside it the chosen ones;
    columns that hold something."""
    of_probes = table["explainer"] != "verbal"
    kept = table["control"].isna() | table["metric"].isin(OF_CONTROLS)
    rows = table[np.where(of_probes, table["chosen"] & (table["noise"] == 0), kept)]
    always = {"world", "control", "verdict_coupling", "verdict_counterfactual"}
    return rows[[c for c in rows if c in always or rows[c].notna().any()]]


def _make(spec: VerbalStudySpec, cell: Cell, out: Path, progress: Progress = silent) -> Made:
    trains = spec.models == "fresh" or cell.shape is not None
    resolved = _with_trained_models(spec, cell, out, progress) if trains else cell.spec
    folder = out / f".{cell.name}"
    if (folder / MANIFEST).exists() and Run.open(folder).spec != relative_paths(resolved, folder.resolve()):
        shutil.rmtree(folder)
    finished = pipeline.make_run(resolved, folder, progress=progress)
    named = {
        "cell": cell.name,
        "base": cell.base,
        "task": cell.task,
        "setting": cell.setting,
        "world": cell.world,
        "seed": cell.seed,
        "digest": cell.digest,
    }
    metrics = worth_keeping(finished.read_table(METRICS).to_pandas()).assign(**named)
    made = Made(metrics, spoken(finished).assign(cell=cell.name))
    shutil.rmtree(folder, ignore_errors=True)
    return made


def spoken(finished: Run) -> pd.DataFrame:
    """What was said of each held-out and validation example of the headline edit at each checkpoint, beside the label
    and what would have been right, all three in the same words."""
    examples = finished.read_table("examples.parquet").to_pandas()
    said = finished.read_table("explanations.parquet").to_pandas()
    said = said[said["chosen"]].merge(examples.assign(row=range(len(examples))), on="example_id", suffixes=("", "_"))
    said = said[said["split"].isin(["validation", "test_heldout"])]
    observed = Observed(finished, finished.spec)
    frames = []
    for checkpoint, own in said.groupby("checkpoint", observed=True, sort=False):
        right, label = (
            in_words(own, Answers.of(observed.behavior(name)).take(own["row"].to_numpy()), finished.spec.task.name)
            for name in (str(checkpoint), observed.target)
        )
        told = own[["split", "example_id", "text"]].assign(checkpoint=checkpoint, right=right, label=label)
        frames.append(told)
    return pd.concat(frames, ignore_index=True).astype(str).astype("category")


def _with_trained_models(spec: VerbalStudySpec, cell: Cell, out: Path, progress: Progress) -> RunSpec:
    """Train the sample checkpoints that the spec names, with the cell's seed or shape, where they are not there, and
    use those."""
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
            raise InputError(f"{cell.setting}: {checkpoint.name} is no first checkpoint of the samples: use given")
        home.mkdir(parents=True, exist_ok=True)
        with FileLock(home / ".lock"):  # another worker may want the same
            path = train_job(home.resolve(), cell.task, seed, job, progress)
        return checkpoint.model_copy(update={"path": str(path)})

    return cell.spec.model_copy(
        update={
            "target": trained(cell.spec.target),
            "checkpoints": tuple(trained(c) for c in cell.spec.checkpoints),
            "other_model": trained(cell.spec.other_model),
        }
    )
