"""Single examples over all checkpoints of a run: effects and explanation, read for a few ids only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd
import streamlit as st

from dashboard.reading import data
from dashboard.reading.example_rows import Query, find, order, rows
from dashboard.reading.tables import cached_per_run
from dashboard.text import shown

OFFERED = 200


def _titled(examples: pd.DataFrame) -> pd.DataFrame:
    moved = (examples["effect_current"] - examples["effect_target"]).abs()
    prompts = [" ".join(shown(text)[:90].split()) for text in examples["prompt"]]
    heads = [
        f"{edit} · moved {nats:.2f} nats · {text}"
        for edit, nats, text in zip(examples["edit"], moved, prompts, strict=True)
    ]
    return pd.DataFrame({"example_id": examples["example_id"].to_numpy(), "title": heads})


def _row_numbers(path: Path, ids: Sequence[str]) -> list[int]:
    return [number for number in (find(path, i) for i in ids) if number is not None]


@cached_per_run(st.cache_data, max_entries=16)
def candidates(path: Path, setting: data.Setting, split: str, edit: str | None) -> pd.DataFrame:
    """example_id and title (plain text) of the `OFFERED` examples whose effect moved most, the most moved first."""
    first = order(path, Query(setting, split, edit, sort="shift"))[:OFFERED]
    return _titled(rows(path, setting, first.tolist()))


def named(path: Path, setting: data.Setting, ids: Sequence[str]) -> dict[str, str]:
    """example_id → title of examples of any split and kind of edit; ids that the run lacks are left out."""
    titled = _titled(rows(path, setting, _row_numbers(path, ids)))
    return dict(zip(titled["example_id"], titled["title"], strict=True))


@cached_per_run(st.cache_data, max_entries=32)
def over_checkpoints(path: Path, setting: data.Setting, ids: Sequence[str]) -> pd.DataFrame:
    """One row per checkpoint and example: example_id, effect_target, effect_current, f_current, f_edited_current,
    explanation (nats), checkpoint, step."""
    run, numbers = data.options(path), _row_numbers(path, ids)
    kept = ["example_id", "effect_target", "effect_current", "f_current", "f_edited_current", "explanation"]
    found = []
    for name in run.checkpoints:
        examples = rows(path, replace(setting, checkpoint=name), numbers)
        found.append(examples[kept].assign(checkpoint=name, step=run.steps[name]))
    return pd.concat(found, ignore_index=True)
