"""Cached reads of runs: DuckDB over the Parquet tables. Imports no torch.

Effects and f are in nats. A run that can't be read (cut off, foreign, unfinished) raises `RunError` with one line of
text; pages show that line and never a traceback.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from heapq import nsmallest
from pathlib import Path

import numpy as np
import pandas as pd
import streamlit as st

from dashboard.reading import columns
from dashboard.reading.chosen import complete
from dashboard.reading.columns import Setting
from dashboard.reading.tables import blamed, cached_per_run, open_table, part, query
from dashboard.reading.tables import stamp as stamp
from engine.config import RunSpec
from engine.probes.kinds import EXPLAINERS
from engine.records import FORMAT_VERSION, META, SPLITS
from engine.runs.files import find_runs
from engine.runs.store import Run, RunError

UNDECIDABLE = 0.25
"""Nats. If Δ_target and Δ_current are closer than this, no explanation can be said to follow one of them."""


@dataclass(frozen=True)
class RunEntry:
    """One run folder in the list of runs, readable or not."""

    key: str
    """Its name in the URL: the folder's name, with as many parent folders as make it unique."""
    path: Path
    state: str
    """running, interrupted, complete, failed, or unreadable."""
    problem: str | None
    """One line, for unreadable and failed runs."""
    note: str
    task: str
    outdated: bool = False
    """Whether an earlier version scored it; `coupling rescore` brings it up to date."""
    untestable: tuple[str, ...] = ()
    """A sentence for each checkpoint of which nothing could be measured."""


@dataclass(frozen=True)
class Options:
    """The values that can be selected in one run."""

    target: str
    checkpoints: tuple[str, ...]
    """The current checkpoints in the order of training. Explainers were trained at the first."""
    steps: dict[str, int]
    explainers: tuple[str, ...]
    regimes: dict[str, tuple[str, ...]]
    layers: tuple[int, ...]
    edits: tuple[str, ...]
    noises: tuple[tuple[str, float], ...]
    """(kind, level), the noise-free ("none", 0.0) first."""
    splits: tuple[str, ...]
    columns: tuple[str, ...]
    """Columns of the examples that a slice may filter by value."""
    varied: dict[str, dict[str, tuple[str, ...]]] = field(default_factory=dict)
    """Condition (another factor that was varied in training) → its explainers and their regimes. `explainers` and
    `regimes` are those with nothing varied."""

    def regimes_of(self, condition: str | None) -> dict[str, tuple[str, ...]]:
        """Explainer → its regimes under a condition; None: nothing varied."""
        return self.regimes if condition is None else self.varied[condition]


def directories() -> tuple[str, ...]:
    """The folders with runs: those after `--` on the command line, else those in COUPLING_RUNS, else the defaults."""
    if Path(sys.argv[0]).parts[-2:] == ("dashboard", "app.py") and len(sys.argv) > 1:
        return tuple(sys.argv[1:])
    given = os.environ.get("COUPLING_RUNS", "")
    return tuple(d for d in given.split(os.pathsep) if d) or ("runs", "sample_runs")


def _keys(paths: Sequence[Path]) -> list[str]:
    """The ends of different paths, each with as many parts as make all of them unique. They can stand in an address:
    bytes that are no text are written as escapes."""
    texts = [tuple(_as_text(part) for part in path.parts) for path in paths]
    longest = max(map(len, texts), default=0)
    length = next((n for n in range(1, longest) if len({t[-n:] for t in texts}) == len(texts)), longest)
    keys = ["/".join(t[-length:]) for t in texts]
    if len(set(keys)) == len(keys):
        return keys
    return [f"{key} ({i})" if key in keys[:i] else key for i, key in enumerate(keys)]


def _as_text(name: str) -> str:
    """A name of a file as text that can be sent; bytes that are no UTF-8 become escapes."""
    return name.encode("utf-8", "backslashreplace").decode()


def runs() -> list[RunEntry]:
    """All run folders under `directories()`, unreadable ones too. Never raises."""
    paths = sorted({p.resolve() for p in find_runs(directories())})
    return [_entry(path, key) for path, key in zip(paths, _keys(paths), strict=True)]


