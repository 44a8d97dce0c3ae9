"""Progress of long work: a plain callback, and terminal bars that implement it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from tqdm import tqdm


class Progress(Protocol):
    def __call__(self, stage: str, done: int, total: int) -> None:
        """`done` of `total` units of a stage are ready. Called from one thread, `done` never falls within a stage."""


def silent(stage: str, done: int, total: int) -> None:
    """Progress that nobody watches."""


@contextmanager
def bars(quiet: bool = False) -> Iterator[Progress]:
    """One tqdm bar a stage, on stderr."""
    open_bars: dict[str, tqdm] = {}

    def show(stage: str, done: int, total: int) -> None:
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
