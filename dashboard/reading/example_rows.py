"""Pages of examples: filtered and sorted once on shared arrays, then cut out by row, so that millions stay quick."""

# ruff: noqa: S608 (values go in as parameters; column names are the schema's own, and quoted)

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import streamlit as st

from dashboard.reading import columns
from dashboard.reading.columns import Setting
from dashboard.reading.data import UNDECIDABLE, chosen_rows, spec, stamp
from dashboard.reading.slices import OF_SIGNS, RANGES, Slice
from dashboard.reading.tables import part, query


def _margin(e: np.ndarray, target: np.ndarray, current: np.ndarray) -> np.ndarray:
    """How much nearer to the current effect an explanation lies than to the target's, nats."""
    return np.abs(e - target) - np.abs(e - current)


def _flip(e: np.ndarray, target: np.ndarray, current: np.ndarray) -> np.ndarray:
    """The smaller of two effects of opposite sign; −1 where the signs agree."""
    return np.where(np.sign(target) == -np.sign(current), np.minimum(np.abs(target), np.abs(current)), -1)


SORTS: dict[str, tuple[str, Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray] | None]] = {
    "order": ("as in the run", None),
    "nearest_current": ("clearest for the current model", _margin),
    "nearest_target": ("clearest for the target", lambda e, target, current: -_margin(e, target, current)),
    "error": ("largest error of the explanation", lambda e, target, current: np.abs(e - current)),
    "shift": ("largest shift from target to current", lambda e, target, current: np.abs(current - target)),
    "sign_flips": ("effects of opposite sign", _flip),
}
"""How examples may be ordered: key → (label, number of explanation and effects; the largest comes first, then what has
no number). Ties go by the order in the run."""


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


def _numbers(path: Path, setting: Setting, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Columns of `RANGES` at the explained rows, each [m] float32."""
    known = stamp(path)
    mine = columns.explained(path, setting, known)
    found = {"explanation": mine.explanation}
    wanted = {*names, "effect_current"} if "error" in names else set(names)
    for who, checkpoint in (("target", spec(path).target_checkpoint.name), ("current", setting.checkpoint)):
        if any(name.endswith(who) for name in wanted):
            f, f_edited = columns.behavior(path, checkpoint, known)[:, mine.row]
            found |= {f"f_{who}": f, f"f_edited_{who}": f_edited, f"effect_{who}": f_edited - f}
    if "error" in names:
        found["error"] = np.abs(mine.explanation - found["effect_current"])
    return {name: found[name] for name in names}


def _fits(path: Path, asked: Query) -> np.ndarray:
    """[m] bool: which explained rows a query keeps."""
    known = stamp(path)
    rows, part = columns.explained(path, asked.setting, known).row, asked.where
    keep = chosen_rows(path, rows, asked.split, asked.edit)
    if part.text:
        found = np.zeros(columns.rows_of(path), bool)
        found[columns.containing(path, part.text, known)] = True
        keep &= found[rows]
    drawn = (part.lasso.x, part.lasso.y) if part.lasso else ()
    wanted = (*part.ranges, *drawn, *(OF_SIGNS if part.signs else ()))
    frame = _numbers(path, asked.setting, [name for name in RANGES if name in wanted])
    frame |= {name: columns.category(path, name, known)[rows] for name in part.values}
    return keep & part.mask(pd.DataFrame(frame, index=range(len(rows)), copy=False), texts=False) if frame else keep


@st.cache_resource(max_entries=6, show_spinner=False)
def _order(path: Path, asked: str, _query: Query, stamp: str) -> np.ndarray:
    """`asked` is the text of `_query`, which Streamlit can hash."""
    keep = np.flatnonzero(_fits(path, _query))
    rows = columns.explained(path, _query.setting, stamp).row
    rank = SORTS[_query.sort][1]
    if rank is not None:
        numbers = _numbers(path, _query.setting, ("explanation", "effect_target", "effect_current"))
        keep = keep[np.argsort(-rank(*(values[keep] for values in numbers.values())), kind="stable")]
    found = rows[keep]
    found.flags.writeable = False  # shared by all sessions
    return found


def order(path: Path, asked: Query) -> np.ndarray:
    """Rows of examples.parquet [n] that fit, in order. Sorted once for each query, then kept."""
    return _order(path, repr(asked), asked, stamp(path))


@st.cache_data(max_entries=64, show_spinner=False)
def _rows(path: Path, setting: Setting, numbers: tuple[int, ...], stamp: str) -> pd.DataFrame:
    """Texts from the file, row by row; numbers from the arrays."""
    marks = ", ".join("?" * len(numbers)) or "NULL"
    sql = f"SELECT * FROM read_parquet(?, file_row_number=true) WHERE file_row_number IN ({marks})"
    texts = query(sql, [part(path, "examples.parquet"), *numbers], path).set_index("file_row_number")
    at = np.array(numbers, np.int64)
    found = texts.reindex(at).reset_index(drop=True).assign(row_number=at)
    for who, name in (("target", spec(path).target_checkpoint.name), ("current", setting.checkpoint)):
        f, f_edited = columns.behavior(path, name, stamp)[:, at]
        found = found.assign(**{f"f_{who}": f, f"f_edited_{who}": f_edited, f"effect_{who}": f_edited - f})
    mine = columns.explained(path, setting, stamp)
    places = mine.at(at)
    none = places < 0
    for column in ("explanation", "layer"):
        found[column] = np.where(none, np.float32(np.nan), getattr(mine, column)[places] if len(mine.row) else np.nan)
    words = np.full(len(at), None) if mine.text is None else mine.text[places].copy()
    words[none] = None
    return found.assign(text=words, error=(found["explanation"] - found["effect_current"]).abs())


def rows(path: Path, setting: Setting, numbers: Sequence[int]) -> pd.DataFrame:
    """Those rows with their texts, behavior at target and current, and explanation (null where none was kept)."""
    return _rows(path, setting, tuple(int(n) for n in numbers), stamp(path))


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
    keep = _fits(path, _query)
    found = _numbers(path, _query.setting, ("explanation", "effect_current", "effect_target"))
    ends = {name: values[keep & np.isfinite(values)] for name, values in found.items()}
    return pd.DataFrame({name: [v.min(), v.max()] if len(v) else [np.nan, np.nan] for name, v in ends.items()})


def extremes(path: Path, asked: Query) -> pd.DataFrame:
    """Two rows: the least and the largest explanation, effect_current and effect_target of what fits."""
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
