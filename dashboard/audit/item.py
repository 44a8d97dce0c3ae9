"""What the audit asks of one example and what it reveals afterwards, read from a run; and the queue of a selection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st

from dashboard.audit.log import Record, canonical_json
from dashboard.audit.queue import OutputScale, draw, least_distance, output_scale, strata
from dashboard.audit.results import verdicts_of
from dashboard.reading import data
from dashboard.reading.example_rows import example
from dashboard.selection import on_screen
from dashboard.selection.state import Selection
from engine.runs.store import RunError


@dataclass(frozen=True)
class Sitting:
    """Who audits, and the queue that they asked for."""

    reviewer: str
    seed: int
    items: int


@dataclass(frozen=True)
class Item:
    """One example of the queue and what is recorded of it by this reviewer."""

    path: Path
    """The run's folder."""
    question: dict[str, Any]
    """What may be seen before the prediction: prompt, edited, edit, answers, f_current (nats)."""
    answer: dict[str, Any]
    """What is revealed after it, in nats: explanation, text, f_… and effect_… of target and current, output with its
    fit, apart, stratum."""
    entry: Mapping[str, Any]
    """What all records of it have in common: fields of `log.Entry`."""
    prediction: Record | None
    verdict: Record | None

    @property
    def key(self) -> str:
        return f"{self.entry['run_hash']}_{self.entry['checkpoint']}_{self.entry['example_id']}"

    @property
    def seen_before(self) -> bool:
        """Whether f(x′) was seen while another explanation, or another queue, was audited."""
        p = self.prediction
        return p is not None and any(getattr(p, name) != self.entry[name] for name in ("setting", "seed", "queue"))


def judged_setting(selection: Selection) -> str:
    """JSON that names whose explanations are audited, apart from the run."""
    return canonical_json({**asdict(selection.setting), "layer": selection.layer})


@st.cache_resource(max_entries=4, show_spinner=False)
def _strata(asked: tuple, _rows: pd.DataFrame) -> pd.Categorical:
    return strata(_rows)


@st.cache_data(max_entries=16, show_spinner=False)
def _queue(asked: tuple, items: int, seed: int, _rows: pd.DataFrame) -> list[str]:
    return _rows["example_id"].iloc[draw(_rows["stratum"].array, items, seed)].tolist()


def _asked(s: Selection) -> tuple:
    return str(s.path), data.stamp(s.path), judged_setting(s), s.split, s.edit


def population(selection: Selection) -> pd.DataFrame:
    """The explained examples of the selection's split and kind of edit, in the run's order, each with its `stratum`."""
    rows, _ = on_screen.rows(selection)
    return rows if rows.empty else rows.assign(stratum=_strata(_asked(selection), rows))


def queue_of(selection: Selection, rows: pd.DataFrame, sitting: Sitting) -> list[str]:
    """example_ids of a `population` in the order in which they are audited."""
    return _queue(_asked(selection), sitting.items, sitting.seed, rows)


@st.cache_data(max_entries=32, show_spinner=False)
def _scale(path: Path, checkpoint: str, edit: str, stamp: str) -> OutputScale | None:
    return output_scale(data.behavior(path, checkpoint), edit)


def read_item(
    selection: Selection, rows: pd.DataFrame, example_id: str, sitting: Sitting, records: Sequence[Record]
) -> Item:
    """One example of a `population`; raises RunError where the run no longer has it."""
    s, reviewer = selection, sitting.reviewer
    found = example(s.path, s.setting, example_id)
    there = rows[rows["row_number"] == found["row_number"]] if found else rows[:0]
    if found is None or there.empty:
        raise RunError(f"{s.run.key}: has no example {example_id} any more; load the page again")
    row = there.iloc[0].to_dict()
    f = float(row["f_current"])
    names = ("prompt", "edited", "edit", "answer_a", "answer_b")
    question = {**{name: str(found[name]) for name in names}, "f_current": f}
    scale = _scale(s.path, s.checkpoint, str(row["edit"]), data.stamp(s.path))
    kept = ("f_target", "f_edited_target", "effect_target", "f_edited_current", "effect_current", "explanation")
    answer: dict[str, Any] = {name: None if pd.isna(row[name]) else float(row[name]) for name in kept}
    answer |= {
        "text": None if pd.isna(row["text"]) else str(row["text"]),
        "stratum": str(row["stratum"]),
        "apart": least_distance(rows["effect_current"].to_numpy()),
        "output": scale and scale.says(f),
        "output_slope": scale and scale.slope,
        "output_intercept": scale and scale.intercept,
        "output_n": scale and scale.n,
    }
    run_hash, setting = data.content_hash(s.path), judged_setting(s)
    asked = canonical_json({"items": sitting.items, "split": s.split, "edit": s.edit})
    entry: dict[str, Any] = {"reviewer": reviewer, "run": s.run.key, "run_hash": run_hash, "checkpoint": s.checkpoint}
    entry |= {"setting": setting, "example_id": example_id, "seed": sitting.seed, "queue": asked}
    same = ("reviewer", "run_hash", "checkpoint", "example_id")  # in any queue: f(x′) is known after it
    mine = [r for r in records if r.kind == "prediction" and all(getattr(r, n) == entry[n] for n in same)]
    verdict = verdicts_of(records, reviewer, run_hash, setting).get(example_id)
    return Item(s.path, question, answer, entry, mine[0] if mine else None, verdict)
