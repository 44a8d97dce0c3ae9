"""Whether the checkpoints that a run trained itself are in its folder, whole."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from safetensors import SafetensorError, safe_open

from engine.config import RunSpec
from engine.runs.files import WEIGHTS, is_file, is_folder, sha256_of

CONFIG, ADAPTER_CONFIG = "config.json", "adapter_config.json"
"""What a whole model and an adapter are recognised by."""


def kept(spec: RunSpec) -> list[str]:
    """Names of the checkpoints whose weights the finished run keeps."""
    keeps = spec.verbal is None or spec.verbal.keep_checkpoints
    return [c.name for c in spec.checkpoints if c.trained and keeps]


def folder_of(run: Path, name: str) -> Path:
    """The folder with the weights of a checkpoint that the run trains: a whole model, or an adapter."""
    return run / WEIGHTS / name


def hashes(run: Path, spec: RunSpec) -> dict[str, str]:
    """Checkpoint → hash of its folder, as the run records it once it is finished."""
    return {name: sha256_of(folder_of(run, name)) for name in kept(spec) if is_folder(folder_of(run, name))}


def weight_problems(run: Path, spec: RunSpec, recorded: dict[str, str]) -> Iterator[str]:
    """What is wrong with the trained checkpoints of a finished run, one line each."""
    adapters = spec.lora is not None and spec.lora.save_as == "adapter"
    for name in kept(spec):
        folder, what = folder_of(run, name), f"{WEIGHTS}/{name}"
        if not is_folder(folder):
            yield f"{what}: missing: the run keeps the weights that it trained"
        elif why := _unreadable(folder, ADAPTER_CONFIG if adapters else CONFIG):
            yield f"{what}: damaged ({why})"
        elif name in recorded and sha256_of(folder) != recorded[name]:
            yield f"{what}: damaged (its contents are not what was recorded)"


def _unreadable(folder: Path, config: str) -> str | None:
    """Why a checkpoint can't be loaded, by the headers of its files; None if they are whole."""
    try:
        if not isinstance(json.loads((folder / config).read_text(encoding="utf-8")), dict):
            return f"{config} is no mapping"
        needed = {file.name for file in folder.glob("*.safetensors")}
        for index in folder.glob("*.safetensors.index.json"):
            needed |= set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        return f"{config} or an index can't be read: {' '.join(str(error).split())[:100]}"
    if not needed:
        return "it holds no weights"
    for name in sorted(map(str, needed)):
        if Path(name).name != name or not is_file(folder / name):
            return f"{name[:100]} is missing"
        try:
            with safe_open(folder / name, framework="np") as arrays:
                arrays.keys()
        except (SafetensorError, OSError) as error:
            return f"{name}: {' '.join(str(error).split())[:100]}"
    return None
