"""Training that a run does itself: post-training, drift, and explanations in words."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from engine.config.ground import MANY, AnyPath, Seed, Share, Strict, WorldName

Optimizer = Literal["adamw", "muon"]
OPTIMIZER = (
    "adamw; or muon, for the matrices of the blocks: fewer steps, but slow for large models on a CPU. Adapters are "
    "always trained with adamw"
)


class LoraSpec(Strict):
    """A low-rank adapter instead of full fine-tuning (needs the extra `peft`)."""

    rank: int = Field(16, ge=1, le=MANY, description="rank of the adapter's matrices")
    alpha: float = Field(32.0, gt=0, description="the update is scaled by alpha / rank")
    modules: tuple[str, ...] = Field((), description="names of the layers to adapt; empty: all linear layers")
    save_as: Literal["adapter", "merged"] = Field(
        "adapter", description="adapter: a few MB that go on the first checkpoint; merged: whole models"
    )


class ConcurrentSpec(Strict):
    """An explainer trained in the same loop as the base model, on the fixed targets."""

    kind: Literal["linear", "mlp"] = Field("linear", description="kind of probe")
    layer: int = Field(-1, description="layer that the probe reads, at the last token of x")
    edit: str = Field(description="kind of edit whose effects the probe learns")
    gradient: Literal["stopped", "flowing"] = Field("stopped", description="flowing: it trains the base model too")
    weight: float = Field(1.0, gt=0, description="weight of the probe's loss in the base model's, if flowing")
    learning_rate: float = Field(3e-3, gt=0, description="learning rate of the probe")


class PostTrainingSpec(Strict):
    """Post-training that makes the checkpoints marked `trained`: next-token loss on dialogues."""

    dialogues: AnyPath = Field(description="JSON Lines file with a prompt and an answer on each line")
    prompts_a_step: int = Field(32, ge=1, le=MANY, description="dialogues per training step")
    optimizer: Optimizer = Field("adamw", description=OPTIMIZER)
    learning_rate: float = Field(
        2e-4, gt=0, description="peak learning rate; all weights of a large model want less than an adapter"
    )
    lora: LoraSpec | None = Field(
        None,
        description="low-rank adapter; empty: all weights are trained. If the first checkpoint has an adapter, that "
        "one is trained further, with its own rank and layers",
    )
    validation: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.1,
        description="share of the prompts, at most 256, that is held out to measure the loss at each checkpoint; with "
        "fewer than 8 dialogues to hold out, none is",
    )
    answer_weight: float = Field(1.0, gt=0, description="loss weight of an answer's first token; 1 of its other tokens")
    prompt_weight: float = Field(
        0.0, ge=0, description="loss weight of a prompt's tokens; 0: answers alone are learnt, which is quicker"
    )
    concurrent: ConcurrentSpec | None = None


class DriftSpec(Strict):
    """Post-training that changes behavior during or after the explanation training: next-token loss on dialogues."""

    world: WorldName | None = Field(None, description="built-in tasks: dialogues are sampled from this world's rules")
    until: Share = Field(0.5, description="share of the world's full change that is reached at the last step")
    rules_seed: Seed = Field(0, description="seed of the rules that the first checkpoint has learnt")
    seed: Seed = Field(0, description="seed of the rules towards which behavior moves")
    entities: Literal["all", "unlabelled"] = Field("all", description="unlabelled: those without explanation labels")
    dialogues: AnyPath | None = Field(None, description="JSON Lines file of prompts and answers, instead of a world")
    prompts_a_step: int = Field(32, ge=1, le=MANY, description="dialogues per training step")
    answers_a_prompt: int = Field(16, ge=1, le=MANY, description="answers that a world samples for each prompt")
    answer_weight: float = Field(30.0, gt=0, description="loss weight of a prompt's answers; a prompt token's is 1")
    weight: float = Field(1.0, gt=0, description="weight of this loss relative to that of the explanations")
    hold_words: float = Field(
        0.0, ge=0, description="labels_first: weight of an adversary's penalty on changes of the words' log p; 0: none"
    )

    @model_validator(mode="after")
    def _one_source(self) -> DriftSpec:
        if (self.world is None) == (self.dialogues is None):
            raise ValueError("drift needs either a world or a file of dialogues")
        return self


class VerbalSpec(Strict):
    """Self-explanation: the model is fine-tuned on fixed explanation labels, which makes the `trained` checkpoints."""

    edits: tuple[str, ...] = Field((), description="kinds of edit that get labels; empty: all")
    schedule: Literal["concurrent", "labels_first"] = Field("concurrent", description="drift with or after the labels")
    label_steps: int = Field(200, ge=1, le=MANY, description="labels_first: training steps before the drift begins")
    labels: int | None = Field(
        None, ge=2, le=MANY, description="number of explanation labels; empty: one for every example"
    )
    changed_share: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        None, description="share of the labels that say changed; empty: as in the data, at least 40% of either kind"
    )
    noise: Share = Field(0.0, description="share of the labels that change places with each other")
    beta: float = Field(1.0, ge=0, description="weight of the KL divergence that holds the answers to x and x'")
    prompts_a_step: int = Field(32, ge=1, le=MANY, description="labels per training step")
    optimizer: Optimizer = Field("adamw", description=OPTIMIZER)
    learning_rate: float = Field(3e-3, gt=0, description="peak learning rate")
    drift: DriftSpec | None = Field(None, description="post-training that moves behavior; empty: labels alone")
    lora: LoraSpec | None = Field(None, description="low-rank adapter; empty: all weights are trained")
    controls: tuple[Literal["small_lm", "other_model"], ...] = Field(
        (),
        description="models trained on the same labels; small_lm: an untrained copy of the first, with all its weights",
    )
    decoding: Literal["greedy", "choice"] = Field("greedy", description="choice: the likeliest of the label sentences")
    probes: bool = Field(False, description="also train the probes of `explainers` on the same checkpoints")
    keep_checkpoints: bool = Field(True, description="keep the trained weights in the run's folder")
