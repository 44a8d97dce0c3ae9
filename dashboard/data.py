"""Cached reads of runs: DuckDB over the Parquet parts. Imports no torch.

Every cached function takes the run's `stamp`, a hash of its manifest, so that a run that grew or
changed on disk is read again. Effects and f are in nats. Problems of a run (cut-off, foreign,
unfinished) are raised as `RunError`, one line each; pages show it and never a traceback.
"""

# ruff: noqa: S608 (values go in as parameters; column names are the schema's own, and quoted)

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import streamlit as st

from dashboard.slices import quoted
from engine.config import RunSpec
from engine.records import META, SPLITS
from engine.store import Run, RunError, find_runs

UNDECIDABLE = 0.25
"""Nats. Where Δ_target and Δ_current lie nearer to each other, no explanation can be told to follow one of them."""

DEFAULT_DIRECTORIES = ("runs", "sample_runs")


@dataclass(frozen=True)
class RunEntry:
    """One run folder as listed, sound or not."""

    key: str
    """What names it in the URL: the folder's name, with its parents' as far as needed."""
    path: Path
    state: str
    """running, interrupted, complete, failed, or unreadable."""
    problem: str | None
    """One line, for unreadable and failed runs."""
    note: str
    task: str


@dataclass(frozen=True)
class Options:
    """What there is to select in one run."""

    target: str
    checkpoints: tuple[str, ...]
    """The current checkpoints in order of training; the first is where explainers were trained."""
    steps: dict[str, int]
    explainers: tuple[str, ...]
    regimes: dict[str, tuple[str, ...]]
    layers: tuple[int, ...]
    edits: tuple[str, ...]
    noises: tuple[tuple[str, float], ...]
    """(kind, level), the noise-free ("none", 0.0) first."""
    splits: tuple[str, ...]
    columns: tuple[str, ...]
    """Columns of the examples that a slice may ask values of."""


@dataclass(frozen=True)
class Setting:
    """Which explanations are read: those of one explainer at one checkpoint."""

    checkpoint: str
    explainer: str
    regime: str
    noise_kind: str = "none"
    noise: float = 0.0
    condition: str | None = None
    """What else was varied in training, as the run names it; None: nothing."""


# Runs and their manifests


def directories() -> tuple[str, ...]:
    """Where runs are looked for: what follows `--` on the command line, else COUPLING_RUNS, else the defaults."""
    if Path(sys.argv[0]).parts[-2:] == ("dashboard", "app.py") and len(sys.argv) > 1:
        return tuple(sys.argv[1:])
    given = os.environ.get("COUPLING_RUNS", "")
    return tuple(d for d in given.split(os.pathsep) if d) or DEFAULT_DIRECTORIES


def _keys(paths: Sequence[Path]) -> list[str]:
    """The shortest tail of each path that no other path shares."""
    for length in range(1, 1 + max((len(p.parts) for p in paths), default=0)):
        tails = ["/".join(p.parts[-length:]) for p in paths]
        if len(set(tails)) == len(tails):
            return tails
    return [str(p) for p in paths]


def runs() -> list[RunEntry]:
    """All run folders under `directories()`, unreadable ones among them; never raises."""
    paths = sorted({p.resolve() for p in find_runs(directories())})
    return [_entry(path, key) for path, key in zip(paths, _keys(paths), strict=True)]


def _entry(path: Path, key: str) -> RunEntry:
    try:
        run = Run.open(path)
        state = run.state
        problem = str(run.manifest.get("error") or "no reason was recorded") if state == "failed" else None
        return RunEntry(key, path, state, problem, run.spec.note, run.spec.task.name)
    except RunError as error:
        return RunEntry(key, path, "unreadable", str(error), "", "")


def stamp(path: Path) -> str:
    """12 hex digits over the manifest, which names every part with its hash: changes when the run does."""
    try:
        return hashlib.sha256((path / "run.json").read_bytes()).hexdigest()[:12]
    except OSError as error:
        raise RunError(f"{path}: run.json can't be read: {error.strerror}") from None


def content_hash(path: Path) -> str:
    """12 hex digits over the hashes of the tables that pages show: what a permalink carries."""
    parts = manifest(path)["parts"]
    shown = sorted(f"{name}={about['sha256']}" for name, about in parts.items() if name.endswith(".parquet"))
    return hashlib.sha256("\n".join(shown).encode()).hexdigest()[:12]


def manifest(path: Path) -> dict:
    """The manifest as plain data; raises RunError."""
    return dict(Run.open(path).manifest)


def spec(path: Path) -> RunSpec:
    return Run.open(path).spec


# Tables


def _connection() -> duckdb.DuckDBPyConnection:
    return _database().cursor()


