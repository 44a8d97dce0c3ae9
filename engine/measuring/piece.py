"""One piece of the work of measuring: a worker measures it, with the checkpoint that it has loaded, and writes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from engine.config import ChatSpec, CheckpointSpec, HiddenSpec, InputError, RunSpec
from engine.records import BEHAVIOR
from engine.runs.parts import arrays_writer, put, rows_of, table_writer
from engine.runs.pieces import CHARACTERS_A_TOKEN, Piece, head_of, longest_of, piece_part
from engine.workers.local import Told

PROMPTS, EXAMPLES = "prompts:", "examples:"
"""Beginnings of the names of hidden states in a piece."""


@dataclass(frozen=True)
class Asked:
    """A piece to measure, and what was found before: how often memory made batches smaller, and whether to share."""

    piece: Piece
    halved: int | None
    trial: str | None


@dataclass(frozen=True)
class Facts:
    """What is known of a checkpoint once it is loaded."""

    tokens_a_batch: int
    """Tokens of a forward."""
    head: int
    """Characters with which all texts begin; 0 if the checkpoint can't compute them once for several texts."""
    chat: dict[str, Any] | None
    """How it reads prompts (`Chat.used`)."""


@dataclass(frozen=True)
class Done:
    """A piece that was measured and written."""

    parts: dict[str, dict[str, Any]]
    tokens: int
    """Computed, padding included."""
    seconds: float
    batch_size: int
    paths: tuple[str, ...]
    halved: int
    trial: str | None


@dataclass
class Measuring:
    """Measures pieces of a run's examples at one checkpoint and writes them into its folder (a `workers.Work`)."""

    folder: Path
    checkpoint: CheckpointSpec
    hidden: HiddenSpec | None
    examples_too: bool
    batch_size: int | None
    device: str
    dtype: str
    chat: ChatSpec
    loaded: Any = field(default=None, repr=False)
    """The checkpoint, once it is loaded."""
    examples: pa.Table | None = field(default=None, repr=False)

    @classmethod
    def of(cls, spec: RunSpec, checkpoint: CheckpointSpec, folder: Path, chat: ChatSpec) -> Measuring:
        # The target of another family needs no hidden states.
        reads_hidden = spec.probes and (checkpoint in spec.checkpoints or checkpoint == spec.control_model)
        examples_too = "difference" in spec.explainers.modes or "span" in spec.hidden.positions
        hidden = spec.hidden if reads_hidden else None
        return cls(folder, checkpoint, hidden, examples_too, spec.batch_size, spec.device, spec.dtype, chat)

    def begin(self) -> None:
        from engine.model.checkpoints import load

        if self.loaded is None:
            self.loaded = load(self.checkpoint, self.device, self.dtype, self.chat)
        file = self.folder / "examples.parquet"
        if self.examples is None and not file.is_file():
            raise InputError(f"{file}: not seen by a worker: give --out a folder on a disk that all machines share")
        if self.examples is None:
            self.examples = pq.read_table(file, partitioning=None, memory_map=True)

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"loaded": None, "examples": None}

    def do(self, item: Asked | None, told: Told | None = None) -> Any:
        """Measure and write a piece; returns `Done`. None: returns `Facts`, from which the layout follows."""
        if item is None:
            return self.facts()
        begun = perf_counter()
        arrays, reports = self.measured(item, told)
        name, piece = self.checkpoint.name, item.piece
        if piece.whole:
            assert self.examples is not None
            ids = self.examples["example_id"].slice(piece.start, piece.stop - piece.start)
            parts = parts_of_shard(self.folder, name, piece.shard, ids, arrays)
        else:
            part = piece_part(name, piece.start, piece.stop)
            parts = {part: put(self.folder, part, arrays_writer(arrays), len(arrays["f"]))}
        return Done(
            parts=parts,
            tokens=sum(report.tokens for report in reports),
            seconds=perf_counter() - begun,
            batch_size=min(report.batch_size for report in reports),
            paths=tuple(dict.fromkeys(report.path for report in reports)),
            halved=reports[-1].halved,
            trial=reports[-1].trial,
        )

    def facts(self) -> Facts:
        """What the layout of all pieces follows from."""
        from engine.model.batch_size import tokens_a_batch
        from engine.model.forward import can_share

        assert self.examples is not None
        model, chat = self.loaded.model, self.loaded.chat
        longest = longest_of(self.examples) // CHARACTERS_A_TOKEN
        head = 0 if can_share(model, longest) else head_of(self.examples)
        return Facts(tokens_a_batch(model), head, chat.used if chat else None)

    def measured(self, item: Asked, told: Told | None = None) -> tuple[dict[str, np.ndarray], list[Any]]:
        """Arrays of a piece (f, f_edited, hidden states), and the report of each block. Raises SizeError for hidden
        states that are no numbers, BehaviorError for such an f."""
        from engine.model.behavior import measure
        from engine.model.sizes import refuse_infinite

        assert self.examples is not None
        found: list[dict[str, np.ndarray]] = []
        reports: list[Any] = []
        halved, trial, rows = item.halved or 0, item.trial, item.piece.stop - item.piece.start
        for start, stop in pairwise(item.piece.bounds):

            def block_told(done: int, _: int, before: int = start - item.piece.start) -> None:
                if told:
                    told((before + done) / rows)

            one = measure(
                self.loaded,
                self.examples.slice(start, stop - start),
                hidden=self.hidden,
                examples_too=self.examples_too,
                batch_size=self.batch_size,
                halved=halved,
                trial=trial,
                progress=block_told,
            )
            refuse_infinite(self.checkpoint.name, one)
            halved, trial = one.report.halved, one.report.trial if trial is None else trial
            states = {PROMPTS + k: v for k, v in one.prompts.items()} | {
                EXAMPLES + k: v for k, v in one.examples.items()
            }
            found.append({"f": one.f, "f_edited": one.f_edited} | states)
            reports.append(one.report)
        return joined(found), reports


def parts_of_shard(
    folder: Path, name: str, shard: int, ids: pa.ChunkedArray, arrays: Mapping[str, np.ndarray]
) -> dict[str, dict[str, Any]]:
    """Write a shard's parts: hidden states of prompts and of examples, then behavior. Returns their records."""
    parts = {}
    for prefix, file in ((PROMPTS, f"{shard:05d}"), (EXAMPLES, f"examples-{shard:05d}")):
        if own := {key.removeprefix(prefix): value for key, value in arrays.items() if key.startswith(prefix)}:
            part = f"hidden/{name}/{file}.safetensors"
            parts[part] = put(folder, part, arrays_writer(own), rows_of(own))
    part = behavior_part(name, shard)
    table = pa.table([ids, arrays["f"], arrays["f_edited"]], names=BEHAVIOR.names).cast(BEHAVIOR)
    return parts | {part: put(folder, part, table_writer(table), table.num_rows)}


def behavior_part(name: str, shard: int) -> str:
    """Behavior of one shard; dropped when the behavior of all is written as one table."""
    return f"behavior/{name}/{shard:05d}.parquet"


def joined(pieces: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Arrays of some pieces in a row, as those of one."""
    return {key: np.concatenate([piece[key] for piece in pieces]) for key in pieces[0]}
