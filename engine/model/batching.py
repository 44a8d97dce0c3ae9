"""The plan of a measurement: which rows of tokens to run, which rows share a prefix, and which rows form a batch.

Pure functions on token ids, without torch. `counterfactuals` executes the plan.
"""

from __future__ import annotations

from bisect import bisect
from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import zip_longest

import numpy as np

from engine.model.alike import Kind, any_rows

SLACK_TOKENS, SLACK_SHARE = 32, 0.03
"""Start a new batch when padding exceeds max(32 tokens, 3 %)."""
LEAST_SHARED = 8
"""A row continues a row of another group only if this saves at least so many tokens."""
MOST_DEEP = 4
"""Longest chain of rows, each of which continues the one before. Each adds a tensor to join in every layer."""
PREFIX_FACTOR = 8
"""Memory bound: rows × columns of a batch, cached and new, are at most this many times the batch's token limit."""


@dataclass(frozen=True)
class Text:
    """A prompt, the answers to score after it, and the hidden states to read from it."""

    prompt: tuple[int, ...]
    answers: tuple[tuple[int, ...], ...]
    reads: tuple[tuple[int, ...], ...] = ()
    """Sets of positions of the prompt. Each set asks for the mean hidden state over its positions."""


@dataclass
class Row:
    """A distinct sequence of token ids, with every log-probability and hidden state wanted from it."""

    tokens: tuple[int, ...]
    parent: int = -1
    """The row whose prefix this one may reuse: the original, or the same text with another answer. −1: none."""
    asks: list[tuple[int, int, int, int]] = field(default_factory=list)  # position, token, text, answer
    reads: list[tuple[int, tuple[int, ...]]] = field(default_factory=list)  # read, positions

    @cached_property
    def ids(self) -> np.ndarray:
        """The tokens as uint32 [length]."""
        return np.array(self.tokens, np.uint32)

    def first_needed(self) -> int:
        """The first position with a wanted result; it can't lie in a reused prefix."""
        return min([a[0] for a in self.asks] + [p for _, positions in self.reads for p in positions])


@dataclass(frozen=True)
class Piece:
    """The tokens of one row from `start` on; the tokens before are reused from the row `owner` (−1: none)."""

    row: int
    stretches: tuple[int, ...]
    """Lengths of the stretches that hold the tokens before, as in `Prefix`."""
    owner: int
    length: int
    logits: int = 1
    """Number of positions at which logits are computed."""
    scored: bool = True
    """False for a row that only fills the cache and is scored in a second piece."""

    @property
    def start(self) -> int:
        return sum(self.stretches)


@dataclass(frozen=True)
class Batch:
    """Pieces of one forward, and the batches that continue their rows."""

    pieces: tuple[Piece, ...]
    owners: tuple[int, ...] = ()
    """For each piece the index of its owner in the batch that this one continues; empty for a batch of full rows."""
    continued_by: tuple[Batch, ...] = ()


@dataclass(frozen=True)
class Limits:
    """Upper limits of one batch. A single row may exceed both."""

    tokens: int
    logits: int | None = None
    """Number of positions at which logits are computed, padding included; None: no limit."""
    logits_everywhere: bool = False
    """True if the model computes logits at every position, wanted or not."""


def full_plan(rows: Sequence[Row], limits: Limits, kind: Kind = any_rows) -> list[Batch]:
    """Batches of whole rows. Rows of different kinds never share a batch."""
    of_kind: dict[Hashable, list[Piece]] = {}
    for i in sorted(range(len(rows)), key=lambda i: len(rows[i].tokens)):
        piece = _piece(rows, i, limits)
        of_kind.setdefault(kind(piece.length), []).append(piece)
    return [Batch(tuple(batch)) for pieces in of_kind.values() for batch in batches(pieces, limits)]


def shared_plan(
    rows: Sequence[Row], limits: Limits, *, rescore: bool, deep: int = MOST_DEEP, across: bool = True
) -> list[Batch]:
    """Batches of whole rows, each with the batches that continue from its keys and values.

    `rescore`: a whole row is scored from a prefix of its own, as its edited texts are. Low precision depends on the
    kernel, so both sides of an effect should use the same one. `deep`, `across`: as for `prefixes`.
    """
    found = prefixes(rows, deep, across=across)
    followers: dict[int, list[Piece]] = defaultdict(list)
    starts: dict[int, int] = {}  # row → where the first of its edited texts goes on
    for i, (row, prefix) in enumerate(zip(rows, found, strict=True)):
        followers[prefix.owner].append(_piece(rows, i, limits, prefix))
        if prefix.start:
            starts[row.parent] = min(prefix.start, starts.get(row.parent, prefix.start))
    roots = followers.pop(-1)
    if rescore:
        for at, root in enumerate(roots):
            row = rows[root.row]
            start = min(starts.get(root.row, 0), row.first_needed(), len(row.tokens) - 1)
            if start > 0:
                followers[root.row].append(_piece(rows, root.row, limits, Prefix(root.row, (start,))))
                roots[at] = replace(root, scored=False)
    return _batched(roots, (), followers, limits)