@st.cache_resource
def _database() -> duckdb.DuckDBPyConnection:
    settings = {"threads": 2, "memory_limit": "600MB", "autoinstall_known_extensions": False}
    return duckdb.connect(config=settings)


def query(sql: str, parameters: Sequence, where: Path) -> pd.DataFrame:
    """Run SQL; a part that can't be read becomes a RunError that names the run."""
    try:
        return _connection().execute(sql, list(parameters)).df()
    except duckdb.Error as error:
        reason = str(error).splitlines()[0]
        raise RunError(
            f"{where}: a table of this run can't be read ({reason}); check it with coupling verify"
        ) from None


def part(path: Path, name: str) -> str:
    """A table's file; RunError where it is not there yet."""
    file = path / name
    if not file.is_file():
        raise RunError(f"{path.name}: has no {name} yet: the run is unfinished, or the file was removed")
    return str(file)


def _columns(path: Path, name: str) -> list[str]:
    try:
        return pq.read_schema(part(path, name)).names
    except (OSError, ValueError) as error:
        raise RunError(f"{path.name}: {name} is damaged ({error}); check it with coupling verify") from None


def metadata_columns(path: Path) -> tuple[str, ...]:
    """The example's own metadata: columns that start with `meta_`."""
    return tuple(c for c in _columns(path, "examples.parquet") if c.startswith(META))


@st.cache_data(max_entries=16, show_spinner=False)
def _options(path: Path, stamp: str) -> Options:
    config = spec(path)
    examples = part(path, "examples.parquet")
    settings = query(
        "SELECT DISTINCT explainer, regime, layer, noise_kind, noise FROM read_parquet(?)"
        " WHERE control IS NULL AND condition IS NULL",
        [part(path, "metrics.parquet")],
        path,
    )
    found = query("SELECT DISTINCT edit, split FROM read_parquet(?)", [examples], path)
    kinds = tuple(k for k in ("ridge", "linear", "mlp", "verbal") if k in set(settings.explainer))
    regimes = {
        k: tuple(r for r in ("frozen", "online", "refit") if r in set(settings.regime[settings.explainer == k]))
        for k in kinds
    }
    levels = {(str(k), float(n)) for k, n in zip(settings.noise_kind, settings.noise, strict=True) if n == n}
    return Options(
        target=config.target_checkpoint.name,
        checkpoints=tuple(c.name for c in config.checkpoints),
        steps={c.name: c.step for c in config.all_checkpoints},
        explainers=kinds,
        regimes=regimes,
        layers=tuple(sorted(int(layer) for layer in settings.layer.dropna().unique())),
        edits=tuple(sorted(found.edit.unique())),
        noises=tuple(sorted(levels, key=lambda pair: (pair[0] != "none", *pair))),
        splits=tuple(s for s in SPLITS if s in set(found.split) and s != "train"),  # train is never explained
        columns=("group", "cue", "entity", *metadata_columns(path)),
    )


def options(path: Path) -> Options:
    """What there is to select in a run; raises RunError where its tables are missing or damaged."""
    return _options(path, stamp(path))


@st.cache_data(max_entries=32, show_spinner=False)
def _values(path: Path, column: str, limit: int, stamp: str) -> list[str]:
    sql = (
        f"SELECT {quoted(column)} AS v FROM read_parquet(?) WHERE v IS NOT NULL"
        f" GROUP BY v ORDER BY count(*) DESC, v LIMIT {int(limit)}"
    )
    return query(sql, [part(path, "examples.parquet")], path).v.tolist()


def values(path: Path, column: str, limit: int = 200) -> list[str]:
    """The commonest values of a column of the examples."""
    return _values(path, column, limit, stamp(path))


@st.cache_data(max_entries=8, show_spinner=False)
def _metrics(path: Path, stamp: str) -> pd.DataFrame:
    return query("SELECT * FROM read_parquet(?)", [part(path, "metrics.parquet")], path)


def metrics(path: Path, **filters: object) -> pd.DataFrame:
    """Rows of metrics.parquet (columns: `engine.records.METRICS`), in the run's order.

    filters: column=value; None keeps nulls; a tuple or list keeps any of its values.
    `metrics(path, control=None, chosen=True, split="test_heldout")` are the headline rows.
    """
    rows = _metrics(path, stamp(path))
    keep = np.ones(len(rows), bool)
    for column, value in filters.items():
        cells = rows[column]
        if value is None:
            keep &= cells.isna().to_numpy()
        elif isinstance(value, (tuple, list)):
            keep &= cells.isin(value).to_numpy()
        else:
            keep &= (cells == value).fillna(False).to_numpy(bool)
    return rows[keep].reset_index(drop=True)


