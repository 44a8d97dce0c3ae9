"""The spec of a whole run."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Literal

from pydantic import Field, model_validator

from engine.config.explain import ExplainerSpec, MetricSpec, NoiseSpec, PatchingSpec
from engine.config.ground import MANY, NAME, Device, Seed, Strict
from engine.config.model import ChatSpec, CheckpointSpec, HiddenSpec
from engine.config.task import TaskSpec
from engine.config.training import LoraSpec, PostTrainingSpec, VerbalSpec


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
        if trained and (self.checkpoints[0].load_in or self.checkpoints[0].device_map):
            raise ValueError("checkpoints: the first one is trained further, so it has no load_in and no device_map")
        if self.verbal and self.lora and self.lora.save_as == "adapter" and self.checkpoints[0].adapter:
            raise ValueError("lora: the first checkpoint has an adapter, and one more can't go on it: save_as: merged")
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
    def lora(self) -> LoraSpec | None:
        """The adapter that the run trains, if it trains one."""
        training = self.post_training or self.verbal
        return training.lora if training else None

    @property
    def trains_its_adapter(self) -> bool:
        """Whether post-training goes on with the adapter that the first checkpoint has."""
        post = self.post_training
        return bool(post and post.lora and post.lora.save_as == "adapter" and self.checkpoints[0].adapter)

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


def of_an_earlier_record(spec: Any) -> Any:
    """The spec in a run's record, with what options did before they existed. A record names all options of its time."""
    if not isinstance(spec, dict):
        return spec
    before = {
        "post_training": {"optimizer": "muon", "validation": 0.0, "prompt_weight": 1.0},
        "verbal": {"optimizer": "muon"},
    }
    filled = {key: options | spec[key] for key, options in before.items() if isinstance(spec.get(key), dict)}
    for section in filled.values():
        if isinstance(section.get("lora"), dict):
            section["lora"] = {"save_as": "merged"} | section["lora"]
    return spec | filled