def _batched(
    pieces: Sequence[Piece], before: Sequence[Piece], followers: Mapping[int, Sequence[Piece]], limits: Limits
) -> list[Batch]:
    """Batches of pieces that continue rows of the batch `before`, each with the batches that continue it in turn."""
    places = {piece.row: i for i, piece in enumerate(before)}
    plan = []
    for batch in batches(pieces, limits):
        # A rescored row owns its second piece; other rows continue the first one.
        waiting = [p for piece in batch if piece.row != piece.owner for p in followers.get(piece.row, ())]
        owners = tuple(places[piece.owner] for piece in batch) if before else ()
        plan.append(Batch(tuple(batch), owners, tuple(_batched(waiting, batch, followers, limits))))
    return plan


@dataclass(frozen=True)
class Prefix:
    """The tokens that a row reuses: the first `start` of the row `owner` (−1: none)."""

    owner: int = -1
    stretches: tuple[int, ...] = ()
    """How many of them each row in the chain of owners computed, from a whole row to `owner`."""

    @property
    def start(self) -> int:
        return sum(self.stretches)


def prefixes(rows: Sequence[Row], deep: int = MOST_DEEP, *, across: bool = True) -> list[Prefix]:
    """What each row reuses of earlier rows: a prefix tree of all rows, at most `deep` edges deep.

    A row continues the row that computed the last token they share. If that is too deep or saves too little, it
    continues the row above that one. `across`: rows of different groups share their beginnings, too. Originals leave
    room in the depth for the rows of their group.
    """
    below: list[int] = []  # steps from each row to its original
    for row in rows:
        below.append(0 if row.parent < 0 else below[row.parent] + 1)
    room = deep - max(below, default=0)
    found: list[Prefix] = []
    ordered: list[tuple[bytes, int]] = []  # earlier rows in the order of their tokens
    for i, row in enumerate(rows):
        candidates = [row.parent]
        if across:
            entry = row.ids.astype(">u4").tobytes(), i  # big-endian bytes are in the order of the tokens
            at = bisect(ordered, entry)
            candidates += [other for _, other in ordered[max(0, at - 1) : at + 1]]  # one of them shares the most
            ordered.insert(at, entry)
        most = max(room + below[i], min(below[i], 1))
        options = [_prefix(rows, i, candidate, found, most) for candidate in candidates]
        found.append(max(options, key=lambda option: (option.start, -len(option.stretches))))
    return found


def _prefix(rows: Sequence[Row], number: int, candidate: int, found: Sequence[Prefix], most: int) -> Prefix:
    """What a row reuses of a candidate, or of a row above it. `found`: of earlier rows; `most`: the greatest depth."""
    chain = []
    while candidate >= 0:
        chain.append(candidate)
        candidate = found[candidate].owner
    best, row, own = Prefix(), rows[number], _original(rows, number)
    for owner in reversed(chain):
        start = min(common_prefix(row.ids, rows[owner].ids), row.first_needed())
        least = 1 if _original(rows, owner) == own else LEAST_SHARED
        above = found[owner].stretches
        added = start - sum(above)  # what the owner reuses itself is not its own to give: a row above it holds that
        if len(above) < most and added > 0 and start >= best.start + least:
            best = Prefix(owner, (*above, added))
    return best


def _original(rows: Sequence[Row], number: int) -> int:
    """The first row of a row's group."""
    while rows[number].parent >= 0:
        number = rows[number].parent
    return number


def _piece(rows: Sequence[Row], number: int, limits: Limits, prefix: Prefix | None = None) -> Piece:
    row, prefix = rows[number], prefix or Prefix()
    length = len(row.tokens) - prefix.start
    logits = length if limits.logits_everywhere else len({position for position, *_ in row.asks})
    return Piece(number, prefix.stretches, prefix.owner, length, max(1, logits))


