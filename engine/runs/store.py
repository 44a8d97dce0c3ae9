"""A run directory: create, append, finish, read. Imports no torch.

`run.json` is written first, with status "running", and is always replaced as a whole: it names every
part that is safely on disk, with its hash. A part is written to a temporary name, flushed to the disk
and renamed; only then is it recorded. So a run that was killed at any point can be opened, and
goes on where it stopped. Nothing in these folders is ever unpickled.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from filelock import FileLock
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from engine.config import RunSpec
from engine.records import BEHAVIOR, EXAMPLES, EXPLANATIONS, FORMAT_VERSION, METRICS, PATCHING, PATCHING_AGREEMENT
from engine.runs.files import (
    LOCK,
    MANIFEST,
    TEMPORARY,
    RunError,
    content_hash,
    is_locked,
    locked,
    read_manifest,
    readable_errors,
    refuse_foreign,
    replace_file,
    safe_part,
)

__all__ = ["Run", "RunError", "content_hash", "find_runs", "verify"]

State = Literal["running", "interrupted", "complete", "failed"]


class Run:
    """One run folder. Readers never lock it; at most one process writes it.

    Writers get theirs from `create`, readers from `open`. `manifest` holds what `run.json` held when the run was
    opened: format_version, status, spec, provenance, parts {path: {sha256, bytes, rows}}, notes, timings.
    """

    def __init__(self, path: Path, manifest: dict[str, Any], spec: RunSpec, lock: FileLock | None = None):
        self.path, self.manifest, self.spec, self._lock = path, manifest, spec, lock
        self._writing = threading.RLock()

    # -- opening ---------------------------------------------------------------------------------

    @classmethod
    def create(cls, path: Path | str, spec: RunSpec, *, provenance: Mapping[str, Any]) -> Run:
        """Start a run, or go on with an unfinished one of the same spec, or return a finished one of the same spec.

        `provenance["content"]`, if given, maps inputs to their hashes: a run never goes on with other inputs than it
        was started with. Raises RunError for a folder with other contents or another spec, and while another
        process writes this run.
        """
        path = Path(path)
        new = {
            "format_version": FORMAT_VERSION,
            "status": "running",
            "spec": spec.model_dump(mode="json"),
            "provenance": dict(provenance),
            "parts": {},
            "notes": {},
            "timings": {},
        }
        if not (path / MANIFEST).exists():
            refuse_foreign(path)
            with readable_errors(path):
                path.mkdir(parents=True, exist_ok=True)
            run = cls(path, new, spec, locked(path))
            if not (path / MANIFEST).exists():  # else another process was faster
                run._save()
                return run
            run.close()
        run = cls.open(path)
        if run.spec != spec:
            raise RunError(f"{path}: holds a run of another spec ({_difference(run.spec, spec)}): give another folder")
        before, now = run.manifest["provenance"].get("content", {}), dict(provenance).get("content", {})
        if changed := sorted(name for name in before.keys() & now.keys() if before[name] != now[name]):
            raise RunError(f"{path}: {changed[0]} has changed since this run was started: give another folder")
        if run.manifest["status"] == "complete":
            return run
        run._lock = locked(path)
        run.manifest = read_manifest(path)  # as the last writer left it
        for leftover in path.rglob(f".*{TEMPORARY}"):
            leftover.unlink(missing_ok=True)
        run.manifest["status"] = "running"
        run.manifest.pop("error", None)
        run._save()
        return run

    @classmethod
    def open(cls, path: Path | str) -> Run:
        """Open a run for reading; raises RunError where there is none, or where it can't be read."""
        path = Path(path)
        manifest = read_manifest(path)
        try:
            return cls(path, manifest, RunSpec.model_validate(manifest["spec"]))
        except ValidationError as error:
            key = ".".join(map(str, error.errors()[0]["loc"]))
            raise RunError(f"{path / MANIFEST}: spec: {key}: {error.errors()[0]['msg']}") from None

    @classmethod
    def extend(cls, path: Path | str) -> Run:
        """Open a complete run to add parts that are made of it later (`finish` ends that); what it holds stays.

        Raises RunError for a run that is not complete, and while another process writes it.
        """
        run = cls.open(path)
        if run.state != "complete":
            raise RunError(f"{path}: the run is {run.state}: finish it first, by the command that made it")
        run._lock = locked(run.path)
        run.manifest = read_manifest(run.path)  # as the last writer left it
        return run

    def close(self) -> None:
        """Give the lock back; the run stays as it is and can be gone on with."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- what is there ---------------------------------------------------------------------------

    @property
    def state(self) -> State:
        """The status, where a "running" run that nobody writes is "interrupted"."""
        status = self.manifest["status"]
        if status != "running" or self._lock is not None or is_locked(self.path):
            return status
        return "interrupted"

    @property
    def parts(self) -> dict[str, dict[str, Any]]:
        return self.manifest["parts"]

    def has(self, part: str) -> bool:
        """Recorded, and on disk in its full length."""
        recorded = self.parts.get(part)
        if recorded is None:
            return False
        with suppress(OSError):
            return (self.path / safe_part(part)).stat().st_size == recorded["bytes"]
        return False

    def read_table(self, part: str, columns: list[str] | None = None) -> pa.Table:
        """A Parquet part; raises RunError that names it where it is absent or damaged."""
        with self._reading(part) as file:
            return pq.read_table(file, columns=columns)

    def read_schema(self, part: str) -> pa.Schema:
        """Columns and types of a Parquet part; raises RunError as `read_table` does."""
        with self._reading(part) as file:
            return pq.read_schema(file)

    def read_arrays(self, part: str, keys: Iterable[str] | None = None) -> dict[str, np.ndarray]:
        """Arrays of a safetensors part (all, or those named); RunError where absent or damaged."""
        with self._reading(part) as file, safe_open(file, framework="np") as arrays:
            return {key: arrays.get_tensor(key) for key in (arrays.keys() if keys is None else keys)}

    def hidden_keys(self, checkpoint: str) -> list[str]:
        """Names of the hidden states that are kept: "last.<layer>" a prompt; the others an example."""
        firsts = [p for p in self.parts if p.startswith(f"hidden/{checkpoint}/") and "00000." in p]
        keys: set[str] = set()
        for part in firsts:
            with self._reading(part) as file, safe_open(file, framework="np") as arrays:
                keys.update(arrays.keys())
        return sorted(keys, key=lambda k: (k.rpartition(".")[0], int(k.rpartition(".")[2])))

    def hidden(self, checkpoint: str, layer: int, position: str = "last") -> np.ndarray:
        """Hidden states [rows, width] of one layer; negative layers count back from the last one kept.

        Position "last": one row a prompt, in the order of prompt_id. "edited.last", "span", "edited.span": one row an
        example. Raises RunError where they were not kept.
        """
        kept = [int(k.rpartition(".")[2]) for k in self.hidden_keys(checkpoint) if k.rpartition(".")[0] == position]
        if layer < 0 and -layer <= len(kept):
            layer = kept[layer]
        if layer not in kept:
            raise RunError(
                f"{self.path}: no hidden states of layer {layer} at {position!r} of {checkpoint} "
                f"(layers kept: {kept or 'none'}): make the run again with them under hidden"
            )
        prefix = f"hidden/{checkpoint}/" + ("" if position == "last" else "examples-")
        names = sorted(p for p in self.parts if p.startswith(prefix) and p[len(prefix) :][0].isdigit())
        key = f"{position}.{layer}"
        return np.concatenate([self.read_arrays(name, [key])[key] for name in names])

    @contextmanager
    def _reading(self, part: str) -> Iterator[Path]:
        file = self.path / safe_part(part)
        if not file.is_file():
            raise RunError(f"{file}: this part of the run is missing: make the run again") from None
        try:
            yield file
        except (pa.ArrowException, OSError, SafetensorError, KeyError) as error:
            reason = " ".join(str(error).split())[:200]
            raise RunError(f"{file}: this part of the run is damaged ({reason}): make the run again") from None

    # -- writing ---------------------------------------------------------------------------------

    def write_table(self, part: str, table: pa.Table) -> None:
        """Write a Parquet part and record it, replacing what was there."""
        plain = _without_repeats(table)
        encoding = {
            "use_dictionary": [name for name in table.column_names if name not in plain],
            "use_byte_stream_split": [name for name in plain if pa.types.is_floating(table.schema.field(name).type)],
        }

        def write(file: BinaryIO) -> None:
            pq.write_table(table, file, compression="zstd", compression_level=15, **encoding)

        self._write(part, write, table.num_rows)

    def write_arrays(self, part: str, arrays: Mapping[str, np.ndarray]) -> None:
        """Write a safetensors part of arrays that share their first dimension, and record it."""
        payload = save({key: np.ascontiguousarray(value) for key, value in arrays.items()})
        rows = next((int(value.shape[0]) for value in arrays.values()), 0)
        self._write(part, lambda file: file.write(payload), rows)

    def record(self, **notes: Any) -> None:
        """Note what was found on the way (batch sizes, forward paths) at once and for good."""
        with self._writing:
            self.manifest["notes"].update(notes)
            self._save()

    def drop(self, part: str) -> None:
        """Forget a part and remove it."""
        with self._writing:
            self.parts.pop(part, None)
            self._save()
            file = self.path / safe_part(part)
            file.unlink(missing_ok=True)
            if file.parent != self.path:
                with suppress(OSError):  # a folder that holds more stays
                    file.parent.rmdir()

    def finish(self, timings: Mapping[str, Any] | None = None) -> None:
        """Mark the run complete: the last thing that is written to it."""
        with self._writing:
            self.manifest["timings"].update(timings or {})
            self.manifest["status"] = "complete"
            try:
                self._save()
            except RunError:
                self.manifest["status"] = "running"
                raise
            (self.path / LOCK).unlink(missing_ok=True)
            self.close()

    def fail(self, message: str) -> None:
        """Mark the run failed; the same command still goes on with it. Never raises on a full disk."""
        with self._writing:
            self.manifest |= {"status": "failed", "error": message}
            with suppress(RunError):
                self._save()
            self.close()

    def _write(self, part: str, write: Callable[[BinaryIO], Any], rows: int) -> None:
        target = self.path / safe_part(part)
        if self._lock is None:
            raise RunError(f"{self.path}: opened for reading only: get it from Run.create to write to it")
        with self._writing, readable_errors(target):
            if self.parts.pop(part, None):
                self._save()  # killed in the middle of replacing a part, we must not vouch for the old one
            target.parent.mkdir(parents=True, exist_ok=True)
            replace_file(target, write)
            self.parts[part] = {"sha256": content_hash(target), "bytes": target.stat().st_size, "rows": rows}
            try:
                self._save()
            except RunError:
                del self.parts[part]
                raise

    def _save(self) -> None:
        if self._lock is None:
            raise RunError(f"{self.path}: opened for reading only: get it from Run.create to write to it")
        text = json.dumps(self.manifest, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
        with readable_errors(self.path / MANIFEST):
            replace_file(self.path / MANIFEST, lambda file: file.write(text.encode()))


# -- helpers -------------------------------------------------------------------------------------


def find_runs(directories: Iterable[Path | str], depth: int = 3) -> list[Path]:
    """Folders with a `run.json` in or under the directories, sorted; hidden folders are not looked into."""
    found: set[Path] = set()

    def look(folder: Path, left: int) -> None:
        if (folder / MANIFEST).is_file():
            found.add(folder)
        elif left:
            with suppress(OSError):
                for child in folder.iterdir():
                    if child.is_dir() and not child.name.startswith("."):
                        look(child, left - 1)

    for directory in directories:
        look(Path(directory), depth)
    return sorted(found)


def verify(path: Path | str) -> list[str]:
    """Problems of a run, each a line that names the part; empty if it is complete and sound.

    Checks that every part is there with its recorded hash, that the parts a finished run needs exist, the schemas,
    that ids are unique and the same everywhere, and that no number is NaN.
    """
    try:
        run = Run.open(path)
        problems = [] if run.state == "complete" else [f"{MANIFEST}: the run is {run.state}, not complete"]
        sound = []
        for part, recorded in run.parts.items():
            file = run.path / safe_part(part)
            if not file.is_file():
                problems.append(f"{part}: missing")
            elif content_hash(file) != recorded.get("sha256"):
                problems.append(f"{part}: damaged (its contents are not what was recorded)")
            else:
                sound.append(part)
    except RunError as error:
        return [str(error)]
    behaviors = [f"behavior/{checkpoint.name}.parquet" for checkpoint in run.spec.all_checkpoints]
    if run.state == "complete":
        needed = ["examples.parquet", *behaviors, "explanations.parquet", "metrics.parquet"]
        problems += [f"{part}: missing" for part in needed if part not in run.parts]
    ids: pa.ChunkedArray | None = None
    for part in sorted(sound, key=lambda p: p != "examples.parquet"):  # the examples first: the rest refers to them
        try:
            if part.endswith(".parquet"):
                problems += [f"{part}: {problem}" for problem in _table_problems(run, part, ids)]
                if part == "examples.parquet" and "example_id" in run.read_schema(part).names:
                    ids = run.read_table(part, ["example_id"])["example_id"]
            elif part.endswith(".safetensors"):
                run.read_arrays(part, keys=())
        except RunError as error:
            problems.append(str(error))
    return problems


def _without_repeats(table: pa.Table) -> set[str]:
    """Columns of numbers and text whose values seldom repeat: a dictionary would make them larger, not smaller."""
    return {
        field.name
        for field in table.schema
        if (pa.types.is_floating(field.type) or pa.types.is_string(field.type))
        and 2 * pc.count_distinct(table[field.name]).as_py() > len(table) - table[field.name].null_count
    }


def _table_problems(run: Run, part: str, ids: pa.ChunkedArray | None) -> Iterator[str]:
    """What is wrong with a table; one column at a time is in memory. `ids`: of the examples, where there are any."""
    schemas = {"examples": EXAMPLES, "behavior": BEHAVIOR, "explanations": EXPLANATIONS, "metrics": METRICS}
    kind = part.removesuffix(".parquet").split("/")[0]
    schema = schemas.get(kind)
    if kind == "patching":
        schema = PATCHING_AGREEMENT if part.endswith(".agreement.parquet") else PATCHING
    if schema is None:
        return
    found = run.read_schema(part)
    for field in schema:
        at = found.get_field_index(field.name)
        if at < 0:
            yield f"column {field.name!r} is missing"
        elif found.field(at).type != field.type:
            yield f"column {field.name!r} is {found.field(at).type}, not {field.type}"
    for name in found.names:
        column = run.read_table(part, [name])[name]
        if pa.types.is_floating(column.type):
            bad = pc.sum(pc.invert(pc.is_finite(column))).as_py() or 0
            bad += column.null_count if kind == "behavior" else 0
            if bad:
                yield f"column {name!r} holds {bad} values that are no number"
    if kind == "metrics" or "example_id" not in found.names:
        return
    own = run.read_table(part, ["example_id"])["example_id"]
    if kind == "examples" and pc.count_distinct(own, mode="all").as_py() < len(own):
        yield "example_id is not unique"
    if kind == "behavior" and part.count("/") == 1 and ids is not None and not own.equals(ids):
        yield "its rows are not those of examples.parquet, in their order"
    if kind in ("explanations", "patching") and ids is not None:
        explained = pc.cast(own.unique(), pa.string())
        if not pc.all(pc.is_in(explained, value_set=ids.combine_chunks()), min_count=0).as_py():
            yield "it explains examples that are not in examples.parquet"


def _difference(one: RunSpec, other: RunSpec) -> str:
    """The first key in which two specs differ."""
    a, b = one.model_dump(mode="json"), other.model_dump(mode="json")
    return next(f"{key!r} differs" for key in a if a[key] != b[key])
