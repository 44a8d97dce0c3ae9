"""Progress of long work: a plain callback, with terminal bars and a file for other processes as implementations."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

from tqdm.auto import tqdm

PROGRESS_FILE = "COUPLING_PROGRESS"
"""Environment variable: a file to which `bars` also appends progress, one JSON object a line (`to_file`)."""
SECONDS_BETWEEN_LINES = 0.5


class Progress(Protocol):
    def __call__(self, stage: str, done: int, total: int) -> None:
        """`done` of `total` units of a stage are ready. Called from one thread; `done` never falls within a stage."""


def silent(stage: str, done: int, total: int) -> None:
    """Progress that is not shown."""


def to_file(file: Path) -> Progress:
    """Append {"stage", "done", "total", "at" (seconds since 1970)}: each stage's start and end, and some between."""
    stage_of_last, at_of_last = "", 0.0

    def append(stage: str, done: int, total: int) -> None:
        nonlocal stage_of_last, at_of_last
        now = time.time()
        if stage == stage_of_last and done < total and now - at_of_last < SECONDS_BETWEEN_LINES:
            return
        stage_of_last, at_of_last = stage, now
        line = json.dumps({"stage": stage, "done": done, "total": total, "at": round(now, 3)})
        with suppress(OSError), file.open("a", encoding="utf-8") as out:  # the work goes on without this file
            out.write(line + "\n")

    return append


@contextmanager
def bars(quiet: bool = False) -> Iterator[Progress]:
    """One tqdm bar for each stage, on stderr or as a notebook widget. With PROGRESS_FILE, lines in that file too."""
    open_bars: dict[str, tqdm] = {}
    file = os.environ.get(PROGRESS_FILE)
    recorded = to_file(Path(file)) if file else silent

    def show(stage: str, done: int, total: int) -> None:
        recorded(stage, done, total)
        if quiet:
            return
        if stage not in open_bars:
            for other in open_bars.values():
                other.close()
            open_bars[stage] = tqdm(desc=f"{stage:32}", total=total, mininterval=0.2, dynamic_ncols=True, leave=True)
        bar = open_bars[stage]
        bar.total = total
        bar.update(done - bar.n)

    try:
        yield show
    finally:
        for bar in open_bars.values():
            bar.close()