def _entry(path: Path, key: str) -> RunEntry:
    try:
        if _as_text(str(path)) != str(path):
            raise RunError(f"{key}: the name of its folder is not UTF-8: rename the folder, or delete it")
        run = Run.open(path)
        state = run.state
        problem = (run.manifest.get("error") or "no reason was recorded") if state == "failed" else None
        outdated = state == "complete" and run.manifest["format_version"] < FORMAT_VERSION
        untestable = tuple(run.diverged.values())
        return RunEntry(key, path, state, problem, run.spec.note, run.spec.task.name, outdated, untestable)
    except RunError as error:
        return RunEntry(key, path, "unreadable", str(error), "", "")


def content_hash(path: Path) -> str:
    """12 hex digits of the hash of a run's tables, as a permalink carries it. Patching maps do not count: they may be
    added to a finished run and change no measurement."""
    parts = manifest(path)["parts"]
    tables = {name: about for name, about in parts.items() if name.endswith(".parquet")}
    shown = sorted(f"{name}={about['sha256']}" for name, about in tables.items() if not name.startswith("patching/"))
    return hashlib.sha256("\n".join(shown).encode()).hexdigest()[:12]


def manifest(path: Path) -> dict:
    """The manifest as plain data, checked; raises RunError."""
    return Run.open(path).manifest


def spec(path: Path) -> RunSpec:
    """The resolved spec of a run, with the checkpoints that could be measured; raises RunError."""
    return Run.open(path).measured


def metadata_columns(path: Path) -> tuple[str, ...]:
    """Columns with the example's own metadata; their names start with `meta_`."""
    return tuple(c for c in open_table(path, "examples.parquet").schema_arrow.names if c.startswith(META))


@cached_per_run(st.cache_data, max_entries=16)
def options(path: Path) -> Options:
    """The values that can be selected in a run. Raises RunError if its tables are missing or damaged."""
    with blamed(path):
        return _options(path)


def _options(path: Path) -> Options:
    config = spec(path)
    settings = query(
        "SELECT DISTINCT explainer, regime, layer, noise_kind, noise, condition FROM whole(?) WHERE control IS NULL",
        [part(path, "metrics.parquet")],
        path,
    )
    edits, splits = (columns.category(path, column).categories for column in ("edit", "split"))
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
        edits=tuple(sorted(edits)),
        noises=tuple(sorted(levels, key=lambda pair: (pair[0] != "none", *pair))),
        splits=tuple(s for s in SPLITS if s in splits and s != "train"),  # train is never explained
        columns=("group", "cue", "entity", *metadata_columns(path)),
        varied={c: _regimes(settings[settings.condition == c]) for c in conditions},
    )


def _regimes(settings: pd.DataFrame) -> dict[str, tuple[str, ...]]:
    """Explainer → its regimes, both in the order of the menus."""
    found = set(settings.explainer.dropna())
    known = (*EXPLAINERS, "verbal")
    kinds = [*(k for k in known if k in found), *sorted(found.difference(known))]
    of = {k: set(settings.regime[settings.explainer == k]) for k in kinds}
    return {k: tuple(r for r in ("frozen", "online", "refit") if r in of[k]) for k in kinds}


@cached_per_run(st.cache_data, max_entries=32)
def values(path: Path, column: str, limit: int = 200) -> list[str]:
    """The most frequent values of a column of the examples, most frequent first."""
    counts = columns.category(path, column).value_counts()
    return [value for _, value in nsmallest(limit, zip(-counts.to_numpy(), counts.index, strict=True))]


@cached_per_run(st.cache_data, max_entries=8)
def _metrics(path: Path) -> pd.DataFrame:
    return complete(query("SELECT * FROM whole(?)", [part(path, "metrics.parquet")], path))


def metrics(path: Path, **filters: object) -> pd.DataFrame:
    """Rows of metrics.parquet (columns: `engine.records.METRICS`), in the run's order.

    filters: column=value. None keeps nulls; a tuple or list keeps any of its values. `verbal` is measured by several
    metrics; its rows are those of the exact match unless `metric` is among the filters.
    Headline rows: `metrics(path, control=None, chosen=True, split="test_heldout")`.
    """
    rows = _metrics(path)
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


