"""A run's folder: create, append, finish, read. Imports no torch.

`run.json` is written first, with status "running", and is always replaced as a whole. It names every part that is safe
on disk, with its hash. A part is written under a temporary name, flushed to the disk and renamed; only then is it
recorded. A run that was killed at any point can therefore be opened and resumed. Nothing in it is ever unpickled.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from filelock import FileLock
from safetensors import SafetensorError, safe_open

from engine.config import RunSpec
from engine.records import FORMAT_VERSION
from engine.runs.files import (
    LOCK,
    MANIFEST,
    RunError,
    is_file,
    is_locked,
    locked,
    read_manifest,
    read_record,
    readable_errors,
    refuse_foreign,
    remove_leftovers,
    replace_file,
    safe_part,
)
from engine.runs.integrity import hash_of
from engine.runs.parts import arrays_writer, put, rows_of, table_writer
from engine.runs.schemas import kind_of, schema_problems
from engine.runs.states import layers_at, problem

State = Literal["running", "interrupted", "complete", "failed"]


class Run(AbstractContextManager):
    """One run. Readers (`open`) never lock its folder; at most one process writes it (`create`, `extend`).

    `manifest` is the content of `run.json` when the run was opened: format_version, status, spec, provenance,
    parts {path: {sha256, bytes, rows}}, notes, timings.
    """

    def __init__(self, path: Path, manifest: dict[str, Any], spec: RunSpec, lock: FileLock | None = None):
        self.path, self.manifest, self.spec, self._lock = path, manifest, spec, lock

    @classmethod
    def create(cls, path: Path | str, spec: RunSpec, *, provenance: Mapping[str, Any]) -> Run:
        """Start a run, resume an unfinished run of the same spec, or return a finished one.

        `provenance["content"]`, if given, maps inputs to their hashes: a run is not resumed with changed inputs.
        Raises RunError for a folder with other contents or another spec, and while another process writes this run.
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
            key = next(key for key in RunSpec.model_fields if getattr(run.spec, key) != getattr(spec, key))
            raise RunError(f"{path}: holds a run of another spec ({key!r} differs): give another folder")
        before, now = (p.get("content", {}) for p in (run.manifest["provenance"], provenance))
        if changed := sorted(name for name in before.keys() & now.keys() if before[name] != now[name]):
            raise RunError(f"{path}: {changed[0]} has changed since this run was started: give another folder")
        if run.manifest["status"] == "complete":
            if (path / LOCK).exists() and not is_locked(path):
                with suppress(RunError):  # its last writer was killed; in a folder that can't be written all may stay
                    run._take()
                    run._release()
            return run
        if run.manifest["format_version"] < FORMAT_VERSION:
            raise RunError(f"{path}: was begun by an earlier version: give another folder")
        run._take()
        if run.manifest["status"] == "complete":  # another process finished it meanwhile
            run._release()
            return run
        run.manifest["status"] = "running"
        run.manifest.pop("error", None)
        run._save()
        return run

    @classmethod
    def open(cls, path: Path | str) -> Run:
        """Open a run for reading. Raises RunError if there is none, or if it can't be read."""
        path = Path(path)
        record = read_record(path)
        return cls(path, record.own(), record.spec)

    @classmethod
    def extend(cls, path: Path | str) -> Run:
        """Open a complete run to add parts to it, up to `finish`. What it holds stays.

        Raises RunError for a run that is not complete, and while another process writes it.
        """
        run = cls.open(path)
        if run.state != "complete":
            raise RunError(f"{path}: the run is {run.state}: finish it first, by the command that made it")
        run._take()
        return run

    def _take(self) -> None:
        """Become the writer: lock the run, read it as the last writer left it, and remove what a kill left behind."""
        self._lock = locked(self.path)
        try:
            self.manifest = read_manifest(self.path)
            with readable_errors(self.path):
                remove_leftovers(self.path, self.parts)
        except BaseException:
            self.close()
            raise

    def _release(self) -> None:
        (self.path / LOCK).unlink(missing_ok=True)
        self.close()

    def close(self) -> None:
        """Release the lock. The run stays as it is and can be resumed."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def state(self) -> State:
        """The recorded status; a "running" run that no process writes is "interrupted"."""
        status = self.manifest["status"]
        if status != "running" or self._lock is not None or is_locked(self.path):
            return status
        return "interrupted"

    @property
    def parts(self) -> dict[str, dict[str, Any]]:
        return self.manifest["parts"]

    @property
    def diverged(self) -> dict[str, str]:
        """Checkpoint → why nothing of it could be measured, of those that are not testable."""
        return self.manifest["notes"].get("diverged", {})

    @property
    def measured(self) -> RunSpec:
        """The spec with the checkpoints that could be measured. The first one always could, or there is no run."""
        return self.without_diverged(self.spec)

    def without_diverged(self, spec: RunSpec) -> RunSpec:
        """The run's spec, as stored or with other paths, without the checkpoints that could not be measured."""
        first, *later = spec.checkpoints
        kept = (first, *(c for c in later if c.name not in self.diverged))
        return spec.model_copy(update={"checkpoints": kept}) if self.diverged else spec

    def has(self, part: str) -> bool:
        """Whether a part is recorded, and on disk in its full length."""
        recorded = self.parts.get(part)
        if recorded is None:
            return False
        with suppress(OSError):
            return (self.path / safe_part(part)).stat().st_size == recorded["bytes"]
        return False

    def file_of(self, part: str) -> Path:
        """The file of a part, which holds what was recorded: hashed when first read, and again once it has changed.

        Raises RunError if it is missing, damaged, or a table with other columns than its kind has.
        """
        file = self.path / safe_part(part)
        if not is_file(file):
            raise RunError(f"{file}: this part of the run is missing: make the run again")
        try:
            found = hash_of(file)
            recorded = self.parts.get(part, {}).get("sha256")
            if found != recorded:  # perhaps it was replaced since this run was opened
                recorded = read_record(self.path).data["parts"].get(part, {}).get("sha256")
        except OSError as error:
            raise RunError(f"{file}: can't be read: {error.strerror or error}") from None
        if recorded is None:
            raise RunError(f"{file}: this part is not among those that the run records: make the run again")
        if found != recorded:
            raise _damaged(file, "its contents are not what was recorded")
        if problem := _wrong_schema(str(file), found, part, self.manifest["format_version"]):
            raise _damaged(file, problem)
        return file

    def read_table(self, part: str, columns: list[str] | None = None) -> pa.Table:
        """A Parquet part. Raises RunError that names the part if it is missing or damaged, as all readers do."""
        with self._reading(part) as file:
            return pq.read_table(file, columns=columns, partitioning=None)

    def read_schema(self, part: str) -> pa.Schema:
        """Columns and types of a Parquet part."""
        with self._reading(part) as file:
            return pq.read_schema(file)

    def read_arrays(self, part: str, keys: Iterable[str] | None = None) -> dict[str, np.ndarray]:
        """Arrays of a safetensors part: all, or those named."""
        with self._reading(part) as file, safe_open(file, framework="np") as arrays:
            return {key: arrays.get_tensor(key) for key in (arrays.keys() if keys is None else keys)}

    def _hidden_parts(self, checkpoint: str, position: str) -> list[str]:
        prefix = f"hidden/{checkpoint}/" + ("" if position == "last" else "examples-")
        return sorted(p for p in self.parts if p.startswith(prefix) and p[len(prefix) :][:1].isdigit())

    def kept_layers(self, checkpoint: str, position: str = "last") -> list[int]:
        """Layers whose hidden states the run holds, ascending; see `hidden`."""
        for part in self._hidden_parts(checkpoint, position)[:1]:
            with self._reading(part) as file, safe_open(file, framework="np") as arrays:
                return layers_at(arrays.keys(), position)
        return []

    def hidden(
        self, checkpoint: str, layer: int, position: str = "last", within: tuple[int, int] | None = None
    ) -> np.ndarray:
        """Hidden states [rows, width] of one layer.

        Position "last": one row per prompt, in the order of prompt_id. "edited.last", "span", "edited.span": one row
        per example. within: rows from a number to before another; only the files that hold them are read. Raises
        RunError if they were not kept, or are not numbers of that shape.
        """
        if layer not in (kept := self.kept_layers(checkpoint, position)):
            raise RunError(
                f"{self.path}: no hidden states of layer {layer} at {position!r} of {checkpoint} "
                f"(layers kept: {kept or 'none'}): make the run again with them under hidden"
            )
        key, parts = f"{position}.{layer}", self._hidden_parts(checkpoint, position)
        found, rows, end = list[np.ndarray](), self._rows_at(position), 0
        start, stop = within or (0, rows)
        for part in parts:
            length = self.parts[part].get("rows")
            if within and length is not None and (end + length <= start or end >= stop):
                end += length
                continue
            with self._reading(part) as file, safe_open(file, framework="np") as arrays:
                states = arrays.get_tensor(key)
                if why := problem(states):
                    raise ValueError(f"{key!r} {why}")
                found.append(states[max(0, start - end) : max(0, stop - end)])
                if found[-1].shape[1] != found[0].shape[1]:
                    raise ValueError(f"{key!r} is not as wide as in the first part")
            end += len(states)
        if end != rows:
            raise RunError(
                f"{self.path}: {end:,} hidden states of layer {layer} at {position!r} of {checkpoint} for "
                f"{rows:,} {'prompts' if position == 'last' else 'examples'}: make the run again"
            )
        return np.concatenate(found)

    def _rows_at(self, position: str) -> int:
        """The number of hidden states that there must be: of prompts, or of examples."""
        prompts = self.read_table("examples.parquet", ["prompt_id"])["prompt_id"]
        return (pc.max(prompts).as_py() or 0) + 1 if position == "last" else len(prompts)

    @contextmanager
    def _reading(self, part: str) -> Iterator[Path]:
        file = self.file_of(part)
        try:
            yield file
        except (pa.ArrowException, OSError, SafetensorError, KeyError, ValueError, TypeError) as error:
            if isinstance(error, RunError):
                raise
            raise _damaged(file, " ".join(str(error).split())[:200]) from None

    def write_table(self, part: str, table: pa.Table) -> None:
        """Write a Parquet part and record it, replacing what was there."""
        self._write(part, table_writer(table), table.num_rows)

    def write_arrays(self, part: str, arrays: Mapping[str, np.ndarray]) -> None:
        """Write a safetensors part and record it; the arrays share their first dimension."""
        self._write(part, arrays_writer(arrays), rows_of(arrays))

    def adopt(self, parts: Mapping[str, Mapping[str, Any]], *, without: Iterable[str] = (), **notes: Any) -> None:
        """Record parts that `parts.put` wrote into this folder, perhaps in another process, notes, and the end of the
        parts `without`, at once."""
        for part, recorded in parts.items():
            size = (self.path / safe_part(part)).stat().st_size
            if size != recorded["bytes"]:
                raise _damaged(self.path / part, f"{size:,} bytes, its writer recorded {recorded['bytes']:,}")
        self.parts.update({part: dict(recorded) for part, recorded in parts.items()})
        gone = [part for part in without if self.parts.pop(part, None)]
        if parts or gone or notes:
            self.note(**notes)
        for part in gone:
            self._remove(part)

    def note(self, **notes: Any) -> None:
        """Record findings on the way (batch sizes, forward paths) in the manifest, at once."""
        self.manifest["notes"].update(notes)
        self._save()

    def drop(self, part: str) -> None:
        """Remove a part."""
        self.parts.pop(part, None)
        self._save()
        self._remove(part)

    def _remove(self, part: str) -> None:
        file = self.path / safe_part(part)
        file.unlink(missing_ok=True)
        if file.parent != self.path:
            with suppress(OSError):  # a folder that holds more stays
                file.parent.rmdir()

    def tidy(self) -> None:
        """Remove files that no part names: what a killed worker left, of which this process does not know."""
        with readable_errors(self.path):
            remove_leftovers(self.path, self.parts)

    def finish(self, timings: Mapping[str, Any] | None = None) -> None:
        """Mark the run complete. This is the last write to it."""
        self.manifest["timings"].update(timings or {})
        self.manifest["status"] = "complete"
        try:
            self._save()
        except RunError:
            self.manifest["status"] = "running"
            raise
        self._release()

    def fail(self, message: str) -> None:
        """Mark the run failed; it can still be resumed. Never raises on a full disk."""
        self.manifest |= {"status": "failed", "error": message}
        with suppress(RunError):
            self._save()
        self.close()

    def _write(self, part: str, write: Callable[[BinaryIO], Any], rows: int) -> None:
        target = self.path / safe_part(part)
        if self._lock is None:
            raise RunError(f"{self.path}: opened for reading only: get it from Run.create to write to it")
        with readable_errors(target):
            if self.parts.pop(part, None):
                self._save()  # if this process is killed while it replaces the part, the old hash must be gone
            self.parts[part] = put(self.path, part, write, rows)
            try:
                self._save()
            except RunError:
                del self.parts[part]
                raise

    def _save(self) -> None:
        if self._lock is None:
            raise RunError(f"{self.path}: opened for reading only: get it from Run.create to write to it")
        self.manifest["parts"] = dict(sorted(self.parts.items()))  # in whatever order workers were ready
        text = json.dumps(self.manifest, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
        with readable_errors(self.path / MANIFEST):
            replace_file(self.path / MANIFEST, lambda file: file.write(text.encode()))


def _damaged(file: Path, why: str) -> RunError:
    return RunError(f"{file}: this part of the run is damaged ({why}): make the run again")


@functools.lru_cache(maxsize=1024)
def _wrong_schema(file: str, content: str, part: str, version: int) -> str | None:
    """What is wrong with a table's columns. `content`: the hash of the file, which may be replaced."""
    if kind_of(part) is None:
        return None
    try:
        return next(schema_problems(pq.read_schema(file), part, version), None)
    except (pa.ArrowException, OSError, ValueError) as error:
        return " ".join(str(error).split())[:200]
