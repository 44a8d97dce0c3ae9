"""What a run's own training will take: one batch is trained on, in memory, and the rest follows from counts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import pyarrow as pa

from engine.config import LoraSpec, RunSpec
from engine.tasks.from_file import read_dialogues

ROWS = 256
"""Rows that are encoded at most for the batch that is timed."""


@dataclass(frozen=True)
class Training:
    """The speed and size of a training."""

    tokens_a_dialogue: float
    tokens_a_second: float
    """Forward and backward, without the optimizer."""
    optimizer_seconds: float
    """In each step."""
    weights: int
    """Bytes of all weights, in float32."""
    trained: int
    """Bytes of the weights that are trained."""
    saved: int
    """Bytes of a saved checkpoint."""
    batch: int
    """Bytes of one batch."""


def training_of(spec: RunSpec, loaded: Any, examples: pa.Table) -> Training:
    """Train a loaded checkpoint on one batch, as the run would; the model can't be used for anything else afterwards.

    Raises InputError as the run would.
    """
    from engine.model.adapters import add_lora
    from engine.model.batch_size import bytes_a_token
    from engine.training.dialogues import room_of
    from engine.training.loop import optimizers_of

    training = spec.post_training or spec.verbal
    assert training is not None
    model = loaded.model.float().requires_grad_(True)
    whole = sum(p.numel() * p.element_size() for p in model.parameters())
    room = room_of(model)
    batch = room.tokens * bytes_a_token(model, training=True)
    if training.lora:
        add_lora(model, training.lora, spec.seed, "post_training.lora" if spec.post_training else "verbal.lora")
    trained = sum(p.numel() * p.element_size() for p in model.parameters() if p.requires_grad)
    rows = _rows(spec, loaded, examples)
    mean, rate = float(np.mean([len(row.ids) for row in rows])), _tokens_a_second(model, rows, room)
    optimizers = optimizers_of(model, training.learning_rate, "adamw" if training.lora else training.optimizer)
    seconds = sum(map(_seconds_a_step, optimizers))
    return Training(mean, rate, seconds, whole, trained, trained if _is_adapter(training.lora) else whole, batch)


def _is_adapter(lora: LoraSpec | None) -> bool:
    return lora is not None and lora.save_as == "adapter"


def _rows(spec: RunSpec, loaded: Any, examples: pa.Table) -> list[Any]:
    """Some of the rows that the run trains on, drawn at random; for explanations in words, prompts with an answer."""
    from engine.training.dialogues import encode_dialogues

    post = spec.post_training
    if post:
        given = read_dialogues(Path(post.dialogues))
    else:
        some = examples.slice(0, ROWS)
        given = list(zip(some["prompt"].to_pylist(), some["answer_a"].to_pylist(), strict=True))
    chosen = np.random.default_rng(0).permutation(len(given))[:ROWS]
    prompts, answers = zip(*(given[i] for i in chosen), strict=True)
    weight = post.prompt_weight if post else 0.0
    said = [[answer] for answer in answers]
    return encode_dialogues(loaded.tokenizer, prompts, said, answer_weight=1.0, prompt_weight=weight, chat=loaded.chat)


def _tokens_a_second(model: Any, rows: list[Any], room: Any) -> float:
    """Of forwards and backwards on rows of middling length, as many as fill two batches, the second time."""
    from engine.model.alike import kind_of
    from engine.training.dialogues import next_token_loss, step_batches

    rows = sorted(rows, key=lambda row: len(row.ids))
    count = max(1, min(len(rows), 2 * room.tokens // len(rows[len(rows) // 2].ids)))
    first = (len(rows) - count) // 2
    some = rows[first : first + count]
    model.train()
    for _ in range(2):
        model.zero_grad()
        begun = perf_counter()
        for batch in step_batches(some, room, kind_of(model)):
            next_token_loss(model, batch).backward()
        seconds = perf_counter() - begun
    model.zero_grad()
    return sum(len(row.ids) for row in some) / seconds


def _seconds_a_step(optimizer: Any) -> float:
    """Seconds of the optimizer's step, from that of one weight, because a step of Muon may take minutes.

    The work grows with the numbers of a weight; for Muon, which multiplies matrices, also with their smaller side.
    """
    import torch

    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    muon = isinstance(optimizer, torch.optim.Muon)
    work = {id(w): w.numel() * (min(w.shape) if muon else 1) for w in weights}
    one = (min if muon else max)(weights, key=lambda w: work[id(w)])
    one.grad = torch.full_like(one, 1e-3)
    for _ in range(2):
        begun = perf_counter()
        optimizer.step()
        seconds = perf_counter() - begun
    one.grad = None
    return seconds * sum(work.values()) / work[id(one)]
