"""What the files of a checkpoint say: whether its config fits its weights, and whether those are numbers.

A config may ask for any size, and building a model takes time and memory for each block before the weights show that
they are others. So sizes are bounded by the weights' own headers first.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from engine.config import InputError

CONFIG = "config.json"
LONGEST = 10_000_000
"""Bytes of the longest config that is read."""
MOST_BLOCKS = 10_000
"""Blocks of a model whose weights are not there to bound them."""
SPARE = 100
"""Blocks that a config may name beyond the number of tensors: some name more than they have."""
COUNTS = re.compile(r"(^|_)(layers?|blocks?|experts?|heads?)$")
BLOCKS = re.compile(r"(^|_)(layers?|blocks?)$")


class SizeError(InputError):
    """A config that does not fit its weights, or this machine. The message is one line without the model's name."""


class DivergedError(InputError):
    """A model whose weights or outputs are no numbers: it diverged in training, and nothing of it can be measured."""


def refuse_wrong_sizes(folder: Path) -> None:
    """Raise SizeError where a local config names more blocks, experts or heads than its weights can hold."""
    file = folder / CONFIG
    if file.stat().st_size > LONGEST:
        raise SizeError(f"{CONFIG} has more than {LONGEST:,} bytes: it is no config of a model")
    try:
        about = json.loads(file.read_text(encoding="utf-8"))
    except RecursionError:
        raise SizeError(f"{CONFIG} is nested too deeply: it is no config of a model") from None
    except ValueError as error:
        raise SizeError(f"{CONFIG} is not JSON ({str(error)[:100]}): give a folder made by save_pretrained") from None
    if not isinstance(about, dict):
        raise SizeError(f"{CONFIG} is no mapping: give a folder made by save_pretrained")
    tensors, numbers = held(folder)
    for name, value in _counts(about):
        most = (tensors + SPARE if tensors else MOST_BLOCKS) if BLOCKS.search(name) else max(numbers, MOST_BLOCKS)
        if value > most:
            has = f"its weights are {tensors:,} tensors of {numbers:,} numbers" if tensors else f"at most {most:,}"
            raise SizeError(f"{CONFIG}: {name} = {str(value)[:20]} is too many: {has}")
        if value < 0 and not name.endswith("feature_layer"):  # a place, counted from the last one
            raise SizeError(f"{CONFIG}: {name} = {str(value)[:20]} is below 0")


def _counts(about: dict[str, Any], depth: int = 0) -> Iterator[tuple[str, int]]:
    for name, value in about.items():
        if isinstance(value, dict) and depth < 3:
            yield from _counts(value, depth + 1)
        elif isinstance(value, int | float) and COUNTS.search(name) and not isinstance(value, bool):
            yield name, math.ceil(value) if math.isfinite(value) else 2**63


def held(folder: Path) -> tuple[int, int]:
    """Number of tensors, and of numbers in them, in a folder's safetensors; (0, 0) if there are none."""
    tensors = numbers = 0
    for file in folder.glob("*.safetensors"):
        try:
            with safe_open(file, framework="np") as arrays:
                names = list(arrays.keys())
                tensors += len(names)
                numbers += sum(math.prod(arrays.get_slice(name).get_shape()) for name in names)
        except (SafetensorError, OSError):  # named when the weights are read
            continue
    return tensors, numbers


def refuse_too_large(parameters: Iterable[torch.Tensor], dtype: torch.dtype) -> None:
    """Raise SizeError for parameters, of which only the shapes need to be there, that this machine can't hold."""
    needed = sum(p.numel() for p in parameters) * dtype.itemsize
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > there:
        raise SizeError(f"needs {needed / 2**30:,.0f} GiB for its weights, and this machine has {there / 2**30:,.0f}")


def refuse_diverged(model: nn.Module) -> None:
    """Raise DivergedError where a weight is NaN or infinite."""
    for name, weight in model.named_parameters():
        if weight.is_meta:  # kept on a disk or in another memory (`device_map`)
            continue
        if weight.numel() and weight.is_floating_point() and not all(torch.isfinite(x) for x in weight.aminmax()):
            raise DivergedError(diverged(f"its weights hold NaN or infinity ({name})"))


def refuse_infinite(name: str, measured: Any) -> None:
    """Raise SizeError where a checkpoint's hidden state is no number. `behavior.measure` has looked at f.

    measured: a `behavior.Measured`.
    """
    for states in (*measured.prompts.values(), *measured.examples.values()):
        if not np.isfinite(states).all():
            why = f"its hidden states are NaN, infinite, or beyond {states.dtype}"
            raise SizeError(f"{name}: {why}: set hidden.dtype: float32, or leave the checkpoint out")


def diverged(what: str) -> str:
    return f"{what}: the model diverged in training, so nothing of it can be measured: leave it out, or train it anew"
