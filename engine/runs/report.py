"""Every metric of a run, as JSON rows or as tables to read in a terminal."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Column, Table

from engine.config import InputError
from engine.records import MEANING, METRICS
from engine.runs.store import Run

PART = "metrics.parquet"
LOSSES = "losses"
"""Note of a run: checkpoint → kind of loss → nats a token, of the checkpoints of its post-training."""
WIDE = 240
"""Characters in a line of a file or a pipe: no column is cut."""
Row = dict[str, Any]
UNSEEN = ("unseen", "over stale", "verdict (unseen)", "over outputs", "verdict (outputs)")
"""Heads of what an explanation knows of f(x'), each statistic before the verdict that rests on it."""
PROBE = ("checkpoint", "ρ", "Self", "Orig", "gap", "coupling", *UNSEEN)
VERBAL = ("checkpoint", "metric", "n", "Self", "Orig", "gap", "coupling", *UNSEEN)
CELLS: dict[str, Callable[[Row], str]] = {
    "checkpoint": lambda r: r["checkpoint"],
    "metric": lambda r: r["metric"],
    "n": lambda r: str(r["n"]),
    "ρ": lambda r: _number(r["target_current"]),
    "Self": lambda r: _interval(r, "self"),
    "Orig": lambda r: _interval(r, "orig") if r["explainer"] == "verbal" else _number(r["orig"]),
    "gap": lambda r: _interval(r, "gap"),
    "coupling": lambda r: _verdict(r, "coupling"),
    "unseen": lambda r: _interval(r, "unseen"),
    "over stale": lambda r: _interval(r, "unseen_over_stale"),
    "verdict (unseen)": lambda r: _verdict(r, "unseen"),
    "over outputs": lambda r: _interval(r, "unseen_over_outputs"),
    "verdict (outputs)": lambda r: _verdict(r, "outputs"),
}


def report(path: Path) -> dict[str, Any]:
    """`rows` (explainers) and `controls` of a run; null for values that are not defined.

    `not_testable`: checkpoint → why nothing of it could be measured. `losses`: checkpoint → the loss of the run's own
    post-training there, on dialogues that it is trained on and on those held out, in nats a token.

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
        "not_testable": run.diverged,
        LOSSES: run.manifest["notes"].get(LOSSES, {}),
        "rows": [{k: v for k, v in row.items() if k != "control"} for row in rows if row["control"] is None],
        "controls": [row for row in rows if row["control"] is not None],
    }


def losses_in_words(losses: Mapping[str, float | None]) -> str:
    """`loss 1.23, held out 1.45`, in nats a token."""
    trained, held = (losses.get(kind) for kind in ("training", "validation"))
    return ", ".join(
        f"{name} {'no number' if value is None else f'{value:.3f}'}"
        for name, value in (("loss", trained), ("held out", held))
    )


def schema() -> list[dict[str, str]]:
    """The columns of metrics.parquet: name, type and meaning."""
    return [{"column": c.name, "type": str(c.type), "meaning": MEANING[c.name]} for c in METRICS]


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
    for why in content["not_testable"].values():
        console.print(f"not testable: {why}", markup=False)
    for checkpoint, losses in content[LOSSES].items():
        console.print(f"post-training, {checkpoint}: {losses_in_words(losses)}, nats a token", markup=False)
    rows, controls = ([r for r in content[name] if r["split"] == split] for name in ("rows", "controls"))
    verbal = [r for r in rows if r["explainer"] == "verbal" and r["chosen"]]
    if verbal:
        first = verbal[0]
        noise = f", {first['noise']:.0%} of the labels shuffled" if first["noise"] else ""
        title = f"verbal, {first['regime']}: {first['condition']}{noise}; {first['edit']}"
        console.print(_explainer(title, VERBAL, verbal))
        beside = [r for r in controls if r["explainer"] == "verbal" and r["edit"] == first["edit"]]
        beside = [r for r in beside if r["metric"] == "exact_match"]
        console.print(_controls("controls beside it: Self, gap (unseen)", beside, ("self", "gap")))
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
        title = "controls beside the chosen ridge, frozen: Self (unseen)"
        console.print(_controls(title, controls, ("self",)))
    console.print("Coupled is not correct, and not aware. Every number with its interval: --json.")


def _explainer(title: str, columns: Sequence[str], rows: Iterable[Row]) -> Table:
    return _table(title, columns, ([CELLS[name](row) for name in columns] for row in sorted(rows, key=_step)))


def _controls(title: str, controls: Sequence[Row], values: Iterable[str]) -> Table:
    """A row per checkpoint, a column per control: `values`, and `unseen` in brackets."""
    names = list(dict.fromkeys(r["control"] for r in controls))
    cells: dict[str, dict[str, str]] = {}
    for row in sorted(controls, key=_step):
        shown = ", ".join(_number(row[value]) for value in values)
        own = cells.setdefault(row["checkpoint"], {})
        own.setdefault(row["control"], f"{shown} ({_number(row.get('unseen'))})")
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
    if row.get(name) is None:  # not defined, or not measured by the version that wrote the run
        return "–"
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    interval = "" if low is None or high is None else f" [{low:+.2f}, {high:+.2f}]"
    return _number(row[name]) + interval


def _verdict(row: Row, claim: str) -> str:
    """The verdict; beside "not shown" the chance that a true effect of 0.2 would have been shown."""
    word, power = row.get(f"verdict_{claim}"), row.get(f"power_{claim}")
    return f"{word} (power {power:.2f})" if word == "not shown" and power is not None else word or "–"
