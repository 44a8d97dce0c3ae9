"""Maps of activation patching, read from a run, and made on demand for one example. Only the latter imports torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import streamlit as st

from dashboard.reading import data, models
from dashboard.reading.tables import cached_per_run, part, query
from dashboard.refit import new_prompts
from dashboard.refit.new_prompts import Choice
from engine.patching import maps
from engine.patching.stage import agreements, parts_of
from engine.runs.store import Run
from engine.tasks import WORDINGS

GROUPS = ("before the edit", "the edit", "after it", "the question's end")
GROUP_OF = {maps.BEFORE: GROUPS[0], maps.ALL: "all"} | dict.fromkeys(maps.EDIT, GROUPS[1])
GROUP_OF |= dict.fromkeys(maps.AFTER, GROUPS[2]) | dict.fromkeys(maps.END, GROUPS[3])
"""Region of positions → the group that it belongs to."""

LONGEST = 160
"""Tokens of x from the edit to its end that are patched one by one on demand."""


@cached_per_run(st.cache_data, max_entries=16)
def agreement(path: Path) -> pd.DataFrame:
    """Rows of records.PATCHING_AGREEMENT of all checkpoints that have maps; empty where none has. Raises RunError."""
    return agreements(Run.open(path))


@cached_per_run(st.cache_data, max_entries=32)
def restored(path: Path, checkpoint: str, edit: str) -> pd.DataFrame:
    """Shares restored by layer and region, as `engine.patching.maps.restored`. Raises RunError."""
    sql = "SELECT * FROM whole(?) WHERE CAST(edit AS VARCHAR) = ?"
    return maps.restored(query(sql, [part(path, parts_of(checkpoint)[0]), edit], path))


@dataclass(frozen=True)
class ExampleMap:
    """One example patched token by token from the edit on; L layers (0: embeddings), P positions of x."""

    tokens: tuple[str, ...]
    """The token at each position."""
    positions: tuple[int, ...]
    groups: tuple[str, ...]
    """The group of each position, one of `GROUPS`."""
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
    """Whether x and x' have the same number of tokens, so that each is patched with its counterpart."""
    left_out: int
    """Positions beyond `LONGEST`."""

    def table(self) -> pd.DataFrame:
        """One row for each layer and position: layer, position, token, group, behavior, explanation (nats)."""
        layers, positions = self.behavior.shape
        made: dict[str, list | np.ndarray] = {
            "layer": np.repeat(np.arange(layers), positions),
            "position": list(self.positions) * layers,
            "token": list(self.tokens) * layers,
            "group": list(self.groups) * layers,
            "behavior": self.behavior.ravel(),
        }
        if self.explanation is not None:
            made["explanation"] = self.explanation.ravel()
        return pd.DataFrame(made)


def explains_in_words(path: Path) -> bool:
    """Whether the model's own words are the explanation."""
    verbal = data.spec(path).verbal
    return verbal is not None and not verbal.probes


@cached_per_run(st.cache_data, max_entries=32)
def _example(
    path: Path, checkpoint: str, edit: str, texts: tuple[str, str], answers: tuple[str, str], choice: Choice | None
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
        scores: dict[str, hooks.ScoreOf] = {"f": hooks.behavior_score(model)}
        read_below = None
        if choice is not None and checkpoint in new_prompts.explained_at(path):
            explainer = new_prompts.fitted(path, choice)
            scores["e"] = hooks.probe_score(choice.layer, lambda h: h @ explainer.weights + explainer.intercept)
            read_below = choice.layer
        elif explains_in_words(path) and model.chat is None:  # in a template, words follow other tokens than x
            words = OwnWords(edit, WORDINGS[data.spec(path).task.name])
            scores["e"] = words.scores(model, [x], [answers])["words"]
            read_below = words.layer_at(model)
        pair = hooks.Pair(x, edited, {str(p): (p,) for p in kept})
        (found,) = hooks.patch_pairs(model, [pair], scores, range(model.n_layers + 1))
        tokens = tuple(model.tokenizer.decode([x.prompt[p]]) for p in kept)
    by_region = maps.regions(alignment.edit, n)
    named = {p: GROUP_OF[name] for name in maps.REGIONS if name != maps.ALL for p in by_region[name]}
    moved = {name: float(found.edited[name][0] - found.clean[name][0]) for name in scores}
    return ExampleMap(
        tokens=tokens,
        positions=kept,
        groups=tuple(named[p] for p in kept),
        behavior=found.effects["f"][..., 0],
        explanation=found.effects["e"][..., 0] if "e" in scores else None,
        probe_layer=read_below,
        effect=moved["f"],
        moved=moved.get("e"),
        exact=alignment.exact,
        left_out=len(positions) - len(kept),
    )


def example_map(path: Path, checkpoint: str, row: dict) -> ExampleMap:
    """Patch one example of the run (a row of its examples). Raises InputError."""
    choices = {c.edit: c for c in new_prompts.choices(path)}
    texts, answers = (row["prompt"], row["edited"]), (row["answer_a"], row["answer_b"])
    return _example(path, checkpoint, row["edit"], texts, answers, choices.get(row["edit"]))
