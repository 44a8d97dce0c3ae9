"""Maps of activation patching, read from a run, and made on demand for one example. Torch is imported by the latter."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import streamlit as st

from dashboard.reading import data, models
from dashboard.reading.tables import part, query
from dashboard.refit import new_prompts
from dashboard.refit.new_prompts import Choice
from engine.patching import maps
from engine.patching.stage import agreements, parts_of
from engine.runs.store import Run
from engine.tasks import WORDINGS

GROUPS = ("before the edit", "the edit", "after it", "the question's end")
LONGEST = 160
"""Tokens of x from the edit to its end that are patched one by one on demand."""


def group_of(region: str) -> str:
    """The group of positions that a region belongs to; empty for the column of all positions."""
    if region == maps.BEFORE:
        return GROUPS[0]
    for names, group in zip((maps.EDIT, maps.AFTER, maps.END), GROUPS[1:], strict=True):
        if region in names:
            return group
    return ""


def label_of(region: str) -> str:
    """A region's name within its group."""
    short = {maps.BEFORE: "all of it", maps.ALL: "positions"}
    short |= {name: name.split(", ")[1] for name in (*maps.EDIT, *maps.AFTER)}
    return (short | dict(zip(maps.END, ("last but two", "last but one", "last"), strict=True)))[region]


# What the run holds


@st.cache_data(max_entries=16, show_spinner=False)
def _agreement(path: Path, stamp: str) -> pd.DataFrame:
    return agreements(Run.open(path))


def agreement(path: Path) -> pd.DataFrame:
    """Rows of records.PATCHING_AGREEMENT of all checkpoints that have maps; empty where none has. Raises RunError."""
    return _agreement(path, data.stamp(path))


@st.cache_data(max_entries=32, show_spinner=False)
def _restored(path: Path, checkpoint: str, edit: str, stamp: str) -> pd.DataFrame:
    sql = "SELECT * FROM read_parquet(?) WHERE CAST(edit AS VARCHAR) = ?"
    return maps.restored(query(sql, [part(path, parts_of(checkpoint)[0]), edit], path))


def restored(path: Path, checkpoint: str, edit: str) -> pd.DataFrame:
    """Shares restored by layer and region (`patch_maps.restored`), in the order of the regions. Raises RunError."""
    return _restored(path, checkpoint, edit, data.stamp(path))


@st.cache_data(max_entries=32, show_spinner=False)
def _example_ids(path: Path, checkpoint: str, edit: str, stamp: str) -> list[str]:
    sql = "SELECT DISTINCT CAST(example_id AS VARCHAR) AS id FROM read_parquet(?) WHERE CAST(edit AS VARCHAR) = ?"
    return sorted(query(sql, [part(path, parts_of(checkpoint)[0]), edit], path)["id"])


def example_ids(path: Path, checkpoint: str, edit: str) -> list[str]:
    """The examples that the maps are of."""
    return _example_ids(path, checkpoint, edit, data.stamp(path))


# One example, token by token


@dataclass(frozen=True)
class ExampleMap:
    """One example patched token by token from the edit on; L layers (0: embeddings), P positions of x."""

    checkpoint: str
    tokens: tuple[str, ...]
    """Of the positions."""
    positions: tuple[int, ...]
    groups: tuple[str, ...]
    """Of `GROUPS`, for each position."""
    behavior: np.ndarray
    """f of the patched run less f(x), nats, [L, P]"""
    explanation: np.ndarray | None
    """The same of the explanation; None: there is no explainer that can be asked."""
    probe_layer: int | None
    effect: float
    """Δ"""
    moved: float | None
    """Explanation at x' less that at x."""
    exact: bool
    """Whether x and x' have as many tokens, so that each is patched with its counterpart."""
    left_out: int
    """Positions beyond `LONGEST`."""


def in_words(path: Path) -> bool:
    """Whether the model's own words are the explanation."""
    verbal = data.spec(path).verbal
    return verbal is not None and not verbal.probes


@st.cache_data(max_entries=32, show_spinner=False)
def _example(
    path: Path,
    checkpoint: str,
    edit: str,
    texts: tuple[str, str],
    answers: tuple[str, str],
    choice: Choice | None,
    stamp: str,
) -> ExampleMap:
    from engine.model.behavior import tokenised
    from engine.patching import hooks
    from engine.patching.explainers import OwnWords

    with models.model(path, checkpoint) as model:
        x, edited = tokenised(model, list(texts), [answers] * 2, ["this prompt", "its x′"], offsets=False)
        alignment = hooks.align(x.prompt, edited.prompt)
        n = len(x.prompt)
        positions = tuple(range(alignment.edit[0], n))
        kept = positions[-LONGEST:]
        scores: dict[str, hooks.ScoreOf] = {"f": hooks.behavior_score}
        if choice is not None and checkpoint in new_prompts.explained_at(path):
            explainer = new_prompts.fitted(path, choice)
            scores["e"] = hooks.probe_score(choice.layer, lambda h: h @ explainer.weights + explainer.intercept)
            read_below = choice.layer
        elif in_words(path):
            words = OwnWords(edit, WORDINGS[data.spec(path).task.name])
            scores["e"] = words.scores(model, [x], [answers])["words"]
            read_below = words.layer_at(model)
        pair = hooks.Pair(x, edited, {str(p): (p,) for p in kept})
        (found,) = hooks.patch_pairs(model, [pair], scores, range(model.n_layers + 1))
        tokens = tuple(model.tokenizer.decode([x.prompt[p]]) for p in kept)
    by_region = maps.regions(alignment.edit, n)
    named = {p: group_of(name) for name in maps.REGIONS if name != maps.ALL for p in by_region[name]}
    explained = "e" in scores
    return ExampleMap(
        checkpoint=checkpoint,
        tokens=tokens,
        positions=kept,
        groups=tuple(named[p] for p in kept),
        behavior=found.effects["f"][..., 0],
        explanation=found.effects["e"][..., 0] if explained else None,
        probe_layer=read_below if explained else None,
        effect=float(found.edited["f"][0] - found.clean["f"][0]),
        moved=float(found.edited["e"][0] - found.clean["e"][0]) if explained else None,
        exact=alignment.exact,
        left_out=len(positions) - len(kept),
    )


def example_map(path: Path, checkpoint: str, row: dict) -> ExampleMap:
    """Patch one example of the run (a row of its examples). Raises InputError."""
    choices = {c.edit: c for c in new_prompts.choices(path)}
    texts, answers = (row["prompt"], row["edited"]), (row["answer_a"], row["answer_b"])
    return _example(path, checkpoint, row["edit"], texts, answers, choices.get(row["edit"]), data.stamp(path))


def as_table(found: ExampleMap) -> pd.DataFrame:
    """One row a layer and position: layer, position, token, group, behavior, explanation (nats)."""
    layers, positions = found.behavior.shape
    at, p = (a.ravel() for a in np.meshgrid(np.arange(layers), np.arange(positions), indexing="ij"))
    made: dict[str, list | np.ndarray] = {
        "layer": at,
        "position": [found.positions[i] for i in p],
        "token": [found.tokens[i] for i in p],
        "group": [found.groups[i] for i in p],
        "behavior": found.behavior.ravel(),
    }
    if found.explanation is not None:
        made["explanation"] = found.explanation.ravel()
    return pd.DataFrame(made)
