"""A study: the sample worlds over several seeds, metrics only; it can be resumed.

For every seed the checkpoints are trained and the runs of sample_runs/specs made. The metrics of the chosen settings
and of their controls are collected in one table. Of a seed that is done these rows stay, and what was measured of its
worlds; all else is removed.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
from pydantic import Field, ValidationError

from engine.config import InputError, Strict
from engine.progress import Progress, silent
from engine.records import INTERVALS
from engine.runs.files import MANIFEST, sha256_of
from engine.runs.markdown import intervals, markdown_table
from engine.runs.store import Run
from engine.spec_files import read_yaml
from engine.studies.over_seeds import VERDICTS, counted, over_seeds, with_ends
from engine.studies.samples import TASKS, WORLDS, build, run_specs
from engine.studies.verbal_cells import VerbalStudySpec
from engine.workers.local import HERE, Told, Workers

METRICS_FILE = "metrics.parquet"
SUMMARY_FILE = "summary.csv"
SPLIT = "test_heldout"
"""The only split whose metrics are kept."""
SUMMARISED = ("target_current", *(name for name in INTERVALS if name != "direction"))


class StudySpec(Strict):
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    note: str = ""
    seeds: tuple[Annotated[int, Field(ge=0)], ...] = Field(min_length=1)
    verbal: VerbalStudySpec | None = None
    """Runs of self-explanation in place of the sample runs."""


def load_study(path: Path) -> StudySpec:
    """Raises InputError, which says what is wrong and where."""
    data = read_yaml(path)
    try:
        return StudySpec.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None


@dataclass
class _Seeds:
    """Makes the sample runs of seeds (a `workers.Work`). Progress is shown only where this process makes them."""

    out: Path
    samples: Path
    progress: Progress = silent

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"progress": silent}

    def begin(self) -> None:
        """Each seed trains its own models."""

    def do(self, item: int, told: Told | None = None) -> None:
        runs = finished_runs(self.samples) if item == 0 else []
        _one_seed(self.out / f"seed-{item}", item, self.out / f"seed-{item}.parquet", runs, self.progress)


def run_study(
    spec: StudySpec,
    out: Path,
    samples: Path,
    progress: Progress = silent,
    *,
    make: bool = True,
    workers: Workers = HERE,
) -> pd.DataFrame:
    """Metrics of all seeds, one row a setting, with the columns `seed` and `run`; also written to `out`.

    Seed 0 is read from the sample runs if all of them stand in `samples` and are complete. Without `make` nothing is
    made or written: the seeds that are done are read; raises InputError if there is none.
    """
    files = {seed: out / f"seed-{seed}.parquet" for seed in spec.seeds}
    left = [seed for seed in spec.seeds if not files[seed].exists()]
    if make:
        out.mkdir(parents=True, exist_ok=True)
        with workers.crew(_Seeds(out.resolve(), samples.resolve(), progress)) as crew:
            for number, _ in enumerate(crew.each(left) if left else (), start=len(files) - len(left) + 1):
                progress("seeds", number, len(spec.seeds))
        left = []
    if len(left) == len(files):
        raise InputError(f"{out}: no seed of the study {spec.name} is done: leave --done out to make them")
    done = [pd.read_parquet(file, partitioning=None) for seed, file in files.items() if seed not in left]
    table = pd.concat(done, ignore_index=True)
    if make:
        table.to_parquet(out / METRICS_FILE, index=False)
        summary(table).to_csv(out / SUMMARY_FILE, index=False)
    return table


def finished_runs(folder: Path) -> list[Path]:
    """The runs of `folder`/specs that stand in `folder`, if all of them are there and complete; else none."""
    paths = [folder / spec.stem for task in TASKS for spec in run_specs(folder, task)]
    complete = all((path / MANIFEST).exists() and Run.open(path).state == "complete" for path in paths)
    return paths if complete else []


def _one_seed(folder: Path, seed: int, done: Path, runs: list[Path], progress: Progress) -> None:
    if not runs:
        for _ in build(folder, seed, progress, verbal=False):
            pass
        runs = finished_runs(folder)
    frames = []
    for path in runs:
        run = Run.open(path)
        named = {"run": run.spec.name, "task": run.spec.task.name, "seed": seed}
        metrics = run.read_table(METRICS_FILE).to_pandas()
        frames.append(
            metrics[metrics["chosen"] & (metrics["split"] == SPLIT)].assign(
                **named, run_hash=sha256_of(path / MANIFEST)
            )
        )
    home = runs[0].parent / "checkpoints"
    measured = {task: file for task in TASKS if (file := home / task / WORLDS).exists()}
    worlds = {task: json.loads(file.read_text())["worlds"] for task, file in measured.items()}
    done.with_suffix(f".{WORLDS}").write_text(json.dumps(worlds, indent=1) + "\n")
    temporary = done.with_suffix(".tmp")
    pd.concat(frames, ignore_index=True).to_parquet(temporary, index=False, compression="zstd")
    temporary.rename(done)
    shutil.rmtree(folder, ignore_errors=True)


def seeds_in_words(spec: StudySpec, out: Path, table: pd.DataFrame) -> str:
    """How many of the study's seeds a table holds, and which of their worlds did not move as designed."""
    done = sorted(int(seed) for seed in table["seed"].unique())
    words = f"{len(done)} of {len(spec.seeds)} seeds: {', '.join(map(str, done))}."
    if len(done) < len(spec.seeds):
        words += " Half run: numbers and verdicts may still change."
    off = []
    for seed in done:
        file = out / f"seed-{seed}.{WORLDS}"
        found = json.loads(file.read_text()) if file.exists() else {}
        off += [
            f"{task} {name}, seed {seed}"
            for task, worlds in found.items()
            for name, world in worlds.items()
            if world["as_designed"] is False
        ]
    return f"{words} Not as designed: {'; '.join(off)}." if off else words


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """The chosen explainers on held-out examples, one row a run × explainer × regime × noise × checkpoint.

    A number is the random-effects mean over seeds with its interval; for one seed, the seed's own. Verdicts are
    counted.
    """
    is_it = table["chosen"] & table["control"].isna() & (table["split"] == SPLIT)
    keys = ["run", "explainer", "regime", "noise_kind", "noise", "checkpoint", "step"]
    rows = []
    for key, own in table[is_it].groupby(keys, sort=False):
        row: dict[Any, Any] = dict(zip(keys, key, strict=True)) | {"seeds": own["seed"].nunique(), "split": SPLIT}
        for name in SUMMARISED:
            row |= with_ends(name, over_seeds(own, name))
        for name in VERDICTS:
            row[name] = counted(own[name]) if name in own else "–"
        rows.append(row)
    return pd.DataFrame(rows)


def markdown(table: pd.DataFrame, every_checkpoint: bool = False, every_noise: bool = False) -> str:
    """The summary at each run's last checkpoint (or at every one), without noise (or at every level of it)."""
    frame = summary(table)
    if not every_checkpoint:
        frame = frame[frame["step"] == frame.groupby("run")["step"].transform("max")]
    if not every_noise:
        frame = frame[frame["noise"] == 0]
    levels = frame["noise_kind"] + frame["noise"].map(lambda level: f" {level:g}" if level else "")
    columns = {
        "run": frame["run"] + ", " + frame["checkpoint"].str.split("--").str[1],
        "explainer, regime": frame["explainer"] + ", " + frame["regime"],
        **({"noise": levels} if every_noise else {}),
        "ρ": intervals(frame, "target_current", ends=()),
        "Self": intervals(frame, "self"),
        "gap": intervals(frame, "gap"),
        "coupling": frame["verdict_coupling"],
        "unseen": intervals(frame, "unseen"),
        "over stale": intervals(frame, "unseen_over_stale"),
        "verdict": frame["verdict_unseen"],
        "over outputs": intervals(frame, "unseen_over_outputs"),
        "verdict, all outputs": frame["verdict_outputs"],
    }
    return markdown_table(columns)
