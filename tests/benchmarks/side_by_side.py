"""Two ways to do the same work, timed in turns in one process with the same number of threads.

A row says how many times faster ours is: the median ratio over repetitions with its smallest and largest, the largest
difference between the two answers, and the tolerance that was stated beforehand. `ratio` is of wall time. `ratio_cpu`
is of processor time, which neighbours on the machine do not change.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits

THREADS = int(os.environ.get("BENCHMARK_THREADS", "1"))
"""One by default: on a shared machine more threads time the neighbours."""
NOT_TIMED = {"threads": None, "deterministic": True}
"""Columns of a row that counts something other than time, and counts the same each time."""


@contextmanager
def same_threads(threads: int = THREADS) -> Iterator[None]:
    """Both sides get this number of threads, in BLAS, OpenMP and torch."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with threadpool_limits(threads):
            yield
    finally:
        torch.set_num_threads(before)


def seconds(work: Callable[[], Any]) -> tuple[float, float, Any]:
    """Wall seconds, processor seconds and the work's result."""
    started, started_cpu = time.perf_counter(), time.process_time()
    answer = work()
    return time.perf_counter() - started, time.process_time() - started_cpu, answer


def fastest(sizes: Sequence[int], work: Callable[[int], Any], repetitions: int = 1) -> int:
    """The size with which the work takes the least processor time."""
    with same_threads():
        times = {size: min(seconds(lambda s=size: work(s))[1] for _ in range(repetitions)) for size in sizes}
    return min(times, key=times.__getitem__)


def side_by_side(
    name: str,
    ours: Callable[[int], Any],
    theirs: Callable[[int], Any],
    *,
    goal: float | None,
    tolerance: float,
    difference: Callable[[Any, Any], float] | None = None,
    limit: float | None = None,
    repetitions: int = 7,
    scale: float = 1.0,
    note: str = "",
) -> dict[str, Any]:
    """One row. Both callables get the number of the repetition.

    scale: theirs does one part in `scale`, and its time is multiplied (the note says it). difference: compares the two
    answers of one repetition; by default the largest absolute difference.
    """
    difference = difference or largest_difference
    own, peer, apart = [], [], 0.0
    with same_threads():
        ours(0)  # warm both up
        theirs(0)
        for repetition in range(repetitions):
            *times, a = seconds(lambda r=repetition: ours(r))
            own.append(times)
            *times, b = seconds(lambda r=repetition: theirs(r))
            peer.append([scale * t for t in times])
            apart = max(apart, difference(a, b))
    (wall, cpu), (peer_wall, peer_cpu) = zip(*own, strict=True), zip(*peer, strict=True)
    ratio_cpu = float(np.median(peer_cpu) / np.median(cpu))
    return row(name, wall, peer_wall, goal, apart, tolerance, limit=limit, note=note, ratio_cpu=ratio_cpu)


def attempt(name: str, goal: float | None, measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """A measured row; a failed one where the peer is missing or breaks."""
    try:
        return measure()
    except Exception as error:
        return failed(name, goal, repr(error))


def largest_difference(a: Any, b: Any) -> float:
    """Between two arrays that must be defined at the same places."""
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if a.shape != b.shape or not np.array_equal(np.isnan(a), np.isnan(b)):
        return float("inf")
    return float(np.nanmax(np.abs(a - b), initial=0.0))


def row(
    name: str,
    own: Sequence[float],
    peer: Sequence[float],
    goal: float | None,
    apart: float | None = None,
    tolerance: float | None = None,
    **columns: Any,
) -> dict[str, Any]:
    """A row of the benchmark table; `met` asks for the goal, where there is one, and for answers that agree.

    own, peer: a number for each repetition. apart: None where there are no answers to compare. columns: other values
    than the ones by default.
    """
    ratios = np.array(peer) / np.array(own)
    ratio = float(np.median(ratios))
    agree = apart is None or tolerance is None or apart <= tolerance
    measured = {
        "ours": float(np.median(own)),
        "theirs": float(np.median(peer)),
        "ratio": ratio,
        "ratio_min": float(min(ratios)),
        "ratio_max": float(max(ratios)),
        "max_difference": apart,
        "tolerance": tolerance,
        "met": (goal is None or ratio >= goal) and agree,
        "repetitions": len(ratios),
    }
    return failed(name, goal, "") | measured | {"note": ""} | columns


def failed(name: str, goal: float | None, why: str) -> dict[str, Any]:
    """The row of a peer that is missing or broke: failed, not absent."""
    numbers = ("ours", "theirs", "ratio", "ratio_min", "ratio_max", "ratio_cpu", "limit", "max_difference", "tolerance")
    about = {"unit": "s", "threads": THREADS, "deterministic": False, "repetitions": 0}
    return {"name": name, "goal": goal, **dict.fromkeys(numbers), **about, "met": False, "note": f"failed: {why}"}


def cost(axis: str, value: float, ours: Callable[[], Any], theirs: Callable[[], Any]) -> dict[str, Any]:
    """A row of a benchmark's `growth()`: the least processor seconds of three repetitions of each side."""
    with same_threads():
        least = [min(seconds(work)[1] for _ in range(3)) for work in (ours, theirs)]
    return {"axis": axis, "value": value, "ours": least[0], "theirs": least[1]}


def machine() -> str:
    """The machine on which the figures are measured."""
    return f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, {THREADS} thread(s) used"
