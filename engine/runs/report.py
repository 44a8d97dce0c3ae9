"""Every metric of a run, as JSON rows or as tables to read in a terminal."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Column, Table

from engine.config import InputError
from engine.runs.store import Run

PART = "metrics.parquet"
WIDE = 180
"""Characters in a line of a file or a pipe: no column is cut."""
Row = dict[str, Any]
PROBE = ("checkpoint", "ρ", "Self", "Orig", "gap", "coupling", "counterfactual gap", "verdict", "change tracking")
VERBAL = ("checkpoint", "metric", "n", "Self", "Orig", "gap", "coupling", "counterfactual gap", "verdict")
CELLS: dict[str, Callable[[Row], str]] = {
    "checkpoint": lambda r: r["checkpoint"],
    "metric": lambda r: r["metric"],
    "n": lambda r: str(r["n"]),
    "ρ": lambda r: _number(r["target_current"]),
    "Self": lambda r: _interval(r, "self"),
    "Orig": lambda r: _interval(r, "orig") if r["explainer"] == "verbal" else _number(r["orig"]),
    "gap": lambda r: _interval(r, "gap"),
    "coupling": lambda r: r["verdict_coupling"] or "–",
    "counterfactual gap": lambda r: _interval(r, "counterfactual_gap"),
    "verdict": lambda r: r["verdict_counterfactual"] or "–",
    "change tracking": lambda r: _interval(r, "change_tracking"),
}


def report(path: Path) -> dict[str, Any]:
    """`rows` (explainers) and `controls` of a run; null for values that are not defined.

    Raises InputError for a run without metrics.
    """
    run = Run.open(path)
    if PART not in run.parts:
        raise InputError(f"{path}: has no metrics yet (it is {run.state}): run its spec again to resume it")
    rows = [_plain(row) for row in run.read_table(PART).to_pylist()]
    return {
        "run": run.spec.name,
        "status": run.state,
        "note": run.spec.note,
        "rows": [{k: v for k, v in row.items() if k != "control"} for row in rows if row["control"] is None],
        "controls": [row for row in rows if row["control"] is not None],
    }


def _plain(row: Row) -> Row:
    """NaN and infinities, which JSON lacks, become null."""
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()}


def print_report(path: Path, split: str = "test_heldout") -> None:
    """Print tables of the chosen settings on one split, each with its controls."""
    content = report(path)
    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDE)
    console.print(f"[bold]{content['run']}[/]  {content['status']}  split {split}")
    rows, controls = ([r for r in content[name] if r["split"] == split] for name in ("rows", "controls"))
    verbal = [r for r in rows if r["explainer"] == "verbal" and r["chosen"]]
    if verbal:
        first = verbal[0]
        noise = f", {first['noise']:.0%} of the labels shuffled" if first["noise"] else ""
        title = f"verbal, {first['regime']}: {first['condition']}{noise}; {first['edit']}"
        console.print(_explainer(title, VERBAL, verbal))
        beside = [r for r in controls if r["explainer"] == "verbal" and r["edit"] == first["edit"]]
        beside = [r for r in beside if r["metric"] == "exact_match"]
        console.print(_controls("controls beside it: Self, gap (counterfactual gap)", beside, ("self", "gap")))
    rows, controls = (
        [r for r in some if r["chosen"] and not r["noise"] and r["explainer"] != "verbal"] for some in (rows, controls)
    )
    for key in sorted({(r["explainer"], r["regime"]) for r in rows}):
        shown = [r for r in rows if (r["explainer"], r["regime"]) == key]
        title = (
            "{explainer}, {regime}: {edit}, {mode}, {position}, layer {layer}, penalty {penalty:g}; "
            "n = {n}, {n_groups} groups"
        )
        console.print(_explainer(title.format(**shown[0]), PROBE, shown))
    if controls:
        title = "controls beside the chosen ridge, frozen: Self (counterfactual gap)"
        console.print(_controls(title, controls, ("self",)))
    console.print("Coupled is not correct, and not aware. Every number with its interval: --json.")


def _explainer(title: str, columns: Sequence[str], rows: Iterable[Row]) -> Table:
    return _table(title, columns, ([CELLS[name](row) for name in columns] for row in sorted(rows, key=_step)))


def _controls(title: str, controls: Sequence[Row], values: Iterable[str]) -> Table:
    """A row per checkpoint, a column per control: `values`, and the counterfactual gap in brackets."""
    names = list(dict.fromkeys(r["control"] for r in controls))
    cells: dict[str, dict[str, str]] = {}
    for row in sorted(controls, key=_step):
        shown = ", ".join(_number(row[value]) for value in values)
        own = cells.setdefault(row["checkpoint"], {})
        own.setdefault(row["control"], f"{shown} ({_number(row['counterfactual_gap'])})")
    lines = ([checkpoint, *(own.get(name, "–") for name in names)] for checkpoint, own in cells.items())
    return _table(title, ["checkpoint", *names], lines)


def _table(title: str, columns: Sequence[str], lines: Iterable[Sequence[str]]) -> Table:
    table = Table(*(Column(name, no_wrap=True) for name in columns), title=title, title_justify="left")
    for line in lines:
        table.add_row(*line)
    return table


def _step(row: Row) -> tuple[int, str]:
    return row["step"] or 0, row["checkpoint"]


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:+.2f}"


def _interval(row: Row, name: str) -> str:
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    interval = "" if low is None or high is None else f" [{low:+.2f}, {high:+.2f}]"
    return "–" if row[name] is None else _number(row[name]) + interval
