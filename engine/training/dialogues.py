"""Dialogues as training rows: prompts and answers in tokens, cut into batches, and the next-token loss on them.

Answer tokens weigh more than the prompt's.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from engine.config import InputError
from engine.model.alike import Kind, any_rows, kind_of
from engine.model.batch_size import tokens_a_batch
from engine.model.chat import Chat
from engine.model.checkpoints import Checkpoint
from engine.model.forward import chosen_logits, padded
from engine.model.tokens import TokenError, encode

CHECKED_AT_ONCE = 256
"""Dialogues that are checked at a time."""
MOST_LOGITS = {"cpu": 2**25, "cuda": 2**28, "mps": 2**26}
"""Logits of one batch in training, on a device of this kind."""
LEAST_HELD, MOST_HELD = 8, 256
"""Bounds of what is held out: dialogues at least, and prompts and dialogues at most."""
Dialogue = tuple[str, str]
"""A prompt and its answer."""


def held_out(
    dialogues: Sequence[Dialogue], share: float, rng: np.random.Generator
) -> tuple[list[Dialogue], list[Dialogue]]:
    """(dialogues to train on, dialogues held out). A prompt is held out with all its dialogues.

    None is held out where fewer than LEAST_HELD would be, or nothing would be left to train on.
    """
    prompts = list(dict.fromkeys(prompt for prompt, _ in dialogues))
    count = min(round(share * len(prompts)), MOST_HELD)
    chosen = {prompts[i] for i in rng.permutation(len(prompts))[:count]}
    trained, held = ([d for d in dialogues if (d[0] in chosen) == out] for out in (False, True))
    return (trained, held[:MOST_HELD]) if trained and len(held) >= LEAST_HELD else (list(dialogues), [])


@dataclass(frozen=True)
class Dialogues:
    """A prompt with the answers sampled for it. The prompt is computed once for all of them."""

    ids: list[int]
    """Prompt, first sampled answer, end token."""
    weights: list[float]
    """Loss weight of each token as a target."""
    first: dict[int, float]
    """First tokens of the further answers, with their weights."""
    prompt_length: int


class DialogueBatch(NamedTuple):
    """n rows of `length` tokens, padded on the right, and m first tokens of further answers."""

    ids: Tensor  # [n, length]
    weights: Tensor  # [n, length], 0 for padding and for tokens without a loss
    more: Tensor  # [m, 3]: row, position of the hidden state that predicts, token
    more_weights: Tensor  # [m]

    @property
    def total_weight(self) -> float:
        return float(self.weights[:, 1:].sum() + self.more_weights.sum())


def encode_dialogues(
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    answers: Sequence[Sequence[str]],
    *,
    answer_weight: float,
    prompt_weight: float = 1.0,
    every: int = 1,
    chat: Chat | None = None,
) -> list[Dialogues]:
    """Training rows, one for each prompt. `answers` holds the samples of each prompt, which share `answer_weight`.

    They hold the tokens on which f is measured (`tokens.encode`), then the end token. Only the first answer token gets
    the weight, because it decides the rest. One prompt in `every` is trained on all its tokens; the others on their
    answers only. Raises InputError for a dialogue without tokens to learn or to learn from.
    """
    try:
        encoded = encode(tokenizer, prompts, answers, chat=chat, offsets=False)
    except TokenError as error:
        why, number = error.args
        raise InputError(f"{_named(prompts[number], answers[number][0])}: {why}") from None
    end = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
    rows = []
    for number, tokens in enumerate(encoded):
        tail = [*tokens.answers[0], *end]
        weight = answer_weight / len(tokens.answers)
        first: dict[int, float] = {}
        for token, *_ in tokens.answers[1:]:
            first[token] = first.get(token, 0.0) + weight
        n = len(tokens.prompt)
        weights = [prompt_weight if number % every == 0 else 0.0] * n + [weight] + [1.0] * (len(tail) - 1)
        rows.append(Dialogues([*tokens.prompt, *tail], weights, first, n))
    return rows


def check_dialogues(checkpoint: Checkpoint, dialogues: Sequence[Dialogue]) -> None:
    """Raise InputError for the first (prompt, answer) that the model can't be trained on, before any training."""
    most, known = checkpoint.max_positions, checkpoint.model.get_input_embeddings().num_embeddings
    for at in range(0, len(dialogues), CHECKED_AT_ONCE):
        prompts, answers = zip(*dialogues[at : at + CHECKED_AT_ONCE], strict=True)
        said = [[answer] for answer in answers]
        rows = encode_dialogues(checkpoint.tokenizer, prompts, said, answer_weight=1.0, chat=checkpoint.chat)
        for prompt, answer, row in zip(prompts, answers, rows, strict=True):
            if most and len(row.ids) > most:
                why = f"takes {len(row.ids)} tokens, {checkpoint.name} reads at most {most}: shorten it"
                raise InputError(f"{_named(prompt, answer)}: {why}")
            if max(row.ids) >= known:
                why = f"has a token without an embedding in {checkpoint.name}: tokenizer and model differ"
                raise InputError(f"{_named(prompt, answer)}: {why}")


