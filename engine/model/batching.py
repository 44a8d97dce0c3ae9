"""The plan of a measurement: which rows of tokens to run, which rows share a prefix, and which rows form a batch.

Pure functions on token ids, without torch. `counterfactuals` executes the plan.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np

from engine.model.alike import Kind, any_rows

SLACK_TOKENS, SLACK_SHARE = 32, 0.03
"""Start a new batch when padding exceeds max(32 tokens, 3 %)."""
LEAST_SHARED = 8
"""Two originals share a beginning if that saves at least so many tokens."""
MOST_DEEP = 4
"""A row continues at most so many others, one after the other. Each is one more tensor to join in every layer."""
PREFIX_FACTOR = 8
"""Memory bound: rows × (cached + new tokens) of a batch is at most this many times the batch's token limit."""


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

    def first_needed(self) -> int:
        """The first position with a wanted result; it can't lie in a reused prefix."""
        return min([a[0] for a in self.asks] + [p for _, positions in self.reads for p in positions])


@dataclass(frozen=True)
class Piece:
    """The tokens of one row from `start` on; the tokens before are reused from the row `owner` (−1: none)."""

    row: int
    start: int
    owner: int
    length: int
    logits: int = 1
    """Number of positions at which logits are computed."""
    scored: bool = True
    """False for an original that only fills the cache and is scored in a second piece."""


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
    rows: Sequence[Row], limits: Limits, *, deep: int = MOST_DEEP, rescore: bool, across: bool = True
) -> list[Batch]:
    """Batches of whole rows, each with the batches that continue from its keys and values.

    `deep`: the largest number of rows that a row may continue, one after the other. `rescore`: a whole row that others
    continue is scored from a prefix of its own, as they are. Low precision depends on the kernel, so both sides of an
    effect should use the same one. `across`: originals that begin alike share their beginning, too.
    """
    begun_by = shared_beginnings(rows, deep - 2) if across else {}
    owned: list[tuple[int, int]] = []
    followers: dict[int, list[Piece]] = {}
    roots: list[Piece] = []
    for i in range(len(rows)):
        owner, start = _owner(rows, i, begun_by, owned, deep)
        owned.append((owner, start))
        (followers.setdefault(owner, []) if owner >= 0 else roots).append(_piece(rows, i, limits, start, owner))
    if rescore:
        for at, root in enumerate(roots):
            if root.row not in followers:
                continue
            row = rows[root.row]
            start = min(*(p.start for p in followers[root.row]), row.first_needed(), len(row.tokens) - 1)
            if start > 0:
                followers[root.row].append(_piece(rows, root.row, limits, start, root.row))
                roots[at] = replace(root, scored=False)
    return _batched(roots, (), followers, limits)


def _batched(
    pieces: Sequence[Piece], before: Sequence[Piece], followers: Mapping[int, Sequence[Piece]], limits: Limits
) -> list[Batch]:
    """Batches of pieces that continue rows of the batch `before`, each with the batches that continue it in turn."""
    places = {piece.row: i for i, piece in enumerate(before)}
    plan = []
    for batch in batches(pieces, limits):
        # A rescored row owns its second piece; others continue the first one.
        waiting = [p for piece in batch if piece.row != piece.owner for p in followers.get(piece.row, ())]
        owners = tuple(places[piece.owner] for piece in batch) if before else ()
        plan.append(Batch(tuple(batch), owners, tuple(_batched(waiting, batch, followers, limits))))
    return plan


def shared_beginnings(rows: Sequence[Row], deep: int) -> dict[int, list[int]]:
    """For originals that begin like others: the rows to continue, the longest common beginning first.

    These are inner nodes of the tree of all originals. The first row of a node computes its beginning, for all of them.
    At most `deep` nodes lie above a row. If the tree has more, those are chosen that save the most tokens.
    """
    texts = sorted((rows[i].tokens[: rows[i].first_needed()], i) for i in range(len(rows)) if rows[i].parent < 0)
    order = [i for _, i in texts]
    alike = [common_prefix(one, other) for (one, _), (other, _) in pairwise(texts)]
    above: dict[int, list[int]] = {}
    for node in _kept(_nodes(alike, 0, len(order), 0), 0, deep)[1]:
        members = order[node.first : node.last]
        for row in members:
            if row != min(members):
                above.setdefault(row, []).insert(0, min(members))
    return above


