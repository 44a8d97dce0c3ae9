"""Columns of a run as arrays, by row of examples.parquet: what filters, orders and scatters of millions of rows need.

All sessions share them, so they are not to be written to. Texts are not among them: those of the few examples on the
screen are read from the file. `stamp` is `data.stamp(path)`: a run that changed on disk is read again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import streamlit as st

from dashboard.reading.tables import damaged, open_table, part, query
from engine.runs.store import RunError

EXAMPLES = "examples.parquet"
BATCH = 1 << 17


def _batches(path: Path, name: str, columns: list[str], as_codes: list[str] | None = None) -> Iterator[pa.RecordBatch]:
    """A table's columns, some rows at a time; RunError where they can't be read."""
    file = open_table(path, name, as_codes=as_codes or ())
    absent = set(columns) - set(file.schema_arrow.names)
    if absent:
        raise RunError(f"{path.name}: {name} has no column {min(absent)!r}; check it with coupling verify")
    try:
        yield from file.iter_batches(BATCH, columns=columns, use_threads=False)
    except (OSError, ValueError) as error:
        raise damaged(path, name, error) from None


def _frozen(array: np.ndarray) -> np.ndarray:
    array.flags.writeable = False
    return array


@st.cache_resource(max_entries=48, show_spinner=False)
def category(path: Path, column: str, stamp: str) -> pd.Categorical:
    """A column of text of the examples, [n]: one code a row, each value once."""
    pieces = [batch.column(0) for batch in _batches(path, EXAMPLES, [column], [column])]
    coded = [p if pa.types.is_dictionary(p.type) else p.dictionary_encode() for p in pieces]
    if not coded:
        return pd.Categorical([])
    whole = pa.chunked_array(coded).unify_dictionaries().combine_chunks()
    codes = whole.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    return pd.Categorical.from_codes(codes, whole.dictionary.to_pandas())


def rows_of(path: Path, name: str = EXAMPLES) -> int:
    """How many rows a table has."""
    return int(open_table(path, name).metadata.num_rows)


@st.cache_resource(max_entries=4, show_spinner=False)
def prompt_ids(path: Path, stamp: str) -> np.ndarray:
    """The row of each example's hidden state, [n] int32."""
    pieces = [batch.column(0).to_numpy() for batch in _batches(path, EXAMPLES, ["prompt_id"])]
    return _frozen(np.concatenate([np.empty(0, np.int32), *pieces]))


def example_ids(path: Path, rows: np.ndarray) -> pd.api.extensions.ExtensionArray:
    """The ids of those rows [m], ascending, as compact text. Not kept: they would be the largest column of all."""
    pieces, at = [], 0
    for batch in _batches(path, EXAMPLES, ["example_id"]):
        low, high = np.searchsorted(rows, [at, at + len(batch)])
        pieces.append(batch.column(0).take(pa.array(rows[low:high] - at)))
        at += len(batch)
    return pd.array(pa.chunked_array(pieces, pa.string()), dtype="str")


@st.cache_resource(max_entries=64, show_spinner=False)
def identity(path: Path, name: str, stamp: str) -> str:
    """A digest of a table's ids in their order: two tables with the same have the same rows."""
    digest = hashlib.blake2b(digest_size=16)
    for batch in _batches(path, name, ["example_id"]):
        ids = batch.column(0)
        lines = pa.ListArray.from_arrays(pa.array([0, len(ids)], pa.int32()), ids)
        digest.update((pc.binary_join(lines, "\n")[0].as_py() or "").encode() + b"\n")
    return digest.hexdigest()


