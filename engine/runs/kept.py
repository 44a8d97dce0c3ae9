"""Results of slow work, kept in the run's folder until the run is finished: a stopped run goes on from them.

A result is plain values, arrays, and dataclasses of these. It is stored as JSON with its arrays beside it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from itertools import count
from typing import Any

import numpy as np

from engine.runs.store import Run, RunError

FOLDER = "kept/"
SECONDS = 15.0
"""Work that a kill may lose, beside the result that is being made."""
TREE, NAMES = "tree", "names"


class Kept:
    """Results by name. Each call writes all new ones at once, if the last were written `SECONDS` ago."""

    def __init__(self, record: Run, types: Sequence[type]):
        """types: the dataclasses in the results."""
        self._record, self._types = record, {t.__name__: t for t in types}
        self._part_of: dict[str, str] = {}
        for part in sorted(record.parts):
            if part.startswith(FOLDER) and record.has(part):
                with self._readable(part):
                    names = json.loads(bytes(record.read_arrays(part, [NAMES])[NAMES]))
                    self._part_of |= dict.fromkeys(names, part)
        self._read: tuple[str, dict[str, Any]] = ("", {})
        self._new: dict[str, Any] = {}
        self._written = time.monotonic()

    def __contains__(self, name: str) -> bool:
        return name in self._part_of

    def get(self, name: str) -> Any:
        """A result that is there. Raises RunError if its part is damaged."""
        part = self._part_of[name]
        if self._read[0] != part:  # results are asked for in the order in which they were made
            with self._readable(part):
                self._read = part, unpacked(self._record.read_arrays(part), self._types)
        return self._read[1][name]

    @contextmanager
    def _readable(self, part: str) -> Iterator[None]:
        """Raises RunError for a part that is not as `packed` makes it."""
        try:
            yield
        except (KeyError, TypeError, ValueError, RecursionError):
            raise RunError(f"{self._record.path / part}: is damaged: remove it, and its work is done again") from None

    def put(self, name: str, result: Any) -> None:
        self._new[name] = result
        if time.monotonic() - self._written >= SECONDS:
            self.write()

    def made(self, name: str, make: Callable[[], Any]) -> Any:
        """The result of that name: what is there, or what `make` gives."""
        if name in self:
            return self.get(name)
        result = make()
        self.put(name, result)
        return result

    def write(self) -> None:
        """Write what is new."""
        if self._new:
            names = (f"{FOLDER}{number:05d}.safetensors" for number in count())
            part = next(name for name in names if name not in self._record.parts)
            self._record.write_arrays(part, packed(self._new))
            self._part_of |= dict.fromkeys(self._new, part)
            self._new = {}
        self._written = time.monotonic()


def drop_kept(record: Run) -> None:
    record.adopt({}, without=[part for part in record.parts if part.startswith(FOLDER)])


def packed(results: dict[str, Any]) -> dict[str, np.ndarray]:
    """Arrays of a safetensors part: two of JSON in bytes, and those in the results. Raises TypeError."""
    arrays: dict[str, np.ndarray] = {}

    def plain(value: Any) -> Any:
        if isinstance(value, np.generic):
            value = value.item()
        if value is None or isinstance(value, bool | int | float | str):
            return value
        if isinstance(value, np.ndarray):
            arrays[str(len(arrays))] = np.ascontiguousarray(value)
            return {"array": len(arrays) - 1}
        if isinstance(value, list | tuple):
            return {type(value).__name__: [plain(item) for item in value]}
        if isinstance(value, dict):
            return {"dict": [[plain(key), plain(item)] for key, item in value.items()]}
        if is_dataclass(value):
            return {
                "of": type(value).__name__,
                "fields": {f.name: plain(getattr(value, f.name)) for f in fields(value)},
            }
        raise TypeError(f"{type(value).__name__} can't be kept")

    tree = json.dumps(plain(results)).encode()
    names = json.dumps(list(results)).encode()
    return arrays | {TREE: np.frombuffer(tree, np.uint8), NAMES: np.frombuffer(names, np.uint8)}


def unpacked(arrays: dict[str, np.ndarray], types: dict[str, type]) -> dict[str, Any]:
    """What `packed` was given."""

    def whole(value: Any) -> Any:
        match value:
            case {"array": number}:
                return arrays[str(number)]
            case {"list": items}:
                return [whole(item) for item in items]
            case {"tuple": items}:
                return tuple(whole(item) for item in items)
            case {"dict": pairs}:
                return {whole(key): whole(item) for key, item in pairs}
            case {"of": name, "fields": values}:
                return types[name](**{key: whole(item) for key, item in values.items()})
        return value

    return whole(json.loads(bytes(arrays[TREE])))
