"""The stage that measures a checkpoint: behavior and hidden states, piece by piece (`runs.pieces`), by any `Workers`.

A worker writes the piece that it has measured under the piece's name; the process that holds the run's lock records it.
When all pieces of a shard are there, they become the parts of the finished run and are dropped. A piece that is its
whole shard is written as those parts at once.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from contextlib import suppress
from itertools import islice, pairwise
from typing import Any

import pyarrow as pa

from engine.config import CheckpointSpec
from engine.measuring.piece import Asked, Done, Measuring, behavior_part, joined, parts_of_shard
from engine.progress import Progress, TokenMeter
from engine.runs.observed import Observed
from engine.runs.pieces import Cutter, Layout, piece_part, read_part
from engine.runs.store import Run
from engine.workers.local import Crew, Workers


def measure(checkpoint: CheckpointSpec, observed: Observed, progress: Progress, workers: Workers) -> None:
    """Write behavior/<checkpoint>.parquet and hidden/<checkpoint>/…, piece by piece, unless they are there."""
    from engine.model.of_run import dated_chat_of, note_chat

    record, name = observed.record, checkpoint.name
    final = f"behavior/{name}.parquet"
    if record.has(final):
        drop_pieces(record, name)  # killed between writing the whole and dropping its pieces
        return
    chat = dated_chat_of(record.spec, record.manifest)
    with workers.crew(Measuring.of(observed.spec, checkpoint, record.path, chat)) as crew:
        if not (sizes := record.manifest["notes"].get("batch_tokens", {})).get(name):
            _, facts = next(crew.each([None]))
            note_chat(record, name, facts.chat)
            heads = record.manifest["notes"].get("head", {})
            record.note(batch_tokens=sizes | {name: facts.tokens_a_batch}, head=heads | {name: facts.head})
        shards = _measure(record, observed.table, name, crew, progress)
    tables = [record.read_table(behavior_part(name, shard)) for shard in range(shards)]
    record.write_table(final, pa.concat_tables(tables))
    drop_pieces(record, name)


def _measure(record: Run, examples: pa.Table, name: str, crew: Crew, progress: Progress) -> int:
    """Measure what is left; returns the number of shards."""
    notes = record.manifest["notes"]
    layout = Layout.of(examples, notes["batch_tokens"][name], notes.get("head", {}).get(name, 0))
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
    arrays = joined([record.read_arrays(part) for part in parts])
    ids = examples["example_id"].slice(shard[0], shard[1] - shard[0])
    record.adopt(parts_of_shard(record.path, name, number, ids, arrays), without=parts)


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
