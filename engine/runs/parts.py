"""Parts of a run as files: written whole or not at all, by any process; `store` records them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from secrets import token_hex
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from safetensors.numpy import save

from engine.runs.files import readable_errors, replace_file, safe_part, sha256_of

Writer = Callable[[BinaryIO], Any]


def put(folder: Path, part: str, write: Writer, rows: int) -> dict[str, Any]:
    """Write a part into a run's folder; returns what `run.json` records of it: sha256, bytes, rows.

    A second writer of the same part replaces it as a whole. Raises RunError, on a full disk too.
    """
    target = folder / safe_part(part)
    with readable_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        replace_file(target, write, own=token_hex(4))
        return {"sha256": sha256_of(target), "bytes": target.stat().st_size, "rows": rows}


def table_writer(table: pa.Table) -> Writer:
    """Writes a table as Parquet."""
    plain = _without_repeats(table)
    encoding = {
        "use_dictionary": [name for name in table.column_names if name not in plain],
        "use_byte_stream_split": [name for name in plain if pa.types.is_floating(table.schema.field(name).type)],
    }
    options = encoding | {"compression": "zstd", "compression_level": 15}
    return lambda file: pq.write_table(table, file, **options)


def arrays_writer(arrays: Mapping[str, np.ndarray]) -> Writer:
    """Writes arrays as safetensors."""
    payload = save({key: np.ascontiguousarray(value) for key, value in arrays.items()})
    return lambda file: file.write(payload)


def rows_of(arrays: Mapping[str, np.ndarray]) -> int:
    """Length of the first array: those of a part share their first dimension."""
    return next((int(value.shape[0]) for value in arrays.values()), 0)


def _without_repeats(table: pa.Table) -> set[str]:
    """Columns of numbers and text whose values seldom repeat: a dictionary would make them larger."""
    return {
        field.name
        for field in table.schema
        if (pa.types.is_floating(field.type) or pa.types.is_string(field.type))
        and 2 * pc.count_distinct(table[field.name]).as_py() > len(table) - table[field.name].null_count
    }
