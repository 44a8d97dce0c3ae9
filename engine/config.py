"""Run specs: the only place where options exist.

A spec is a frozen pydantic model; unknown keys are refused. `load_spec` reads YAML and
turns every mistake into one readable line (`SpecError`). Paths in a spec are relative to
the spec's folder.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

Split = Literal["train", "validation", "test_heldout", "test_iid"]
ExplainerKind = Literal["ridge", "linear", "mlp"]
Mode = Literal["direct", "difference"]
Regime = Literal["frozen", "online", "refit"]
NoiseKind = Literal["shuffle", "flip", "gaussian"]
Position = Literal["last", "span"]
World = Literal["independent", "cue", "base", "shared", "rescale", "unrelated"]
Share = Annotated[float, Field(ge=0, le=1)]

DEVICE = r"^(auto|cpu|mps|cuda(:\d+)?)$"
CHECKPOINT_NAME = re.compile(r"^[A-Za-z0-9._]+--[A-Za-z0-9._]+(-[A-Za-z0-9._]+)*$")


class InputError(ValueError):
    """Bad input, of whatever kind. The message is one line: what is wrong, where, and how to mend it."""


class SpecError(InputError):
    """A spec that can't be used."""


class Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class CheckpointSpec(Strict):
    """One causal language model: a local folder, or a hub id at a revision, maybe with an adapter."""

    name: str = Field(description="family--name, such as gpt2--step-0300; names its files in the run")
    path: str = Field("", description="a local folder (relative to the spec) or a hub id")
    revision: str | None = Field(None, description="a branch, tag or commit of a hub id")
    adapter: str | None = Field(None, description="a peft adapter on top of the model")
    step: int = Field(0, ge=0, description="training step, the x axis of trajectories")
    trust_remote_code: bool = Field(False, description="run code that ships with the checkpoint")
    untrained: bool = Field(False, description="keep the architecture, draw the weights at random")
    trained: bool = Field(False, description="made by the run's own post_training, at `step`; has no path")

    @model_validator(mode="after")
    def _path_unless_trained(self) -> CheckpointSpec:
        if not self.path and not self.trained:
            raise ValueError(f"{self.name!r} needs a path: a local folder or a hub id")
        return self

    @model_validator(mode="after")
    def _name_is_a_safe_file_name(self) -> CheckpointSpec:
        if not CHECKPOINT_NAME.fullmatch(self.name):
            raise ValueError(f"name {self.name!r} must look like family--name (letters, digits, . _ -)")
        return self

    @property
    def family(self) -> str:
        return self.name.split("--", 1)[0]


class PromptCounts(Strict):
    """How many prompts a built-in task draws for each split."""

    train: int = Field(2000, ge=1, description="what explainers are trained on")
    validation: int = Field(400, ge=1, description="scored like the tests, to look at while developing")
    test_heldout: int = Field(1000, ge=1, description="of groups that no explainer has seen")
    test_iid: int = Field(600, ge=1, description="drawn like the training prompts")


class TaskSpec(Strict):
    name: Literal["sycophancy", "refusal", "from_file"] = Field(description="a built-in task, or examples of your own")
    path: str | None = Field(None, description="from_file: a JSON Lines file of examples")
    edits: tuple[str, ...] = Field((), description="kinds of edit; empty: all that the task offers")
    prompts: PromptCounts = PromptCounts()
    seed: int = Field(0, ge=0, description="of the draw of prompts")
    unknown_entities: bool = Field(
        False, description="built-in tasks: held-out prompts speak of made-up things that no checkpoint has met"
    )

    @model_validator(mode="after")
    def _unknown_entities_are_of_the_built_in_tasks(self) -> TaskSpec:
        if self.unknown_entities and self.name == "from_file":
            raise ValueError("unknown_entities goes with the built-in tasks: put your own into the file")
        return self

    @model_validator(mode="after")
    def _from_file_needs_a_path(self) -> TaskSpec:
        if (self.name == "from_file") != (self.path is not None):
            raise ValueError("path goes with name: from_file, and from_file needs it")
        return self


