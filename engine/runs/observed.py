"""A run's arrays as explainers need them: rows, behavior, and the features that a place gives."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import pandas as pd

from engine.config import Mode, Position, RunSpec
from engine.runs.store import Run
from engine.stats.faithfulness import Behavior

EVALUATED = ("validation", "test_heldout", "test_iid")
HELD_IN_MEMORY = 24
"""Arrays of hidden states cached at once."""


@dataclass(frozen=True, order=True)
class Place:
    """Where an explainer reads. One explainer is trained per place."""

    edit: str
    mode: Mode
    position: Position
    layer: int


def concurrent_part(checkpoint: str) -> str:
    """Where the explanations of the explainer trained in the loop stand, at one checkpoint."""
    return f"concurrent/{checkpoint}.safetensors"


class Observed:
    """Read access to the examples, behaviors and hidden states of a run."""

    def __init__(self, record: Run, spec: RunSpec):
        self.spec = spec
        self.examples: pd.DataFrame = record.read_table("examples.parquet").to_pandas()
        self.prompt_id = self.examples["prompt_id"].to_numpy()
        self._record = record
        self._hidden = functools.lru_cache(maxsize=HELD_IN_MEMORY)(self._read_hidden)
        self._behavior: dict[str, Behavior] = {}

    @property
    def currents(self) -> list[str]:
        return [c.name for c in self.spec.checkpoints]

    @property
    def start(self) -> str:
        """The checkpoint at which explainers are trained."""
        return self.currents[0]

    @property
    def target(self) -> str:
        return self.spec.target_checkpoint.name

    @property
    def edits(self) -> list[str]:
        return list(dict.fromkeys(self.examples["edit"]))

    @property
    def headline_edits(self) -> list[str]:
        return list(self.spec.explainers.headline_edits) or self.edits

    def layers(self, checkpoint: str, position: Position = "last") -> list[int]:
        keys = [k.rpartition(".") for k in self._record.hidden_keys(checkpoint)]
        return sorted(int(layer) for name, _, layer in keys if name == position)

    def places(self, modes: tuple[Mode, ...], edits: list[str]) -> list[Place]:
        return [
            Place(edit, mode, position, layer)
            for edit in edits
            for mode in modes
            for position in self.spec.hidden.positions
            for layer in self.layers(self.start, position)
        ]

    def rows(self, edit: str, *splits: str) -> np.ndarray:
        """Row numbers of the examples of one kind of edit in some splits."""
        is_in = self.examples["split"].isin(splits) & (self.examples["edit"] == edit)
        return np.flatnonzero(is_in.to_numpy())

    def behavior(self, checkpoint: str) -> Behavior:
        """f(x), f(x') of all examples, in their order, float64."""
        if checkpoint not in self._behavior:
            table = self._record.read_table(f"behavior/{checkpoint}.parquet")
            f, edited = (table[name].to_numpy().astype(np.float64) for name in ("f", "f_edited"))
            self._behavior[checkpoint] = Behavior(f, edited)
        return self._behavior[checkpoint]

    def factors(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """groups, cue and entity of some rows; cue and entity only where every row has both."""
        columns = {"groups": "group", "cue": "cue", "entity": "entity"}
        values = {name: self.examples[column].to_numpy()[rows] for name, column in columns.items()}
        if pd.isna(values["cue"]).any() or pd.isna(values["entity"]).any():
            return {"groups": values["groups"]}
        return values

    def features(self, checkpoint: str, place: Place, rows: np.ndarray) -> np.ndarray:
        """What the explainer of a place is given, [rows, width]: h(x), or h(x') − h(x)."""
        x = self._state(checkpoint, place.position, place.layer, rows)
        if place.mode == "direct":
            return x
        return self._state(checkpoint, f"edited.{place.position}", place.layer, rows) - x

    def _state(self, checkpoint: str, position: str, layer: int, rows: np.ndarray) -> np.ndarray:
        if checkpoint not in self.currents:  # another model may have another depth: the same place in its list
            layer = self.layers(checkpoint)[self.layers(self.start).index(layer)]
        states = self._hidden(checkpoint, position, layer)
        return states[self.prompt_id[rows] if position == "last" else rows].astype(np.float64)

    def _read_hidden(self, checkpoint: str, position: str, layer: int) -> np.ndarray:
        return self._record.hidden(checkpoint, layer, position)