def _named(prompt: str, answer: str) -> str:
    return f"dialogue {prompt[:60]!r} → {answer[:60]!r}"


def dialogue_batches(rows: Sequence[Dialogues], parts: int, kind: Kind = any_rows) -> list[DialogueBatch]:
    """Cut rows into at most `parts` batches of rows of one kind and of similar length, so that there is little padding.
    Each kind of rows that the model treats differently (`alike.kind_of`) is cut by itself."""
    of_kind: dict[Hashable, list[Dialogues]] = {}
    for row in sorted(rows, key=lambda row: len(row.ids)):
        of_kind.setdefault(kind(len(row.ids)), []).append(row)
    cut = []
    for ordered in of_kind.values():
        for part in np.array_split(np.arange(len(ordered)), min(parts, len(ordered))):
            cut.append(_dialogue_batch([ordered[i] for i in part]))
    return cut


class Room(NamedTuple):
    """Upper limits of a batch in training."""

    tokens: int
    learnt: int
    """Tokens with a loss: each has logits over the whole vocabulary, and their gradients."""


def room_of(model: PreTrainedModel) -> Room:
    """What a batch of the model may hold: a function of its configuration and of the machine alone."""
    most = MOST_LOGITS.get(model.device.type, MOST_LOGITS["cpu"])
    return Room(tokens_a_batch(model), max(1, most // model.get_input_embeddings().num_embeddings))


def step_batches(rows: Sequence[Dialogues], room: Room, kind: Kind = any_rows) -> list[DialogueBatch]:
    """The batches of one step: at least two, and so many that each has about the room that it needs."""
    tokens = sum(len(row.ids) for row in rows)
    learnt = sum(sum(weight > 0 for weight in row.weights) + len(row.first) for row in rows)
    return dialogue_batches(rows, max(2, math.ceil(tokens / room.tokens), math.ceil(learnt / room.learnt)), kind)


def _dialogue_batch(chosen: Sequence[Dialogues]) -> DialogueBatch:
    ids, weights = (padded([getattr(row, name) for row in chosen]) for name in ("ids", "weights"))
    more = [(i, row.prompt_length - 1, token) for i, row in enumerate(chosen) for token in row.first]
    more_weights = torch.tensor([weight for row in chosen for weight in row.first.values()])
    return DialogueBatch(ids, weights, torch.tensor(more, dtype=torch.long).reshape(-1, 3), more_weights)


def next_token_loss(model: PreTrainedModel, batch: DialogueBatch) -> Tensor:
    """Weighted cross-entropy of the log-probabilities that the model gives when it is measured, summed over the batch.

    Right padding needs no attention mask in a causal model, because no real token sees it.
    """
    batch = DialogueBatch(*(tensor.to(model.device) for tensor in batch))
    row, position = (batch.weights[:, 1:] > 0).nonzero(as_tuple=True)

    def where_needed(states: Tensor) -> Tensor:
        return torch.cat([states[row, position], states[batch.more[:, 0], batch.more[:, 1]]])

    logits = chosen_logits(model, batch.ids, where_needed)
    targets = torch.cat([batch.ids[row, position + 1], batch.more[:, 2]])
    weights = torch.cat([batch.weights[row, position + 1], batch.more_weights])
    return (functional.cross_entropy(logits, targets, reduction="none") * weights).sum()


@torch.no_grad()
def mean_loss(model: PreTrainedModel, rows: Sequence[Dialogues]) -> float | None:
    """Mean loss of a token in nats, each with its weight, without training; None if it is no number."""
    cut = step_batches(rows, room_of(model), kind_of(model))
    loss = sum(next_token_loss(model, batch).item() for batch in cut) / sum(batch.total_weight for batch in cut)
    return loss if math.isfinite(loss) else None