def setting_metrics(path: Path, setting: Setting, **filters: object) -> pd.DataFrame:
    """Rows of metrics.parquet of a setting's explainer, regime, condition and checkpoint, at every label noise."""
    s = setting
    own = {"explainer": s.explainer, "regime": s.regime, "condition": s.condition, "checkpoint": s.checkpoint}
    return metrics(path, control=None, **own, **filters)


def outputs(
    path: Path, checkpoint: str, rows: np.ndarray, whose: Sequence[str] = ("target", "current")
) -> dict[str, np.ndarray]:
    """f_…, f_edited_… and effect_… of the target and of the current checkpoint, at rows of the examples [m]; nats."""
    found: dict[str, np.ndarray] = {}
    for who in whose:
        name = spec(path).target_checkpoint.name if who == "target" else checkpoint
        f, f_edited = columns.behavior(path, name)[:, rows]
        found |= {f"f_{who}": f, f"f_edited_{who}": f_edited, f"effect_{who}": f_edited - f}
    return found


def _frame(path: Path, checkpoint: str, rows: np.ndarray) -> pd.DataFrame:
    """The columns of `behavior` at rows of the examples [m]."""
    texts = ("edit", "split", "group", "cue", "entity", *metadata_columns(path))
    made = {
        "example_id": columns.example_ids(path, rows),
        "prompt_id": columns.prompt_ids(path)[rows],
        **{name: columns.category(path, name)[rows].remove_unused_categories() for name in texts},
        "row_number": rows,
        **outputs(path, checkpoint, rows),
    }
    return pd.DataFrame(made, copy=False)


def behavior(path: Path, checkpoint: str) -> pd.DataFrame:
    """Every example of every split, in the run's order, without its texts.

    Columns: example_id, prompt_id (the row of its hidden state), edit, split, group, cue, entity, meta_* (categories),
    row_number (of examples.parquet), and f_…, f_edited_…, effect_… at `target` and `current`, in nats.
    """
    return _frame(path, checkpoint, np.arange(columns.rows_of(path), dtype=np.int32))


def fits_split_and_edit(path: Path, rows: np.ndarray, split: str | None, edit: str | None) -> np.ndarray:
    """[m] bool: which rows of the examples have a split and a kind of edit; None allows any."""
    keep = np.ones(len(rows), bool)
    for column, value in (("split", split), ("edit", edit)):
        if value is not None:
            keep &= columns.category(path, column)[rows] == value
    return keep


def explained_rows(path: Path, setting: Setting, split: str | None = None, edit: str | None = None) -> np.ndarray:
    """The rows of the examples [m] that a setting explains, ascending. Makes no table of them."""
    rows = columns.explained(path, setting).row
    return rows[fits_split_and_edit(path, rows, split, edit)]


def explanations(path: Path, setting: Setting, split: str | None = None, edit: str | None = None) -> pd.DataFrame:
    """The explained examples of one setting; empty if the run did not keep it.

    Columns: those of `behavior`, `explanation` (nats), `text` (verbal), `layer`, `error` = |explanation −
    effect_current|, and the control `output` = −f_current.
    """
    mine = columns.explained(path, setting)
    keep = np.flatnonzero(fits_split_and_edit(path, mine.row, split, edit))
    frame = _frame(path, setting.checkpoint, mine.row[keep])
    explanation = mine.explanation[keep]
    return frame.assign(
        explanation=explanation,
        text=pd.Categorical([None]).take(np.zeros(len(keep), int)) if mine.text is None else mine.text[keep],
        layer=mine.layer[keep],
        error=np.abs(explanation - frame["effect_current"].to_numpy()),
        output=-frame["f_current"],
    )


@cached_per_run(st.cache_data, max_entries=4)
def hidden(path: Path, checkpoint: str, layer: int) -> np.ndarray:
    """h(x) at the last position, [n_prompts, d], rows by prompt_id. Raises RunError if the run keeps none."""
    return Run.open(path).hidden(checkpoint, layer=layer)
