"""Runs that are bad in one way each, for tests that look at what they do to the sound runs beside them."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors.numpy import load_file, save_file

from engine.runs.files import sha256_of

Change = Callable[[Path], object]
HIDDEN = "hidden/gpt2--step-0100/00000.safetensors"
PARTS = "parts"


def manifest(change: Callable[[dict], object]) -> Change:
    """A change of `run.json` as data."""

    def edit(run: Path) -> None:
        data = json.loads((run / "run.json").read_text())
        change(data)
        (run / "run.json").write_text(json.dumps(data))

    return edit


def recorded(run: Path, part: str) -> None:
    """Record a part as it is now, as somebody would who changes a run on purpose."""
    file = run / part
    rows = pq.read_metadata(file).num_rows if part.endswith(".parquet") else None
    about = {"sha256": sha256_of(file), "bytes": file.stat().st_size, "rows": rows}
    manifest(lambda data: data["parts"].update({part: about}))(run)


def table(part: str, change: Callable[[pa.Table], pa.Table]) -> Change:
    """A change of a table that its recorded hash fits."""

    def edit(run: Path) -> None:
        pq.write_table(change(pq.read_table(run / part)), run / part)
        recorded(run, part)

    return edit


def column(part: str, name: str, values: Callable[[list], list], kind: pa.DataType | None = None) -> Change:
    def change(found: pa.Table) -> pa.Table:
        at = found.schema.get_field_index(name)
        field = found.schema.field(at)
        plain = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
        made = pa.array(values(found[name].to_pylist()), kind or plain)
        return found.set_column(at, field.with_type(kind or field.type), made if kind else made.cast(field.type))

    return table(part, change)


def states(change: Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]) -> Change:
    """A change of the hidden states of one checkpoint that their recorded hash fits."""

    def edit(run: Path) -> None:
        save_file(change(load_file(run / HIDDEN)), run / HIDDEN)
        recorded(run, HIDDEN)

    return edit


def part(about: Any, name: str = "metrics.parquet") -> Change:
    return manifest(lambda data: data[PARTS].update({name: about}))


def _cut(run: Path, **changes: Any) -> None:
    manifest(lambda data: data[PARTS]["metrics.parquet"].update(changes))(run)


def bit(name: str, share: float = 0.5) -> Change:
    """Flip one bit of a file, whose length and recorded hash stay."""

    def flip(run: Path) -> None:
        raw = bytearray((run / name).read_bytes())
        raw[int(share * len(raw))] ^= 4
        (run / name).write_bytes(raw)

    return flip


DEEP = "[" * 3000 + "]" * 3000
UNREADABLE: dict[str, Change] = {
    "nested": lambda run: (run / "run.json").write_text(DEEP),
    "nested notes": lambda run: (run / "run.json").write_text(
        (run / "run.json").read_text().replace('"notes": {', f'"notes": {{"deep": {"[" * 60 + "]" * 60},', 1)
    ),
    "part null": part(None),
    "bytes many": lambda run: _cut(run, bytes="many"),
    "bytes huge": lambda run: _cut(run, bytes=10**400),
    "bytes negative": lambda run: _cut(run, bytes=-1),
    "no sha256": part({"bytes": 1, "rows": 1}),
    "long name": part({"sha256": "0" * 64, "bytes": 1, "rows": 1}, "x" * 5000),
    "outside": part({"sha256": "0" * 64, "bytes": 1, "rows": 1}, "../../x"),
    "surrogate name": part({"sha256": "0" * 64, "bytes": 1, "rows": 1}, "\ud800.parquet"),
    "surrogate note": manifest(lambda data: data["spec"].update(note="\ud800")),
    "commit": manifest(lambda data: data["provenance"].update(git_commit=5)),
    "time as a text": manifest(lambda data: data["timings"].update(behavior_seconds="0")),
    "loss as a text": manifest(lambda data: data["notes"].update(losses={"a": {"validation": "0"}})),
    "status": manifest(lambda data: data.update(status="perhaps")),
    "infinite": lambda run: (run / "run.json").write_text(
        (run / "run.json").read_text().replace('"behavior_seconds": 1.0', '"behavior_seconds": 1e999')
    ),
    "not text": lambda run: (run / "run.json").write_bytes(b"\xff\xfe" + (run / "run.json").read_bytes()),
}
"""Runs of which no page can show anything."""
UNSOUND: dict[str, Change] = {
    "states nan": states(lambda a: {k: np.full_like(v, np.nan) for k, v in a.items()}),
    "states flat": states(lambda a: {k: v[:, 0].copy() for k, v in a.items()}),
    "states short": states(lambda a: {k: v[:3] for k, v in a.items()}),
    "states named abc": states(lambda a: {"abc": next(iter(a.values()))}),
    "states whole numbers": states(lambda a: {k: v.astype(np.int32) for k, v in a.items()}),
    "metrics text": column("metrics.parquet", "self", lambda v: ["much"] * len(v), pa.string()),
    "metrics without chosen": table("metrics.parquet", lambda t: t.drop_columns(["chosen"])),
    "metrics empty": table("metrics.parquet", lambda t: t.slice(0, 0)),
    "metrics null": table(
        "metrics.parquet", lambda t: pa.table([pa.nulls(len(t), f.type) for f in t.schema], t.schema)
    ),
    "metrics verdict": column("metrics.parquet", "verdict_coupling", lambda v: ["<b>"] * len(v)),
    "metrics control": column("metrics.parquet", "control", lambda v: [x and "another" for x in v]),
    "metrics step": column("metrics.parquet", "step", lambda v: [None] * len(v)),
    "examples empty": table("examples.parquet", lambda t: t.slice(0, 0)),
    "unknown split": column("examples.parquet", "split", lambda v: ["tomorrow"] * len(v)),
    "spans outside": column("examples.parquet", "spans", lambda v: [[{"start": -5, "end": 10**6}]] * len(v)),
    "prompt ids": column("examples.parquet", "prompt_id", lambda v: [10**6, *v[1:]]),
    "prompt ids null": column("examples.parquet", "prompt_id", lambda v: [None, *v[1:]]),
    "ids null": column("examples.parquet", "example_id", lambda v: [None] * len(v)),
    "behavior null": column("behavior/gpt2--step-0100.parquet", "f", lambda v: [None] * len(v)),
    "behavior of others": column("behavior/gpt2--step-0100.parquet", "example_id", lambda v: v[::-1]),
    "explanations null": column("explanations.parquet", "explanation", lambda v: [None] * len(v)),
    "explanations empty": table("explanations.parquet", lambda t: t.slice(0, 0)),
    "explains others": column("explanations.parquet", "example_id", lambda v: ["0" * 16] * len(v)),
    "flipped bit": bit("metrics.parquet"),
    "gone": lambda run: (run / "metrics.parquet").unlink(),
}
"""Runs that open, and that `verify` refuses."""
NAMES = b"caf\xe9"
"""A folder's name that is not UTF-8."""


def beside(sound: Path, change: Change, name: str | bytes = "bad") -> Path:
    """A copy of a sound run beside it, changed."""
    path = sound.parent / os.fsdecode(name)
    shutil.copytree(sound, path)
    change(path)
    return path
