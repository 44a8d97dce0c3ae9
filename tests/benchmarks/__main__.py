"""`python -m tests.benchmarks NAME [--json]`: ours and the peers, side by side in one run.

Prints a table, or with --json an object with `machine` and `rows`. Exit code 1 unless every row met its goal with
answers that agree. A missing peer or a benchmark that breaks is a failed row, and the others still have theirs.
"""

from __future__ import annotations

import argparse
import datetime
import importlib
import json
import sys
import traceback
from typing import Any

from tests.benchmarks.side_by_side import failed, machine

BENCHMARKS = [
    "counterfactuals",
    "heads",
    "probes",
    "bootstrap",
    "mlp",
    "slider",
    "memory",
    "dashboard",
    "pages",
    "accelerator",
]
"""Modules beside this one with `rows()`. To add one, name it here."""
HEADER = """\
| what | ours | theirs | ratio (min … max) | of processor time | limit | goal | largest difference | tolerance | met |
|---|---|---|---|---|---|---|---|---|---|"""


def number(value: float | None, form: str = ".3g") -> str:
    if value is None:
        return "–"
    return f"{value:,.0f}" if form == ".3g" and value >= 1000 else format(value, form)


def table(rows: list[dict[str, Any]]) -> str:
    """Rows as Markdown, one line each."""
    lines = [HEADER]
    for row in rows:
        spread = "" if row["ratio"] is None else f" ({number(row['ratio_min'])} … {number(row['ratio_max'])})"
        note = f"; {row['note']}" if row["note"] else ""
        times = [f"{number(row[side])} {row['unit']}" for side in ("ours", "theirs")]
        ratios = [f"{number(row['ratio'])}{spread}", *(number(row[name]) for name in ("ratio_cpu", "limit", "goal"))]
        apart = [number(row["max_difference"], ".1e"), number(row["tolerance"], ".0e")]
        cells = (f"{row['name']}{note}", *times, *ratios, *apart, "yes" if row["met"] else "NO")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def measured(name: str) -> list[dict[str, Any]]:
    """A benchmark's rows; one failed row where it can't be imported or breaks."""
    try:
        return importlib.import_module(f"tests.benchmarks.{name}").rows()
    except Exception as error:  # a missing package or browser, a process that ran out of memory, a page that broke
        traceback.print_exc()
        first_line = (str(error).strip() or "no message").splitlines()[0]
        return [failed(name, None, f"{type(error).__name__}: {first_line}")]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__.splitlines()[0])
    parser.add_argument("name", choices=[*BENCHMARKS, "all"], nargs="?", default="all")
    parser.add_argument("--json", action="store_true", help="rows as JSON")
    chosen = parser.parse_args(arguments)
    # "all" leaves out the accelerator, which needs another machine.
    names = [n for n in BENCHMARKS if n != "accelerator"] if chosen.name == "all" else [chosen.name]
    rows = [row for name in names for row in measured(name)]
    if chosen.json:
        today = datetime.date.today().isoformat()
        print(json.dumps({"machine": machine(), "date": today, "rows": rows}, indent=1))
    else:
        print(f"{machine()}\n\n{table(rows)}")
    return 0 if all(row["met"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
