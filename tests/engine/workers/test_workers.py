"""Whoever measures the pieces of a run, and whoever is killed meanwhile, its bytes are the same and nothing is left."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import torch

from engine import ROOT
from engine.runs.store import Run
from engine.workers import local
from engine.workers.local import HERE, Growing, Processes
from tests.cluster.work import KilledOnce, Small, different, made, mark, measured, spec_of

NAME = "gpt2--step-0000"


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """This process computes as each of several does."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("workers")


@pytest.fixture(scope="module")
def alone(base: Path) -> dict[str, bytes]:
    """A run that this process made by itself."""
    return made(spec_of(base), base / "alone", HERE)


def test_pieces_are_many_and_leave_nothing(alone: dict[str, bytes], base: Path) -> None:
    run = Run.open(base / "alone")
    assert len([part for part in run.parts if part.startswith(f"hidden/{NAME}/0")]) == 3, "shards"
    named = {*run.parts, "run.json"}
    assert {name for name in alone if (base / "alone" / name).is_file()} == named


@pytest.mark.parametrize(("count", "kind"), [(1, Small), (2, KilledOnce), (3, Small)])
def test_any_number_of_processes_gives_the_same_bytes_also_when_one_is_killed(
    alone: dict[str, bytes], base: Path, count: int, kind: type[Small]
) -> None:
    out = base / f"of-{count}"
    assert different(made(spec_of(base), out, Processes(count), kind), alone) == []
    assert mark(out).exists() == (kind is KilledOnce)


def test_processes_that_begin_in_the_middle_change_no_byte(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[int] = []
    several = local._Several
    monkeypatch.setattr(local, "affordable", lambda: 2)
    monkeypatch.setattr(local, "_Several", lambda work, count: begun.append(count) or several(work, count))
    unbroken = measured(spec_of(base), base / "one-process", HERE)
    assert different(measured(spec_of(base), base / "grown", Growing(seconds=0.0)), unbroken) == []
    assert begun == [2]
    assert torch.get_num_threads() == 1


def test_what_is_soon_done_is_done_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "_Several", None)
    monkeypatch.setattr(local, "affordable", lambda: 2)
    with Growing(seconds=60).crew(Doubling()) as crew:
        assert list(crew.each([1, 2])) == [(1, 2), (2, 4)]
        assert list(crew.each([3])) == [(3, 6)]


class Doubling:
    def begin(self) -> None:
        """Nothing to load."""

    def do(self, item: int, told: object = None) -> int:
        return 2 * item


KILLED = """
import os, signal, sys
from pathlib import Path
import psutil, torch
from engine.spec_files import load_spec
from engine.workers.local import Processes
from tests.cluster.work import made

told = []

def progress(stage, done, total):
    told.append(done)
    if len(told) == 6:
        own = [p.pid for p in psutil.Process().children(recursive=True)]
        Path(sys.argv[3]).write_text(" ".join(map(str, own)))
        os.kill(os.getpid(), signal.SIGKILL)

if __name__ == "__main__":
    torch.set_num_threads(1)
    made(load_spec(Path(sys.argv[1])), Path(sys.argv[2]), Processes(2), progress=progress)
"""


def test_a_command_that_is_killed_takes_its_workers_along_and_is_resumed(alone: dict[str, bytes], base: Path) -> None:
    spec, out, pids, script = spec_of(base), base / "killed", base / "pids", base / "killed.py"
    script.write_text(KILLED)
    command = [sys.executable, script, base / "spec.yaml", out, pids]
    ended = subprocess.run(command, cwd=ROOT, env={"PYTHONPATH": str(ROOT)}, capture_output=True)
    assert ended.returncode == -signal.SIGKILL, ended.stderr.decode()[-2000:]
    pieces = [part for part in Run.open(out).parts if part.startswith("pieces/")]
    assert pieces, "it was in the middle of a shard"
    deadline = time.monotonic() + 60
    while any(runs(int(pid)) for pid in pids.read_text().split()):
        assert time.monotonic() < deadline, "a worker outlives its command"
        time.sleep(0.1)
    assert different(made(spec, out, HERE), alone) == []


def runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
