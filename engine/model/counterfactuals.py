"""x and all its x' through a model, with duplicates removed and what they share computed once.

Texts come in groups, the original first. Rows with the same token ids are run once. A row of a group shares with the
original's row the tokens before the edit, and hidden states after an edit change at every later position; so the
exact work is L + Σ Sᵢ tokens instead of (K + 1) L, with Sᵢ the tokens from the edit's start on. Originals run in
batches of similar length and leave their keys and values; then the rest of their rows, sorted by Sᵢ and with ragged
starts, goes on from there; and where an edited text has answers that part, so does the second from the first.
Models whose cache can't be sliced take full rows, and the report says so.

Memory: keys and values of one batch of originals and of one batch that continues them, one layer's copy of both for
a batch of rows, logits of one batch (MOST_LOGITS numbers or one row's, in fp32, and as many while they are summed),
and what was asked for.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from transformers import DynamicCache

from engine.model.batching import Piece, Row, Text, batches, common_prefix, distinct_rows, row_tails
from engine.model.checkpoints import Checkpoint
from engine.model.forward import (
    Ask,
    ForwardError,
    KeysValues,
    Read,
    Stretch,
    can_share,
    continue_prefixes,
    forward,
    padded,
    rotary_limit,
    takes,
)

Path = Literal["auto", "shared", "full"]
Progress = Callable[[int, int], None]

AGREEMENT = {torch.float32: 1e-3, torch.bfloat16: 0.5, torch.float16: 0.1}
"""Log-probabilities of the two paths may differ by so much on a trial before the shared one is given up, in nats."""
MOST_ROWS, MOST_TOKENS = 512, 16_384
"""Of a batch, when its size is found by trial."""
MOST_LOGITS = 2**27
"""Of a batch, in numbers, whatever its size: half a GiB in fp32. One row may have more."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Report:
    """How the work was done. Tokens count padding; `naive_tokens`: every text in full, without any."""

    path: str
    batch_size: int
    rows: int
    forwards: int
    tokens: int
    naive_tokens: int


@dataclass(frozen=True)
class Scored:
    """In the order of the texts: log p of each answer (nats), and hidden states of each read."""

    log_probs: np.ndarray
    """float64 [texts, answers]"""
    states: np.ndarray
    """float32 [reads, layers, width], the reads of the first text first"""
    report: Report


def run(
    checkpoint: Checkpoint,
    groups: Sequence[Sequence[Text]],
    layers: Sequence[int] = (),
    *,
    batch_size: int | None = None,
    path: Path = "auto",
    progress: Progress | None = None,
) -> Scored:
    """Score all answers and read hidden states of all texts of all groups (originals first in each).

    `layers` are non-negative. `batch_size` is in rows of the greatest length, none: found by trial. Shorter rows
    make larger batches of as many tokens. Out of memory halves it, with a message. Raises ForwardError where not even
    one row fits, and where "shared" is demanded of a model that can't.
    """
    rows = distinct_rows(groups)
    longest = max(len(row.tokens) for row in rows)
    batch_size = batch_size or find_batch_size(checkpoint, [row.tokens for row in rows])
    obstacle = can_share(checkpoint.model, longest)
    if path == "shared" and obstacle:
        raise ForwardError(f"{checkpoint.name}: prefixes can't be shared: {obstacle}")
    while True:
        try:
            chosen, reason = _choose(checkpoint, rows, groups, obstacle, batch_size, path)
            work = _Work(checkpoint, rows, groups, layers, batch_size * longest, progress)
            work.shared() if chosen == "shared" else work.full()
            return work.scored(chosen + (f": {reason}" if reason else ""), batch_size)
        except (MemoryError, RuntimeError) as error:
            if not _is_out_of_memory(error):
                raise
            if batch_size == 1:
                raise ForwardError(f"{checkpoint.name}: out of memory on one row of {longest} tokens") from None
            batch_size //= 2
        # Outside the handler: only now are the failed batch's tensors free.
        log.warning("%s: out of memory, going on with batches of %d", checkpoint.name, batch_size)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def _is_out_of_memory(error: BaseException) -> bool:
    messages = ("out of memory", "not enough memory", "can't allocate memory")  # accelerators; CPU, by platform
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(m in str(error) for m in messages)