class HiddenSpec(Strict):
    """Which hidden states are read, and which of them the finished run keeps."""

    layers: tuple[int, ...] = Field((-1,), min_length=1, description="0: embeddings; k: after block k; -1: the last")
    positions: tuple[Position, ...] = Field(
        ("last",), min_length=1, description="last: the prompt's last token; span: the mean over the edited tokens"
    )
    dtype: Literal["float16", "float32"] = Field("float32", description="in which they are written to the disk")
    keep: Literal["all", "prompts", "none"] = Field(
        "prompts", description="prompts: h(x) at the last position only, enough for a live refit of direct explainers"
    )


class ExplainerSpec(Strict):
    kinds: tuple[ExplainerKind, ...] = Field(
        ("ridge",), min_length=1, description="probes on hidden states: ridge in closed form; linear and mlp by Adam"
    )
    modes: tuple[Mode, ...] = Field(
        ("direct",), min_length=1, description="direct: from x alone; difference: from h(x') − h(x), a reference"
    )
    regimes: tuple[Regime, ...] = Field(
        ("frozen",),
        min_length=1,
        description="frozen: trained once at the target; online: goes on training at each checkpoint (not ridge); "
        "refit: from scratch at each checkpoint; the targets stay fixed in all",
    )
    headline_edits: tuple[str, ...] = Field((), description="edits the chosen setting is picked among; empty: all")
    penalties: tuple[Annotated[float, Field(gt=0)], ...] = Field(
        (0.01, 0.1, 1.0, 10.0, 100.0, 1000.0), min_length=1, description="ridge: added to the eigenvalues of XᵀX"
    )
    weight_decays: tuple[Annotated[float, Field(ge=0)], ...] = Field(
        (1e-4, 1e-2), min_length=1, description="of linear and mlp; cross-validation chooses"
    )
    folds: int = Field(5, ge=2, description="of the grouped cross-validation")
    cross_validation: Literal["grouped", "leave_one_out"] = Field(
        "grouped",
        description="how a setting is chosen; leave_one_out: ridge alone, and it leaks between the edits of one prompt",
    )
    width: int = Field(64, ge=1, description="hidden units of the mlp")
    steps: int = Field(400, ge=1, description="Adam steps of linear and mlp, from scratch")
    online_steps: int = Field(40, ge=1, description="Adam steps per checkpoint in the online regime")
    learning_rate: float = Field(3e-3, gt=0, description="of Adam")
    batch: int = Field(256, ge=1, description="examples in an Adam step")
    seeds: int = Field(2, ge=1, description="initialisations of linear and mlp")

    @model_validator(mode="after")
    def _leave_one_out_is_of_ridge(self) -> ExplainerSpec:
        if self.cross_validation == "leave_one_out" and self.kinds != ("ridge",):
            raise ValueError("cross_validation: leave_one_out goes with kinds: [ridge] alone: use grouped")
        return self


class NoiseSpec(Strict):
    """Label noise: training targets that are spoilt, to see what explanations survive."""

    kinds: tuple[NoiseKind, ...] = Field(
        ("shuffle", "flip", "gaussian"), description="targets change places, change sign, or get noise added"
    )
    levels: tuple[Share, ...] = Field(
        tuple(round(0.1 * i, 1) for i in range(11)),
        description="shares of the targets, or for gaussian sizes relative to their spread; 0 is always measured",
    )
    seeds: int = Field(5, ge=1, description="draws of the noise at each level")


class MetricSpec(Strict):
    """How numbers get their intervals, and verdicts their words."""

    bootstrap: int = Field(1000, ge=200, description="resamples of cues and entities, for the intervals")
    null_shuffles: int = Field(200, ge=200, description="shuffles of the labels, for the null band")
    confidence: float = Field(0.95, gt=0.5, lt=1, description="of the intervals")
    absent_within: float = Field(0.03, gt=0, description="an effect whose interval lies inside ± this is absent")
    seed: int = Field(0, ge=0, description="of bootstrap and shuffles")