def checkpoints(path: Path) -> pd.DataFrame:
    """Currents in order of training: name, family, step, is_target."""
    config = spec(path)
    target = config.target_checkpoint.name
    rows = [(c.name, c.family, c.step, c.name == target) for c in config.checkpoints]
    return pd.DataFrame(rows, columns=["name", "family", "step", "is_target"])


EFFECTS = """
  t.f AS f_target, t.f_edited AS f_edited_target, t.f_edited - t.f AS effect_target,
  c.f AS f_current, c.f_edited AS f_edited_current, c.f_edited - c.f AS effect_current"""


@st.cache_data(max_entries=4, show_spinner=False)
def _behavior(path: Path, checkpoint: str, stamp: str) -> pd.DataFrame:
    names = ("example_id", "prompt_id", "edit", "split", "group", "cue", "entity", *metadata_columns(path))
    sql = f"""
      SELECT {", ".join("e." + quoted(n) for n in names)}, e.file_row_number AS row_number, {EFFECTS}
      FROM read_parquet(?, file_row_number=true) e
      JOIN read_parquet(?) t USING (example_id) JOIN read_parquet(?) c USING (example_id)
      ORDER BY e.file_row_number"""
    return query(sql, behavior_files(path, checkpoint), path)


def behavior_files(path: Path, checkpoint: str) -> list[str]:
    target = spec(path).target_checkpoint.name
    parts = ("examples.parquet", f"behavior/{target}.parquet", f"behavior/{checkpoint}.parquet")
    return [part(path, name) for name in parts]


def behavior(path: Path, checkpoint: str) -> pd.DataFrame:
    """Every example of every split, in the run's order, without its texts: example_id, prompt_id (the row of its
    hidden state), edit, split, group, cue, entity, meta_*, row_number (of examples.parquet), and f_…, f_edited_…,
    effect_… at `target` and `current`."""
    return _behavior(path, checkpoint, stamp(path))


@st.cache_data(max_entries=4, show_spinner=False)
def _explanations(path: Path, setting: Setting, stamp: str) -> pd.DataFrame:
    sql = """
      SELECT CAST(example_id AS VARCHAR) AS example_id, CAST(control AS VARCHAR) AS control, explanation, text, layer
      FROM read_parquet(?)
      WHERE checkpoint = ? AND mode IS DISTINCT FROM 'difference' AND (
        (control IS NULL AND explainer = ? AND regime = ? AND noise_kind = ? AND noise = ?
         AND condition IS NOT DISTINCT FROM ?)
        OR (control IS NOT NULL AND noise_kind IS NOT DISTINCT FROM 'none'))
      ORDER BY explainer IS NOT DISTINCT FROM ? AND regime IS NOT DISTINCT FROM ? DESC"""
    s = setting
    file = part(path, "explanations.parquet")
    own = [s.explainer, s.regime, s.noise_kind, s.noise, s.condition, s.explainer, s.regime]
    rows = query(sql, [file, s.checkpoint, *own], path)
    mine = rows[rows.control.isna()].drop(columns="control").drop_duplicates("example_id")
    others = rows[rows.control.notna()].drop_duplicates(["example_id", "control"])
    wide = others.pivot(index="example_id", columns="control", values="explanation")
    return mine.merge(wide, how="left", left_on="example_id", right_index=True)


def explanations(path: Path, setting: Setting, split: str | None = None, edit: str | None = None) -> pd.DataFrame:
    """Explained examples of one setting, joined with `behavior` (same columns, same order), plus `explanation`
    (nats), `text` (verbal), `layer`, `error` = |explanation − effect_current|, and one column for each control
    that the run keeps per example (`output` is always there: −f_current). Empty where the setting was not kept.
    """
    mine = _explanations(path, setting, stamp(path))
    rows = behavior(path, setting.checkpoint)
    if split is not None:
        rows = rows[rows.split == split]
    if edit is not None:
        rows = rows[rows.edit == edit]
    joined = rows.merge(mine, on="example_id", how="inner")
    joined["error"] = (joined.explanation - joined.effect_current).abs()
    joined["output"] = -joined.f_current
    return joined


@st.cache_data(max_entries=4, show_spinner=False)
def _hidden(path: Path, checkpoint: str, layer: int, stamp: str) -> np.ndarray:
    return Run.open(path).hidden(checkpoint, layer=layer)


def hidden(path: Path, checkpoint: str, layer: int) -> np.ndarray:
    """h(x) at the last position, [n_prompts, d], rows by prompt_id; RunError where the run keeps none."""
    return _hidden(path, checkpoint, layer, stamp(path))
