"""Checkpoints, how they read prompts, and which of their hidden states are read."""

from __future__ import annotations

import re
from datetime import date
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from engine.config.ground import AnyPath, Position, Strict

PERMISSIONS = ("trust_remote_code", "pickled_weights")
"""Options of a checkpoint that a person gives it by name. They are not taken over from a run, which is anybody's."""
TEMPLATE_ARGUMENTS = frozenset(
    "messages conversation chat_template add_generation_prompt continue_final_message tokenize tools documents padding "
    "truncation max_length return_tensors return_dict return_assistant_tokens_mask tokenizer_kwargs".split()
)
"""Arguments of a chat template that the program sets itself."""
CHECKPOINT_NAME = re.compile(r"^[A-Za-z0-9._]+--[A-Za-z0-9._]+(-[A-Za-z0-9._]+)*$")


class CheckpointSpec(Strict):
    """One causal language model: a local folder or a hub model, optionally with an adapter."""

    name: str = Field(description="family--name, for example gpt2--step-0300; the run's files carry this name")
    path: AnyPath = Field("", description="local folder or .gguf file (relative to the spec file), or hub id")
    revision: str | None = Field(None, description="branch, tag or commit of the hub model")
    adapter: AnyPath | None = Field(None, description="peft adapter to put on the model: local folder or hub id")
    step: int = Field(0, ge=0, lt=2**53, description="training step, the x axis of trajectories")
    trust_remote_code: bool = Field(False, description="allow code that ships with the checkpoint to run")
    pickled_weights: bool = Field(
        False, description="where there are no safetensors, read weights from pickles (.bin), tensors only"
    )
    device_map: Literal["auto"] | None = Field(
        None, description="auto: layers that do not fit on the one device wait in memory or on disk (needs accelerate)"
    )
    load_in: Literal["8bit"] | None = Field(None, description="8bit: linear layers in 8 bits (needs bitsandbytes)")
    untrained: bool = Field(False, description="keep the architecture, but draw the weights at random")
    trained: bool = Field(False, description="the run trains this checkpoint itself, up to `step`; it has no path")

    @model_validator(mode="after")
    def _has_a_path_and_a_safe_name(self) -> CheckpointSpec:
        if not self.path and not self.trained:
            raise ValueError(f"{self.name!r} needs a path: a local folder or a hub id")
        if not CHECKPOINT_NAME.fullmatch(self.name):
            raise ValueError(f"name {self.name!r} must look like family--name (letters, digits, . _ -)")
        return self

    @property
    def family(self) -> str:
        return self.name.split("--", 1)[0]

    @property
    def asks(self) -> bool:
        """Whether the spec asks for one of PERMISSIONS."""
        return any(getattr(self, name) for name in PERMISSIONS)

    def without_permissions(self) -> CheckpointSpec:
        return self.model_copy(update=dict.fromkeys(PERMISSIONS, False))


def switch(value: Any) -> Any:
    """YAML reads on and off as true and false."""
    return ("off", "on")[value] if isinstance(value, bool) else value


class ChatSpec(Strict):
    """How models read prompts. `chat: on` is short for `chat: {mode: on}`."""

    mode: Annotated[Literal["auto", "on", "off"], BeforeValidator(switch)] = Field(
        "auto",
        description="auto: a model with a chat template reads prompts in it; on: every model must have one; off: none",
    )
    system: str | None = Field(None, description="system text of prompts that have none of their own")
    variables: dict[str, str | bool | int | float | None] = Field(
        {}, description="variables of the chat template, for example enable_thinking: false"
    )
    date: Annotated[str | None, BeforeValidator(lambda value: str(value) if isinstance(value, date) else value)] = (
        Field(None, description="the day that templates write as today, as 2026-01-31; empty: the run's first day")
    )

    @model_validator(mode="before")
    @classmethod
    def _mode_alone(cls, data: Any) -> Any:
        return {"mode": data} if isinstance(data, str | bool) else data

    @field_validator("date")
    @classmethod
    def _is_a_day(cls, value: str | None) -> str | None:
        if value is not None:
            date.fromisoformat(value)
        return value

    @field_validator("variables")
    @classmethod
    def _are_free(cls, value: dict[str, Any]) -> dict[str, Any]:
        for name in value:
            if name in TEMPLATE_ARGUMENTS or not name.isidentifier():
                raise ValueError(f"{name!r} can't be set: give a variable that the template itself reads")
        return value


class HiddenSpec(Strict):
    """Hidden states that explainers read, and those that the finished run keeps."""

    layers: tuple[int, ...] = Field((-1,), min_length=1, description="0: embeddings; k: after block k; -1: the last")
    positions: tuple[Position, ...] = Field(("last",), min_length=1, description="last token, or mean over the span")
    dtype: Literal["float16", "float32"] = Field("float32", description="number format on disk")
    keep: Literal["all", "prompts", "none"] = Field(
        "prompts", description="in the finished run; prompts: h(x) at the last token, enough to refit direct explainers"
    )
