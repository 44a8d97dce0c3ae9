"""The run in hand: its record, its spec, and its arrays as the stages need them."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa

from engine.config import Mode, Position, RunSpec
from engine.records import Behavior
from engine.runs.store import Run

EVALUATED = ("validation", "test_heldout", "test_iid")
HELD_IN_MEMORY = 24
"""Number of arrays of hidden states that are cached."""


@dataclass(frozen=True, order=True)
class Place:
    """Input of an explainer. One explainer is trained for each place."""

    edit: str
    mode: Mode
    position: Position
    layer: int


def concurrent_part(checkpoint: str) -> str:
    """The part that holds one checkpoint's explanations by the explainer trained in the loop."""
    return f"concurrent/{checkpoint}.safetensors"


def factors_of(examples: pd.DataFrame, rows: np.ndarray) -> dict[str, np.ndarray]:
    """groups, cue and entity of some rows of the examples; cue and entity only if every row has both."""
    columns = {"groups": "group", "cue": "cue", "entity": "entity"}
    values = {name: examples[column].to_numpy()[rows] for name, column in columns.items()}
    if pd.isna(values["cue"]).any() or pd.isna(values["entity"]).any():
        return {"groups": values["groups"]}
    return values


class Observed:
    """A run as every stage gets it: `record` to write parts, `spec` with paths that can be opened (those in
    `record.spec` are relative), and cached read access to examples, behavior and hidden states.
    """

    def __init__(self, record: Run, spec: RunSpec):
        self.record, self.spec = record, spec
        self._hidden = functools.lru_cache(maxsize=HELD_IN_MEMORY)(record.hidden)
        self._behavior: dict[str, Behavior] = {}

    @functools.cached_property
    def table(self) -> pa.Table:
        """records.EXAMPLES"""
        return self.record.read_table("examples.parquet")

    @functools.cached_property
    def examples(self) -> pd.DataFrame:
        return self.table.to_pandas()

    @functools.cached_property
    def prompt_id(self) -> np.ndarray:
        return self.table["prompt_id"].to_numpy()

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

    def places(self, modes: tuple[Mode, ...], edits: list[str]) -> list[Place]:
        return [
            Place(edit, mode, position, layer)
            for edit in edits
            for mode in modes
            for position in self.spec.hidden.positions
            for layer in self.record.kept_layers(self.start, position)
        ]

    def rows(self, edit: str, *splits: str) -> np.ndarray:
        """Row numbers of the examples of one kind of edit in the splits."""
        is_in = self.examples["split"].isin(splits) & (self.examples["edit"] == edit)
        return np.flatnonzero(is_in.to_numpy())

    def behavior(self, checkpoint: str) -> Behavior:
        """f(x) and f(x') of all examples, in their order, float64."""
        if checkpoint not in self._behavior:
            table = self.record.read_table(f"behavior/{checkpoint}.parquet")
            f, edited = (table[name].to_numpy().astype(np.float64) for name in ("f", "f_edited"))
            self._behavior[checkpoint] = Behavior(f, edited)
        return self._behavior[checkpoint]

    def factors(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """groups, cue and entity of some rows; cue and entity only if every row has both."""
        return factors_of(self.examples, rows)

    def features(self, checkpoint: str, place: Place, rows: np.ndarray, *, part: bool = False) -> np.ndarray:
        """Input of the explainer of a place, [rows, width]: h(x), or h(x') − h(x).

        part: read only the files between the first and the last of the rows, and keep nothing for the next call.
        """
        x = self._state(checkpoint, place.position, place.layer, rows, part)
        if place.mode == "direct":
            return x
        return self._state(checkpoint, f"edited.{place.position}", place.layer, rows, part) - x

    def _state(self, checkpoint: str, position: str, layer: int, rows: np.ndarray, part: bool = False) -> np.ndarray:
        kept = self.record.kept_layers
        if checkpoint not in self.currents:  # another model may have another depth: the same place in its list
            layer = kept(checkpoint)[kept(self.start).index(layer)]
        at = self.prompt_id[rows] if position == "last" else rows
        if part:
            first = int(at.min())
            within = (first, int(at.max()) + 1)
            return self.record.hidden(checkpoint, layer, position, within)[at - first].astype(np.float64)
        return self._hidden(checkpoint, layer, position)[at].astype(np.float64)
