"""`python -m tests.cluster [WHAT …] [--json]`: a run on a Ray cluster of two nodes on this machine, beside one process.

Prints a table; exit code 1 unless everything holds. Needs the extra ray (`make cluster`), and some minutes.
"""

from __future__ import annotations

import argparse
import functools
import json
import pickle
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from engine import pipeline
from engine.config import InputError, RunSpec
from engine.measuring import stage as measuring
from engine.measuring.piece import Asked, Done
from engine.progress import silent
from engine.runs.files import sha256_of
from engine.runs.observed import Observed
from engine.runs.parts import arrays_writer, put
from engine.runs.pieces import Piece
from engine.runs.store import Run
from engine.spec_files import relative_paths
from engine.workers.cluster import Cluster
from engine.workers.local import HERE, Crew, Growing, Processes, Work, Workers, untold
from tests.cluster.nodes import add, remove, two_nodes
from tests.cluster.work import KilledOnce, Timed, different, in_pieces, made, mark, measured, spec_of
from tests.tiny_run import examples

HEADER = "| what | result | holds |\n|---|---|---|"
QUESTIONS = 4000
"""Questions of the run that is timed, of 24 examples each."""


@dataclass
class Counted:
    """Workers, and how many bytes their items and results have when they are sent."""

    workers: Workers
    items: list[int] = field(default_factory=list)
    results: list[int] = field(default_factory=list)

    @contextmanager
    def crew(self, work: Work) -> Iterator[Crew]:
        with self.workers.crew(work) as crew:
            self._crew = crew
            yield self

    def each(self, items: Iterable[Any], told: Callable[[Any, float], None] = untold) -> Iterator[tuple[Any, Any]]:
        for item, result in self._crew.each(items, told):
            if item is not None:
                self.items.append(len(pickle.dumps(item)))
                self.results.append(len(pickle.dumps(result)))
            yield item, result


@dataclass
class Refusing:
    """A work that refuses each item."""

    def begin(self) -> None:
        """Nothing is loaded."""

    def do(self, item: Any, told: Any = None) -> Any:
        raise InputError(f"{item}: refused")


Row = tuple[str, str, bool]
"""What was tried, what came out, and whether it is as promised."""


def equal(folder: Path, nodes: Any, alone: Callable[[], dict[str, bytes]]) -> Iterator[Row]:
    """Two nodes beside one process, and what travels."""
    counted = Counted(Cluster(nodes.address))
    off = different(measured(spec_of(folder), folder / "ray", counted), alone())  # type: ignore[arg-type]
    yield "two nodes: bytes equal those of one process", told(off, alone()), not off
    there, back = mean(counted.items), mean(counted.results)
    sent = f"{there} to the worker and {back} from it for each of {len(counted.items)} pieces"
    yield "bytes moved between processes", sent, there + back < 4000


def whole(folder: Path, nodes: Any, alone: Callable[[], dict[str, bytes]]) -> Iterator[Row]:
    """A whole run, in which workers also choose the settings of probes."""
    wanted = made(spec_of(folder), folder / "whole-alone", HERE)
    off = different(made(spec_of(folder), folder / "whole", Cluster(nodes.address)), wanted)
    yield "a whole run, settings of probes chosen by workers: bytes equal", told(off, wanted), not off


def killed(folder: Path, nodes: Any, alone: Callable[[], dict[str, bytes]]) -> Iterator[Row]:
    """A worker is killed while it holds a piece."""
    out = folder / "killed"
    off = different(measured(spec_of(folder), out, Cluster(nodes.address), KilledOnce), alone())
    yield "a worker killed by -9: bytes equal", told(off, alone()), not off and mark(out).exists()


def lost(folder: Path, nodes: Any, alone: Callable[[], dict[str, bytes]]) -> Iterator[Row]:
    """A node is removed in the middle; the next run uses one that has joined."""
    steps: list[int] = []

    def progress(stage: str, done: int, total: int) -> None:
        steps.append(done)
        if len(steps) == 4:  # some pieces are done, others in work or to come
            remove(nodes)

    off = different(measured(spec_of(folder), folder / "lost", Cluster(nodes.address), progress=progress), alone())
    yield "a node removed in the middle: bytes equal", told(off, alone()), not off and len(steps) > 8
    add(nodes)


def errors(folder: Path, nodes: Any, alone: Callable[[], dict[str, bytes]]) -> Iterator[Row]:
    """What the work raises."""
    try:
        with Cluster(nodes.address).crew(Refusing()) as crew:
            list(crew.each(["a"]))
        said = "nothing"
    except InputError as error:
        said = str(error)
    yield "an error of the work is raised here", said, said == "a: refused"


