"""Where the examples come from."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from engine.config.ground import MANY, AnyPath, Seed, Strict


class PromptCounts(Strict):
    """Number of prompts that a built-in task draws for each split."""

    train: int = Field(2000, ge=1, le=MANY, description="prompts on which explainers are trained")
    validation: int = Field(
        400, ge=1, le=MANY, description="prompts scored like the tests, to look at during development"
    )
    test_heldout: int = Field(
        1000, ge=1, le=MANY, description="prompts with entities and cues that no explainer has seen"
    )
    test_iid: int = Field(600, ge=1, le=MANY, description="prompts drawn like the training prompts")


class TaskSpec(Strict):
    """Where the examples come from."""

    name: Literal["sycophancy", "refusal", "from_file"] = Field(description="a built-in task, or examples from a file")
    path: AnyPath | None = Field(None, description="from_file: JSON Lines file of examples")
    edits: tuple[str, ...] = Field((), description="kinds of edit to use; empty: all that the task offers")
    prompts: PromptCounts = PromptCounts()
    seed: Seed = Field(0, description="seed of the prompts' draw and of the split")
    unknown_entities: bool = Field(False, description="built-in tasks: held-out prompts mention made-up entities")

    @model_validator(mode="after")
    def _options_fit_the_task(self) -> TaskSpec:
        if self.unknown_entities and self.name == "from_file":
            raise ValueError("unknown_entities works with the built-in tasks only: put your own into the file")
        if (self.name == "from_file") != (self.path is not None):
            raise ValueError("path goes with name: from_file, and from_file needs it")
        return self
