"""What all spec classes share: the base class, errors, and types with their bounds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

Split = Literal["train", "validation", "test_heldout", "test_iid"]
ExplainerKind = Literal["ridge", "linear", "mlp"]
Mode = Literal["direct", "difference"]
Regime = Literal["frozen", "online", "refit"]
NoiseKind = Literal["shuffle", "flip", "gaussian"]
Position = Literal["last", "span"]
WorldName = Literal["independent", "cue", "base", "shared", "rescale", "unrelated"]
Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
MANY = 1_000_000
"""Bound of counts that become the length of an array."""
Device = Annotated[
    str,
    Field(pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$", description="auto, cpu, mps, cuda, or a numbered one: cuda:1"),
]

NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"


def _nameable(path: str) -> str:
    steps = [len(step.encode("utf-8", "replace")) for step in path.split("/")]
    if max(steps) > 255 or sum(steps) + len(steps) > 4000:
        raise ValueError("is too long for a path")
    try:
        Path(path).expanduser()
    except RuntimeError:
        raise ValueError("begins with ~ and names nobody's home folder: write it out") from None
    return path


AnyPath = Annotated[str, AfterValidator(_nameable)]
"""A path that a file can have, or a hub id."""


class InputError(ValueError):
    """Bad input of any kind. The message is one line: what is wrong, where, and how to fix it."""


class SpecError(InputError):
    """A spec that can't be used."""


class Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
