"""Rows of a JSON Lines, CSV or Parquet file, with their numbers; bad ones become `Skipped`, with the reason.

The kind of file is told from its content, never from its name. A line is at most MAX_LINE long, in bytes.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

from engine.config import InputError

MAX_LINE = 8 * 2**20
HEAD = 2**16
FileKind = Literal["jsonl", "csv", "parquet"]
KIND_WORDS: dict[FileKind, str] = {"jsonl": "JSON Lines", "csv": "CSV", "parquet": "Parquet"}
_MAGIC = {
    b"PK\x03\x04": "a zip file or a spreadsheet: unpack it, or save the sheet as CSV",
    b"\x1f\x8b": "a gzip file: unpack it first",
    b"\x28\xb5\x2f\xfd": "a zstd file: unpack it first",
    b"\xff\xfe": "UTF-16 text: save it as UTF-8",
    b"\xfe\xff": "UTF-16 text: save it as UTF-8",
    b"version https://git-lfs": "a Git LFS pointer, not the data: fetch the file itself (git lfs pull)",
}


class RowError(ValueError):
    """A row that can't be used. The message is the reason, without its place."""


@dataclass(frozen=True)
class Row:
    number: int
    """Line of the file (CSV: the first line of the record; Parquet: the row), from 1."""
    values: dict[str, Any]
    file: str = ""
    """Name of the file, if several are read."""


@dataclass(frozen=True)
class Skipped:
    line: int
    reason: str
    file: str = ""


def kind_of(path: Path) -> FileKind:
    """The kind of a file, from its first bytes. Raises InputError if it is empty, binary, or can't be read."""
    try:
        if path.exists() and not path.is_file():  # a device or a pipe could be read for ever
            raise InputError(f"{path}: is not a file: give JSON Lines, CSV or Parquet")
        with path.open("rb") as file:
            head = file.read(HEAD)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file: check its path") from None
    except OSError as error:
        raise InputError(f"{path}: can't be read: {error.strerror or error}") from None
    if head.startswith(b"PAR1"):
        return "parquet"
    for magic, words in _MAGIC.items():
        if head.startswith(magic):
            raise InputError(f"{path}: is {words}")
    if b"\0" in head:
        raise InputError(f"{path}: is a binary file of an unknown kind: give JSON Lines, CSV or Parquet")
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if not text:
        raise InputError(f"{path}: is empty: it needs one example a line")
    if text.startswith(b"["):
        raise InputError(f"{path}: is one JSON array: write one object a line, for example with `jq -c '.[]'`")
    if text.startswith(b"{") and not text.split(b"\n", 1)[0].strip(b"{ \r"):
        raise InputError(f"{path}: is JSON over several lines: write one object a line, for example with `jq -c .`")
    return "jsonl" if text.startswith(b"{") else "csv"


def read_rows(path: Path, kind: FileKind) -> Iterator[Row | Skipped]:
    """Every row of a file, in order. Raises InputError if the file as a whole can't be read."""
    try:
        yield from READERS[kind](path)
    except OSError as error:
        raise InputError(f"{path}: can't be read: {error.strerror or error}") from None


def _lines(file: IO[bytes]) -> Iterator[bytes | None]:
    """Lines, ended by \\n only; None stands for one that is too long."""
    while line := file.readline(MAX_LINE + 1):
        too_long = len(line) > MAX_LINE
        while too_long and line and not line.endswith(b"\n"):
            line = file.readline(MAX_LINE)
        yield None if too_long else line


def _json_lines(path: Path) -> Iterator[Row | Skipped]:
    with path.open("rb") as file:
        for number, line in enumerate(_lines(file), start=1):
            if line is None:
                yield Skipped(number, f"longer than {MAX_LINE // 2**20} MiB")
                continue
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8")
                if not text.strip():
                    continue
                value = json.loads(text)
            except UnicodeDecodeError as error:
                yield Skipped(number, f"not UTF-8 (byte {error.start + 1} of the line)")
            except RecursionError:
                yield Skipped(number, "nested too deeply")
            except ValueError as error:
                yield Skipped(number, f"not valid JSON ({getattr(error, 'msg', error)})")
            else:
                if isinstance(value, dict):
                    yield Row(number, value)
                else:
                    yield Skipped(number, f"a {type(value).__name__}, not an object")


def _csv(path: Path) -> Iterator[Row | Skipped]:
    too_long: list[int] = []

    def text_lines(file: IO[bytes]) -> Iterator[str]:
        """Bytes that are not UTF-8 become lone surrogates, which no text may hold: see `checked`."""
        for number, line in enumerate(_lines(file), start=1):
            if line is None:
                too_long.append(number)
            text = (line or b"\n").decode("utf-8", "surrogateescape")
            yield text.removeprefix("\ufeff") if number == 1 else text

    with path.open("rb") as file:
        delimiter = max(",;\t", key=next(text_lines(file), "").count)
        file.seek(0)
        too_long.clear()
        records = csv.reader(text_lines(file), delimiter=delimiter, strict=True)
        names: list[str] | None = None
        while True:
            first, problem, record = records.line_num + 1, "", []
            try:
                record = next(records)
            except StopIteration:
                return
            except csv.Error as error:
                problem = f"not valid CSV: {error}"
            if too_long and too_long[-1] >= first:
                problem = f"longer than {MAX_LINE // 2**20} MiB"
            if not problem and not any(map(str.strip, record)):
                continue
            if not problem and names is not None and len(record) != len(names):
                problem = f"has {len(record)} fields, the header has {len(names)}"
            if names is None:
                names = _header(path, record, problem)
            elif problem:
                place = f" (the record goes on to line {records.line_num})" if records.line_num > first else ""
                yield Skipped(first, problem + place)
            else:
                yield Row(first, dict(zip(names, record, strict=True)))


def _header(path: Path, record: list[str], problem: str) -> list[str]:
    names = [name.strip() for name in record]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        problem = f"two columns are called {repeated[0]!r}"
    if problem:
        raise InputError(f"{path}: its first line can't be read as names of columns: {problem}")
    return names


def _parquet(path: Path) -> Iterator[Row | Skipped]:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        number = 0
        for batch in parquet.ParquetFile(path).iter_batches(1024):
            for values in batch.to_pylist():
                number += 1
                yield Row(number, values)
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise InputError(f"{path}: a damaged Parquet file: {str(error).splitlines()[0]}") from None


READERS: dict[FileKind, Callable[[Path], Iterator[Row | Skipped]]] = {
    "jsonl": _json_lines,
    "csv": _csv,
    "parquet": _parquet,
}


def text_of(row: Row, column: str) -> str:
    """A column's text. Raises RowError if it is missing, empty, no text, or not valid Unicode."""
    value = row.values.get(column)
    if value is None:
        raise RowError(f"{column!r} is missing")
    if isinstance(value, bool | int | float):
        value = str(value)
    if not isinstance(value, str):
        raise RowError(f"{column!r} is a {type(value).__name__}, not a text")
    return checked(value, column)


def checked(value: str, column: str) -> str:
    """The text itself. Raises RowError if it is empty or not valid Unicode."""
    if not value.strip():
        raise RowError(f"{column!r} is empty")
    if not is_unicode(value):
        raise RowError(f"{column!r} is not valid Unicode (not UTF-8, or half of a surrogate pair)")
    return value


def is_unicode(value: str) -> bool:
    """Whether a text can be written as UTF-8."""
    return not any("\ud800" <= c <= "\udfff" for c in value)
