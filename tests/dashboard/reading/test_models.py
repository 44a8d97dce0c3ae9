"""Models of the dashboard: loaded once for all sessions, and asked by one of them at a time."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dashboard.reading import models
from tests.synthetic_run import write_run


def test_a_model_loads_once_and_answers_one_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_run(tmp_path / "shared", prompts=20, checkpoints=2)
    loaded, inside, most = [], [], []
    monkeypatch.setattr("engine.model.checkpoints.load", lambda spec: (time.sleep(0.2), loaded.append(spec.name))[1])
    together = threading.Barrier(2)

    def ask(_: int) -> None:
        together.wait(30)
        with models.model(path, "gpt2--step-0100"):
            inside.append(1)
            most.append(len(inside))
            time.sleep(0.2)
            inside.pop()

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(ask, range(2)))
    assert loaded == ["gpt2--step-0100"]
    assert most == [1, 1], "two were inside at once"