@st.cache_resource(max_entries=4, show_spinner=False)
def behavior(path: Path, checkpoint: str, stamp: str) -> np.ndarray:
    """f(x) and f(x′) of a checkpoint, [2, n] float32, nats. RunError unless its rows are those of the examples."""
    name = f"behavior/{checkpoint}.parquet"
    if identity(path, name, stamp) != identity(path, EXAMPLES, stamp):
        raise RunError(f"{path.name}: the rows of {name} are not those of {EXAMPLES}; check it with coupling verify")
    found = np.empty((2, rows_of(path, name)), np.float32)
    at = 0
    for batch in _batches(path, name, ["f", "f_edited"]):
        for values, column in zip(found, batch.columns, strict=True):
            values[at : at + len(batch)] = column.to_numpy(zero_copy_only=False)
        at += len(batch)
    return _frozen(found)


@dataclass(frozen=True)
class Setting:
    """Which explanations are read: one explainer in one regime at one checkpoint, under one kind of label noise."""

    checkpoint: str
    explainer: str
    regime: str
    noise_kind: str = "none"
    noise: float = 0.0
    condition: str | None = None
    """What else was varied in training, as the run names it; None: nothing."""


@dataclass(frozen=True)
class Explained:
    """What one setting says of the examples that it explains, in the run's order."""

    row: np.ndarray
    """[m] int32, rows of examples.parquet, ascending."""
    explanation: np.ndarray
    """[m] float32, nats; NaN where it is in words only."""
    layer: np.ndarray
    """[m] float32; NaN where there is none."""
    text: np.ndarray | None
    """[m] object: the words of a `verbal` explainer, else None."""

    def at(self, rows: np.ndarray) -> np.ndarray:
        """Places of those rows in the arrays, −1 where they are not explained."""
        places = np.searchsorted(self.row, rows)
        places[places == len(self.row)] = 0
        return np.where(self.row[places] == rows, places, -1) if len(self.row) else np.full(len(rows), -1)


@st.cache_resource(max_entries=4, show_spinner=False)
def explained(path: Path, setting: Setting, stamp: str) -> Explained:
    """Explanations of one setting, found by id: they may stand in any order in the run."""
    sql = """
      SELECT CAST(e.file_row_number AS INTEGER) AS at, x.explanation, CAST(x.layer AS FLOAT) AS layer{text}
      FROM read_parquet(?, file_row_number=true) e
      JOIN (SELECT CAST(example_id AS VARCHAR) AS example_id, explanation, layer, text FROM read_parquet(?)
        WHERE control IS NULL AND checkpoint = ? AND explainer = ? AND regime = ? AND noise_kind = ? AND noise = ?
          AND condition IS NOT DISTINCT FROM ? AND mode IS DISTINCT FROM 'difference') x USING (example_id)"""
    s = setting
    values = [s.checkpoint, s.explainer, s.regime, s.noise_kind, s.noise, s.condition]
    words = ", x.text" if setting.explainer == "verbal" else ""
    files = [part(path, EXAMPLES), part(path, "explanations.parquet")]
    found = query(sql.format(text=words), [*files, *values], path)
    at = found["at"].to_numpy(np.int32)
    order = np.argsort(at, kind="stable")
    at = at[order]
    order = order[np.concatenate([[True], at[1:] != at[:-1]])] if len(at) else order
    numbers = {c: _frozen(found[c].to_numpy(np.float32)[order]) for c in ("explanation", "layer")}
    text = found["text"].to_numpy(object)[order] if words else None
    return Explained(_frozen(found["at"].to_numpy(np.int32)[order]), text=text, **numbers)


@st.cache_resource(max_entries=4, show_spinner="Searching the texts")
def containing(path: Path, text: str, stamp: str) -> np.ndarray:
    """Rows of examples.parquet whose x or x′ holds a text, upper and lower case alike: [k] int32, ascending."""
    sql = """
      SELECT CAST(file_row_number AS INTEGER) AS at FROM read_parquet(?, file_row_number=true)
      WHERE contains(lower(prompt), lower(?)) OR contains(lower(edited), lower(?)) ORDER BY 1"""
    return _frozen(query(sql, [part(path, EXAMPLES), text, text], path)["at"].to_numpy(np.int32))
