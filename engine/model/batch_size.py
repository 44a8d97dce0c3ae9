"""How many tokens a forward takes: from the model's size and the machine's memory, never from a clock.

A batch size found by trial depends on who else uses the machine, and floating-point sums depend on the batch size:
the same run would give other numbers on a busy day. So it is computed. Two facts decide it. A forward of a small model
costs the same few milliseconds of Python whatever it holds, so it should hold much. A forward of a large model is bound
by arithmetic from a few hundred tokens on, so more would only delay the next save. Memory sets the upper limit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psutil
import torch

MOST_ROWS, MOST_TOKENS = 512, 16_384
"""Upper limits of a batch, in rows and in tokens."""
LEAST_TOKENS = {"cpu": 256, "cuda": 4096, "mps": 1024}
"""From so many tokens on a forward is bound by arithmetic, not by reading the weights, on a device of this kind."""
WORK = {"cpu": 2**37, "cuda": 2**45, "mps": 2**41}
"""Multiplications and additions in a forward that make the fixed cost of a call small."""
MEMORY_SHARE = 0.25
"""Share of the device's whole memory that a batch may fill. What is free at the moment is not asked for: it changes."""


def tokens_a_batch(model: Any) -> int:
    """Tokens of one forward of a model, padding included. A function of its configuration and of the machine alone."""
    kind = model.device.type
    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    fits = (MEMORY_SHARE * (memory_of(model.device) - weights)) // bytes_a_token(model)
    wanted = WORK.get(kind, WORK["cpu"]) // (2 * parameters_of(model))
    most = min(MOST_TOKENS if kind == "cpu" else 4 * MOST_TOKENS, max(1, int(fits)))
    return int(min(most, max(LEAST_TOKENS.get(kind, LEAST_TOKENS["cpu"]), wanted)))


def rows_a_batch(model: Any, longest: int) -> int:
    """Rows of one forward whose longest row has so many tokens."""
    return max(1, min(MOST_ROWS, tokens_a_batch(model) // longest))


def parameters_of(model: Any) -> int:
    """Parameters that take part in every token's forward: all but the table of input embeddings."""
    table = model.get_input_embeddings().weight
    tied = model.get_output_embeddings() is not None and model.get_output_embeddings().weight is table
    return max(1, sum(p.numel() for p in model.parameters()) - (0 if tied else table.numel()))


def memory_of(device: torch.device) -> int:
    """Bytes of memory that the device has in all."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    return int(psutil.virtual_memory().total)


def bytes_a_token(model: Any, *, training: bool = False) -> int:
    """Bytes of a token in a forward, about: keys and values of all layers, twice, and one layer's activations. In
    training the activations of all layers are held."""
    config = model.config.get_text_config()
    width, layers = int(config.hidden_size), int(config.num_hidden_layers)
    sizes = getattr(config, "intermediate_size", None) or 4 * width
    inner = max(map(int, sizes)) if isinstance(sizes, Sequence) else int(sizes)  # some families have one a layer
    size = next(model.parameters()).element_size()
    return size * (4 * layers * width + (layers if training else 1) * (16 * width + 3 * inner))