class ConcurrentSpec(Strict):
    """An explainer trained in the same loop as the base model, on the fixed targets."""

    kind: Literal["linear", "mlp"] = Field("linear", description="of probe")
    layer: int = Field(-1, description="whose hidden states it reads, at the last position of x")
    edit: str = Field(description="the kind of edit whose effects it learns")
    gradient: Literal["stopped", "flowing"] = Field(
        "stopped", description="stopped at the hidden states, or flowing on into the base model"
    )
    weight: float = Field(1.0, gt=0, description="of its loss beside the language model's, where it flows")
    learning_rate: float = Field(3e-3, gt=0, description="of the explainer")


class PostTrainingSpec(Strict):
    """Post-training that makes the checkpoints marked `trained`: next-token loss on dialogues."""

    dialogues: str = Field(description="a JSON Lines file with a prompt and an answer a line")
    prompts_a_step: int = Field(32, ge=1, description="dialogues in a training step")
    learning_rate: float = Field(1e-3, gt=0, description="of the base model")
    answer_weight: float = Field(1.0, gt=0, description="of the answer's first token beside a prompt token's 1")
    concurrent: ConcurrentSpec | None = None


class PatchingSpec(Strict):
    """Activation patching between x and x' of a finished run, by layer and position."""

    checkpoints: tuple[str, ...] = Field((), description="names in the run; none: the first and the last")
    edits: tuple[str, ...] = Field((), description="kinds of edit; none: that of the chosen ridge")
    split: Split = Field("test_heldout", description="whose examples are patched")
    examples: int = Field(200, ge=2, description="of each kind of edit, drawn with the seed")
    shuffles: int = Field(200, ge=200, description="draws of each control that is a distribution")
    bootstrap: int = Field(1000, ge=200, description="resamples of cues and entities, for the interval")
    seed: int = Field(0, ge=0, description="of the draw of examples, shuffles and bootstrap")
    device: str = Field("auto", pattern=DEVICE, description="auto, cpu, mps, cuda, or one such as cuda:1")
    batch_size: int = Field(64, ge=1, description="rows in a forward")


class LoraSpec(Strict):
    """A low-rank adapter in place of full fine-tuning (needs the extra `peft`)."""

    rank: int = Field(16, ge=1, description="of the adapters' matrices")
    alpha: float = Field(32.0, gt=0, description="the update is scaled by alpha / rank")
    modules: tuple[str, ...] = Field((), description="names of the layers that get one; empty: all linear layers")


class DriftSpec(Strict):
    """Post-training that moves behavior while, or after, explanations are learnt: next-token loss on dialogues."""

    world: World | None = Field(None, description="built-in tasks: dialogues are sampled from this world's rules")
    until: Share = Field(0.5, description="of the world's whole way, gone evenly over the training")
    rules_seed: int = Field(0, ge=0, description="of the rules that the first checkpoint has learnt")
    seed: int = Field(0, ge=0, description="of the rules that behavior moves to")
    entities: Literal["all", "unlabelled"] = Field(
        "all", description="unlabelled: dialogues only about entities that no explanation label speaks of"
    )
    dialogues: str | None = Field(None, description="in place of a world: a JSON Lines file of prompts and answers")
    prompts_a_step: int = Field(32, ge=1, description="dialogues in a training step")
    answers_a_prompt: int = Field(16, ge=1, description="a world's sampled answers to each prompt")
    answer_weight: float = Field(30.0, gt=0, description="of a prompt's answers beside a prompt token's 1")
    weight: float = Field(1.0, gt=0, description="of this loss beside that of the explanations")
    hold_words: float = Field(
        0.0,
        ge=0,
        description="labels_first: weight of an adversary's penalty on any change of the explanations' log p while "
        "behavior drifts; 0: none",
    )

    @model_validator(mode="after")
    def _one_source(self) -> DriftSpec:
        if (self.world is None) == (self.dialogues is None):
            raise ValueError("drift needs either a world or a file of dialogues")
        return self


