"""A study: the sample worlds over several seeds, metrics only, resumable.

For every seed the checkpoints are trained and the runs of sample_runs/specs made; the metrics of the chosen settings
and of their controls are gathered in one table, and all else is removed once a seed is done.
"""

from __future__ import annotations

import shutil
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import yaml
from pydantic import Field, ValidationError

from engine.config import InputError, Strict
from engine.progress import Progress, silent
from engine.runs.files import MANIFEST, sha256_of
from engine.runs.store import Run
from engine.stats.correlation import seed_interval
from engine.studies.over_seeds import counted, least_and_most
from engine.studies.samples import TASKS, build, run_specs
from engine.studies.verbal_study import VerbalStudySpec

METRICS = "metrics.parquet"
SUMMARY = "summary.csv"


class StudySpec(Strict):
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    note: str = ""
    seeds: tuple[Annotated[int, Field(ge=0)], ...] = Field(min_length=1)
    verbal: VerbalStudySpec | None = None
    """Runs of self-explanation in place of the sample runs."""


def load_study(path: Path) -> StudySpec:
    """Raises InputError: what is wrong, where, how to mend it."""
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
        return StudySpec.model_validate(data)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{path}: can't be read: {error}") from None
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None


def run_study(spec: StudySpec, out: Path, samples: Path, progress: Progress = silent) -> pd.DataFrame:
    """Metrics of all seeds, one row a setting, with the columns `seed` and `run`; also written to `out`.

    Seed 0 is read from the sample runs where they stand in `samples`, complete.
    """
    out.mkdir(parents=True, exist_ok=True)
    frames = []
    for number, seed in enumerate(spec.seeds):
        done = out / f"seed-{seed}.parquet"
        if not done.exists():
            runs = finished_runs(samples) if seed == 0 else []
            _one_seed(out / f"seed-{seed}", seed, done, runs, progress)
        frames.append(pd.read_parquet(done))
        progress("seeds", number + 1, len(spec.seeds))
    table = pd.concat(frames, ignore_index=True)
    table.to_parquet(out / METRICS, index=False)
    summary(table).to_csv(out / SUMMARY, index=False)
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
        metrics = run.read_table(METRICS).to_pandas()
        frames.append(metrics[metrics["chosen"]].assign(**named, run_hash=sha256_of(path / MANIFEST)))
    temporary = done.with_suffix(".tmp")
    pd.concat(frames, ignore_index=True).to_parquet(temporary, index=False)
    temporary.rename(done)
    shutil.rmtree(folder, ignore_errors=True)


def headline(table: pd.DataFrame, split: str = "test_heldout") -> pd.DataFrame:
    """The chosen settings without noise, on one split, the explainers themselves."""
    is_it = table["chosen"] & (table["noise"] == 0) & table["control"].isna() & (table["split"] == split)
    return table[is_it]


def summary(table: pd.DataFrame, split: str = "test_heldout") -> pd.DataFrame:
    """Means over seeds with their range (of one seed: its interval), and a t interval from five seeds on, of each
    run × explainer × regime × checkpoint; verdicts are counted."""
    rows = []
    keys = ["run", "explainer", "regime", "checkpoint", "step"]
    for key, own in headline(table, split).groupby(keys, sort=False):
        row = dict(zip(keys, key, strict=True)) | {"seeds": own["seed"].nunique(), "split": split}
        for name in (
            "target_current",
            "self",
            "orig",
            "gap",
            "counterfactual_gap",
            "change_tracking",
            "self_minus_stale",
        ):
            values = own[name].dropna()
            mean, low, high = seed_interval(list(values))
            least, most = least_and_most(own, name)
            row |= {name: mean, f"{name}_min": least, f"{name}_max": most}
            row |= {f"{name}_low": low, f"{name}_high": high}
        for name in ("verdict_coupling", "verdict_counterfactual"):
            row[name] = counted(own[name])
        rows.append(row)
    return pd.DataFrame(rows)


def markdown(table: pd.DataFrame, every_checkpoint: bool = False) -> str:
    """The summary at each run's last checkpoint (or at every one), as the README shows it."""
    frame = summary(table)
    if not every_checkpoint:
        frame = frame[frame["step"] == frame.groupby("run")["step"].transform("max")]
    names = (
        "run",
        "explainer, regime",
        "ρ",
        "Self",
        "gap",
        "coupling",
        "counterfactual gap",
        "verdict",
        "change tracking",
    )
    lines = ["| " + " | ".join(names) + " |", "|---" * len(names) + "|"]
    for row in frame.to_dict("records"):
        cells = [_cell(row, name) for name in ("self", "gap", "counterfactual_gap", "change_tracking")]
        checkpoint = str(row["checkpoint"]).split("--", 1)[1]
        lines.append(
            f"| {row['run']}, {checkpoint} | {row['explainer']}, {row['regime']} | {row['target_current']:+.2f} "
            f"| {cells[0]} | {cells[1]} | {row['verdict_coupling']} | {cells[2]} | {row['verdict_counterfactual']} "
            f"| {cells[3]} |"
        )
    return "\n".join(lines)


def _cell(row: Mapping[Hashable, Any], name: str) -> str:
    """Mean over seeds, with the smallest and the largest; of one seed, with its interval."""
    mean, low, high = (row[f"{name}{end}"] for end in ("", "_min", "_max"))
    return "–" if pd.isna(mean) else f"{mean:+.2f} [{low:+.2f}, {high:+.2f}]"
