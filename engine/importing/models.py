"""Checkpoints named on the command line of `coupling import`, for the spec that it writes.

A model is a folder, a .gguf file or a hub id. `ID@REVISION` names a revision of a hub model, and `MODEL+ADAPTER` a peft
adapter on top.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from engine.config import CheckpointSpec, InputError
from engine.spec_files import parse_spec

_STEP = re.compile(r"(\d+)\D*$")


def checkpoints_of(given: Sequence[str], folder: Path) -> list[dict[str, Any]]:
    """The `checkpoints` of a spec in `folder`. The first one gives the labels.

    Steps are the last numbers of the revisions, adapters or models if these increase, else 0, 1, 2, …
    Raises InputError.
    """
    if not given:
        return []
    parts = [_parts(one) for one in given]
    numbers = [_STEP.search(own or path) for path, own, _ in parts]
    steps = [int(found[1]) if found else -1 for found in numbers]
    if sorted(set(steps)) != steps or steps[0] < 0:
        steps = list(range(len(parts)))
    paths = [path for path, _, _ in parts]
    family = _word(paths[0]) if len(set(paths)) < len(paths) else "model"
    found: list[dict[str, Any]] = []
    for place, ((path, own, keys), step) in enumerate(zip(parts, steps, strict=True)):
        name = f"{family}--{_word(own) if own else 'base' if paths.count(path) > 1 else _word(path)}"
        if name in [one["name"] for one in found]:
            name += f"-{place}"
        if "adapter" in keys:
            keys["adapter"] = _from(keys["adapter"], folder)
        about = {"name": name, "path": _from(path, folder), **keys, "step": step}
        parse_spec(about, "--model", CheckpointSpec)
        found.append(about)
    return found


def _parts(given: str) -> tuple[str, str, dict[str, str]]:
    """(model, revision or adapter, these as options of a checkpoint)."""
    if Path(given).expanduser().exists():
        return given, "", {}
    model, _, adapter = given.partition("+")
    model, at, revision = model.partition("@") if not Path(model).expanduser().exists() else (model, "", "")
    if not model or (at and not revision) or ("+" in given and not adapter):
        raise InputError(
            f"--model {given}: give a folder, a .gguf file or a hub id, as MODEL, ID@REVISION or MODEL+ADAPTER"
        )
    return model, adapter or revision, {k: v for k, v in (("revision", revision), ("adapter", adapter)) if v}


def _from(path: str, folder: Path) -> str:
    """A local path relative to the spec's folder; a hub id as it is."""
    local = Path(path).expanduser()
    return os.path.relpath(local.resolve(), folder.resolve()) if local.exists() else path


def _word(path: str) -> str:
    """The last part of a path as part of a checkpoint's name."""
    stem = Path(path).name.removesuffix(".gguf")
    return re.sub(r"[^A-Za-z0-9._]+", "_", stem).strip("_") or "model"
