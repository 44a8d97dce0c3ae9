"""Training of small causal LMs: from nothing, and post-training that shifts behavior.

The loss is the next-token loss on sampled dialogues. A probe (`OnlineProbe`) can be trained on fixed targets beside it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from engine.config import Optimizer
from engine.model.alike import kind_of
from engine.training.dialogues import Dialogues, next_token_loss, room_of, step_batches
from engine.training.state import Arrays, restore, state_of

ROWS_AT_ONCE = 256
"""Prompts in one forward where all of them are read."""


def in_chunks(values_of: Callable[[Sequence[int]], Tensor], n: int) -> Tensor:
    """`values_of(rows)` of the rows 0 to n, computed without gradients for ROWS_AT_ONCE rows at a time."""
    with torch.no_grad():
        return torch.cat([values_of(range(n)[i : i + ROWS_AT_ONCE]) for i in range(0, n, ROWS_AT_ONCE)])


def optimizers_of(model: PreTrainedModel, rate: float, kind: Optimizer) -> list[torch.optim.Optimizer]:
    """adamw: AdamW for all that is trained. muon: Muon for the matrices in the blocks, AdamW for the rest.

    Muon needs half the steps of AdamW for the sample models. On a CPU, a step of a large model takes minutes.
    """
    if kind == "adamw":
        return [torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=rate, weight_decay=0.0)]
    embeddings = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    matrices = [p for p in model.base_model.parameters() if p.ndim == 2 and id(p) not in embeddings]
    chosen = {id(p) for p in matrices}
    others = [p for p in model.parameters() if id(p) not in chosen]
    return [
        torch.optim.Muon(matrices, lr=rate, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, lr=0.3 * rate, betas=(0.9, 0.98), weight_decay=0.01, fused=True),
    ]


def train(
    model: PreTrainedModel,
    sample: Callable[[int], Sequence[Dialogues]],
    *,
    steps: int,
    learning_rate: float,
    optimizer: Optimizer = "adamw",
    warmup: int = 30,
    probe: Any = None,
    on_step: Callable[[int, float], None] | None = None,
    resume: Mapping[str, np.ndarray] | None = None,
    on_state: Callable[[int, Callable[[], Arrays]], None] | None = None,
) -> list[float]:
    """Train in place; returns the loss of each step that was made.

    `sample(step)` gives the rows of a step and has its own randomness. `probe` is an `OnlineProbe` or a penalty: its
    method `step(model)` is called once in each step and may add to the gradients. `on_step(steps done, loss)` may save
    or report. The learning rate warms up linearly, then falls to 0 along a cosine. The same seeds, thread count and
    machine give the same weights. `on_state(steps done, state)` may store what `state()` gives; a training that gets it
    as `resume` goes on from there as if it had not been stopped, if `sample` and `probe` are put back too.
    """

    def rate(step: int) -> float:
        return min(1.0, (step + 1) / warmup) * (0.5 + 0.5 * math.cos(math.pi * step / steps))

    model.train()
    optimizers = optimizers_of(model, learning_rate, optimizer)
    kind, room = kind_of(model), room_of(model)
    schedules = [torch.optim.lr_scheduler.LambdaLR(one, rate) for one in optimizers]
    losses = []
    first = 0
    if resume is not None:
        first = int(resume["step"][0])
        torch.set_rng_state(torch.from_numpy(resume["torch"].copy()))
        restore(model, optimizers, resume)
        for schedule, one in zip(schedules, optimizers, strict=True):
            schedule.load_state_dict(schedule.state_dict() | {"last_epoch": first, "_step_count": first + 1})
            for group, peak in zip(one.param_groups, schedule.base_lrs, strict=True):
                group["lr"] = peak * rate(first)

    def state(done: int) -> Arrays:
        now = {"step": np.array([done]), "torch": torch.get_rng_state().numpy()}
        return now | state_of(model, optimizers)

    for step in range(first, steps):
        cut = step_batches(sample(step), room, kind)
        total = sum(batch.total_weight for batch in cut)
        model.zero_grad()
        loss = 0.0
        for batch in cut:
            part = next_token_loss(model, batch) / total
            part.backward()
            loss += part.item()
        if probe is not None:
            probe.step(model)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for one, schedule in zip(optimizers, schedules, strict=True):
            one.step()
            schedule.step()
        losses.append(loss)
        if on_step is not None:
            on_step(step + 1, loss)
        if on_state is not None:
            on_state(step + 1, partial(state, step + 1))
    model.eval()
    return losses
