"""Every metric of a run, as JSON rows or as a table to read in a terminal."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from engine.config import InputError
from engine.runs.store import Run

PART = "metrics.parquet"
WIDE = 180
COLUMNS = ("checkpoint", "ρ", "Self", "Orig", "gap", "coupling", "counterfactual gap", "verdict", "change tracking")


def report(path: Path) -> dict[str, Any]:
    """`rows` (explainers) and `controls` of a run; null for what is not defined. Raises InputError without metrics."""
    run = Run.open(path)
    if PART not in run.parts:
        raise InputError(f"{path}: has no metrics yet (it is {run.state}): run its spec again, it goes on from there")
    rows = [_plain(row) for row in run.read_table(PART).to_pylist()]
    return {
        "run": run.spec.name,
        "status": run.state,
        "note": run.spec.note,
        "rows": [{k: v for k, v in row.items() if k != "control"} for row in rows if row["control"] is None],
        "controls": [row for row in rows if row["control"] is not None],
    }


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    """NaN and infinities, which JSON has not, become null."""
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()}


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:+.2f}"


def _interval(row: dict[str, Any], name: str) -> str:
    if row[name] is None:
        return "–"
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    return _number(row[name]) + (f" [{low:+.2f}, {high:+.2f}]" if low is not None and high is not None else "")


def print_report(path: Path, console: Console | None = None, *, split: str = "test_heldout") -> None:
    """The chosen settings on one split, each with its controls; `--json` has everything."""
    content = report(path)
    console = console or Console()
    if not console.is_terminal:  # into a file or a pipe: never cut a column
        console = Console(width=WIDE)
    console.print(f"[bold]{content['run']}[/]  {content['status']}  split {split}")
    in_words = [r for r in content["rows"] if r["explainer"] == "verbal" and r["chosen"] and r["split"] == split]
    if in_words:
        _print_verbal(in_words, [r for r in content["controls"] if r["explainer"] == "verbal"], console)
    shown = [r for r in content["rows"] if r["chosen"] and r["split"] == split and not r["noise"]]
    shown = [r for r in shown if r["explainer"] != "verbal"]
    keys = sorted({(r["explainer"], r["regime"]) for r in shown})
    for explainer, regime in keys:
        rows = sorted((r for r in shown if (r["explainer"], r["regime"]) == (explainer, regime)), key=_step)
        first = rows[0]
        table = Table(
            title=f"{explainer}, {regime}: {first['edit']}, {first['mode']}, {first['position']}, layer "
            f"{first['layer']}, penalty {first['penalty']:g}; n = {first['n']}, {first['n_groups']} groups",
            title_justify="left",
        )
        for name in (
            "checkpoint",
            "ρ",
            "Self",
            "Orig",
            "gap",
            "coupling",
            "counterfactual gap",
            "verdict",
            "change tracking",
        ):
            table.add_column(name, no_wrap=True)
        for row in rows:
            table.add_row(
                row["checkpoint"],
                _number(row["target_current"]),
                _interval(row, "self"),
                _number(row["orig"]),
                _interval(row, "gap"),
                row["verdict_coupling"] or "–",
                _interval(row, "counterfactual_gap"),
                row["verdict_counterfactual"] or "–",
                _interval(row, "change_tracking"),
            )
        console.print(table)
    controls = [r for r in content["controls"] if r["chosen"] and r["split"] == split and not r["noise"]]
    controls = [r for r in controls if r["explainer"] != "verbal"]
    if controls:
        table = Table(title="controls beside the chosen ridge, frozen: Self (counterfactual gap)", title_justify="left")
        names = list(dict.fromkeys(r["control"] for r in controls))
        table.add_column("checkpoint", no_wrap=True)
        for name in names:
            table.add_column(name, no_wrap=True)
        for checkpoint in dict.fromkeys(r["checkpoint"] for r in sorted(controls, key=_step)):
            cells = []
            for name in names:
                row = next((r for r in controls if (r["control"], r["checkpoint"]) == (name, checkpoint)), None)
                cells.append("–" if row is None else f"{_number(row['self'])} ({_number(row['counterfactual_gap'])})")
            table.add_row(checkpoint, *cells)
        console.print(table)
    console.print("Coupled is not correct, and not aware. Every number with its interval: --json.")


def _print_verbal(rows: list[dict[str, Any]], controls: list[dict[str, Any]], console: Console) -> None:
    """Self-explanation: every metric at every checkpoint, then what the controls score by exact match."""
    rows = sorted(rows, key=_step)
    first = rows[0]
    noise = f", {first['noise']:.0%} of the labels shuffled" if first["noise"] else ""
    table = Table(
        title=f"verbal, {first['regime']}: {first['condition']}{noise}; {first['edit']}", title_justify="left"
    )
    for name in ("checkpoint", "metric", "n", "Self", "Orig", "gap", "coupling", "counterfactual gap", "verdict"):
        table.add_column(name, no_wrap=True)
    for row in rows:
        table.add_row(
            row["checkpoint"],
            row["metric"],
            str(row["n"]),
            _interval(row, "self"),
            _interval(row, "orig"),
            _interval(row, "gap"),
            row["verdict_coupling"] or "–",
            _interval(row, "counterfactual_gap"),
            row["verdict_counterfactual"] or "–",
        )
    console.print(table)
    beside = [r for r in controls if (r["edit"], r["split"]) == (first["edit"], first["split"])]
    table = Table(title="controls beside it: Self, gap (counterfactual gap)", title_justify="left")
    names = list(dict.fromkeys(r["control"] for r in beside))
    for name in ("checkpoint", *names):
        table.add_column(name, no_wrap=True)
    for checkpoint in dict.fromkeys(r["checkpoint"] for r in rows):
        at = {r["control"]: r for r in beside if (r["checkpoint"], r["metric"]) == (checkpoint, "exact_match")}
        cells = [f"{_number(at[n]['self'])}, {_number(at[n]['gap'])}" for n in names]
        unseen = [_number(at[n]["counterfactual_gap"]) for n in names]
        table.add_row(checkpoint, *(f"{cell} ({own})" for cell, own in zip(cells, unseen, strict=True)))
    console.print(table)


def _step(row: dict[str, Any]) -> tuple[int, str]:
    return row["step"] or 0, row["checkpoint"]
