"""Pages of examples: filtered and sorted once in SQL, then cut out by row, so that millions of rows stay quick."""

# ruff: noqa: S608 (values go in as parameters; column names are the schema's own, and quoted)

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import streamlit as st

from dashboard.data import EFFECTS, UNDECIDABLE, Setting, behavior_files, part, query, stamp
from dashboard.slices import Slice

SORTS = {
    "order": ("as in the run", "row_number"),
    "nearest_current": ("clearest for the current model", "abs(explanation - effect_target) - error DESC NULLS LAST"),
    "nearest_target": ("clearest for the target", "error - abs(explanation - effect_target) DESC NULLS LAST"),
    "error": ("largest error of the explanation", "error DESC NULLS LAST"),
    "shift": ("largest shift from target to current", "abs(effect_current - effect_target) DESC"),
    "sign_flips": (
        "effects of opposite sign",
        "CASE WHEN sign(effect_target) = -sign(effect_current)"
        " THEN least(abs(effect_target), abs(effect_current)) ELSE -1 END DESC",
    ),
}
"""How examples may be ordered: key → (label, SQL). Ties go by the order in the run."""


@dataclass(frozen=True)
class Page:
    """A page of examples: rows with their texts, and how many rows there are in all."""

    rows: pd.DataFrame
    total: int


@dataclass(frozen=True)
class Query:
    """Which explained examples, in which order."""

    setting: Setting
    split: str | None = None
    edit: str | None = None
    where: Slice = Slice()  # noqa: RUF009 (frozen)
    sort: str = "order"


def _files(path: Path, setting: Setting) -> list[str]:
    return [*behavior_files(path, setting.checkpoint), part(path, "explanations.parquet")]


def _mine(setting: Setting) -> list:
    s = setting
    return [s.checkpoint, s.explainer, s.regime, s.noise_kind, s.noise, s.condition]


_EXPLAINED = """FROM read_parquet(?)
    WHERE control IS NULL AND checkpoint = ? AND explainer = ? AND regime = ? AND noise_kind = ?
      AND noise = ? AND condition IS NOT DISTINCT FROM ? AND mode IS DISTINCT FROM 'difference'"""

_JOINED = f"""
  SELECT e.*, e.file_row_number AS row_number, {EFFECTS},
    x.explanation, x.text, x.layer, abs(x.explanation - effect_current) AS error
  FROM read_parquet(?, file_row_number=true) e
  JOIN read_parquet(?) t USING (example_id) JOIN read_parquet(?) c USING (example_id)
  JOIN (SELECT CAST(example_id AS VARCHAR) AS example_id, explanation, text, layer {_EXPLAINED}) x USING (example_id)"""


@st.cache_resource(max_entries=6, show_spinner="Sorting the examples")
def _order(path: Path, asked: str, _query: Query, stamp: str) -> np.ndarray:
    """`asked` is the text of `_query`, which Streamlit can hash."""
    setting = _query.setting
    condition, parameters = _query.where.where()
    for column, value in (("split", _query.split), ("edit", _query.edit)):
        if value is not None:
            condition += f" AND {column} = ?"
            parameters.append(value)
    ordered = f"SELECT row_number FROM ({_JOINED}) WHERE {condition} ORDER BY {SORTS[_query.sort][1]}, row_number"
    rows = query(ordered, [*_files(path, setting), *_mine(setting), *parameters], path)
    found = rows.row_number.to_numpy(np.int32)
    found.flags.writeable = False  # shared by all sessions
    return found


def order(path: Path, asked: Query) -> np.ndarray:
    """Rows of examples.parquet [n] that fit, in order. Sorted once for each query, then kept."""
    return _order(path, repr(asked), asked, stamp(path))


@st.cache_data(max_entries=64, show_spinner=False)
def _rows(path: Path, setting: Setting, numbers: tuple[int, ...], stamp: str) -> pd.DataFrame:
    """Piece by piece, which at a few rows is ten times quicker than the join of whole tables."""
    texts, target, current, explained = _files(path, setting)
    marks = ", ".join("?" * len(numbers)) or "NULL"
    sql = f"SELECT * FROM read_parquet(?, file_row_number=true) WHERE file_row_number IN ({marks})"
    found = query(sql, [texts, *numbers], path).rename(columns={"file_row_number": "row_number"})
    ids = found.example_id.tolist()
    by_id = f"example_id IN ({', '.join('?' * len(ids)) or 'NULL'})"
    for file, who in ((target, "target"), (current, "current")):
        values = f"example_id, f AS f_{who}, f_edited AS f_edited_{who}, f_edited - f AS effect_{who}"
        found = found.merge(query(f"SELECT {values} FROM read_parquet(?) WHERE {by_id}", [file, *ids], path))
    sql = f"SELECT CAST(example_id AS VARCHAR) AS example_id, explanation, text, layer {_EXPLAINED} AND {by_id}"
    mine = query(sql, [explained, *_mine(setting), *ids], path).drop_duplicates("example_id")
    found = found.merge(mine, on="example_id", how="left")
    found["error"] = (found.explanation - found.effect_current).abs()
    return found.set_index("row_number", drop=False).reindex(list(numbers))


