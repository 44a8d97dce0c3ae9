"""Run x and all its x' through a model: duplicates once, and shared prefixes once.

Texts come in groups, the original first. Before the edit, an edited row has the same tokens as the original row, so
the original's keys and values are reused. After the edit every hidden state changes. The work is L + Σ Sᵢ tokens, not
(K + 1) L, where Sᵢ counts the tokens from the start of edit i. Originals that begin alike (a chat template, a system
prompt, few-shot examples) share that head in the same way: it is computed once for all texts of a call. `batching`
plans the batches, from whole rows to the rows that continue them. Models whose cache can't be sliced run full rows,
and the report says so.

Memory: keys and values of the batches on the way from whole rows to the batch that runs (MOST_DEEP + 1 at most), a
copy of them for one layer, the logits of one batch twice (MOST_LOGITS numbers in fp32, or those of one row), and the
results.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from transformers import DynamicCache

from engine.model.alike import kind_of
from engine.model.batch_size import rows_a_batch
from engine.model.batching import MOST_DEEP, Batch, Limits, Text, distinct_rows, full_plan, prefixes, shared_plan
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
    takes,
)

ForwardPath = Literal["auto", "shared", "full"]

AGREEMENT = {torch.float32: 1e-3, torch.bfloat16: 0.5, torch.float16: 0.1}
"""Largest |Δ log p| (nats) between the shared and the full forward on a trial; above it the full one is used."""
MOST_LOGITS = 2**27
"""Upper limit on the number of logits of a batch (half a GiB in fp32). A single row may exceed it."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Report:
    """The work that was done. `tokens` includes padding."""

    path: str
    """"shared", or "full: " and the reason."""
    batch_size: int
    rows: int
    forwards: int
    tokens: int
    halved: int = 0
    """How often the batch size was halved because memory ran out."""
    trial: str | None = None
    """Why sharing is not safe with this checkpoint, empty if it is; None: not tried."""


@dataclass(frozen=True)
class TextScores:
    """Log-probabilities (nats) and hidden states, in the order of the texts."""

    log_probs: np.ndarray
    """float64 [texts, answers]"""
    states: np.ndarray
    """float32 [reads, layers, width]"""
    report: Report