class VerbalSpec(Strict):
    """The model explains itself: fine-tuned on fixed explanation labels, it makes the checkpoints marked `trained`."""

    edits: tuple[str, ...] = Field((), description="kinds of edit that get labels; empty: all; the rest get none")
    schedule: Literal["concurrent", "labels_first"] = Field(
        "concurrent", description="drift beside the labels in every step, or after `label_steps` steps on labels alone"
    )
    label_steps: int = Field(200, ge=1, description="labels_first: training steps before the drift begins")
    labels: int | None = Field(None, ge=2, description="how many explanation labels; none: one for every example")
    changed_share: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        None, description="of the labels that say changed; none: as it comes, at least 40% of either kind"
    )
    noise: Share = Field(0.0, description="share of the labels that change places with each other")
    beta: float = Field(1.0, ge=0, description="of the KL divergence that holds the answers to x and x'; 0: none")
    prompts_a_step: int = Field(32, ge=1, description="labels in a training step")
    learning_rate: float = Field(3e-3, gt=0, description="at its peak")
    drift: DriftSpec | None = Field(None, description="post-training that moves behavior; none: labels alone")
    lora: LoraSpec | None = Field(None, description="a low-rank adapter; none: all weights are trained")
    controls: tuple[Literal["small_lm", "other_model"], ...] = Field(
        (), description="trained on the same labels: an untrained copy of the first checkpoint, or other_model"
    )
    decoding: Literal["greedy", "choice"] = Field(
        "greedy", description="what counts as said: free greedy words, or the likeliest of the sentences a label may be"
    )
    chat_template: bool = Field(True, description="put prompts into the tokenizer's chat template, where it has one")
    probes: bool = Field(False, description="train the probes of `explainers` on the same checkpoints too")
    keep_checkpoints: bool = Field(True, description="leave the trained weights in the run's folder")


