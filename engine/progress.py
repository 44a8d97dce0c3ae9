"""Progress of long work: a plain callback, with terminal bars and a file for other processes as implementations."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

from tqdm.auto import tqdm

PROGRESS_FILE = "COUPLING_PROGRESS"
"""Environment variable: a file to which `bars` also appends progress, one JSON object a line (`to_file`)."""
SECONDS_BETWEEN_LINES = 0.5


class Tokens(int):
    """Tokens, as the `total` of a stage that is counted in tokens. It may be an estimate until the end."""


class Noted(str):
    """The name of a stage, with a few words on how it goes, which are shown beside its progress."""

    note = ""


class Progress(Protocol):
    def __call__(self, stage: str, done: int, total: int) -> None:
        """`done` of `total` units of a stage are ready. Called from one thread; `done` never falls within a stage."""


class TokenMeter:
    """Progress of a stage in tokens, where only the amount of work is known at first: characters, rows, or steps.

    The total is what was counted plus an estimate of what is left, at the rate of tokens per amount so far.
    """

    def __init__(self, progress: Progress, stage: str, amount: float, *, tokens: int = 0, done: float = 0.0):
        """`amount`: all of the work; `done` of it, with so many `tokens`, was done before."""
        self._progress, self._stage, self._amount = progress, stage, amount
        self.note = ""
        self.tokens, self._done, self._last = tokens, done, 0
        self.tell()

    def add(self, amount: float, tokens: int) -> None:
        """Some work is done; it had so many tokens."""
        self._done, self.tokens = self._done + amount, self.tokens + tokens
        self.tell()

    def tell(self, ahead: float = 0.0) -> None:
        """Report; `ahead` is an amount that is done and not counted yet."""
        a_unit = self.tokens / self._done if self.tokens and self._done else 1.0
        left = max(0.0, self._amount - self._done)
        total = max(1, round(self.tokens + left * a_unit))
        now = total if left < 0.5 else min(total, round(self.tokens + min(ahead, left) * a_unit))
        self._last = min(max(self._last, now), total)
        stage = Noted(self._stage)
        stage.note = self.note
        self._progress(stage, self._last, Tokens(total))


def silent(stage: str, done: int, total: int) -> None:
    """Progress that is not shown."""


def to_file(file: Path) -> Progress:
    """Append {"stage", "done", "total", "unit", "note", "at" (seconds since 1970)}: start, end and some between."""
    stage_of_last, at_of_last = "", 0.0

    def append(stage: str, done: int, total: int) -> None:
        nonlocal stage_of_last, at_of_last
        now = time.time()
        if stage == stage_of_last and done < total and now - at_of_last < SECONDS_BETWEEN_LINES:
            return
        stage_of_last, at_of_last = stage, now
        unit = "tokens" if isinstance(total, Tokens) else ""
        told = {"stage": stage, "done": done, "total": total, "unit": unit, "note": getattr(stage, "note", "")}
        line = json.dumps(told | {"at": round(now, 3)})
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
            options: dict[str, Any] = {"unit": " tokens", "unit_scale": True} if isinstance(total, Tokens) else {}
            options |= {"total": total, "initial": done, "mininterval": 0.2, "dynamic_ncols": True, "leave": True}
            open_bars[stage] = tqdm(desc=f"{stage:32}", **options)
        bar = open_bars[stage]
        bar.total = total
        note = getattr(stage, "note", "")
        unseen = note != (bar.postfix or "") and done == bar.n
        bar.set_postfix_str(note, refresh=False)
        bar.update(done - bar.n)
        if unseen:  # tqdm draws nothing while its count stands still
            bar.refresh()

    try:
        yield show
    finally:
        for bar in open_bars.values():
            bar.close()
