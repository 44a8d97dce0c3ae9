"""The lesson's frames and numbers, read from its runs and cached."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from dashboard import PAGES
from dashboard.lesson import measures
from dashboard.lesson.roles import Told
from dashboard.reading import data
from dashboard.reading.agreement import Estimate
from dashboard.reading.headline import headline
from dashboard.reading.tables import part, query
from dashboard.selection import on_screen

PROMPTS_READ = 4_000
"""The shortest prompts of a split, from which examples to read aloud are picked."""


def rows_and_controls(told: Told) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The chosen setting at every checkpoint, in order, and its controls."""
    return headline(told.path, told.checkpoints, told.explainer, told.regime, told.split)


def setting(told: Told, checkpoint: str) -> data.Setting:
    return data.Setting(checkpoint, told.explainer, told.regime)


def explained(told: Told, checkpoint: str) -> pd.DataFrame:
    """Examples of the chosen kind of edit with their explanations at a checkpoint; of many the sample that other pages
    take, which is the same at every checkpoint: draws of hundreds of thousands do not fit into memory."""
    return on_screen.measured(_all_explained(told, checkpoint))


def _all_explained(told: Told, checkpoint: str) -> pd.DataFrame:
    return data.explanations(told.path, setting(told, checkpoint), split=told.split, edit=told.edit)


def by_noise(told: Told) -> pd.DataFrame:
    """The chosen setting at the first checkpoint, trained on ever noisier labels; one kind of noise, level 0 first."""
    wanted = {"explainer": told.explainer, "regime": told.regime, "split": told.split, "edit": told.edit}
    rows = data.metrics(told.path, control=None, condition=None, checkpoint=told.checkpoints[0], **wanted)
    clean = rows[(rows.noise_kind == "none") & rows.chosen.fillna(False).astype(bool)].head(1)
    if clean.empty:
        return rows.iloc[:0]
    same = rows[(rows["mode"] == clean["mode"].iloc[0]) & (rows.layer.eq(clean.layer.iloc[0]))]
    noisy = same[(same.noise_kind == "shuffle") & (same.noise > 0)]
    noisy = noisy.sort_values("cv", ascending=False, na_position="last", kind="stable").drop_duplicates("noise")
    return pd.concat([clean, noisy.sort_values("noise")], ignore_index=True)


@st.cache_data(max_entries=32, show_spinner=False)
def _examples(told: Told, stamp: str) -> pd.DataFrame:
    target = data.options(told.path).target
    sql = """
      SELECT e.example_id, e.prompt, e.edited, e.answer_a, e.answer_b, e.cue, e."group",
        t.f AS f_target, t.f_edited AS f_edited_target, t.f_edited - t.f AS effect_target
      FROM read_parquet(?, file_row_number=true) e JOIN read_parquet(?) t USING (example_id)
      WHERE e.split = ? AND e.edit = ? ORDER BY length(e.prompt), e.file_row_number LIMIT ?"""
    files = [part(told.path, name) for name in ("examples.parquet", f"behavior/{target}.parquet")]
    rows = query(sql, [*files, told.split, told.edit, PROMPTS_READ], told.path)
    return measures.readable(rows)


def examples(told: Told) -> pd.DataFrame:
    """Examples to read aloud, the best first: texts, answers, and f, f_edited and effect at the target."""
    return _examples(told, data.stamp(told.path))


@st.cache_data(max_entries=64, show_spinner=False)
def _rho(told: Told, checkpoint: str, stamp: str) -> tuple[Estimate, int, int]:
    rows = explained(told, checkpoint)
    groups = int(rows["group"].nunique(dropna=False))
    return measures.correlation(rows, "effect_target", "effect_current"), len(rows), groups


def rho(told: Told, checkpoint: str) -> tuple[Estimate, int, int]:
    """ρ of a checkpoint with its interval; examples and groups."""
    return _rho(told, checkpoint, data.stamp(told.path))


def rho_over_steps(told: Told) -> pd.DataFrame:
    """step, rho, rho_low, rho_high, n and n_groups at every checkpoint."""
    steps = data.options(told.path).steps
    found = []
    for name in told.checkpoints:
        e, n, groups = rho(told, name)
        found.append((name, steps[name], e.value, e.low, e.high, n, groups))
    return pd.DataFrame(found, columns=["checkpoint", "step", "rho", "rho_low", "rho_high", "n", "n_groups"])


@st.cache_data(max_entries=16, show_spinner=False)
def _stillness(told: Told, stamp: str) -> measures.Stillness:
    # The sample's examples are looked up among all of the first checkpoint, should it have explained others.
    return measures.stillness(explained(told, told.checkpoints[-1]), _all_explained(told, told.checkpoints[0]))


def stillness(told: Told) -> measures.Stillness:
    """What moved from the first to the last checkpoint."""
    return _stillness(told, data.stamp(told.path))


@st.cache_data(max_entries=16, show_spinner=False)
def _contest(told: Told, stamp: str) -> measures.Contest:
    return measures.contest(explained(told, told.checkpoints[-1]))


def contest(told: Told) -> measures.Contest:
    """The explanation against −f(x) at the last checkpoint."""
    return _contest(told, data.stamp(told.path))


def step_text(told: Told, checkpoint: str) -> str:
    return f"step {data.options(told.path).steps[checkpoint]:,}"


NAMES = {
    "examples": ("Examples", ":material/article:"),
    "correlation": ("Correlation", ":material/scatter_plot:"),
    "trajectory": ("Trajectory", ":material/timeline:"),
    "robustness": ("Robustness", ":material/tune:"),
    "overview": ("Overview", ":material/visibility:"),
}


def link(told: Told, page: str, label: str, **more: str | None) -> None:
    """A link to another page with what is looked at here."""
    carried = {
        "run": told.key, "checkpoint": told.checkpoints[-1], "explainer": told.explainer, "regime": told.regime,
        "split": told.split, "edit": told.edit,
    }  # fmt: skip
    carried = {k: v for k, v in {**carried, **more}.items() if v is not None}
    file = PAGES / f"{page}.py"
    if file.exists():
        st.page_link(file, label=label, icon=NAMES[page][1], query_params=carried)
