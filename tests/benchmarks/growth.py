"""How cost grows: `python -m tests.benchmarks.growth FILE.svg` draws every benchmark's `growth()` into one picture.

A benchmark may offer `growth()`: rows of `axis`, `value`, `ours`, `theirs` (processor seconds).
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

from tests.benchmarks.side_by_side import machine

TITLES = {"counterfactuals": "edits; peer: full rows, batched", "probes": "ridge sweep; peer: a Ridge a penalty"}
"""Benchmarks with `growth()` and the headings of their panels."""


def measured() -> list[dict[str, Any]]:
    """Growth rows of all benchmarks."""
    modules = {name: importlib.import_module(f"tests.benchmarks.{name}") for name in TITLES}
    return [row | {"benchmark": name} for name, module in modules.items() for row in module.growth()]


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """One panel for each benchmark and axis, on logarithmic axes; there are six."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams |= {"svg.fonttype": "none", "svg.hashsalt": "growth"}  # text stays text; reproducible ids
    from matplotlib import pyplot

    panels = list(dict.fromkeys((row["benchmark"], row["axis"]) for row in rows))
    figure, axes = pyplot.subplots(2, 3, figsize=(9.6, 5.6))
    for (benchmark, axis), panel in zip(panels, axes.flat, strict=True):
        own = [row for row in rows if (row["benchmark"], row["axis"]) == (benchmark, axis)]
        values = [row["value"] for row in own]
        panel.plot(values, [row["ours"] for row in own], "o-", color="#0072B2", label="ours")
        panel.plot(values, [row["theirs"] for row in own], "s--", color="#D55E00", label="peer")
        panel.set(xlabel=axis, ylabel="seconds", yscale="log", xscale="log")
        panel.set_title(TITLES[benchmark], fontsize=9)
        panel.set_xticks(values, [str(v) for v in values])
        panel.minorticks_off()
    axes.flat[0].legend(frameon=False)
    figure.suptitle(machine(), fontsize=8)
    figure.tight_layout()
    figure.savefig(path)


if __name__ == "__main__":
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else Path("growth.svg")
    draw(measured(), path)
    print(path)
