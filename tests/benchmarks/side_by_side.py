"""Two ways to do the same work, timed in turns in one process with the same threads.

A row says how many times faster ours is: the median ratio over repetitions with its smallest and largest,
beside the largest difference between the two answers and the tolerance that was stated beforehand. `ratio`
is of wall time; `ratio_cpu`, of processor time, stands beside it because neighbours don't change it.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits

THREADS = int(os.environ.get("BENCHMARK_THREADS", "1"))
"""One by default: on a shared machine more threads time the neighbours."""


@contextmanager
def same_threads(threads: int = THREADS) -> Iterator[None]:
    """Both sides get as many threads, in BLAS, OpenMP and torch."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with threadpool_limits(threads):
            yield
    finally:
        torch.set_num_threads(before)


def seconds(work: Callable[[], Any]) -> tuple[float, float, Any]:
    """Wall seconds, processor seconds and what the work returned."""
    started, started_cpu = time.perf_counter(), time.process_time()
    answer = work()
    return time.perf_counter() - started, time.process_time() - started_cpu, answer


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

    `scale`: theirs does one part of so many, and its time is multiplied (said in the note). `difference`
    compares the two answers of one repetition; by default the largest absolute difference.
    """
    difference = difference or largest_difference
    own, peer, own_cpu, peer_cpu, apart = [], [], [], [], 0.0
    with same_threads():
        ours(0)  # warm both up
        theirs(0)
        for repetition in range(repetitions):
            wall, cpu, a = seconds(lambda r=repetition: ours(r))
            own.append(wall)
            own_cpu.append(cpu)
            wall, cpu, b = seconds(lambda r=repetition: theirs(r))
            peer.append(wall * scale)
            peer_cpu.append(cpu * scale)
            apart = max(apart, difference(a, b))
    ratio_cpu = float(np.median(peer_cpu) / np.median(own_cpu))
    return row(name, own, peer, goal, apart, tolerance, limit, note) | {"ratio_cpu": ratio_cpu}


def largest_difference(a: Any, b: Any) -> float:
    """Between two arrays that must be defined at the same places."""
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if a.shape != b.shape or not np.array_equal(np.isnan(a), np.isnan(b)):
        return float("inf")
    return float(np.nanmax(np.abs(a - b), initial=0.0))


def row(
    name: str,
    own: list[float],
    peer: list[float],
    goal: float | None,
    apart: float,
    tolerance: float,
    limit: float | None = None,
    note: str = "",
) -> dict[str, Any]:
    """A row of the benchmark table; `met` asks for the goal, where there is one, and for answers that agree."""
    ratios = np.array(peer) / np.array(own)
    ratio = float(np.median(ratios))
    return {
        "name": name,
        "ours": float(np.median(own)),
        "theirs": float(np.median(peer)),
        "ratio": ratio,
        "ratio_min": float(min(ratios)),
        "ratio_max": float(max(ratios)),
        "ratio_cpu": None,
        "limit": limit,
        "goal": goal,
        "max_difference": apart,
        "tolerance": tolerance,
        "met": (goal is None or ratio >= goal) and apart <= tolerance,
        "unit": "s",
        "repetitions": len(ratios),
        "threads": THREADS,
        "deterministic": False,
        "note": note,
    }


def failed(name: str, goal: float | None, why: str, limit: float | None = None) -> dict[str, Any]:
    """The row of a peer that is missing or broke: failed, not absent."""
    blank = dict.fromkeys(
        ("ours", "theirs", "ratio", "ratio_min", "ratio_max", "ratio_cpu", "max_difference", "tolerance")
    )
    blank |= {"unit": "s", "repetitions": 0, "threads": THREADS, "deterministic": False}
    return {"name": name, **blank, "limit": limit, "goal": goal, "met": False, "note": f"failed: {why}"}


def machine() -> str:
    """What the figures were measured on."""
    return f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, {THREADS} thread(s) used"
