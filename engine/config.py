"""Spec classes: the only place where options exist.

Specs are frozen pydantic models that refuse unknown keys. `engine.spec_files` reads them from YAML files. Paths in a
file are relative to its folder.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)

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
PERMISSIONS = ("trust_remote_code", "pickled_weights")
"""Options of a checkpoint that a person gives it by name. They are not taken over from a run, which is anybody's."""
TEMPLATE_ARGUMENTS = frozenset(
    "messages conversation chat_template add_generation_prompt continue_final_message tokenize tools documents padding "
    "truncation max_length return_tensors return_dict return_assistant_tokens_mask tokenizer_kwargs".split()
)
"""Arguments of a chat template that the program sets itself."""
CHECKPOINT_NAME = re.compile(r"^[A-Za-z0-9._]+--[A-Za-z0-9._]+(-[A-Za-z0-9._]+)*$")


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


def _switch(value: Any) -> Any:
    """YAML reads on and off as true and false."""
    return ("off", "on")[value] if isinstance(value, bool) else value


class ChatSpec(Strict):
    """How models read prompts. `chat: on` is short for `chat: {mode: on}`."""

    mode: Annotated[Literal["auto", "on", "off"], BeforeValidator(_switch)] = Field(
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


class ExplainerSpec(Strict):
    """Explainers: probes on hidden states, trained to predict the target's effects Δ."""

    kinds: tuple[ExplainerKind, ...] = Field(
        ("ridge",), min_length=1, description="ridge is solved in closed form; linear and mlp are trained with Adam"
    )
    modes: tuple[Mode, ...] = Field(("direct",), min_length=1, description="direct: h(x); difference: h(x') − h(x)")
    regimes: tuple[Regime, ...] = Field(
        ("frozen",),
        min_length=1,
        description="frozen: trained once, at the first checkpoint; online: trained further at each checkpoint (not "
        "ridge); refit: trained anew at each checkpoint; the targets stay fixed in all three",
    )
    headline_edits: tuple[str, ...] = Field((), description="edits among which the setting is chosen; empty: all")
    penalties: tuple[Positive, ...] = Field(
        (0.01, 0.1, 1.0, 10.0, 100.0, 1000.0),
        min_length=1,
        description="candidate penalties of ridge, added to the eigenvalues of XᵀX",
    )
    weight_decays: tuple[Annotated[float, Field(ge=0)], ...] = Field(
        (1e-4, 1e-2), min_length=1, description="candidate weight decays of linear and mlp"
    )
    folds: int = Field(5, ge=2, le=MANY, description="folds of the grouped cross-validation")
    cross_validation: Literal["grouped", "leave_one_out"] = Field(
        "grouped",
        description="choice of penalties and weight decays; leave_one_out: ridge only, leaks between edits of a prompt",
    )
    width: int = Field(64, ge=1, le=MANY, description="hidden units of the mlp")
    steps: int = Field(400, ge=1, le=MANY, description="Adam steps of linear and mlp when trained from scratch")
    online_steps: int = Field(40, ge=1, description="Adam steps per checkpoint in the online regime")
    learning_rate: float = Field(3e-3, gt=0, description="learning rate of Adam")
    batch: int = Field(256, ge=1, le=MANY, description="examples per Adam step")
    seeds: int = Field(2, ge=1, le=MANY, description="random initialisations of linear and mlp")

    @model_validator(mode="after")
    def _leave_one_out_needs_ridge(self) -> ExplainerSpec:
        if self.cross_validation == "leave_one_out" and self.kinds != ("ridge",):
            raise ValueError("cross_validation: leave_one_out needs kinds: [ridge]: use grouped")
        return self


class NoiseSpec(Strict):
    """Noise on the training targets, to see how far explanations depend on correct labels."""

    kinds: tuple[NoiseKind, ...] = Field(
        ("shuffle", "flip", "gaussian"), description="targets change places, change sign, or get noise added"
    )
    levels: tuple[Share, ...] = Field(
        tuple(round(0.1 * i, 1) for i in range(11)),
        description="share of the targets that change; gaussian: sd of the noise over sd of the targets; 0 is added",
    )
    seeds: int = Field(5, ge=1, le=MANY, description="random draws at each level")


class PrimarySpec(Strict):
    """The hypothesis that is tested at the full level; all others share the level by Holm's procedure."""

    explainer: ExplainerKind = Field("ridge", description="kind of explainer")
    regime: Regime = Field("frozen", description="its regime")
    edit: str | None = Field(None, description="kind of edit; empty: that of the chosen setting")


class MetricSpec(Strict):
    """Intervals and verdicts."""

    primary: PrimarySpec = PrimarySpec()
    bootstrap: int = Field(1000, ge=200, le=MANY, description="bootstrap resamples of cues and entities")
    verdict_draws: int = Field(10_000, ge=200, le=MANY, description="bootstrap resamples behind verdicts")
    null_shuffles: int = Field(200, ge=200, le=MANY, description="label shuffles for the null band and permutation p")
    confidence: float = Field(0.95, gt=0.5, lt=1, description="confidence level of the intervals")
    absent_within: float = Field(0.03, gt=0, description="a claim is excluded if a band ends below this value")
    seed: Seed = Field(0, description="seed of bootstrap, folds and shuffles")


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
    learning_rate: float = Field(1e-3, gt=0, description="learning rate of the base model")
    answer_weight: float = Field(1.0, gt=0, description="loss weight of an answer's first token; a prompt token's is 1")
    concurrent: ConcurrentSpec | None = None


class PatchingSpec(Strict):
    """Activation patching between x and x' of a finished run, at each layer and position."""

    checkpoints: tuple[str, ...] = Field((), description="names of checkpoints; empty: the first and the last")
    edits: tuple[str, ...] = Field((), description="kinds of edit; empty: that of the chosen explainer")
    split: Split = Field("test_heldout", description="split that the patched examples come from")
    examples: int = Field(200, ge=2, le=MANY, description="patched examples of each kind of edit")
    shuffles: int = Field(200, ge=200, le=MANY, description="draws of each control that is a distribution")
    bootstrap: int = Field(1000, ge=200, le=MANY, description="bootstrap resamples of cues and entities")
    seed: Seed = Field(0, description="seed of the examples' draw, the shuffles and the bootstrap")
    device: Device = "auto"
    batch_size: int = Field(64, ge=1, le=MANY, description="rows per forward pass")


class LoraSpec(Strict):
    """A low-rank adapter instead of full fine-tuning (needs the extra `peft`)."""

    rank: int = Field(16, ge=1, le=MANY, description="rank of the adapter's matrices")
    alpha: float = Field(32.0, gt=0, description="the update is scaled by alpha / rank")
    modules: tuple[str, ...] = Field((), description="names of the layers to adapt; empty: all linear layers")


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
    learning_rate: float = Field(3e-3, gt=0, description="peak learning rate")
    drift: DriftSpec | None = Field(None, description="post-training that moves behavior; empty: labels alone")
    lora: LoraSpec | None = Field(None, description="low-rank adapter; empty: all weights are trained")
    controls: tuple[Literal["small_lm", "other_model"], ...] = Field(
        (), description="models trained on the same labels: small_lm is an untrained copy of the first checkpoint"
    )
    decoding: Literal["greedy", "choice"] = Field("greedy", description="choice: the likeliest of the label sentences")
    probes: bool = Field(False, description="also train the probes of `explainers` on the same checkpoints")
    keep_checkpoints: bool = Field(True, description="keep the trained weights in the run's folder")


class RunSpec(Strict):
    """A whole run. The fixed labels come from `target`, by default the first checkpoint; it may be of another family.

    Explainers are trained at the first checkpoint.
    """

    name: str = Field(pattern=NAME, description="name of the run and of its folder")
    note: str = Field("", description="text shown with the run, for example which seeds are development seeds")
    task: TaskSpec
    target: CheckpointSpec | None = None
    checkpoints: tuple[CheckpointSpec, ...] = Field(min_length=1)
    other_model: CheckpointSpec | None = Field(None, description="a control; empty: the first checkpoint, untrained")
    post_training: PostTrainingSpec | None = Field(None, description="makes the checkpoints marked trained")
    verbal: VerbalSpec | None = Field(None, description="self-explanation; makes the checkpoints marked trained")
    chat: ChatSpec = ChatSpec()
    hidden: HiddenSpec = HiddenSpec()
    explainers: ExplainerSpec = ExplainerSpec()
    noise: NoiseSpec = NoiseSpec()
    metrics: MetricSpec = MetricSpec()
    patching: PatchingSpec | None = Field(None, description="also make maps of activation patching")
    device: Device = "auto"
    dtype: Literal["float32", "bfloat16", "float16"] = Field("float32", description="number format of the forwards")
    batch_size: int | None = Field(
        None, ge=1, le=MANY, description="rows per forward pass; empty: computed from the model and memory"
    )
    seed: Seed = Field(0, description="seed of explainers, cross-validation and post-training")

    @model_validator(mode="before")
    @classmethod
    def _of_an_earlier_version(cls, data: Any) -> Any:
        """verbal.chat_template chose the template for the words alone; `chat` chooses it for everything."""
        verbal = data.get("verbal") if isinstance(data, dict) else None
        if not isinstance(verbal, dict) or "chat_template" not in verbal:
            return data
        kept = {key: value for key, value in verbal.items() if key != "chat_template"}
        return ({} if verbal["chat_template"] else {"chat": "off"}) | data | {"verbal": kept}

    @model_validator(mode="after")
    def _checkpoints_fit(self) -> RunSpec:
        names = [c.name for c in self.checkpoints]
        if repeated := [name for name in names if names.count(name) > 1]:
            raise ValueError(f"checkpoints: {repeated[0]!r} appears twice; every checkpoint needs its own name")
        if self.target and self.target.name in names[1:]:
            raise ValueError(f"target: {self.target.name!r} may only be the first of the checkpoints")
        if self.target and self.target.name == names[0] and self.target != self.checkpoints[0]:
            raise ValueError(f"target: {self.target.name!r} differs from the first checkpoint of that name")
        if unknown := [name for name in (self.patching.checkpoints if self.patching else ()) if name not in names]:
            raise ValueError(f"patching.checkpoints: {unknown[0]!r} is none of the checkpoints")
        trained = [c for c in self.checkpoints if c.trained]
        if self.post_training and self.verbal:
            raise ValueError("post_training and verbal can't both train the checkpoints: use verbal.drift")
        if bool(trained) != (self.post_training is not None or self.verbal is not None):
            raise ValueError("post_training or verbal goes with checkpoints marked `trained: true`, and they need it")
        if trained and (len(trained) != len(self.checkpoints) - 1 or self.checkpoints[0].trained):
            raise ValueError("checkpoints: where some are trained, the first is given and all others are trained")
        if [c.step for c in trained] != sorted({c.step for c in trained if c.step > 0}):
            raise ValueError("checkpoints: the steps of trained ones must be above 0 and increase")
        concurrent = self.post_training and self.post_training.concurrent
        if concurrent and concurrent.layer not in self.hidden.layers:
            raise ValueError(f"post_training.concurrent.layer: {concurrent.layer} must be one of hidden.layers")
        return self

    @model_validator(mode="after")
    def _verbal_fits(self) -> RunSpec:
        verbal = self.verbal
        if verbal is None:
            return self
        drift, labels_first = verbal.drift, verbal.schedule == "labels_first"
        if drift and drift.world and self.task.name not in ("sycophancy", "refusal"):
            raise ValueError("verbal.drift.world: only the built-in tasks have worlds: give a file of dialogues")
        if self.task.unknown_entities and not (drift and drift.world):
            raise ValueError("task.unknown_entities: nothing teaches them as behavior: give verbal.drift a world")
        if "other_model" in verbal.controls and self.other_model is None:
            raise ValueError("verbal.controls: other_model needs other_model, a checkpoint")
        if drift and drift.hold_words and not labels_first:
            raise ValueError("verbal.drift.hold_words: words are held after they were learnt: use labels_first")
        if labels_first and drift is None:
            raise ValueError("verbal.schedule: labels_first needs a drift that comes after")
        if labels_first and verbal.label_steps not in [c.step for c in self.checkpoints]:
            raise ValueError("verbal.label_steps: a trained checkpoint must have that step")
        return self

    @property
    def probes(self) -> bool:
        """Whether probes on hidden states are trained."""
        return self.verbal is None or self.verbal.probes

    @property
    def target_checkpoint(self) -> CheckpointSpec:
        return self.target or self.checkpoints[0]

    @property
    def control_model(self) -> CheckpointSpec:
        """Model of the control `other_model`: the one in the spec, else the first checkpoint with random weights."""
        first = self.checkpoints[0]
        untrained = {"name": f"{first.family}--untrained", "untrained": True}
        return self.other_model or first.model_copy(update=untrained)

    @property
    def asking(self) -> list[CheckpointSpec]:
        """The checkpoints for which the spec asks for a permission."""
        return [c for c in (*self.all_checkpoints, self.other_model) if c and c.asks]

    def without_permissions(self, keep: Collection[str] = ()) -> RunSpec:
        """The spec with no permission for any checkpoint but those whose names are in `keep`."""

        def less(checkpoint: CheckpointSpec | None) -> CheckpointSpec | None:
            return checkpoint.without_permissions() if checkpoint and checkpoint.name not in keep else checkpoint

        others = {"target": less(self.target), "other_model": less(self.other_model)}
        return self.model_copy(update={**others, "checkpoints": tuple(map(less, self.checkpoints))})

    @property
    def all_checkpoints(self) -> tuple[CheckpointSpec, ...]:
        """The target and the current checkpoints, each once."""
        if self.target and self.target.name != self.checkpoints[0].name:
            return (self.target, *self.checkpoints)
        return self.checkpoints
