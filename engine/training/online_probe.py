"""An explainer that is trained in the loop of the base model, on fixed targets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel

from engine.model.forward import last_states
from engine.training.loop import in_chunks
from engine.training.state import Arrays, numbers, restore, state_of


@dataclass
class OnlineProbe:
    """An explainer trained beside the base model: from hidden states to fixed targets, by squared error.

    Its input is the hidden state of one layer at the last prompt position, standardised once before training. It is a
    linear map or a small MLP. With `flow` the gradient reaches the base model; otherwise it stops at the hidden state.
    """

    prompts: Sequence[Sequence[int]]
    """Token ids of x, from the training split."""
    targets: Tensor  # [n], effects in nats, from the target checkpoint, never updated
    layer: int
    kind: Literal["linear", "mlp"] = "linear"
    hidden_units: int = 64
    learning_rate: float = 3e-3
    batch: int = 128
    weight: float = 1.0
    """Weight of the probe's loss beside the language model's, if the gradient flows."""
    flow: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        self.generator = torch.Generator().manual_seed(self.seed)
        self.head: nn.Module | None = None

    def states(self, model: PreTrainedModel, prompts: Sequence[Sequence[int]]) -> Tensor:
        """h(x) at the last position of prompts (token ids), [prompts, width]."""
        return last_states(model, prompts, self.layer).float().cpu()

    def start(self, model: PreTrainedModel) -> None:
        """Fix the standardisation and draw the head."""
        states = in_chunks(lambda rows: self.states(model, [self.prompts[row] for row in rows]), len(self.prompts))
        self.centre, self.spread = states.mean(0), states.std(0) + 1e-6
        self.shift, self.scale = self.targets.mean(), self.targets.std() + 1e-6
        self._draw_head(states.shape[1])

    def _draw_head(self, width: int) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            mlp, units = self.kind == "mlp", self.hidden_units
            inner = [nn.Linear(width, units), nn.GELU()] if mlp else []
            self.head = nn.Sequential(*inner, nn.Linear(units if mlp else width, 1))
        self.optimizer = torch.optim.Adam(self.head.parameters(), lr=self.learning_rate)

    def step(self, model: PreTrainedModel) -> float:
        """Train the head on one batch; a flowing gradient is added to the model's. Returns the loss."""
        if self.head is None:
            self.start(model)
        rows = torch.randint(len(self.prompts), (self.batch,), generator=self.generator)
        with torch.set_grad_enabled(self.flow):
            states = self.states(model, [self.prompts[row] for row in rows.tolist()])
        wanted = (self.targets[rows] - self.shift) / self.scale
        loss = functional.mse_loss(self._standard(states), wanted)
        self.optimizer.zero_grad()
        (self.weight * loss).backward()
        self.optimizer.step()
        return loss.item()

    def state(self) -> Arrays:
        """All that a training that was stopped needs to go on; `load` puts it back."""
        assert self.head is not None
        fixed = {"centre": self.centre, "spread": self.spread, "shift": self.shift, "scale": self.scale}
        out = {name: numbers(value) for name, value in fixed.items()} | state_of(self.head, [self.optimizer])
        return out | {"generator": self.generator.get_state().numpy()}

    def load(self, state: Mapping[str, np.ndarray]) -> None:
        fixed = {name: torch.from_numpy(state[name].copy()) for name in ("centre", "spread", "shift", "scale")}
        self.centre, self.spread = fixed["centre"], fixed["spread"]
        self.shift, self.scale = fixed["shift"].reshape(()), fixed["scale"].reshape(())
        self._draw_head(len(self.centre))
        assert self.head is not None
        restore(self.head, [self.optimizer], state)
        self.generator.set_state(torch.from_numpy(state["generator"].copy()))

    def _standard(self, states: Tensor) -> Tensor:
        assert self.head is not None
        return self.head((states - self.centre) / self.spread)[:, 0]

    def explain(self, states: np.ndarray) -> np.ndarray:
        """Explanations in nats for hidden states [n, width] of this layer."""
        with torch.no_grad():
            standard = self._standard(torch.as_tensor(states, dtype=torch.float32))
        return (standard * self.scale + self.shift).numpy()