def _choose(
    checkpoint: Checkpoint,
    rows: Sequence[Row],
    groups: Sequence[Sequence[Text]],
    obstacle: str,
    batch_size: int,
    path: Path,
) -> tuple[str, str]:
    """The path to take and why; the shared one must agree with the full one on the first group that shares, and where
    the starts of a batch lie as far apart as these rows let them.
    """
    if path != "auto":
        return path, ""
    if obstacle:
        return "full", obstacle
    group = next((g for g in groups if len(g) > 1), None)
    if group is None:
        return "full", "no two texts share a beginning"
    try:
        apart = [_trial(checkpoint, [group[:3]], batch_size)]
        longest = max(rows, key=lambda row: len(row.tokens))
        apart.append(_ragged_trial(checkpoint, longest.tokens, longest.asks[0][1]))
    except (IndexError, ValueError, RuntimeError) as error:  # as an unknown architecture's masks may
        if _is_out_of_memory(error):
            raise
        return "full", f"sharing failed on a trial ({type(error).__name__})"
    if not np.max(apart) <= AGREEMENT[checkpoint.dtype]:
        return "full", f"sharing changed a log-probability by {np.max(apart):.2g} on a trial"
    return "shared", ""


def _trial(checkpoint: Checkpoint, groups: Sequence[Sequence[Text]], batch_size: int) -> float:
    """By how much the two paths differ on these groups, in nats."""
    rows = distinct_rows(groups)
    both = []
    for way in (_Work.full, _Work.shared):
        work = _Work(checkpoint, rows, groups, (), batch_size * max(len(row.tokens) for row in rows), None)
        way(work)
        both.append(work.log_probs)
    return float(np.abs(both[0] - both[1]).max())


