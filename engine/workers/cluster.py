"""Workers on many machines, on Ray: the same pieces of work as on one (`workers`), one actor for each GPU or CPU core.

Each actor loads the model once. Pieces are written by name into the run's folder, which all machines must share, so a
piece that was begun twice does no harm. When an actor or its machine is lost, its piece goes to another, and a new
actor is started as soon as there is room. How to start a cluster: CLUSTER.md, beside this file.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from engine.config import InputError
from engine.workers.local import ATTEMPTS, Crew, Draws, Work, one_thread, untold

SECONDS_BETWEEN_LOOKS = 2.0
"""How often the cluster is asked whether machines have come or gone."""


@dataclass(frozen=True)
class Cluster:
    """The Ray cluster at an address; `auto`: the one that this machine belongs to."""

    address: str

    @contextmanager
    def crew(self, work: Work) -> Iterator[Crew]:
        crew = _Actors(connected(self.address), work)
        try:
            yield crew
        finally:
            crew.stop()


def connected(address: str) -> Any:
    """The module ray, connected. Raises InputError if it is not installed, or if there is no cluster."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError:
        raise InputError("--cluster needs the extra ray: pip install introspective-coupling[ray]") from None
    if not ray.is_initialized():
        try:
            ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False)
        except (ConnectionError, ValueError, RuntimeError) as error:
            why = str(error).splitlines()[0][:200]
            raise InputError(
                f"--cluster {address}: can't be reached ({why}): start one with `ray start --head`"
            ) from None
    return ray


class Worker:
    """What an actor does. Its process belongs to it alone."""

    def __init__(self, work: Work):
        self._work = work

    def begin(self) -> None:
        if not os.environ.get("CUDA_VISIBLE_DEVICES"):
            one_thread()
        self._work.begin()

    def do(self, item: Any) -> Any:
        return self._work.do(item)


class _Actors:
    def __init__(self, ray: Any, work: Work):
        self._ray, self._work = ray, ray.put(work)
        self._starting: dict[Any, Any] = {}
        self._idle: list[Any] = []
        self._busy: dict[Any, tuple[Any, Any, int]] = {}
        self._lost_starts = 0

    def each(self, items: Iterable[Any], told: Callable[[Any, float], None] = untold) -> Iterator[tuple[Any, Any]]:
        draws, ray = Draws(items), self._ray
        while True:
            self._hire()
            drawn = None
            while self._idle and (drawn := draws.next()) is not None:
                actor = self._idle.pop()
                self._busy[actor.do.remote(drawn[0])] = (actor, *drawn)
            if self._idle and drawn is None and not self._busy:
                return
            ready, _ = ray.wait([*self._busy, *self._starting], num_returns=1, timeout=SECONDS_BETWEEN_LOOKS)
            for reference in ready:
                begins = reference in self._starting
                actor, *given = (self._starting.pop(reference),) if begins else self._busy.pop(reference)
                try:
                    result = ray.get(reference)
                except ray.exceptions.RayTaskError as error:  # raised by the work itself
                    raise (error.cause if isinstance(error.cause, Exception) else error) from None
                except ray.exceptions.RayError as error:  # the actor, its machine, or the result on it is lost
                    self._dismiss(actor)
                    if given:
                        draws.back(*given)
                    else:
                        self._count_lost_start(error)
                    continue
                self._lost_starts = 0
                self._idle.append(actor)
                if given:
                    yield given[0], result

    def _hire(self) -> None:
        """Start an actor for every GPU of the cluster as it is now or, if it has none, for every core."""
        there = self._ray.cluster_resources()
        kind = "GPU" if there.get("GPU", 0) >= 1 else "CPU"
        wanted = int(there.get(kind, 0))
        if not wanted and not self._busy:
            raise InputError("--cluster: the cluster has neither GPUs nor CPU cores")
        options = {"num_gpus": 1} if kind == "GPU" else {"num_cpus": 1}
        for _ in range(wanted - len(self._starting) - len(self._idle) - len(self._busy)):
            actor = self._ray.remote(**options)(Worker).remote(self._work)
            self._starting[actor.begin.remote()] = actor

    def _count_lost_start(self, error: Exception) -> None:
        """Raises InputError where workers die as they start, again and again: they would be started for ever."""
        self._lost_starts += 1
        if self._lost_starts >= ATTEMPTS:
            why = " ".join(str(error).split())[:200]
            raise InputError(
                f"--cluster: workers die as they start ({why}): is this version installed on every machine, and does "
                "the model fit into its memory?"
            )

    def _dismiss(self, actor: Any) -> None:
        with suppress(Exception):  # it is dead already
            self._ray.kill(actor)

    def stop(self) -> None:
        for actor in (*self._starting.values(), *self._idle, *(busy[0] for busy in self._busy.values())):
            self._dismiss(actor)
