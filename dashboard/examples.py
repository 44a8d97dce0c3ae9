"""Pages of examples: filtered, sorted and cut out in SQL, so that a run of millions of rows stays quick."""

# ruff: noqa: S608 (values go in as parameters; column names are the schema's own, and quoted)

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import streamlit as st

from dashboard.data import EFFECTS, Setting, behavior_files, part, query, stamp
from dashboard.slices import Slice

SORTS = {
    "order": ("as in the run", "row_number"),
    "nearest_current": ("explanation nearer to current", "abs(explanation - effect_target) - error DESC NULLS LAST"),
    "nearest_target": ("explanation nearer to target", "error - abs(explanation - effect_target) DESC NULLS LAST"),
    "error": ("largest error of the explanation", "error DESC NULLS LAST"),
    "shift": ("largest shift from target to current", "abs(effect_current - effect_target) DESC"),
    "sign_flips": (
        "effects of opposite sign first",
        "CASE WHEN sign(effect_target) = -sign(effect_current)"
        " THEN least(abs(effect_target), abs(effect_current)) ELSE -1 END DESC",
    ),
}
"""How the examples page may be ordered: key → (label, SQL). Ties go by the order in the run."""


@dataclass(frozen=True)
class Page:
    """A page of examples: rows with their texts, and how many rows there are in all."""

    rows: pd.DataFrame
    total: int


def _examples_sql(path: Path, setting: Setting) -> tuple[str, list]:
    """One row an explained example: texts, behavior at target and current, explanation."""
    sql = f"""
      SELECT e.*, e.file_row_number AS row_number, {EFFECTS},
        x.explanation, x.text, x.layer, abs(x.explanation - effect_current) AS error
      FROM read_parquet(?, file_row_number=true) e
      JOIN read_parquet(?) t USING (example_id) JOIN read_parquet(?) c USING (example_id)
      JOIN (SELECT CAST(example_id AS VARCHAR) AS example_id, explanation, text, layer FROM read_parquet(?)
            WHERE control IS NULL AND checkpoint = ? AND explainer = ? AND regime = ? AND noise_kind = ?
              AND noise = ? AND mode IS DISTINCT FROM 'difference') x USING (example_id)"""
    s = setting
    files = [*behavior_files(path, s.checkpoint), part(path, "explanations.parquet")]
    return sql, [*files, s.checkpoint, s.explainer, s.regime, s.noise_kind, s.noise]


@st.cache_data(max_entries=64, show_spinner=False)
def _examples_page(
    path: Path,
    setting: Setting,
    split: str | None,
    edit: str | None,
    where: str,
    parameters: tuple,
    sort: str,
    limit: int,
    offset: int,
    stamp: str,
) -> Page:
    sql, arguments = _examples_sql(path, setting)
    conditions = [where]
    for column, value in (("split", split), ("edit", edit)):
        if value is not None:
            conditions.append(f"{column} = ?")
            parameters = (*parameters, value)
    ordered = f"""
      SELECT *, count(*) OVER () AS total FROM ({sql}) WHERE {" AND ".join(conditions)}
      ORDER BY {SORTS[sort][1]}, row_number LIMIT {int(limit)} OFFSET {int(offset)}"""
    rows = query(ordered, [*arguments, *parameters], path)
    total = int(rows.total.iloc[0]) if len(rows) else 0
    return Page(rows.drop(columns="total"), total)


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
    """Explained examples with their texts, filtered, sorted and cut out in SQL."""
    condition, parameters = (where or Slice()).where()
    return _examples_page(path, setting, split, edit, condition, tuple(parameters), sort, limit, offset, stamp(path))


def example(path: Path, setting: Setting, example_id: str) -> dict | None:
    """One example as in `examples_page`, whatever its split, plus the controls kept for it; None if not there."""
    sql, arguments = _examples_sql(path, setting)
    rows = query(f"SELECT * FROM ({sql}) WHERE example_id = ?", [*arguments, example_id], path)
    return None if rows.empty else rows.iloc[0].to_dict()
