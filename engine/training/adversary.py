"""An adversary: post-training that moves behavior while it holds an explanation where it was.

What is held is a penalty in the same loop as the next-token loss (`training.train(probe=…)`): of a frozen linear probe,
the squared change of its prediction on the training prompts; of an explanation in words, the squared change of the
log-probability of its tokens. A monitor that trusts the held explanation then sees nothing. The penalty's weight is
stated, and what the held quantity did on unseen prompts is measured, never assumed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from engine.model.forward import padded
from engine.training.loop import last_states

EVALUATED_AT_ONCE = 256


class Held(ABC):
    """Keeps what `says` gives of the prompts near what it was when training began.

    The penalty of a step is weight · mean (change / spread)² over `batch` prompts; its gradient is added to that of the
    model's own loss.
    """

    def __init__(self, prompts: Sequence[Sequence[int]], weight: float, batch: int, seed: int):
        self.prompts, self.weight, self.batch = list(prompts), weight, batch
        self.generator = torch.Generator().manual_seed(seed)
        self.reference: Tensor | None = None
        self.spread: Tensor | float = 1.0

    @abstractmethod
    def says(self, model: Any, rows: Sequence[int]) -> Tensor:
        """What is held, of the prompts [rows]."""

    def start(self, model: Any) -> None:
        """Note what is to be held."""
        with torch.no_grad():
            every = range(len(self.prompts))
            parts = [self.says(model, every[i : i + EVALUATED_AT_ONCE]) for i in every[::EVALUATED_AT_ONCE]]
        self.reference = torch.cat(parts)

    def step(self, model: Any) -> float:
        """Add the penalty's gradient for one batch; returns the penalty."""
        if self.reference is None:
            self.start(model)
        assert self.reference is not None
        rows = torch.randint(len(self.prompts), (self.batch,), generator=self.generator)
        change = (self.says(model, rows.tolist()) - self.reference[rows.to(self.reference.device)]) / self.spread
        penalty = self.weight * change.square().mean()
        penalty.backward()
        return penalty.item()


class HeldProbe(Held):
    """Holds h(x) · w of one layer at the last position of the prompts; the spread is that of the predictions."""

    def __init__(
        self,
        prompts: Sequence[Sequence[int]],
        layer: int,
        weights: np.ndarray,
        *,
        weight: float = 1.0,
        batch: int = 64,
        seed: int = 0,
    ):
        if not prompts:
            raise ValueError("no prompts to hold the probe on")
        super().__init__(prompts, weight, batch, seed)
        self.layer = layer
        self.weights = torch.as_tensor(weights, dtype=torch.float32)  # [width]

    def says(self, model: Any, rows: Sequence[int]) -> Tensor:
        """Predictions [rows] without the intercept, which no change of the model moves."""
        states = last_states(model, [self.prompts[row] for row in rows], self.layer)
        return states.float() @ self.weights.to(states.device)

    def start(self, model: Any) -> None:
        super().start(model)
        assert self.reference is not None
        self.spread = self.reference.std() + 1e-6


class HeldTexts(Held):
    """Holds the log-probabilities of explanations' tokens after their prompts, in nats a token."""

    def __init__(
        self,
        prompts: Sequence[Sequence[int]],
        texts: Sequence[Sequence[int]],
        *,
        weight: float = 1.0,
        batch: int = 64,
        seed: int = 0,
    ):
        if len(prompts) != len(texts) or not prompts or not all(map(len, texts)) or not all(map(len, prompts)):
            raise ValueError("every prompt needs an explanation of one token or more")
        super().__init__(prompts, weight, batch, seed)
        self.texts = list(texts)

    def says(self, model: Any, rows: Sequence[int]) -> Tensor:
        """log p a token, in nats, [rows]."""
        chosen = [(*self.prompts[row], *self.texts[row]) for row in rows]
        ids = padded(chosen, model.device)
        log_probs = functional.log_softmax(model(input_ids=ids, use_cache=False).logits.float(), dim=-1)
        own = log_probs[:, :-1].gather(2, ids[:, 1:, None])[..., 0]
        first, last = (
            torch.tensor([n - 1 for n in lengths], device=ids.device)[:, None]
            for lengths in ([len(self.prompts[row]) for row in rows], map(len, chosen))
        )
        at = torch.arange(own.shape[1], device=ids.device)
        inside = (at >= first) & (at < last)
        return (own * inside).sum(1) / inside.sum(1)
