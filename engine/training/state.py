"""The state of a training, as arrays: what a training that was killed needs to go on as if it had not been.

Weights, the state of each optimizer, the step, and random-number generators, in safetensors: nothing is pickled.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

Arrays = dict[str, np.ndarray]
SECONDS = 30.0
"""A state is saved about as often: what a kill loses."""
SHARE = 0.1
"""Largest share of the time that goes into saving: the state of a large model is saved more rarely."""


class Clock:
    """Says when a state is due, so that saving takes a small share of the time."""

    def __init__(self, now: Callable[[], float] = time.monotonic):
        self._now, self._saved, self._cost = now, now(), 0.0

    def due(self) -> bool:
        return self._now() - self._saved >= max(SECONDS, self._cost / SHARE)

    def save(self, write: Callable[[], Any]) -> None:
        begun = self._now()
        write()
        self._saved = self._now()
        self._cost = self._saved - begun


def state_of(model: torch.nn.Module, optimizers: Sequence[torch.optim.Optimizer]) -> Arrays:
    """Trained weights and the optimizers' state."""
    out = {f"weight:{n}": numbers(p) for n, p in model.named_parameters() if p.requires_grad}
    for i, optimizer in enumerate(optimizers):
        for parameter, values in optimizer.state_dict()["state"].items():
            out |= {f"optimizer:{i}:{parameter}:{name}": numbers(value) for name, value in values.items()}
    return out


def restore(
    model: torch.nn.Module, optimizers: Sequence[torch.optim.Optimizer], state: Mapping[str, np.ndarray]
) -> None:
    """Put back what `state_of` gave. Learning rates stay as they are."""
    with torch.no_grad():
        for key, weight in model.named_parameters():
            if weight.requires_grad:
                weight.copy_(torch.from_numpy(state[f"weight:{key}"]))
    for i, optimizer in enumerate(optimizers):
        values: dict[int, dict[str, Tensor]] = {}
        for key, value in state.items():
            if key.startswith(f"optimizer:{i}:"):
                _, _, parameter, name = key.split(":")
                shaped = value.reshape(()) if name == "step" else value  # safetensors stores arrays only
                values.setdefault(int(parameter), {})[name] = torch.from_numpy(shaped)
        groups = optimizer.state_dict()["param_groups"]
        optimizer.load_state_dict({"state": values, "param_groups": groups})


def numbers(tensor: Tensor) -> np.ndarray:
    return tensor.detach().cpu().numpy()


def state_of_numpy(rng: np.random.Generator) -> np.ndarray:
    """State of a generator of numpy, as the bytes of JSON."""
    return np.frombuffer(json.dumps(rng.bit_generator.state).encode(), dtype=np.uint8)


def restore_numpy(rng: np.random.Generator, state: np.ndarray) -> None:
    rng.bit_generator.state = json.loads(state.tobytes())


def under(prefix: str, state: Mapping[str, np.ndarray]) -> Arrays:
    """The state with longer names, to stand beside others."""
    return {prefix + key: value for key, value in state.items()}


def within(prefix: str, state: Mapping[str, np.ndarray]) -> Arrays:
    """The part of a state whose names were made longer by `under`."""
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
