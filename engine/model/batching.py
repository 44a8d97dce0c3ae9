"""Which rows of tokens to run, what of them is shared, and how they go into batches. No torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

SLACK_TOKENS, SLACK_SHARE = 32, 0.03
"""A batch may hold so much padding, in tokens or as a share of its tokens, before the next one is begun."""
PREFIX_FACTOR = 8
"""A batch of continued rows may attend to so many times the tokens of a full batch: a bound on memory."""


@dataclass(frozen=True)
class Text:
    """What is asked about one prompt."""

    prompt: tuple[int, ...]
    answers: tuple[tuple[int, ...], ...]
    reads: tuple[tuple[int, ...], ...] = ()
    """Each a mean hidden state over these positions of the prompt."""


@dataclass
class Row:
    """Distinct token ids, and everything that is asked about them."""

    tokens: tuple[int, ...]
    parent: int = -1
    """The row whose beginning this may share: the original's, or that of the same text with another answer."""
    asks: list[tuple[int, int, int, int]] = field(default_factory=list)  # position, token, text, answer
    reads: list[tuple[int, tuple[int, ...]]] = field(default_factory=list)  # read, positions

    def first_needed(self) -> int:
        return min([a[0] for a in self.asks] + [p for _, positions in self.reads for p in positions])


@dataclass(frozen=True)
class Piece:
    """A row, from `start` on; the tokens before it are shared with the row `owner` (−1: nothing is shared)."""

    row: int
    start: int
    owner: int
    length: int
    logits: int = 1
    """Positions that it has logits made at."""


def distinct_rows(groups: Sequence[Sequence[Text]]) -> list[Row]:
    """Rows to run, each sequence of token ids once, with all that is asked about it."""
    rows: list[Row] = []
    known: dict[tuple[int, ...], int] = {}
    text_index = read_index = 0
    for group in groups:
        original = -1
        for text in group:
            tails = row_tails(text)
            own: list[int] = []
            for tail in tails:
                row = known.setdefault(text.prompt + tail, len(rows))
                if row == len(rows):
                    rows.append(Row(text.prompt + tail, own[0] if own else original))
                own.append(row)
            before = len(text.prompt) - 1
            for answer, continuation in enumerate(text.answers):
                serves = next(i for i, tail in enumerate(tails) if tail[: len(continuation) - 1] == continuation[:-1])
                asks = [(before + i, token, text_index, answer) for i, token in enumerate(continuation)]
                rows[own[serves]].asks += asks
            for positions in text.reads:
                rows[own[0]].reads.append((read_index, positions))
                read_index += 1
            if original < 0:
                original = own[0]
                rows[original].parent = -1  # also where an earlier group had it as an edited text
            text_index += 1
    return rows


def row_tails(text: Text) -> list[tuple[int, ...]]:
    """What has to follow the prompt so that all answers can be scored: one row each, none the beginning of another."""
    tails: list[tuple[int, ...]] = []
    for tail in sorted({answer[:-1] for answer in text.answers}, key=lambda t: (-len(t), t)):
        if not any(other[: len(tail)] == tail for other in tails):
            tails.append(tail)
    return tails


def common_prefix(one: Sequence[int], other: Sequence[int]) -> int:
    n = min(len(one), len(other))
    different = np.flatnonzero(np.asarray(one[:n]) != np.asarray(other[:n]))
    return int(different[0]) if len(different) else n


def batches(pieces: Sequence[Piece], budget: int, most_logits: int | None = None) -> Iterator[list[Piece]]:
    """Batches of at most `budget` tokens (or one piece), longest pieces first, with little padding.

    `most_logits` bounds the positions that logits are made at; every piece has them at as many as the one with most.
    """
    batch: list[Piece] = []
    waste = reach = asked = 0
    for piece in sorted(pieces, key=lambda p: (-p.length, p.row)):
        if batch:
            longest = batch[0].length
            more_waste = waste + longest - piece.length
            padded_tokens = (len(batch) + 1) * longest
            farther = max(reach, piece.start)
            if (
                padded_tokens > budget
                or more_waste > max(SLACK_TOKENS, SLACK_SHARE * padded_tokens)
                or (len(batch) + 1) * (farther + longest) > PREFIX_FACTOR * budget
                or (most_logits and (len(batch) + 1) * max(asked, piece.logits) > most_logits)
            ):
                yield batch
                batch, waste, reach, asked = [], 0, 0, 0
            else:
                waste = more_waste
        batch.append(piece)
        reach, asked = max(reach, piece.start), max(asked, piece.logits)
    if batch:
        yield batch
