"""Reads one table of a run at a time, and caches what was read until the run changes. Imports no torch.

SQL reads a file only by `whole(?)`, its rows, or `numbered(?)`, with the column file_row_number, and gets the file from
`part`. So a name is never taken as a pattern, and folders called `key=value` add no columns.

A table that can't be read raises `RunError` with one line of text.
"""

from __future__ import annotations

import functools
import glob
import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar, cast

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import streamlit as st

from engine.config import InputError
from engine.runs.files import is_file
from engine.runs.integrity import hash_ahead
from engine.runs.store import Run, RunError
from engine.runs.verify import unsound

F = TypeVar("F", bound=Callable[..., Any])
MEMORY = "150MB"
"""Memory limit of DuckDB for all sessions together. A larger query spills to files. One thread: each has buffers."""

# Arrow's own pool keeps memory that it has once had; the system's pool gives it back.
pa.set_memory_pool(pa.system_memory_pool())


def stamp(path: Path) -> str:
    """12 hex digits of the manifest's hash. The manifest has every table's hash, so a changed run has another."""
    try:
        return hashlib.sha256((path / "run.json").read_bytes()).hexdigest()[:12]
    except OSError as error:
        raise RunError(f"{path}: run.json can't be read: {error.strerror}") from None


def cached_per_run(cache: Callable[..., Any], **options: Any) -> Callable[[F], F]:
    """Cache a function of one or more runs' paths. A run that changed on disk is read again.

    cache: `st.cache_data` (each caller gets a copy) or `st.cache_resource` (all sessions share one object).
    options: those of the cache; no spinner is shown unless they say so.
    """

    def decorate(function: F) -> F:
        @cache(**{"show_spinner": False, **options})
        @functools.wraps(function)
        def kept(*args: Any, stamp: str, **named: Any) -> Any:  # `stamp` is a part of the cache's key
            return function(*args, **named)

        @functools.wraps(function)
        def call(*args: Any, **named: Any) -> Any:
            stamps = (stamp(path) for path in args if isinstance(path, Path))
            return kept(*args, stamp=" ".join(stamps), **named)

        call.clear = kept.clear  # type: ignore[attr-defined]
        return cast(F, call)

    return decorate


MACROS = """
  CREATE MACRO whole(file) AS TABLE SELECT * FROM read_parquet(file, hive_partitioning=false);
  CREATE MACRO numbered(file) AS TABLE SELECT * FROM read_parquet(file, hive_partitioning=false, file_row_number=true);
"""


@st.cache_resource
def _database() -> duckdb.DuckDBPyConnection:
    base = duckdb.connect(config={"threads": 1, "memory_limit": MEMORY, "autoinstall_known_extensions": False})
    return base.execute(MACROS)


def query(sql: str, parameters: Sequence, where: Path) -> pd.DataFrame:
    """The rows of an SQL query. Raises RunError, with the run's path `where`, if a table can't be read."""
    try:
        return _database().cursor().execute(sql, list(parameters)).df()
    except duckdb.Error as error:
        reason = str(error).splitlines()[0]
        raise RunError(
            f"{where}: a table of this run can't be read ({reason}); check it with coupling verify"
        ) from None


def part(path: Path, name: str) -> str:
    """The file of a table as a parameter of SQL, where a name is a pattern. Raises RunError if there is none, or
    if it does not hold what the run recorded."""
    file = str(_file(path, name).absolute())
    escaped = glob.escape(file)
    if escaped != file and "\\" in file:  # DuckDB has no way to write it
        raise RunError(f"{path}: a path with a backslash and one of * ? [ can't be read: rename the folder")
    return escaped


def _file(path: Path, name: str) -> Path:
    run = Run.open(path)
    if not is_file(path / name):
        raise RunError(f"{path.name}: has no {name} yet: the run is unfinished, or the file was removed")
    _check_ahead(path)
    return run.file_of(name)


@cached_per_run(st.cache_resource, max_entries=64)
def _check_ahead(path: Path) -> None:
    """Check the large tables that every page reads beside the first query, not one after another before theirs."""
    parts = Run.open(path).parts
    hash_ahead(path / name for name in ("examples.parquet", "explanations.parquet") if name in parts)


@contextmanager
def blamed(path: Path) -> Iterator[None]:
    """Turn any error into a RunError that names what is wrong with the run, if something is.

    Pages take for granted what `verify` checks. An error in spite of a sound run is a fault of the program, and stays.
    """
    try:
        yield
    except InputError:
        raise
    except Exception:
        if problems := _unsound(path):
            raise RunError(f"{path.name}: {problems[0]}; the page Runs verifies it") from None
        raise


@cached_per_run(st.cache_data, max_entries=16)
def _unsound(path: Path) -> list[str]:
    return unsound(Run.open(path))


def open_table(path: Path, name: str, *, as_codes: Sequence[str] = ()) -> pq.ParquetFile:
    """A table that can be read in batches. The columns `as_codes` come dictionary-encoded."""
    try:
        return pq.ParquetFile(_file(path, name), read_dictionary=list(as_codes), pre_buffer=False)
    except (OSError, ValueError) as error:
        raise damaged(path, name, error) from None


def damaged(path: Path, name: str, error: Exception) -> RunError:
    """The error of a table that can't be decoded."""
    reason = " ".join(str(error).split())[:200]
    return RunError(f"{path.name}: {name} is damaged ({reason}); check it with coupling verify")