def timed(folder: Path, nodes: Any, alone: Callable[[], dict[str, bytes]]) -> Iterator[Row]:
    """Wall time of measuring one checkpoint, the start of workers and the loading of models included."""
    own = folder / "timed"
    own.mkdir()
    spec = spec_of(own)
    (own / "data.jsonl").write_text("".join(json.dumps(line) + "\n" for line in examples(QUESTIONS)))
    ways: dict[str, Workers] = {"1 process": Processes(1), "2 processes": Processes(2)}
    ways |= {"2 workers on Ray": Cluster(nodes.address), "by itself": Growing()}
    took, parts = dict[str, float](), dict[str, Any]()
    for name, workers in ways.items():
        took[name], parts[name] = seconds(spec, own / name.replace(" ", "-"), workers)
        ratio = f"{took[name]:.1f} s, {took['1 process'] / took[name]:.2f} times as fast as 1 process"
        yield f"wall time, {24 * QUESTIONS:,} examples, {name}", ratio, parts[name] == parts["1 process"]


def costs(folder: Path, nodes: Any, alone: Callable[[], dict[str, bytes]]) -> Iterator[Row]:
    """Processor time of what the starting process does with hidden states, and bytes of a piece: CLUSTER.md's units."""
    rng = np.random.default_rng(0)
    arrays = {f"last.{layer}": rng.normal(size=(8192, 2048)).astype(np.float16) for layer in (1, 2)}
    size = sum(a.nbytes for a in arrays.values()) / 1e6

    def milliseconds(work: Callable[[], Any]) -> float:
        times = []
        for _ in range(5):
            started = time.process_time()
            work()
            times.append(1000 * (time.process_time() - started) / size)
        return statistics.median(times)

    write = milliseconds(lambda: put(folder, "unit.safetensors", arrays_writer(arrays), 8192))
    again = milliseconds(lambda: sha256_of(folder / "unit.safetensors"))
    yield "writing and hashing hidden states", f"{write:.1f} ms of processor time a megabyte", write > 0
    yield "hashing them", f"{again:.2f} ms a megabyte", again > 0
    record = {"sha256": "0" * 64, "bytes": 10**7, "rows": 10**4}
    parts = {f"hidden/checkpoint-name/{name}.safetensors": record for name in ("00000", "examples-00000", "00000-f")}
    asked = len(pickle.dumps(Asked(Piece(0, tuple(range(10**7, 10**7 + 9)), whole=True), 0, "")))
    done = len(pickle.dumps(Done(parts, 10**6, 30.0, 64, ("shared prefixes",), 0, "")))
    yield "a piece of 8 blocks that becomes 3 parts", f"{asked} bytes to its worker, {done} back", asked + done < 4000


def seconds(spec: RunSpec, out: Path, workers: Workers) -> tuple[float, dict[str, Any]]:
    """Wall time of measuring the first checkpoint in pieces of a few blocks, and the parts."""
    with Run.create(out, relative_paths(spec, out), provenance={}) as record:
        record.write_table("examples.parquet", pipeline.load_examples(spec))
        started = time.perf_counter()
        with in_pieces(Timed, seconds=1.0):
            measuring.measure(spec.checkpoints[0], Observed(record, spec), silent, workers)
        return time.perf_counter() - started, record.parts


def told(off: list[str], wanted: dict[str, bytes]) -> str:
    return f"differ: {', '.join(off[:3])}" if off else f"{len(wanted)} files and folders, all equal"


def mean(sizes: list[int]) -> int:
    return round(sum(sizes) / len(sizes))


CHECKS = {
    "equal": equal,
    "whole": whole,
    "killed": killed,
    "lost": lost,
    "errors": errors,
    "timed": timed,
    "costs": costs,
}


def main() -> int:
    options = argparse.ArgumentParser(prog="python -m tests.cluster", description=__doc__)
    options.add_argument("what", nargs="*", metavar="WHAT", help=f"any of: {', '.join(CHECKS)}; default: all")
    options.add_argument("--json", action="store_true", help="rows as JSON")
    asked = options.parse_args()
    if unknown := [what for what in asked.what if what not in CHECKS]:
        options.error(f"{unknown[0]!r} is none of {', '.join(CHECKS)}")
    torch.set_num_threads(1)
    found = []
    with tempfile.TemporaryDirectory() as temporary, two_nodes() as nodes:
        folder = Path(temporary)
        alone = functools.cache(lambda: measured(spec_of(folder), folder / "alone", HERE))
        for check in asked.what or CHECKS:
            for what, result, holds in CHECKS[check](folder, nodes, alone):
                found.append({"what": what, "result": result, "holds": holds})
                line = f"| {what} | {result} | {'yes' if holds else 'NO'} |"
                if not asked.json:
                    print(line if len(found) > 1 else f"{HEADER}\n{line}", flush=True)
    if asked.json:
        print(json.dumps({"rows": found}, indent=1))
    return 0 if all(row["holds"] for row in found) else 1


if __name__ == "__main__":
    sys.exit(main())