def rows(path: Path, setting: Setting, numbers: Sequence[int]) -> pd.DataFrame:
    """Those rows with their texts, behavior at target and current, and explanation (null where none was kept)."""
    return _rows(path, setting, tuple(int(n) for n in numbers), stamp(path)).reset_index(drop=True)


@st.cache_data(max_entries=64, show_spinner=False)
def _find(path: Path, example_id: str, stamp: str) -> int | None:
    sql = "SELECT file_row_number AS at FROM read_parquet(?, file_row_number=true) WHERE example_id = ?"
    found = query(sql, [part(path, "examples.parquet"), example_id], path)
    return int(found["at"].iloc[0]) if len(found) else None


def find(path: Path, example_id: str) -> int | None:
    """The row of an example in examples.parquet, or None."""
    return _find(path, example_id, stamp(path))


def examples_page(
    path: Path,
    setting: Setting,
    *,
    split: str | None = None,
    edit: str | None = None,
    where: Slice | None = None,
    sort: str = "order",
    limit: int = 20,
    offset: int = 0,
) -> Page:
    """Explained examples with their texts, filtered, sorted and cut out."""
    numbers = order(path, Query(setting, split, edit, where or Slice(), sort))
    return Page(rows(path, setting, numbers[offset : offset + limit].tolist()), len(numbers))


def example(path: Path, setting: Setting, example_id: str) -> dict | None:
    """One example as in `examples_page`, whatever its split; its explanation is null where none was kept."""
    number = find(path, example_id)
    return None if number is None else rows(path, setting, [number]).iloc[0].to_dict()


@st.cache_data(max_entries=64, show_spinner=False)
def _same_prompt(path: Path, prompt_id: int, stamp: str) -> list[int]:
    sql = "SELECT file_row_number AS at FROM read_parquet(?, file_row_number=true) WHERE prompt_id = ? ORDER BY 1"
    return query(sql, [part(path, "examples.parquet"), prompt_id], path)["at"].tolist()


def same_prompt(path: Path, setting: Setting, prompt_id: int) -> pd.DataFrame:
    """Every example of one prompt, one for each of its edits."""
    return rows(path, setting, _same_prompt(path, prompt_id, stamp(path)))


@st.cache_data(max_entries=64, show_spinner=False)
def _extremes(path: Path, asked: str, _query: Query, stamp: str) -> pd.DataFrame:
    columns = ("explanation", "effect_current", "effect_target")
    ends = ", ".join(f"{end}({c}) AS {end}_{c}" for c in columns for end in ("min", "max"))
    kept = {column: v for column, v in (("split", _query.split), ("edit", _query.edit)) if v is not None}
    sql = f"SELECT {ends} FROM ({_JOINED}) WHERE {' AND '.join((*(f'{c} = ?' for c in kept), 'TRUE'))}"
    found = query(sql, [*_files(path, _query.setting), *_mine(_query.setting), *kept.values()], path).iloc[0]
    return pd.DataFrame({c: [found[f"min_{c}"], found[f"max_{c}"]] for c in columns})


def extremes(path: Path, asked: Query) -> pd.DataFrame:
    """Two rows: the least and the largest explanation, effect_current and effect_target; its slice is not asked."""
    return _extremes(path, repr(asked), asked, stamp(path))


@st.cache_data(max_entries=64, show_spinner=False)
def _controls(path: Path, setting: Setting, example_id: str, stamp: str) -> dict[str, float]:
    sql = """
      SELECT CAST(control AS VARCHAR) AS control, explanation FROM read_parquet(?)
      WHERE example_id = ? AND control IS NOT NULL AND checkpoint = ? AND noise_kind IS NOT DISTINCT FROM 'none'"""
    found = query(sql, [part(path, "explanations.parquet"), example_id, setting.checkpoint], path)
    return {str(c): float(e) for c, e in zip(found.control, found.explanation, strict=True) if e == e}


def controls(path: Path, setting: Setting, example_id: str) -> dict[str, float]:
    """What each control that the run keeps said of one example, in nats."""
    return _controls(path, setting, example_id, stamp(path))


def nearer(explanation: float | None, target: float, current: float) -> str:
    """Which effect an explanation lies nearer to: "current", "target", "undecidable" where the effects lie within
    `UNDECIDABLE` nats of each other, "no number" where there is none."""
    if explanation is None or explanation != explanation:
        return "no number"
    if abs(target - current) < UNDECIDABLE:
        return "undecidable"
    return "current" if abs(explanation - current) < abs(explanation - target) else "target"
