"""How the measurement of a run's examples is cut. Pure functions on the examples table.

- A **block** is what is planned and batched together. Blocks depend on the texts and on the model alone, so numbers do.
- A **piece** is some blocks in a row that are measured and saved together. Pieces depend on the clock; numbers do not.
- A **shard** is a part of the finished run: some blocks in a row, the same whatever the pieces were.

All examples of a prompt are in one block, because they share its keys and values. A **head** with which all texts begin
(few-shot examples, say) is computed once in each block, so a block is many times as long as the head.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise, takewhile

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

SHARD = 4096
"""Examples of a shard, about; a run of millions has larger ones, so that there are at most MOST_SHARDS."""
MOST_SHARDS = 200
BATCHES_A_BLOCK = 8
"""Full batches of a block, about: enough that its last, half-empty ones weigh little."""
HEADS_A_BLOCK = 9
"""Length of a block beside its head, at least: a head that is computed again in each block costs a tenth at most."""
CHARACTERS_A_TOKEN = 4
"""About, in English; it sizes blocks before anything is tokenised."""
SECONDS = 30.0
"""A piece takes about as long: what a kill loses, and how often progress is saved."""


@dataclass(frozen=True)
class Piece:
    """Blocks of one shard that are measured and saved together."""

    shard: int
    bounds: tuple[int, ...]
    """Row numbers at which its blocks begin, and the one after its last row."""
    whole: bool
    """Whether it is its whole shard."""

    @property
    def start(self) -> int:
        return self.bounds[0]

    @property
    def stop(self) -> int:
        return self.bounds[-1]


def piece_part(checkpoint: str, start: int, stop: int) -> str:
    """The part that holds a piece."""
    return f"pieces/{checkpoint}/{start:010d}-{stop:010d}.safetensors"


def read_part(part: str) -> tuple[int, int]:
    """(start, stop) of a piece from its part's name."""
    start, stop = part.rsplit("/", 1)[1].removesuffix(".safetensors").split("-")
    return int(start), int(stop)


@dataclass(frozen=True)
class Layout:
    """All blocks of a table of examples."""

    blocks: np.ndarray
    """Row numbers at which blocks begin, and the number of rows, [blocks + 1]."""
    shards: np.ndarray
    """The same for shards; each is also a block's, [shards + 1]."""
    weight: np.ndarray
    """Characters of all texts before each row, [rows + 1]. The head counts once in each block."""

    @classmethod
    def of(cls, examples: pa.Table, tokens_a_batch: int, head: int = 0) -> Layout:
        """The layout for a model that takes so many tokens in a forward. `examples` are sorted by prompt; `head`: the
        number of characters that the model computes once for all texts of a block (`head_of`)."""
        prompt = examples["prompt_id"].to_numpy()
        n = len(prompt)
        new = np.r_[True, prompt[1:] != prompt[:-1]]
        characters = np.where(new, _lengths(examples["prompt"]) - head, 0) + _lengths(examples["edited"]) - head
        weight = np.r_[0, np.cumsum(characters)]
        firsts = np.flatnonzero(new)  # the rows at which prompts begin
        shard = firsts // max(SHARD, -(-n // MOST_SHARDS))
        budget = max(BATCHES_A_BLOCK * CHARACTERS_A_TOKEN * tokens_a_batch, HEADS_A_BLOCK * head)
        shards = np.r_[firsts[np.r_[True, shard[1:] != shard[:-1]]], n]
        begun = weight[shards[np.searchsorted(shards, firsts, side="right") - 1]]  # where each prompt's shard begins
        block = (weight[firsts] - begun) // budget
        begins = np.r_[True, (shard[1:] != shard[:-1]) | (block[1:] != block[:-1])]
        characters[firsts[begins]] += head
        return cls(np.r_[firsts[begins], n], shards, np.r_[0, np.cumsum(characters)])

    def amount(self, start: int, stop: int) -> float:
        """Characters of the rows from start to stop."""
        return float(self.weight[stop] - self.weight[start])

    def piece(self, bounds: Sequence[int]) -> Piece:
        shard = int(np.searchsorted(self.shards, bounds[0], side="right") - 1)
        whole = bool(bounds[0] == self.shards[shard] and bounds[-1] == self.shards[shard + 1])
        return Piece(shard, tuple(int(row) for row in bounds), whole)

    def left(self, done: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
        """Blocks (start, stop) outside the pieces that are done, given as (start, stop)."""
        covered = np.zeros(self.blocks[-1] + 1, dtype=np.int64)
        for start, stop in done:
            covered[start] += 1
            covered[stop] -= 1
        inside = np.cumsum(covered) > 0
        return [(int(a), int(b)) for a, b in pairwise(self.blocks) if not inside[a]]


class Cutter:
    """Cuts blocks into pieces one after another: the first is one block, the next take SECONDS at the rate so far."""

    def __init__(self, layout: Layout, left: Sequence[tuple[int, int]]):
        self._layout, self._left = layout, list(left)
        self.rate: float | None = None
        """Characters a second of one worker; set by whoever measures."""

    def __iter__(self) -> Iterator[Piece]:
        ends, at = set(self._layout.shards.tolist()), 0
        while at < len(self._left):
            bounds, amount = [self._left[at][0]], 0.0
            while at < len(self._left):
                start, stop = self._left[at]
                amount += self._layout.amount(start, stop)
                if start != bounds[-1] or (len(bounds) > 1 and amount > SECONDS * (self.rate or 0.0)):
                    break
                bounds.append(stop)
                at += 1
                if stop in ends:
                    break
            yield self._layout.piece(bounds)


def head_of(examples: pa.Table) -> int:
    """Number of characters with which all texts begin: those that the first and the last of them, sorted, share."""
    ends = [pc.min_max(pc.cast(examples[column], pa.string())).as_py() for column in ("prompt", "edited")]
    both = zip(min(end["min"] for end in ends), max(end["max"] for end in ends), strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], both))


def longest_of(examples: pa.Table) -> int:
    """Characters of the longest text."""
    return int(max(_lengths(examples[column]).max() for column in ("prompt", "edited")))


def _lengths(texts: pa.ChunkedArray) -> np.ndarray:
    return pc.utf8_length(pc.cast(texts, pa.string())).to_numpy().astype(np.int64)