@dataclass(frozen=True)
class _Node:
    """Rows from `first` to before `last`, in the order of their tokens, that share their first `tokens` tokens."""

    first: int
    last: int
    tokens: int
    inner: tuple[_Node, ...]


def _nodes(alike: Sequence[int], first: int, last: int, tokens: int) -> tuple[_Node, ...]:
    """The nodes of rows that share `tokens` tokens. alike [rows − 1]: the tokens that neighbours share."""
    ends = [i + 1 for i in range(first, last - 1) if alike[i] < tokens + LEAST_SHARED]
    found = []
    for start, stop in pairwise([first, *ends, last]):
        if stop - start > 1:
            shared = min(alike[start : stop - 1])
            found.append(_Node(start, stop, shared, _nodes(alike, start, stop, shared)))
    return tuple(found)


def _kept(nodes: Sequence[_Node], tokens: int, deep: int) -> tuple[int, list[_Node]]:
    """The most tokens that can be saved below a node of so many tokens, and the nodes for it, outer ones first."""
    saved, kept = 0, list[_Node]()
    for node in nodes if deep else ():
        inner, of_inner = _kept(node.inner, node.tokens, deep - 1)
        left_out, instead = _kept(node.inner, tokens, deep)
        own = inner + (node.last - node.first - 1) * (node.tokens - tokens)
        saved += max(own, left_out)
        kept += [node, *of_inner] if own >= left_out else instead
    return saved, kept


def _piece(rows: Sequence[Row], number: int, limits: Limits, start: int = 0, owner: int = -1) -> Piece:
    row = rows[number]
    length = len(row.tokens) - start
    logits = length if limits.logits_everywhere else len({position for position, *_ in row.asks})
    return Piece(number, start, owner, length, max(1, logits))


def _owner(
    rows: Sequence[Row], number: int, begun_by: Mapping[int, Sequence[int]], owned: Sequence[tuple[int, int]], deep: int
) -> tuple[int, int]:
    """The row that this one continues (−1: none) and how many tokens it reuses; `owned` holds those of earlier rows."""
    row = rows[number]
    candidates = [row.parent] if row.parent >= 0 else list(begun_by.get(number, ()))
    while candidates:
        candidate = candidates.pop(0)
        start = min(common_prefix(row.tokens, rows[candidate].tokens), row.first_needed())
        above, from_above = owned[candidate]
        if start > from_above and _depth(candidate, owned) < deep:
            return candidate, start
        if above >= 0 and above not in candidates:
            candidates.insert(0, above)
    return -1, 0


def _depth(number: int, owned: Sequence[tuple[int, int]]) -> int:
    """How many rows a row continues, one after the other."""
    depth = 0
    while (number := owned[number][0]) >= 0:
        depth += 1
    return depth


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


def common_prefix(one: Sequence[int], other: Sequence[int]) -> int:
    """Length of the longest common prefix."""
    n = min(len(one), len(other))
    different = np.flatnonzero(np.asarray(one[:n]) != np.asarray(other[:n]))
    return int(different[0]) if len(different) else n


def batches(pieces: Sequence[Piece], limits: Limits) -> Iterator[list[Piece]]:
    """Cut pieces into batches within the limits, longest pieces first, with little padding."""
    batch: list[Piece] = []
    padding = most_cached = most_logits = 0
    for piece in sorted(pieces, key=lambda p: (-p.length, p.row)):
        if batch:
            size, longest = len(batch) + 1, batch[0].length
            padding += longest - piece.length
            if (
                size * longest > limits.tokens
                or padding > max(SLACK_TOKENS, SLACK_SHARE * size * longest)
                or size * (max(most_cached, piece.start) + longest) > PREFIX_FACTOR * limits.tokens
                or (limits.logits and size * max(most_logits, piece.logits) > limits.logits)
            ):
                yield batch
                batch, padding, most_cached, most_logits = [], 0, 0, 0
        batch.append(piece)
        most_cached, most_logits = max(most_cached, piece.start), max(most_logits, piece.logits)
    if batch:
        yield batch
