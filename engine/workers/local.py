"""Who does the pieces of a work: this process, several processes of one thread each, or (`cluster`) many machines.

A work is loaded once by each worker and then does one item after another. Items are independent, and their results are
written by name, so an item that was begun twice does no harm.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, contextmanager
from copy import copy
from dataclasses import dataclass
from functools import partial
from multiprocessing import connection, get_context, parent_process
from threading import Thread
from time import perf_counter
from typing import Any, Protocol

import psutil
from joblib import cpu_count
from threadpoolctl import threadpool_limits

from engine.config import InputError

Told = Callable[[float], None]
"""Share of an item that is done."""
ATTEMPTS = 4
"""Times that an item is begun. A worker that dies takes its items with it; one that kills every worker is given up."""


class Work(Protocol):
    """It goes to other processes, so it holds plain data until `begin`."""

    def begin(self) -> None:
        """Load what every item needs."""

    def do(self, item: Any, told: Told | None = None) -> Any:
        """Do one item."""


class Crew(Protocol):
    """Workers that have loaded a work, or do so with their first item."""

    def each(self, items: Iterable[Any], told: Callable[[Any, float], None] = ...) -> Iterator[tuple[Any, Any]]:
        """(item, result) as they are ready. Items are drawn when a worker is free.

        Raises what the work raises. `told` may get the share of an item that is done.
        """


class Workers(Protocol):
    def crew(self, work: Work) -> AbstractContextManager[Crew]:
        """Workers for one work, given back at the end of the context."""


def untold(item: Any, share: float) -> None:
    """Shares of items that nobody asks for."""


@dataclass
class _Alone:
    work: Work
    begun: bool = False

    def each(self, items: Iterable[Any], told: Callable[[Any, float], None] = untold) -> Iterator[tuple[Any, Any]]:
        for item in items:
            if not self.begun:
                self.work.begin()
                self.begun = True
            yield item, self.work.do(item, partial(told, item))


class Here:
    """This process, with all its threads."""

    @contextmanager
    def crew(self, work: Work) -> Iterator[Crew]:
        yield _Alone(work)


HERE = Here()


@dataclass(frozen=True)
class Growing:
    """One thread of this process; from a while on, several processes of one thread each, if cores and memory suffice.

    One thread from the start, so the numbers do not depend on when the others begin. Measured: CLUSTER.md, beside this
    file.
    """

    seconds: float = 20.0
    """Work that this process does alone: what is done by then is not worth the start of others."""

    @contextmanager
    def crew(self, work: Work) -> Iterator[Crew]:
        crew = _Growing(work, self.seconds)
        with single_threaded():
            try:
                yield crew
            finally:
                crew.stop()


class _Growing:
    def __init__(self, work: Work, seconds: float):
        self._alone: _Alone | None = _Alone(work)
        self._several: _Several | None = None
        self._seconds = seconds

    def each(self, items: Iterable[Any], told: Callable[[Any, float], None] = untold) -> Iterator[tuple[Any, Any]]:
        source = iter(items)
        while self._alone is not None:
            begun = perf_counter()
            pair = next(self._alone.each(source, told), None)
            if pair is None:
                return
            self._seconds -= perf_counter() - begun
            yield pair
            if self._seconds < 0 and (count := affordable()) > 1:
                self._several = _Several(copy(self._alone.work), count)  # plain data, as at the start
                self._alone = None
        assert self._several is not None
        yield from self._several.each(source, told)

    def stop(self) -> None:
        if self._several:
            self._several.stop()


def affordable() -> int:
    """Processes of this one's size that the machine has cores and memory for; 1 where a GPU computes."""
    import torch

    if torch.cuda.is_available() or torch.backends.mps.is_available():
        return 1
    own, free = psutil.Process().memory_info().rss, psutil.virtual_memory().available
    return max(1, min(cpu_count(only_physical_cores=True), free // (2 * own)))


@dataclass(frozen=True)
class Processes:
    """Processes of one thread each on this machine. One that is killed is replaced, and its item done again."""

    count: int

    @contextmanager
    def crew(self, work: Work) -> Iterator[Crew]:
        crew = _Several(work, self.count)
        try:
            yield crew
        finally:
            crew.stop()


class _Several:
    def __init__(self, work: Work, count: int):
        self._work, self._count, self._pool = work, count, self._new(work, count)

    @staticmethod
    def _new(work: Work, count: int) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(count, get_context("spawn"), _begin, (work,))

    def each(self, items: Iterable[Any], told: Callable[[Any, float], None] = untold) -> Iterator[tuple[Any, Any]]:
        draws, busy = Draws(items), dict[Future, tuple[Any, int]]()
        while True:
            drawn = None
            results: list[tuple[Future, Any]] = []
            failed: list[BaseException] = []
            try:
                while len(busy) < self._count and (drawn := draws.next()) is not None:
                    busy[self._pool.submit(_do, drawn[0])] = drawn
            except BrokenProcessPool as broken:
                if drawn is not None:
                    draws.back(*drawn)
                failed = [broken]
            if not busy and not failed:
                return
            for future in wait(busy, return_when=FIRST_COMPLETED).done:
                if (error := future.exception()) is None:
                    results.append((future, future.result()))
                else:
                    failed.append(error)
            for future, result in results:
                yield busy.pop(future)[0], result
            for error in failed:
                if not isinstance(error, BrokenProcessPool):
                    raise error
            if failed:
                for item, tries in busy.values():
                    draws.back(item, tries)
                busy.clear()
                self.stop()
                self._pool = self._new(self._work, self._count)

    def stop(self) -> None:
        for process in list((self._pool._processes or {}).values()):
            process.terminate()
        self._pool.shutdown(wait=True, cancel_futures=True)


class Draws:
    """Items with the number of times that they were begun; those given back come first."""

    def __init__(self, items: Iterable[Any]):
        self._source, self._back = iter(items), list[tuple[Any, int]]()

    def next(self) -> tuple[Any, int] | None:
        if self._back:
            return self._back.pop(0)
        for item in self._source:
            return item, 1
        return None

    def back(self, item: Any, tries: int) -> None:
        """The item was lost with its worker. Raises InputError after ATTEMPTS."""
        if tries >= ATTEMPTS:
            raise InputError(
                f"a worker died {tries} times on one piece of work: is memory too small? Give fewer workers"
            )
        self._back.append((item, tries + 1))


_work: Work | None = None
_begun = False


def _begin(work: Work) -> None:
    """Start a worker's process. It ends with its parent, also where that is killed."""
    global _work
    parent = parent_process()
    if parent is not None:
        Thread(target=lambda: (connection.wait([parent.sentinel]), os._exit(1)), daemon=True).start()
    one_thread()
    _work = work


def _do(item: Any) -> Any:
    global _begun
    assert _work is not None
    if not _begun:  # not in `_begin`, from which no error reaches the parent
        _work.begin()
        _begun = True
    return _work.do(item)


def one_thread() -> None:
    """Make this process compute with one thread."""
    import torch

    torch.set_num_threads(1)
    threadpool_limits(1)  # numpy's, too
    os.environ["TOKENIZERS_PARALLELISM"] = "false"


@contextmanager
def single_threaded() -> Iterator[None]:
    """Context in which this process computes with one thread."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(before)
