"""A real Ray cluster of two nodes on this machine does what one process does, also when workers and nodes are lost."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from engine import ROOT, measuring, pipeline
from engine.cluster import Cluster
from engine.config import InputError
from engine.measuring import Measuring
from engine.runs import pieces
from engine.runs.observed import Observed
from engine.runs.store import Run
from engine.spec_files import load_spec, relative_paths
from engine.workers import HERE, Workers
from tests.tiny_run import write_spec

ray = pytest.importorskip("ray", reason="ray is not installed: pip install -e '.[ray]'")
NAME = "gpt2--step-0000"


PORTS = ("metrics_agent_port", "metrics_export_port", "dashboard_agent_listen_port", "runtime_env_agent_port")


def node() -> dict[str, int]:
    """Options of a small node. Its ports are given: for others it waits too few seconds on a busy machine."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in PORTS]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        ports = dict(zip(PORTS, (one.getsockname()[1] for one in sockets), strict=True))
    return {"num_cpus": 1, "object_store_memory": 80 * 2**20} | ports


@pytest.fixture(scope="module")
def nodes() -> Iterator[Any]:
    """A cluster of two nodes with one core each; this process is connected to it."""
    from ray.cluster_utils import Cluster as Nodes

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_agent_register_timeout_ms", "600000")
        try:
            cluster = Nodes(initialize_head=True, head_node_args=node() | {"include_dashboard": False})
            cluster.add_node(**node())
        except Exception as error:  # it gives a node's processes half a minute to start, which load alone can exceed
            pytest.skip(f"Ray does not start on this machine: {error}")
        ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
        cluster.wait_for_nodes()
        yield cluster
        ray.shutdown()
        cluster.shutdown()


@dataclass
class KilledOnce(Measuring):
    """A worker that gets the piece which begins at row 24 kills itself, the first time."""

    def do(self, item: Any, told: Any = None) -> Any:
        if item is not None and item.piece.start == 24:
            try:
                os.close(os.open(self.folder / ".killed", os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                pass
            else:
                os.kill(os.getpid(), signal.SIGKILL)
        return super().do(item, told)


def measured(spec: Any, out: Path, workers: Workers, progress: Any = lambda *_: None) -> Run:
    with Run.create(out, relative_paths(spec, out), provenance={}) as record:
        record.write_table("examples.parquet", pipeline.load_examples(spec))
        record.note(batch_tokens={NAME: 6})  # small blocks
        measuring.measure(spec.checkpoints[0], Observed(record, spec), progress, workers)
    return record


def test_a_killed_worker_and_a_lost_node_change_nothing(nodes, tmp_path, monkeypatch):
    monkeypatch.setattr(pieces, "SHARD", 24)
    monkeypatch.setattr(pieces, "SECONDS", 0.0)
    spec = load_spec(write_spec(tmp_path, batch_size=None))
    alone = measured(spec, tmp_path / "alone", HERE)

    monkeypatch.setattr(measuring, "Measuring", KilledOnce)
    told: list[int] = []

    def progress(_: str, done: int, total: int) -> None:
        told.append(done)
        if len(told) == 4:  # some pieces are done, others in work or to come
            nodes.remove_node(nodes.worker_nodes.copy().pop(), allow_graceful=False)

    lost = measured(spec, tmp_path / "lost", Cluster(nodes.address), progress)
    assert len(told) > 6
    assert (tmp_path / "lost" / ".killed").exists()
    assert sum(node["Alive"] for node in ray.nodes()) == 1
    assert lost.parts == alone.parts
    assert lost.manifest["notes"] == alone.manifest["notes"]

    nodes.add_node(**node())
    nodes.wait_for_nodes()
    with Cluster(nodes.address).crew(Numbers()) as crew:
        found = dict(crew.each(range(4)))
    assert sorted(found) == list(range(4))
    assert os.getpid() not in found.values()


@dataclass
class Numbers:
    """Says which process does an item; refuses −1."""

    def begin(self) -> None:
        pass

    def do(self, item: int, told: Any = None) -> int:
        if item < 0:
            raise InputError("−1: is below zero: give another")
        return os.getpid()


def test_what_the_work_raises_is_raised_here(nodes):
    with pytest.raises(InputError, match="is below zero"), Cluster(nodes.address).crew(Numbers()) as crew:
        list(crew.each([1, -1]))
