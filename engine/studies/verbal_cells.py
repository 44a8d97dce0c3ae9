"""The cells of a study of self-explanation: base runs × seeds × worlds × settings, one run each.

A seed draws the prompts and the held-out cells, the labels, the order of training and the rules that behavior drifts
to. With `models: fresh` it also trains its own first checkpoints (θ0). With `given`, all seeds start from those that
the base names, or, for a setting with a `shape`, from one of that shape that has learnt the same.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from engine.config import InputError, RunSpec, Strict, WorldName
from engine.spec_files import parse_spec, read_yaml, resolve_paths


class ShapeSpec(Strict):
    """The shape of a first checkpoint that is trained for a setting, in place of the sample models' shape."""

    width: int = Field(ge=8)
    layers: int = Field(ge=1)
    heads: int = Field(4, ge=1)

    @model_validator(mode="after")
    def _heads_divide_the_width(self) -> ShapeSpec:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not a multiple of heads {self.heads}")
        return self


class SettingSpec(Strict):
    """The changes that one setting makes to the base runs."""

    name: str = Field(min_length=1, description="name of the setting in the table")
    changes: dict[str, Any] = Field(
        default_factory=dict, description="dotted key of a run spec → value; {task} in a text: the task's name"
    )
    reported: str = Field("", description="figure reported in the paper, shown beside the measured one")
    tasks: tuple[str, ...] = Field((), description="only the base runs of these tasks; empty: all")
    seeds: tuple[int, ...] = Field((), description="only these of the study's seeds; empty: all")
    shape: ShapeSpec | None = Field(None, description="start from models of this shape, trained for it")


class VerbalStudySpec(Strict):
    """`seeds` × `base` × `worlds` × `settings`; settings are made in their order, each on all seeds."""

    base: tuple[str, ...] = Field(min_length=1, description="run specs with a `verbal` section, relative to this file")
    worlds: tuple[WorldName, ...] = Field((), description="replace the base's world; empty: the base's own")
    settings: tuple[SettingSpec, ...] = Field((), description="each changes the base; empty: the base alone")
    vary: dict[str, tuple[Any, ...]] = Field(
        default_factory=dict, description="dotted key → values, one key at a time: a setting for each value"
    )
    models: Literal["given", "fresh"] = Field("given", description="fresh: each seed trains its own first checkpoints")
    until: Annotated[float, Field(gt=0)] | None = Field(None, description="begin no cell after this many minutes")

    @model_validator(mode="after")
    def _names_are_distinct(self) -> VerbalStudySpec:
        names = [s.name for s in self.all_settings]
        if len(set(names)) < len(names):
            raise ValueError("two settings have the same name")
        return self

    @property
    def all_settings(self) -> tuple[SettingSpec, ...]:
        varied = [
            SettingSpec(name=f"{key.rpartition('.')[2]} {value}", changes={key: value})
            for key, values in self.vary.items()
            for value in values
        ]
        return (*self.settings, *varied) or (SettingSpec(name="base"),)


@dataclass(frozen=True)
class Cell:
    """One run of the study."""

    base: str
    task: str
    setting: str
    world: str | None
    seed: int
    spec: RunSpec
    digest: str
    """Hash of the spec and the shape, without paths."""
    shape: ShapeSpec | None = None

    @property
    def name(self) -> str:
        words = [self.base, self.setting, *([self.world] if self.world else []), f"seed-{self.seed}"]
        return "--".join("".join(c if c.isalnum() or c in ".-" else "-" for c in word) for word in words)


def with_changes(data: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of plain data with dotted keys set; missing sections are added, None removes a section."""
    out = deepcopy(dict(data))
    for key, value in changes.items():
        at = out
        *sections, last = key.split(".")
        for section in sections:
            if not isinstance(at.get(section), dict):
                at[section] = {}
            at = at[section]
        at[last] = value
    return out


def cells(spec: VerbalStudySpec, seeds: tuple[int, ...], folder: Path) -> Iterator[Cell]:
    """Cells in the order in which they are made. Raises InputError for a base or a change that can't be used."""
    bases = [(folder / path, read_yaml(folder / path)) for path in spec.base]
    for setting in spec.all_settings:
        for seed in [s for s in seeds if not setting.seeds or s in setting.seeds]:
            for path, data in bases:
                if setting.tasks and _task_of(data) not in setting.tasks:
                    continue
                for world in spec.worlds or (None,):
                    yield _cell(spec, setting, seed, path, data, world)


def _task_of(data: dict[str, Any]) -> str:
    return data.get("task", {}).get("name", "")


def _cell(
    spec: VerbalStudySpec, setting: SettingSpec, seed: int, path: Path, data: dict[str, Any], world: str | None
) -> Cell:
    if not isinstance(data.get("verbal"), dict):
        raise InputError(f"{path}: has no section verbal: give the spec of a self-explaining run")
    own: dict[str, Any] = {"seed": seed, "task.seed": seed, "patching": None}  # a study keeps no patching maps
    drift = data["verbal"].get("drift")
    if isinstance(drift, dict) and drift.get("world"):
        own |= {"verbal.drift.seed": seed} | ({"verbal.drift.world": world} if world else {})
        own |= {"verbal.drift.rules_seed": seed} if spec.models == "fresh" else {}
    plain = with_changes(with_changes(data, own), _name_task(setting.changes, _task_of(data)))
    parsed = parse_spec(plain, f"{path} ({setting.name})", RunSpec)
    hashed = parsed.model_dump(mode="json", exclude_defaults=True)  # new options at their defaults keep the digest
    if hashed["verbal"].get("optimizer") == "muon":
        del hashed["verbal"]["optimizer"]  # what there was before there was a choice: cells of then keep their digest
    hashed |= {"shape": setting.shape.model_dump()} if setting.shape else {}
    digest = hashlib.sha256(json.dumps(hashed, sort_keys=True).encode()).hexdigest()[:16]
    resolved = resolve_paths(parsed, path.parent.resolve())
    return Cell(path.stem, parsed.task.name, setting.name, world, seed, resolved, digest, setting.shape)


def _name_task(value: Any, task: str) -> Any:
    """`value` with {task} in every text replaced by the task's name."""
    if isinstance(value, dict):
        return {key: _name_task(inner, task) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_name_task(inner, task) for inner in value]
    return value.replace("{task}", task) if isinstance(value, str) else value
