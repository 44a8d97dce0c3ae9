"""The stage that measures a checkpoint: behavior and hidden states, piece by piece (`runs.pieces`), by any `Workers`.

A worker writes the piece that it has measured under the piece's name; the process that holds the run's lock records it.
When all pieces of a shard are there, they become the parts of the finished run and are dropped. A piece that is its
whole shard is written as those parts at once.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice, pairwise
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from engine.config import CheckpointSpec, HiddenSpec, InputError, RunSpec
from engine.progress import Progress, TokenMeter
from engine.records import BEHAVIOR
from engine.runs.observed import Observed
from engine.runs.parts import arrays_writer, put, rows_of, table_writer
from engine.runs.pieces import Cutter, Layout, Piece, piece_part, read_part
from engine.runs.store import Run
from engine.workers import Crew, Told, Workers

PROMPTS, EXAMPLES = "prompts:", "examples:"
"""Beginnings of the names of hidden states in a piece."""


@dataclass(frozen=True)
class Asked:
    """A piece to measure, and what was found before: how often memory made batches smaller, and whether to share."""

    piece: Piece
    halved: int | None
    trial: str | None


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
    loaded: Any = field(default=None, repr=False)
    """The checkpoint, once it is loaded."""
    examples: pa.Table | None = field(default=None, repr=False)

    @classmethod
    def of(cls, spec: RunSpec, checkpoint: CheckpointSpec, folder: Path) -> Measuring:
        # The target of another family needs no hidden states.
        reads_hidden = spec.probes and (checkpoint in spec.checkpoints or checkpoint == spec.control_model)
        examples_too = "difference" in spec.explainers.modes or "span" in spec.hidden.positions
        hidden = spec.hidden if reads_hidden else None
        return cls(folder, checkpoint, hidden, examples_too, spec.batch_size, spec.device, spec.dtype)

    def begin(self) -> None:
        from engine.model.checkpoints import load

        if self.loaded is None:
            self.loaded = load(self.checkpoint, device=self.device, dtype=self.dtype)
        file = self.folder / "examples.parquet"
        if self.examples is None and not file.is_file():
            raise InputError(f"{file}: not seen by a worker: give --out a folder on a disk that all machines share")
        if self.examples is None:
            self.examples = pq.read_table(file, partitioning=None, memory_map=True)

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"loaded": None, "examples": None}

    def do(self, item: Asked | None, told: Told | None = None) -> Any:
        """Measure and write a piece. None: say how many tokens a forward takes, from which the layout follows."""
        if item is None:
            from engine.model.batch_size import tokens_a_batch

            return tokens_a_batch(self.loaded.model)
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

    def measured(self, item: Asked, told: Told | None = None) -> tuple[dict[str, np.ndarray], list[Any]]:
        """Arrays of a piece (f, f_edited, hidden states), and the report of each block."""
        from engine.model.behavior import measure

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
            halved, trial = one.report.halved, one.report.trial if trial is None else trial
            states = {PROMPTS + k: v for k, v in one.prompts.items()} | {
                EXAMPLES + k: v for k, v in one.examples.items()
            }
            found.append({"f": one.f, "f_edited": one.f_edited} | states)
            reports.append(one.report)
        return _joined(found), reports


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


def measure(checkpoint: CheckpointSpec, observed: Observed, progress: Progress, workers: Workers) -> None:
    """Write behavior/<checkpoint>.parquet and hidden/<checkpoint>/…, piece by piece, unless they are there."""
    record, name = observed.record, checkpoint.name
    final = f"behavior/{name}.parquet"
    if record.has(final):
        drop_pieces(record, name)  # killed between writing the whole and dropping its pieces
        return
    work = Measuring.of(observed.spec, checkpoint, record.path)
    with workers.crew(work) as crew:
        if not (sizes := record.manifest["notes"].get("batch_tokens", {})).get(name):
            _, tokens = next(crew.each([None]))
            record.note(batch_tokens=sizes | {name: tokens})
        shards = _measure(record, observed.table, name, crew, progress)
    tables = [record.read_table(behavior_part(name, shard)) for shard in range(shards)]
    record.write_table(final, pa.concat_tables(tables))
    drop_pieces(record, name)


def _measure(record: Run, examples: pa.Table, name: str, crew: Crew, progress: Progress) -> int:
    """Measure what is left; returns the number of shards."""
    notes = record.manifest["notes"]
    layout = Layout.of(examples, notes["batch_tokens"][name])
    shards = list(pairwise(layout.shards.tolist()))
    for number, shard in enumerate(shards):
        _merge(record, examples, name, number, shard)  # killed between a shard's last piece and this
    done = {shard for number, shard in enumerate(shards) if record.has(behavior_part(name, number))}
    done |= set(_pieces(record, name))
    cutter = Cutter(layout, layout.left(done))
    before, tokens = sum(layout.amount(*rows) for rows in done), notes.get("tokens", {}).get(name, 0)
    amount = layout.amount(0, len(examples))
    meter = TokenMeter(progress, f"behavior {name}", amount, tokens=tokens, done=before)
    items = (Asked(piece, *(notes.get(key, {}).get(name) for key in ("halved", "trial"))) for piece in cutter)

    def told(item: Asked, share: float) -> None:
        meter.tell(share * layout.amount(item.piece.start, item.piece.stop))

    # The first block alone says whether prefixes can be shared, for all of them.
    for some in ([] if name in notes.get("trial", {}) else islice(items, 1), items):
        for item, found in crew.each(some, told):
            own = layout.amount(item.piece.start, item.piece.stop)
            cutter.rate = own / max(found.seconds, 1e-6)
            record.adopt(found.parts, **_notes(notes, name, found))
            _merge(record, examples, name, item.piece.shard, shards[item.piece.shard])
            meter.add(own, found.tokens)
    return len(shards)


def _pieces(record: Run, name: str) -> list[tuple[int, int]]:
    """(start, stop) of the recorded pieces of a checkpoint."""
    parts = [part for part in record.parts if part.startswith(f"pieces/{name}/") and record.has(part)]
    return sorted(map(read_part, parts))


def _merge(record: Run, examples: pa.Table, name: str, number: int, shard: tuple[int, int]) -> None:
    """Turn the pieces of a shard into its parts, if all of them are there."""
    if record.has(behavior_part(name, number)):
        return
    inside = [rows for rows in _pieces(record, name) if shard[0] <= rows[0] < shard[1]]
    if sum(stop - start for start, stop in inside) != shard[1] - shard[0]:
        return
    parts = [piece_part(name, *rows) for rows in inside]
    arrays = _joined([record.read_arrays(part) for part in parts])
    ids = examples["example_id"].slice(shard[0], shard[1] - shard[0])
    record.adopt(parts_of_shard(record.path, name, number, ids, arrays), without=parts)


def _joined(pieces: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {key: np.concatenate([piece[key] for piece in pieces]) for key in pieces[0]}


def drop_pieces(record: Run, name: str) -> None:
    """Remove what only a checkpoint that is being measured needs, also files that a killed process left unrecorded."""
    record.adopt({}, without=[p for p in record.parts if p.startswith((f"behavior/{name}/", f"pieces/{name}/"))])
    for folder in (f"behavior/{name}", f"pieces/{name}"):
        shutil.rmtree(record.path / folder, ignore_errors=True)
    with suppress(OSError):
        (record.path / "pieces").rmdir()


def _notes(notes: Mapping[str, Any], name: str, found: Done) -> dict[str, dict[str, Any]]:
    """What is recorded of a checkpoint: tokens so far, the smallest batch size, how often memory made it smaller, why
    prefixes can't be shared, and the forward path: a list if there were several."""
    known = {key: notes.get(key, {}).get(name) for key in ("tokens", "batch_size", "halved", "trial", "forward_path")}
    before = known["forward_path"] or []
    paths = list(dict.fromkeys([*([before] if isinstance(before, str) else before), *found.paths]))
    now = {
        "tokens": (known["tokens"] or 0) + found.tokens,
        "batch_size": min(found.batch_size, known["batch_size"] or found.batch_size),
        "forward_path": sorted(paths) if len(paths) > 1 else paths[0],
    }
    if halved := max(found.halved, known["halved"] or 0):
        now["halved"] = halved
    if (trial := known["trial"] if known["trial"] is not None else found.trial) is not None:
        now["trial"] = trial
    return {key: notes.get(key, {}) | {name: value} for key, value in now.items()}
