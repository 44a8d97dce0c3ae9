"""Models of the dashboard: loaded once for all sessions, and asked by one of them at a time."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dashboard.reading import models
from tests.synthetic_run import write_run


class AskedLock:
    """A lock that tells when two have asked for it."""

    def __init__(self) -> None:
        self.lock, self.asked = threading.Lock(), threading.Barrier(2)
        self.both = threading.Event()

    def __enter__(self) -> None:
        if self.asked.wait(120) == 0:
            self.both.set()
        self.lock.acquire()

    def __exit__(self, *_: object) -> None:
        self.lock.release()


def test_a_model_loads_once_and_answers_one_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_run(tmp_path / "shared", prompts=20, checkpoints=2)
    loaded, inside, most = [], [], []
    lock = AskedLock()
    monkeypatch.setattr(models, "_LOCK", lock)
    monkeypatch.setattr("engine.model.checkpoints.load", lambda spec, chat: loaded.append(spec.name))

    def ask(_: int) -> None:
        with models.model(path, "gpt2--step-0100"):
            assert lock.both.wait(120) and lock.lock.locked()
            inside.append(1)
            most.append(len(inside))
            inside.pop()

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(ask, range(2)))
    assert loaded == ["gpt2--step-0100"]
    assert most == [1, 1], "two were inside at once"