def distinct_rows(groups: Sequence[Sequence[Text]], kind: Kind = any_rows) -> list[Row]:
    """Each distinct sequence of token ids once, with all results wanted from it. The first text of each group is the
    original.

    An answer is scored in a row of the kind of prompt + answer, and a state is read in a row of the prompt's kind.
    """
    rows: list[Row] = []
    known: dict[tuple[int, ...], int] = {}
    text_index = read_index = 0
    for group in groups:
        original = -1
        for text in group:
            own: dict[tuple[int, ...], int] = {}
            n = len(text.prompt)
            tails = row_tails(text.answers, n, kind)
            reading = next((tail for tail in tails if kind(n + len(tail)) == kind(n)), ())
            for tail in dict.fromkeys((*tails, reading) if text.reads else tails):
                row = known.setdefault(text.prompt + tail, len(rows))
                first = next(iter(own.values()), original)
                if row == len(rows):
                    rows.append(Row(text.prompt + tail, first))
                own[tail] = row
            before = n - 1
            for answer, continuation in enumerate(text.answers):
                asks = [(before + i, token, text_index, answer) for i, token in enumerate(continuation)]
                rows[own[serving_tail(own, continuation, n, kind)]].asks += asks
            first = next(iter(own.values()))
            for positions in text.reads:
                rows[own[reading]].reads.append((read_index, positions))
                read_index += 1
            if original < 0:
                original = first
                rows[original].parent = -1  # also where an earlier group had it as an edited text
            text_index += 1
    return rows


def row_tails(answers: Sequence[tuple[int, ...]], n: int = 0, kind: Kind = any_rows) -> list[tuple[int, ...]]:
    """The tokens to append to a prompt of n tokens so that every answer can be scored: one row for each tail. No tail
    is a prefix of another whose row is of the same kind."""
    tails: list[tuple[int, ...]] = []
    for tail in sorted({answer[:-1] for answer in answers}, key=lambda t: (-len(t), t)):
        if not any(_serves(other, tail, n, kind) for other in tails):
            tails.append(tail)
    return tails


def serving_tail(
    tails: Iterable[tuple[int, ...]], answer: tuple[int, ...], n: int = 0, kind: Kind = any_rows
) -> tuple[int, ...]:
    """The first tail whose row scores this answer."""
    return next(tail for tail in tails if _serves(tail, answer[:-1], n, kind))


def _serves(tail: tuple[int, ...], other: tuple[int, ...], n: int, kind: Kind) -> bool:
    """Whether a row of n tokens and `tail` holds what the row with `other` does, computed in the same way."""
    return tail[: len(other)] == other and kind(n + len(tail)) == kind(n + len(other))


def log_odds_terms(
    n: int, answers: Sequence[tuple[int, ...]], kind: Kind = any_rows
) -> dict[tuple[int, ...], list[tuple[int, int, float]]]:
    """f after n tokens as a sum of signed log-probabilities: (position, token, sign) by the tail of the row to run."""
    tails = row_tails(answers, n, kind)
    terms: dict[tuple[int, ...], list[tuple[int, int, float]]] = {tail: [] for tail in tails}
    for answer, sign in zip(answers, (1.0, -1.0), strict=True):
        own = terms[serving_tail(tails, answer, n, kind)]
        own += [(n - 1 + i, token, sign) for i, token in enumerate(answer)]
    return terms


def common_prefix(one: Sequence[int] | np.ndarray, other: Sequence[int] | np.ndarray) -> int:
    """Length of the longest common prefix."""
    n = min(len(one), len(other))
    different = np.flatnonzero(np.asarray(one[:n]) != np.asarray(other[:n]))
    return int(different[0]) if len(different) else n


def batches(pieces: Sequence[Piece], limits: Limits) -> Iterator[list[Piece]]:
    """Cut pieces into batches within the limits, longest pieces first, with little padding."""
    batch: list[Piece] = []
    cached: list[int] = []  # columns of each stretch: the longest that a row has of it
    padding = most_logits = 0
    for piece in sorted(pieces, key=lambda p: (-p.length, p.row)):
        columns = [max(pair) for pair in zip_longest(cached, piece.stretches, fillvalue=0)]
        if batch:
            size, longest = len(batch) + 1, batch[0].length
            padding += longest - piece.length
            if (
                size * longest > limits.tokens
                or padding > max(SLACK_TOKENS, SLACK_SHARE * size * longest)
                or size * (sum(columns) + longest) > PREFIX_FACTOR * limits.tokens
                or (limits.logits and size * max(most_logits, piece.logits) > limits.logits)
            ):
                yield batch
                batch, columns, padding, most_logits = [], list(piece.stretches), 0, 0
        batch.append(piece)
        cached, most_logits = columns, max(most_logits, piece.logits)
    if batch:
        yield batch