class StressSpec(Strict):
    """Stress tests on the sample checkpoints: sharp against gradual drift, an adversary, monitoring, and cost."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    note: str = ""
    tasks: tuple[Literal["sycophancy", "refusal"], ...] = Field(("sycophancy", "refusal"), min_length=1)
    drifts: tuple[Annotated[int, Field(ge=0)], ...] = Field(
        (0, 1, 2),
        min_length=1,
        description="rules that behavior moves to, from the same first checkpoint; 0 is the sample trajectory's own",
    )
    steps: int = Field(500, ge=1, description="of each post-training, all towards the last rule at once")
    weight: float = Field(10.0, gt=0, description="of the adversary's penalty beside the next-token loss")
    held_batch: int = Field(64, ge=1, description="prompts on which a step holds the probe")
    thresholds: tuple[Annotated[float, Field(gt=0)], ...] = Field(
        (0.5,), min_length=1, description="nats: a larger measured shift of a slice is an event to be detected"
    )
    labels: tuple[Annotated[int, Field(ge=20)], ...] = Field(
        (50, 100, 200, 500, 1000), description="new edits that are run at a checkpoint to label it again"
    )
    draws: int = Field(5, ge=1, description="of the examples that are labelled again")
    bootstrap: int = Field(1000, ge=200, description="resamples of cues and entities")
    seed: int = Field(0, ge=0, description="of training order, draws and bootstrap")


class RunSpec(Strict):
    """All of a run. `target` gives the fixed labels; the explainers are trained at the first checkpoint.

    In an own-target run the target *is* the first checkpoint (and `target` may be left out);
    with another model family as the target, the labels come from that family.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="of the run, and of its folder")
    note: str = Field("", description="shown with the run: what it is, which seeds are development seeds")
    task: TaskSpec
    target: CheckpointSpec | None = None
    checkpoints: tuple[CheckpointSpec, ...] = Field(min_length=1)
    other_model: CheckpointSpec | None = Field(None, description="control; none: the first checkpoint, untrained")
    post_training: PostTrainingSpec | None = Field(None, description="makes the checkpoints marked trained")
    verbal: VerbalSpec | None = Field(None, description="self-explanation; makes the checkpoints marked trained")
    hidden: HiddenSpec = HiddenSpec()
    explainers: ExplainerSpec = ExplainerSpec()
    noise: NoiseSpec = NoiseSpec()
    metrics: MetricSpec = MetricSpec()
    patching: PatchingSpec | None = Field(None, description="make maps of activation patching with the run")
    device: str = Field("auto", pattern=DEVICE, description="auto, cpu, mps, cuda, or one such as cuda:1")
    dtype: Literal["float32", "bfloat16", "float16"] = Field("float32", description="in which the models compute")
    batch_size: int | None = Field(None, ge=1, description="none: found by trial and recorded")
    seed: int = Field(0, ge=0, description="of explainers, splits of cross-validation, and post-training")

    @model_validator(mode="after")
    def _names_are_distinct(self) -> RunSpec:
        names = [c.name for c in self.checkpoints]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"checkpoints: {name!r} stands there twice; every checkpoint needs its own name")
        if self.target and self.target.name in names[1:]:
            raise ValueError(f"target: {self.target.name!r} may only be the first of the checkpoints")
        if self.target and self.target.name == names[0] and self.target != self.checkpoints[0]:
            raise ValueError(f"target: {self.target.name!r} differs from the first checkpoint of that name")
        return self

    @model_validator(mode="after")
    def _patched_checkpoints_are_there(self) -> RunSpec:
        for name in self.patching.checkpoints if self.patching else ():
            if name not in [c.name for c in self.checkpoints]:
                raise ValueError(f"patching.checkpoints: {name!r} is none of the checkpoints")
        return self

    @model_validator(mode="after")
    def _trained_checkpoints_follow_a_given_one(self) -> RunSpec:
        trained = [c for c in self.checkpoints if c.trained]
        if self.post_training and self.verbal:
            raise ValueError("post_training and verbal can't both train the checkpoints: use verbal.drift")
        if bool(trained) != (self.post_training is not None or self.verbal is not None):
            raise ValueError("post_training or verbal goes with checkpoints marked `trained: true`, and they need it")
        if trained and (len(trained) != len(self.checkpoints) - 1 or self.checkpoints[0].trained):
            raise ValueError("checkpoints: where some are trained, the first is given and all others are trained")
        if [c.step for c in trained] != sorted({c.step for c in trained if c.step > 0}):
            raise ValueError("checkpoints: the steps of trained ones must be above 0 and rise")
        concurrent = self.post_training and self.post_training.concurrent
        if concurrent and concurrent.layer not in self.hidden.layers:
            raise ValueError(f"post_training.concurrent.layer: {concurrent.layer} must stand in hidden.layers too")
        return self

    @model_validator(mode="after")
    def _verbal_fits_the_rest(self) -> RunSpec:
        verbal = self.verbal
        if verbal is None:
            return self
        drift = verbal.drift
        if drift and drift.world and self.task.name == "from_file":
            raise ValueError("verbal.drift.world: only the built-in tasks have worlds: give a file of dialogues")
        if self.task.unknown_entities and not (drift and drift.world):
            raise ValueError("task.unknown_entities: nothing teaches them as behavior: give verbal.drift a world")
        if "other_model" in verbal.controls and self.other_model is None:
            raise ValueError("verbal.controls: other_model needs other_model, a checkpoint")
        if drift and drift.hold_words and verbal.schedule != "labels_first":
            raise ValueError("verbal.drift.hold_words: words are held after they were learnt: use labels_first")
        if verbal.schedule == "labels_first" and drift is None:
            raise ValueError("verbal.schedule: labels_first needs a drift that comes after")
        if verbal.schedule == "labels_first" and verbal.label_steps not in [c.step for c in self.checkpoints]:
            raise ValueError("verbal.label_steps: a trained checkpoint must stand at that step")
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
        """Whose hidden states the control `other_model` reads: as the spec says, else an untrained copy."""
        first = self.checkpoints[0]
        untrained = {"name": f"{first.family}--untrained", "untrained": True}
        return self.other_model or first.model_copy(update=untrained)

    @property
    def all_checkpoints(self) -> tuple[CheckpointSpec, ...]:
        """Target and currents, each once."""
        if self.target and self.target.name != self.checkpoints[0].name:
            return (self.target, *self.checkpoints)
        return self.checkpoints


def _one_line(error: ValidationError, where: Path) -> str:
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"]) or "the spec"
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    if first["type"] == "extra_forbidden":
        return f"{where}: unknown key {key!r}: check its spelling, or remove it{more}"
    if first["type"] == "missing":
        return f"{where}: {key!r} is missing: add it{more}"
    return f"{where}: {key}: {first['msg'].removeprefix('Value error, ')}{more}"


