"""Spec classes: the only place where options exist.

Specs are frozen pydantic models that refuse unknown keys. `engine.spec_files` reads them from YAML files. Paths in a
file are relative to its folder. `run` holds the spec of a whole run; the other modules hold its sections.
"""

from engine.config.explain import ExplainerSpec, MetricSpec, NoiseSpec, PatchingSpec, PrimarySpec
from engine.config.ground import (
    MANY,
    NAME,
    AnyPath,
    Device,
    ExplainerKind,
    InputError,
    Mode,
    NoiseKind,
    Position,
    Positive,
    Regime,
    Seed,
    Share,
    SpecError,
    Split,
    Strict,
    WorldName,
)
from engine.config.model import PERMISSIONS, ChatSpec, CheckpointSpec, HiddenSpec
from engine.config.run import RunSpec, of_an_earlier_record
from engine.config.task import PromptCounts, TaskSpec
from engine.config.training import ConcurrentSpec, DriftSpec, LoraSpec, Optimizer, PostTrainingSpec, VerbalSpec

__all__ = [
    "MANY",
    "NAME",
    "PERMISSIONS",
    "AnyPath",
    "ChatSpec",
    "CheckpointSpec",
    "ConcurrentSpec",
    "Device",
    "DriftSpec",
    "ExplainerKind",
    "ExplainerSpec",
    "HiddenSpec",
    "InputError",
    "LoraSpec",
    "MetricSpec",
    "Mode",
    "NoiseKind",
    "NoiseSpec",
    "Optimizer",
    "PatchingSpec",
    "Position",
    "Positive",
    "PostTrainingSpec",
    "PrimarySpec",
    "PromptCounts",
    "Regime",
    "RunSpec",
    "Seed",
    "Share",
    "SpecError",
    "Split",
    "Strict",
    "TaskSpec",
    "VerbalSpec",
    "WorldName",
    "of_an_earlier_record",
]
