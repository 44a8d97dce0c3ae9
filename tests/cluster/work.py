"""A small run in many pieces of work, and workers that are lost in the middle of it."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

from engine import pipeline
from engine.config import RunSpec
from engine.measuring import stage as measuring
from engine.measuring.piece import Measuring
from engine.progress import Progress, silent
from engine.runs import pieces
from engine.runs.files import LOCK
from engine.runs.observed import Observed
from engine.runs.store import Run
from engine.spec_files import load_spec, relative_paths
from engine.workers.local import Workers
from tests.hardening.kills import content
from tests.tiny_run import write_spec

SHARD, TOKENS = 24, 6
"""Examples of a shard, and tokens of a forward, from which blocks follow: many blocks in each shard."""
FATAL = 30
"""The piece that holds this row kills its worker, the first time."""


def spec_of(folder: Path, **changes: object) -> RunSpec:
    """A run that measures two checkpoints and an untrained one, and keeps all hidden states."""
    quick = {
        "hidden": {"layers": [1, -1], "positions": ["last", "span"], "keep": "all"},
        "explainers": {"kinds": ["ridge"], "regimes": ["frozen"], "folds": 2},
        "noise": {"levels": [0], "kinds": ["shuffle"], "seeds": 1},
        "batch_size": None,
    }
    return load_spec(write_spec(folder, **quick | changes))


@dataclass
class Small(Measuring):
    """Measures in small blocks."""

    def do(self, item: Any, told: Any = None) -> Any:
        done = super().do(item, told)
        return replace(done, tokens_a_batch=TOKENS) if item is None else done


@dataclass
class Timed(Measuring):
    """Measures in blocks of about 16,000 characters, so that there are many of them, and each is some work."""

    def do(self, item: Any, told: Any = None) -> Any:
        done = super().do(item, told)
        return replace(done, tokens_a_batch=512) if item is None else done


@dataclass
class KilledOnce(Small):
    """The worker that gets the piece with row FATAL leaves a half-written file and kills itself, the first time."""

    def do(self, item: Any, told: Any = None) -> Any:
        if item is not None and item.piece.start <= FATAL < item.piece.stop and first(self.folder):
            torn = self.folder / "hidden" / self.checkpoint.name / ".00001.safetensors.torn.tmp"
            torn.parent.mkdir(parents=True, exist_ok=True)
            torn.write_bytes(b"half")
            os.kill(os.getpid(), signal.SIGKILL)
        return super().do(item, told)


def first(folder: Path) -> bool:
    """Whether nobody was killed in this run before; from now on somebody was."""
    try:
        os.close(os.open(mark(folder), os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True


def mark(folder: Path) -> Path:
    """The file that says that a worker of a run was killed, beside the run's folder."""
    return folder.with_name(f"{folder.name}.killed")


@contextmanager
def in_pieces(kind: type[Measuring] = Small, seconds: float = 0.0) -> Iterator[None]:
    """Context in which this process hands out blocks of so many seconds; 0: one block at a time."""
    with (
        patch.multiple(pieces, SHARD=SHARD if not seconds else pieces.SHARD, SECONDS=seconds),
        patch.object(measuring, "Measuring", kind),
    ):
        yield


def made(
    spec: RunSpec, out: Path, workers: Workers, kind: type[Measuring] = Small, progress: Progress = silent
) -> dict[str, bytes]:
    """Make a run in pieces; every file of its folder, and of its record all but the times."""
    with in_pieces(kind):
        run: Run = pipeline.make_run(spec, out, workers=workers, progress=progress)
    return content(run.path)


def measured(
    spec: RunSpec, out: Path, workers: Workers, kind: type[Measuring] = Small, progress: Progress = silent
) -> dict[str, bytes]:
    """Measure the first checkpoint alone, in pieces; the files of the folder, as `made` gives them."""
    with Run.create(out, relative_paths(spec, out), provenance={}) as record, in_pieces(kind):
        record.write_table("examples.parquet", pipeline.load_examples(spec))
        measuring.measure(spec.checkpoints[0], Observed(record, spec), progress, workers)
        record.tidy()
    (out / LOCK).unlink(missing_ok=True)
    return content(out)


def different(one: dict[str, bytes], other: dict[str, bytes]) -> list[str]:
    """Names of the files that only one run has, or of which the bytes differ."""
    return sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))