def score_texts(
    checkpoint: Checkpoint,
    groups: Sequence[Sequence[Text]],
    layers: Sequence[int] = (),
    *,
    batch_size: int | None = None,
    halved: int = 0,
    path: ForwardPath = "auto",
    trial: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> TextScores:
    """Score all answers and read hidden states of all texts of all groups (originals first in each).

    `layers` are non-negative. `batch_size` counts rows of the greatest length; None: it is computed. Shorter
    rows make larger batches with the same number of tokens. If memory runs out, the batch size is halved, with a
    warning; `halved` is how often that happened before. `trial` is what an earlier call found about the shared path
    with this checkpoint (`Report.trial`); None: it is tried. `progress` gets (done, total) rows.
    Raises ForwardError if not even one row fits, or if the path is "shared" and the model can't share.
    """
    work = _Work(checkpoint, groups, layers, progress)
    batch_size = max(1, (batch_size or rows_a_batch(checkpoint.model, work.longest)) >> halved)
    obstacle = can_share(checkpoint.model, work.longest)
    if path == "shared" and obstacle:
        raise ForwardError(f"{checkpoint.name}: prefixes can't be shared: {obstacle}")
    while True:
        try:
            if path != "auto":
                return work.run(path, batch_size, halved, trial)
            if not obstacle and trial is None:
                trial = _unsafe(work, groups, batch_size)
            reason = obstacle or trial
            return work.run(f"full: {reason}" if reason else "shared", batch_size, halved, trial)
        except (MemoryError, RuntimeError) as error:
            if not _is_out_of_memory(error):
                raise
            if batch_size == 1:
                raise ForwardError(f"{checkpoint.name}: out of memory on one row of {work.longest} tokens") from None
            batch_size, halved = batch_size // 2, halved + 1
        # This stands outside the handler, because only here are the failed batch's tensors free.
        log.warning("%s: out of memory, continuing with batches of %d", checkpoint.name, batch_size)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def _is_out_of_memory(error: BaseException) -> bool:
    messages = ("out of memory", "not enough memory", "can't allocate memory")  # accelerators; CPU, by platform
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(m in str(error) for m in messages)


def _unsafe(work: _Work, groups: Sequence[Sequence[Text]], batch_size: int) -> str:
    """The reason against the shared path, empty if there is none. It is tested on the first group with two texts (on
    two groups if none has), and on a batch whose prefixes differ in length as much as these rows allow."""
    group = next((g for g in groups if len(g) > 1), None)
    if group is None and not any(prefix.start for prefix in prefixes(work.rows, 1)):
        return "no two texts share a beginning"
    try:
        trial = _Work(work.checkpoint, [group[:3]] if group else groups[:2])
        full, shared = (trial.run(path, batch_size).log_probs for path in ("full", "shared"))
        longest = max(work.rows, key=lambda row: len(row.tokens))
        apart = np.max(
            [np.abs(full - shared).max(), _ragged_trial(work.checkpoint, longest.tokens, longest.asks[0][1])]
        )
    except (IndexError, ValueError, RuntimeError) as error:  # the masks of an unknown architecture may raise these
        if _is_out_of_memory(error):
            raise
        return f"sharing failed on a trial ({type(error).__name__})"
    safe = apart <= AGREEMENT[work.checkpoint.model.dtype]  # False for NaN too
    return "" if safe else f"sharing changed a log-probability by {apart:.2g} on a trial"


def _ragged_trial(checkpoint: Checkpoint, tokens: Sequence[int], answer: int) -> float:
    """Largest |Δ log p| of the answer's token, in nats, when suffixes of one row continue prefixes of unequal length.

    One suffix begins early and one late; both continue the row's own cache in one batch, and a further batch continues
    them. A batch attends to columns up to its longest prefix. Local attention that counts columns instead of a row's
    own positions gives wrong numbers here.
    """
    end, model = len(tokens) - 1, checkpoint.model
    if end < 5:
        return 0.0
    early, late = 1, end - 2
    asks = [Ask(0, at, answer) for at in (early, early + 1, end // 2, late, end - 1)]
    cache = DynamicCache()
    right, _, _ = forward(model, [tokens], asks, past_key_values=cache)
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
    """Runs the batches of a plan and collects the results."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        groups: Sequence[Sequence[Text]],
        layers: Sequence[int] = (),
        progress: Callable[[int, int], None] | None = None,
    ):
        self.checkpoint, self.layers, self.progress = checkpoint, layers, progress
        self.rows = distinct_rows(groups, kind_of(checkpoint.model))
        self.longest = max(len(row.tokens) for row in self.rows)
        self.texts = [text for group in groups for text in group]

    def run(self, path: str, batch_size: int, halved: int = 0, trial: str | None = None) -> TextScores:
        """Run all rows; every path but "shared" runs each row in full."""
        checkpoint, layers = self.checkpoint, self.layers
        most_logits = max(1, MOST_LOGITS // checkpoint.model.config.get_text_config().vocab_size)
        limits = Limits(batch_size * self.longest, most_logits, not takes(checkpoint.model, "logits_to_keep"))
        self.log_probs = np.zeros((len(self.texts), max(len(text.answers) for text in self.texts)))
        n_reads = sum(len(text.reads) for text in self.texts) if layers else 0
        self.states = np.zeros((n_reads, len(layers), 0), np.float32)
        self.forwards = self.tokens = self.done = 0
        if path == "shared":
            self._run_shared(limits)
        else:
            for batch in full_plan(self.rows, limits, kind_of(checkpoint.model)):
                self._run(batch)
        report = Report(path, batch_size, len(self.rows), self.forwards, self.tokens, halved, trial)
        return TextScores(self.log_probs, self.states, report)

    def _run_shared(self, limits: Limits) -> None:
        """Run whole rows, then the rows that continue their keys and values, then the rows that continue those."""
        model = self.checkpoint.model
        deep = next((n for n in range(MOST_DEEP, 1, -1) if not can_share(model, self.longest, stretches=n)), 1)
        for batch in shared_plan(self.rows, limits, deep=deep, rescore=model.dtype != torch.float32):
            self._run_tree(batch, [])

    def _run_tree(self, batch: Batch, before: Sequence[Stretch]) -> None:
        """Run a batch whose rows continue the stretches `before`, and all batches that continue it in turn."""
        new = self._run(batch, before)
        for after in batch.continued_by:
            reused = [stretch.of_rows(after.owners) for stretch in before]
            added = [piece.stretches[-1] for piece in after.pieces]
            self._run_tree(after, [*reused, Stretch(new, after.owners, added)])

    def _run(self, batch: Batch, stretches: Sequence[Stretch] = ()) -> list[KeysValues]:
        """Run a batch and add its results. Returns its keys and values if further batches continue it."""
        asks, ask_targets, reads, read_targets = [], [], [], []
        for i, piece in enumerate(batch.pieces):
            row = self.rows[piece.row]
            if piece.scored:
                asks += [Ask(i, position - piece.start, token) for position, token, *_ in row.asks]
                ask_targets += [(text, answer) for *_, text, answer in row.asks]
            if piece.scored and self.layers:
                reads += [Read(i, [p - piece.start for p in positions]) for _, positions in row.reads]
                read_targets += [read for read, _ in row.reads]
        model, keep = self.checkpoint.model, bool(batch.continued_by)
        tokens = [self.rows[piece.row].tokens[piece.start :] for piece in batch.pieces]
        if stretches:
            log_probs, states, kept = continue_prefixes(model, stretches, tokens, asks, reads, self.layers, keep=keep)
        else:
            cache = DynamicCache()
            more = {"past_key_values": cache} if keep else {}
            log_probs, states, _ = forward(model, tokens, asks, reads, self.layers, **more)
            kept = [(layer.keys, layer.values) for layer in cache.layers]
        if ask_targets:
            texts, answers = np.array(ask_targets).T
            np.add.at(self.log_probs, (texts, answers), log_probs.double().numpy())
        if read_targets:
            if not self.states.size:
                self.states = np.zeros((*self.states.shape[:2], states.shape[-1]), np.float32)
            self.states[read_targets] = states.numpy()
        self.forwards += 1
        self.tokens += len(tokens) * max(map(len, tokens))
        self.done += len(tokens)
        if self.progress:
            self.progress(min(self.done, len(self.rows)), len(self.rows))
        return kept