def _ragged_trial(checkpoint: Checkpoint, tokens: Sequence[int], answer: int) -> float:
    """By how much stretches of a row, one that begins early and one late, differ from the row itself if they go on from
    its cache in one batch, and rows of both kinds from them: of the answer's token after several positions, in nats.

    A batch shares columns up to its farthest start. A model that counts columns where it should count a row's own
    positions (local attention with a window that its cache doesn't know of) goes wrong here if it does anywhere.
    """
    end, model = len(tokens) - 1, checkpoint.model
    if end < 5:
        return 0.0
    early, late = 1, end - 2
    asks = [Ask(0, at, answer) for at in (early, early + 1, end // 2, late, end - 1)]
    cache = DynamicCache()
    right, _, _ = forward(
        model, padded([tokens], checkpoint.device), asks, (), (), past_key_values=cache, use_cache=True
    )
    kept = [(layer.keys, layer.values) for layer in cache.layers]
    again = [Ask(0, ask.position - early, answer) for ask in asks]
    again += [Ask(1, ask.position - late, answer) for ask in asks[3:]]
    suffixes = [tokens[early:end], tokens[late:end]]
    found, _, new = continue_prefixes(model, [Stretch(kept, [0, 0], [early, late])], suffixes, again, (), (), keep=True)
    difference = (found - right[[*range(5), 3, 4]]).abs().max()
    if not can_share(model, len(tokens), stretches=2):
        middle = end // 2
        both = [Stretch(kept, [0, 0], [early, late]), Stretch(new, [0, 1], [middle - early, 1])]
        suffixes = [tokens[middle:end], tokens[late + 1 : end]]
        again = [Ask(0, 0, answer), Ask(0, end - 1 - middle, answer), Ask(1, 0, answer)]
        found, _, _ = continue_prefixes(model, both, suffixes, again, (), ())
        difference = torch.maximum(difference, (found - right[[2, 4, 4]]).abs().max())
    return float(difference)


class _Work:
    """Runs the rows and collects what was asked for."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        rows: Sequence[Row],
        groups: Sequence[Sequence[Text]],
        layers: Sequence[int],
        budget: int,
        progress: Progress | None,
    ):
        self.checkpoint, self.rows, self.layers, self.budget = checkpoint, rows, layers, budget
        self.progress = progress
        self.most_logits = max(1, MOST_LOGITS // checkpoint.model.config.get_text_config().vocab_size)
        self.keeps_few = takes(checkpoint.model, "logits_to_keep")
        texts = [text for group in groups for text in group]
        self.log_probs = np.zeros((len(texts), max(len(text.answers) for text in texts)))
        n_reads = sum(len(text.reads) for text in texts) if layers else 0
        self.states = np.zeros((n_reads, len(layers), checkpoint.width if layers else 0), np.float32)
        self.naive = sum(len(text.prompt) + len(tail) for text in texts for tail in row_tails(text))
        self.forwards = self.tokens = self.done = 0

    def full(self) -> None:
        """Every row by itself."""
        pieces = [self._piece(i) for i in range(len(self.rows))]
        limit = rotary_limit(self.checkpoint.model)
        beyond = [limit is not None and piece.length > limit for piece in pieces]
        for side in (False, True):
            for batch in self._batches([piece for piece, far in zip(pieces, beyond, strict=True) if far == side]):
                self._run(batch, None)

    def shared(self) -> None:
        """Originals first, then what goes on from their keys and values, then what goes on from that."""
        longest = max(len(row.tokens) for row in self.rows)
        deep = not can_share(self.checkpoint.model, longest, stretches=2)
        followers: dict[int, list[Piece]] = {}
        owned: list[tuple[int, int]] = []
        alone: list[Piece] = []
        for i, row in enumerate(self.rows):
            owner, start = self._owner(row, owned, deep)
            owned.append((owner, start))
            piece = self._piece(i, start, owner)
            (followers.setdefault(owner, []) if owner >= 0 else alone).append(piece)
        again: set[int] = set()
        if self.checkpoint.dtype != torch.float32:
            # Low precision depends on the kernel. Originals are then scored by the same one as their edited texts.
            for owner in [piece.row for piece in alone if piece.row in followers]:
                row, pieces = self.rows[owner], followers[owner]
                start = min(*(p.start for p in pieces), row.first_needed(), len(row.tokens) - 1)
                if start > 0:
                    pieces.append(self._piece(owner, start, owner))
                    again.add(owner)
        for batch in self._batches(alone):
            waiting = [piece for first in batch for piece in followers.get(first.row, ())]
            cache = DynamicCache() if waiting else None
            self._run(batch, cache, silent=again)
            if cache is None:
                continue
            kept = [(layer.keys, layer.values) for layer in cache.layers]
            place = {piece.row: i for i, piece in enumerate(batch)}
            for second in self._batches(waiting):
                last = [p for piece in second if piece.row not in again for p in followers.get(piece.row, ())]
                before = Stretch(kept, [place[p.owner] for p in second], [p.start for p in second])
                new = self._continue(second, [before], keep=bool(last))
                row_of = {piece.row: i for i, piece in enumerate(second)}
                for third in self._batches(last):
                    via = [row_of[p.owner] for p in third]
                    first_stretch = Stretch(kept, [before.owners[i] for i in via], [before.lengths[i] for i in via])
                    lengths = [p.start - n for p, n in zip(third, first_stretch.lengths, strict=True)]
                    self._continue(third, [first_stretch, Stretch(new, via, lengths)])

    def _piece(self, number: int, start: int = 0, owner: int = -1) -> Piece:
        row = self.rows[number]
        length = len(row.tokens) - start
        logits = len({position for position, *_ in row.asks}) if self.keeps_few else length
        return Piece(number, start, owner, length, max(1, logits))

    def _batches(self, pieces: Sequence[Piece]) -> Iterator[list[Piece]]:
        return batches(pieces, self.budget, self.most_logits)

    def _owner(self, row: Row, owned: Sequence[tuple[int, int]], deep: bool) -> tuple[int, int]:
        """The row that this one goes on from (−1: none) and how many tokens they share; at most two rows deep."""
        candidate = row.parent
        while candidate >= 0:
            start = min(common_prefix(row.tokens, self.rows[candidate].tokens), row.first_needed())
            above, from_above = owned[candidate]
            if start > from_above and (above < 0 or (deep and owned[above][0] < 0)):
                return candidate, start
            candidate = above
        return -1, 0

    def _run(self, batch: Sequence[Piece], cache: Any, silent: frozenset[int] | set[int] = frozenset()) -> None:
        asks, ask_targets, reads, read_targets = self._wanted(batch, silent)
        input_ids = padded([self.rows[piece.row].tokens for piece in batch], self.checkpoint.device)
        more = {} if cache is None else {"past_key_values": cache}
        log_probs, states, _ = forward(
            self.checkpoint.model, input_ids, asks, reads, self.layers, use_cache=cache is not None, **more
        )
        self._collect(log_probs, ask_targets, states, read_targets, input_ids.numel(), len(batch))

    def _continue(self, batch: Sequence[Piece], stretches: Sequence[Stretch], keep: bool = False) -> list[KeysValues]:
        asks, ask_targets, reads, read_targets = self._wanted(batch, frozenset())
        suffixes = [self.rows[piece.row].tokens[piece.start :] for piece in batch]
        log_probs, states, new = continue_prefixes(
            self.checkpoint.model, stretches, suffixes, asks, reads, self.layers, keep=keep
        )
        tokens = len(batch) * max(map(len, suffixes))
        self._collect(log_probs, ask_targets, states, read_targets, tokens, len(batch))
        return new

    def _wanted(
        self, batch: Sequence[Piece], silent: frozenset[int] | set[int]
    ) -> tuple[list[Ask], list[tuple[int, int]], list[Read], list[int]]:
        """What is asked of a batch, with positions counted from each piece's start, and where the results go."""
        asks, ask_targets, reads, read_targets = [], [], [], []
        for i, piece in enumerate(batch):
            if piece.row in silent and piece.owner < 0:
                continue
            row = self.rows[piece.row]
            for position, token, text, answer in row.asks:
                asks.append(Ask(i, position - piece.start, token))
                ask_targets.append((text, answer))
            for read, positions in row.reads if self.layers else ():
                reads.append(Read(i, [p - piece.start for p in positions]))
                read_targets.append(read)
        return asks, ask_targets, reads, read_targets

    def _collect(
        self,
        log_probs: torch.Tensor,
        ask_targets: Sequence[tuple[int, int]],
        states: torch.Tensor,
        read_targets: Sequence[int],
        tokens: int,
        rows: int,
    ) -> None:
        if ask_targets:
            texts, answers = np.array(ask_targets).T
            np.add.at(self.log_probs, (texts, answers), log_probs.double().numpy())
        if read_targets:
            self.states[read_targets] = states.numpy()
        self.forwards += 1
        self.tokens += tokens
        self.done += rows
        if self.progress:
            self.progress(min(self.done, len(self.rows)), len(self.rows))

    def scored(self, path: str, batch_size: int) -> Scored:
        report = Report(path, batch_size, len(self.rows), self.forwards, self.tokens, self.naive)
        return Scored(self.log_probs, self.states, report)


def find_batch_size(checkpoint: Checkpoint, rows: Sequence[Sequence[int]]) -> int:
    """Rows a batch, by trial on the longest rows: doubled until the time per row stops falling by 5%.

    At most MOST_ROWS; on a CPU, where running out of memory kills instead of raising, also at most MOST_TOKENS.
    """
    longest = max(map(len, rows))
    most = MOST_ROWS if checkpoint.device.type != "cpu" else max(1, min(MOST_ROWS, MOST_TOKENS // longest))
    order = sorted(rows, key=lambda tokens: (-len(tokens), tuple(tokens)))[:most]
    best, best_time, size = 1, float("inf"), min(4, len(order))
    while size <= len(order):
        input_ids = padded(order[:size], checkpoint.device)
        asks = [Ask(i, len(row) - 1, 0) for i, row in enumerate(order[:size])]
        try:
            elapsed = min(_seconds(checkpoint, input_ids, asks) for _ in range(2)) / size
        except (MemoryError, RuntimeError) as error:
            if not _is_out_of_memory(error):
                raise
            log.warning("%s: batches of %d do not fit into memory", checkpoint.name, size)
            return max(1, best // 2)  # other work needs room beside it
        if elapsed > 0.95 * best_time:
            break
        best, best_time, size = size, elapsed, size * 2
    return best


def _seconds(checkpoint: Checkpoint, input_ids: torch.Tensor, asks: Sequence[Ask]) -> float:
    started = time.perf_counter()
    forward(checkpoint.model, input_ids, asks, (), (), use_cache=False)  # ends with a copy to the CPU
    return time.perf_counter() - started