def parse_spec(data: Any, where: Path) -> RunSpec:
    """Validate plain data. `where` is only named in errors."""
    if not isinstance(data, dict):
        raise SpecError(f"{where}: a spec is a mapping of keys to values, this is {type(data).__name__}")
    try:
        return RunSpec.model_validate(data)
    except ValidationError as error:
        raise SpecError(_one_line(error, where)) from None


def load_stress(path: Path) -> StressSpec:
    """Read the spec of a stress test; raises SpecError."""
    try:
        return StressSpec.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"{path}: can't be read: {error}: sample_runs/specs/stress.yml is one to start from") from None
    except yaml.YAMLError as error:
        raise SpecError(f"{path}: not valid YAML: {getattr(error, 'problem', error)}") from None
    except ValidationError as error:
        raise SpecError(_one_line(error, path)) from None


def parse_patching(data: Any) -> PatchingSpec:
    """Options of `coupling patch`; raises SpecError."""
    try:
        return PatchingSpec.model_validate(data)
    except ValidationError as error:
        raise SpecError(_one_line(error, Path("patch"))) from None


def _resolved(path: str, base: Path) -> str:
    """A path that exists beside the spec becomes absolute; anything else is left as a hub id."""
    if not path:
        return path
    local = (base / path).expanduser()
    looks_local = path.startswith((".", "/", "~")) or local.exists()
    return str(local.resolve()) if looks_local else path


def _with_paths(spec: RunSpec, model: Callable[[str], str], file: Callable[[str], str]) -> RunSpec:
    """The spec with every path changed: those of models (a folder or a hub id), and those of files."""

    def checkpoint(c: CheckpointSpec | None) -> CheckpointSpec | None:
        return c and c.model_copy(update={"path": model(c.path), "adapter": c.adapter and model(c.adapter)})

    task, post, verbal = spec.task, spec.post_training, spec.verbal
    if verbal and verbal.drift and verbal.drift.dialogues:
        drift = verbal.drift.model_copy(update={"dialogues": file(verbal.drift.dialogues)})
        verbal = verbal.model_copy(update={"drift": drift})
    return spec.model_copy(
        update={
            "task": task.model_copy(update={"path": task.path and file(task.path)}),
            "verbal": verbal,
            "post_training": post and post.model_copy(update={"dialogues": file(post.dialogues)}),
            "target": checkpoint(spec.target),
            "checkpoints": tuple(checkpoint(c) for c in spec.checkpoints),
            "other_model": checkpoint(spec.other_model),
        }
    )


def resolve_paths(spec: RunSpec, base: Path) -> RunSpec:
    """Make local paths absolute, relative to `base` (the spec's folder)."""
    return _with_paths(
        spec,
        model=lambda path: _resolved(path, base),
        file=lambda path: str((base / path).expanduser().resolve()),
    )


def load_spec(path: Path | str) -> RunSpec:
    """Read a YAML spec; raises SpecError with one line that says what, where and how to mend it."""
    path = Path(path)
    if path.is_dir():
        raise SpecError(f"{path}: is a folder; give the spec file itself")
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise SpecError(f"{path}: no such file; specs to start from stand in sample_runs/specs") from None
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"{path}: can't be read: {error}") from None
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        raise SpecError(f"{path}{line}: not valid YAML: {getattr(error, 'problem', error)}") from None
    return resolve_paths(parse_spec(data, path), path.parent.resolve())


def relative_paths(spec: RunSpec, base: Path) -> RunSpec:
    """The spec as a run stores it: local paths relative to the run's folder, so that both can move together."""

    def relative(path: str) -> str:
        return os.path.relpath(path, base) if os.path.isabs(path) else path

    return _with_paths(spec, model=relative, file=relative)


def with_trained_paths(spec: RunSpec, run: Path) -> RunSpec:
    """The spec with the folders in which the run keeps the checkpoints that it trains."""
    checkpoints = tuple(
        c.model_copy(update={"path": str(run / "checkpoints" / c.name)}) if c.trained else c for c in spec.checkpoints
    )
    return spec.model_copy(update={"checkpoints": checkpoints})
