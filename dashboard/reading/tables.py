"""One table of a run at a time, by DuckDB; what can't be read becomes a RunError of one line. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import streamlit as st

from engine.runs.store import RunError

MEMORY = "150MB"
"""For DuckDB at work, all sessions together; what needs more goes through files. One thread: each holds its share."""


# Arrow's own pool keeps what it once had; a server should give it back.
pa.set_memory_pool(pa.system_memory_pool())


@st.cache_resource
def _database() -> duckdb.DuckDBPyConnection:
    return duckdb.connect(config={"threads": 1, "memory_limit": MEMORY, "autoinstall_known_extensions": False})


def query(sql: str, parameters: Sequence, where: Path) -> pd.DataFrame:
    """Run SQL; a part that can't be read becomes a RunError that names the run."""
    try:
        return _database().cursor().execute(sql, list(parameters)).df()
    except duckdb.Error as error:
        reason = str(error).splitlines()[0]
        raise RunError(
            f"{where}: a table of this run can't be read ({reason}); check it with coupling verify"
        ) from None


def part(path: Path, name: str) -> str:
    """A table's file; RunError where it is not there yet."""
    file = path / name
    if not file.is_file():
        raise RunError(f"{path.name}: has no {name} yet: the run is unfinished, or the file was removed")
    return str(file)


def quoted(column: str) -> str:
    """A column's name as an SQL identifier."""
    return '"' + column.replace('"', '""') + '"'


def open_table(path: Path, name: str, *, as_codes: Sequence[str] = ()) -> pq.ParquetFile:
    """A table to be read piece by piece; the columns `as_codes` come dictionary-encoded."""
    try:
        return pq.ParquetFile(part(path, name), read_dictionary=list(as_codes), pre_buffer=False)
    except (OSError, ValueError) as error:
        raise damaged(path, name, error) from None


def damaged(path: Path, name: str, error: Exception) -> RunError:
    reason = " ".join(str(error).split())[:200]
    return RunError(f"{path.name}: {name} is damaged ({reason}); check it with coupling verify")
