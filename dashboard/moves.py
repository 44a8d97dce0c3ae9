"""Single examples over all checkpoints of a run: effects and explanation, read for a few ids only."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import streamlit as st

from dashboard import data
from dashboard.text import shown

OFFERED = 200


@st.cache_data(max_entries=16, show_spinner=False)
def _candidates(path: Path, setting: data.Setting, split: str, edit: str | None, stamp: str) -> pd.DataFrame:
    rows = data.explanations(path, setting, split=split, edit=edit)
    moved = (rows["effect_current"] - rows["effect_target"]).abs()
    rows = rows.assign(moved=moved).sort_values("moved", ascending=False, kind="stable").head(OFFERED)
    texts = data.query(
        "SELECT example_id, prompt FROM read_parquet(?) WHERE list_contains(?, example_id)",
        [data.part(path, "examples.parquet"), rows["example_id"].tolist()],
        path,
    ).set_index("example_id")["prompt"]
    prompts = [" ".join(shown(texts.get(i, ""))[:90].split()) for i in rows["example_id"]]
    heads = [
        f"{edit} · moved {moved:.2f} nats · {text}"
        for edit, moved, text in zip(rows["edit"], rows["moved"], prompts, strict=True)
    ]
    return pd.DataFrame({"example_id": rows["example_id"].to_numpy(), "title": heads})


def candidates(path: Path, setting: data.Setting, split: str, edit: str | None) -> pd.DataFrame:
    """example_id and a title (plain text) of the examples whose effect moved most, the most moved first."""
    return _candidates(path, setting, split, edit, data.stamp(path))


@st.cache_data(max_entries=32, show_spinner=False)
def _over(path: Path, setting: data.Setting, ids: tuple[str, ...], stamp: str) -> pd.DataFrame:
    steps = data.checkpoints(path)
    target = data.options(path).target
    found = []
    for name, step in zip(steps["name"], steps["step"], strict=True):
        sql = """
          SELECT t.example_id, t.f_edited - t.f AS effect_target, c.f_edited - c.f AS effect_current,
            c.f AS f_current, c.f_edited AS f_edited_current, x.explanation
          FROM read_parquet(?) t JOIN read_parquet(?) c USING (example_id)
          LEFT JOIN (SELECT CAST(example_id AS VARCHAR) AS example_id, explanation FROM read_parquet(?)
            WHERE control IS NULL AND checkpoint = ? AND explainer = ? AND regime = ? AND noise_kind = ?
              AND noise = ? AND mode IS DISTINCT FROM 'difference') x USING (example_id)
          WHERE list_contains(?, t.example_id)"""
        parts = [data.part(path, p) for p in (f"behavior/{target}.parquet", f"behavior/{name}.parquet")]
        s = setting
        wanted = [name, s.explainer, s.regime, s.noise_kind, s.noise, list(ids)]
        rows = data.query(sql, [*parts, data.part(path, "explanations.parquet"), *wanted], path)
        found.append(rows.assign(checkpoint=name, step=int(step)))
    return pd.concat(found, ignore_index=True)


def over_checkpoints(path: Path, setting: data.Setting, ids: Sequence[str]) -> pd.DataFrame:
    """One row an example and checkpoint: example_id, checkpoint, step, both effects, f of the current, explanation."""
    return _over(path, setting, tuple(ids), data.stamp(path))


def of_prompt(path: Path, setting: data.Setting, example_id: str, split: str) -> pd.DataFrame:
    """All explained edits of an example's prompt, one row each; empty where it is not explained."""
    rows = data.explanations(path, setting, split=split)
    mine = rows.loc[rows["example_id"] == example_id, "prompt_id"]
    return rows[rows["prompt_id"].isin(mine)]
