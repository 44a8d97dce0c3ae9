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
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from dashboard.reading import columns
from dashboard.reading.columns import Setting
from dashboard.reading.tables import open_table, part, query, quoted
from engine.config import RunSpec
from engine.probes.kinds import EXPLAINERS
from engine.records import META, SPLITS
from engine.runs.files import find_runs
from engine.runs.store import Run, RunError

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
    varied: dict[str, dict[str, tuple[str, ...]]] = field(default_factory=dict)
    """What else was varied in training, as the run names it → the explainers of that condition and their regimes;
    `explainers` and `regimes` are those with nothing varied."""

    def regimes_of(self, condition: str | None) -> dict[str, tuple[str, ...]]:
        """Explainer → its regimes under a condition; None: nothing varied."""
        return self.regimes if condition is None else self.varied[condition]


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
    """12 hex digits over the hashes of the tables that a run was finished with: what a permalink carries. Maps of
    patching may come later, and change nothing of what was measured."""
    parts = manifest(path)["parts"]
    tables = {name: about for name, about in parts.items() if name.endswith(".parquet")}
    shown = sorted(f"{name}={about['sha256']}" for name, about in tables.items() if not name.startswith("patching/"))
    return hashlib.sha256("\n".join(shown).encode()).hexdigest()[:12]


def manifest(path: Path) -> dict:
    """The manifest as plain data; raises RunError."""
    return dict(Run.open(path).manifest)


def spec(path: Path) -> RunSpec:
    return Run.open(path).spec


# Tables


def metadata_columns(path: Path) -> tuple[str, ...]:
    """The example's own metadata: columns that start with `meta_`."""
    return tuple(c for c in open_table(path, "examples.parquet").schema_arrow.names if c.startswith(META))


@st.cache_data(max_entries=16, show_spinner=False)
def _options(path: Path, stamp: str) -> Options:
    config = spec(path)
    examples = part(path, "examples.parquet")
    settings = query(
        "SELECT DISTINCT explainer, regime, layer, noise_kind, noise, condition FROM read_parquet(?)"
        " WHERE control IS NULL",
        [part(path, "metrics.parquet")],
        path,
    )
    found = query("SELECT DISTINCT edit, split FROM read_parquet(?)", [examples], path)
    regimes = _regimes(settings[settings.condition.isna()])
    conditions = sorted(settings.condition.dropna().unique())
    levels = {(str(k), float(n)) for k, n in zip(settings.noise_kind, settings.noise, strict=True) if n == n}
    return Options(
        target=config.target_checkpoint.name,
        checkpoints=tuple(c.name for c in config.checkpoints),
        steps={c.name: c.step for c in config.all_checkpoints},
        explainers=tuple(regimes),
        regimes=regimes,
        layers=tuple(sorted(int(layer) for layer in settings.layer.dropna().unique())),
        edits=tuple(sorted(found.edit.unique())),
        noises=tuple(sorted(levels, key=lambda pair: (pair[0] != "none", *pair))),
        splits=tuple(s for s in SPLITS if s in set(found.split) and s != "train"),  # train is never explained
        columns=("group", "cue", "entity", *metadata_columns(path)),
        varied={c: _regimes(settings[settings.condition == c]) for c in conditions},
    )


def _regimes(settings: pd.DataFrame) -> dict[str, tuple[str, ...]]:
    """Explainer → its regimes, both in the order in which they are offered."""
    found = set(settings.explainer.dropna())
    known = (*EXPLAINERS, "verbal")
    kinds = [*(k for k in known if k in found), *sorted(found.difference(known))]
    of = {k: set(settings.regime[settings.explainer == k]) for k in kinds}
    return {k: tuple(r for r in ("frozen", "online", "refit") if r in of[k]) for k in kinds}


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
    `metrics(path, control=None, chosen=True, split="test_heldout")` are the headline rows. Of `verbal`, which is
    measured by several metrics, the exact match alone, unless `metric` is among the filters.
    """
    rows = _metrics(path, stamp(path))
    keep = np.ones(len(rows), bool)
    if "metric" not in filters:
        keep &= ((rows["explainer"] != "verbal") | (rows["metric"] == "exact_match")).to_numpy(bool)
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


def _frame(path: Path, checkpoint: str, rows: np.ndarray, known: str) -> pd.DataFrame:
    """Those rows of the examples with f and effects at target and current, but without texts."""
    texts = ("edit", "split", "group", "cue", "entity", *metadata_columns(path))
    made: dict[str, Any] = {
        "example_id": columns.example_ids(path, rows),
        "prompt_id": columns.prompt_ids(path, known)[rows],
        **{name: columns.category(path, name, known)[rows].remove_unused_categories() for name in texts},
        "row_number": rows,
    }
    for who, name in (("target", spec(path).target_checkpoint.name), ("current", checkpoint)):
        f, f_edited = columns.behavior(path, name, known)[:, rows]
        made |= {f"f_{who}": f, f"f_edited_{who}": f_edited, f"effect_{who}": f_edited - f}
    return pd.DataFrame(made, copy=False)


def behavior(path: Path, checkpoint: str) -> pd.DataFrame:
    """Every example of every split, in the run's order, without its texts: example_id, prompt_id (the row of its
    hidden state), edit, split, group, cue, entity, meta_* (categories), row_number (of examples.parquet), and f_…,
    f_edited_…, effect_… at `target` and `current`."""
    known = stamp(path)
    return _frame(path, checkpoint, np.arange(columns.rows_of(path), dtype=np.int32), known)


def chosen_rows(path: Path, rows: np.ndarray, split: str | None, edit: str | None) -> np.ndarray:
    """[m] bool: which of those rows of the examples are of a split and a kind of edit; None asks nothing."""
    keep = np.ones(len(rows), bool)
    for column, value in (("split", split), ("edit", edit)):
        if value is not None:
            keep &= columns.category(path, column, stamp(path))[rows] == value
    return keep


def explained_rows(path: Path, setting: Setting, split: str | None = None, edit: str | None = None) -> np.ndarray:
    """Rows of the examples that a setting explains, ascending [m]; no table is made of them."""
    rows = columns.explained(path, setting, stamp(path)).row
    return rows[chosen_rows(path, rows, split, edit)]


def explanations(path: Path, setting: Setting, split: str | None = None, edit: str | None = None) -> pd.DataFrame:
    """Explained examples of one setting: the columns of `behavior`, in the same order, plus `explanation` (nats),
    `text` (verbal), `layer`, `error` = |explanation − effect_current| and the control `output` = −f_current. Empty
    where the setting was not kept.
    """
    known = stamp(path)
    mine = columns.explained(path, setting, known)
    keep = np.flatnonzero(chosen_rows(path, mine.row, split, edit))
    frame = _frame(path, setting.checkpoint, mine.row[keep], known)
    explanation = mine.explanation[keep]
    return frame.assign(
        explanation=explanation,
        text=pd.Categorical([None]).take(np.zeros(len(keep), int)) if mine.text is None else mine.text[keep],
        layer=mine.layer[keep],
        error=np.abs(explanation - frame["effect_current"].to_numpy()),
        output=-frame["f_current"],
    )


@st.cache_data(max_entries=4, show_spinner=False)
def _hidden(path: Path, checkpoint: str, layer: int, stamp: str) -> np.ndarray:
    return Run.open(path).hidden(checkpoint, layer=layer)


def hidden(path: Path, checkpoint: str, layer: int) -> np.ndarray:
    """h(x) at the last position, [n_prompts, d], rows by prompt_id; RunError where the run keeps none."""
    return _hidden(path, checkpoint, layer, stamp(path))
