"""Spec files: YAML in, checked specs out, and the paths in them made absolute or relative."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError

from engine.config import RunSpec, SpecError, Strict

AnySpec = TypeVar("AnySpec", bound=Strict)


def first_problem(error: ValidationError, where: Path | str) -> str:
    """One line about the first problem that pydantic found; `where` names the file."""
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    if first["type"] == "extra_forbidden":
        return f"{where}: unknown key {key!r}: check its spelling, or remove it{more}"
    if first["type"] == "missing":
        return f"{where}: {key!r} is missing: add it{more}"
    return ": ".join(filter(None, (str(where), key, first["msg"].removeprefix("Value error, ")))) + more


def parse_spec(data: Any, where: Path | str, model: type[AnySpec]) -> AnySpec:
    """Check plain data; errors name `where`. Raises SpecError."""
    if not isinstance(data, dict):
        raise SpecError(f"{where}: a spec is a mapping of keys to values, this is {type(data).__name__}")
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise SpecError(first_problem(error, where)) from None


def read_spec(path: Path, model: type[AnySpec]) -> AnySpec:
    """Read a YAML file, paths as written. Raises SpecError: one line that says what, where, and how to fix it."""
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SpecError(f"{path}: no such file; sample_runs/specs has some to start from") from None
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"{path}: can't be read: {getattr(error, 'strerror', None) or error}") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        raise SpecError(f"{path}{line}: not valid YAML: {getattr(error, 'problem', error)}") from None
    return parse_spec(data, path, model)


def load_spec(path: Path | str) -> RunSpec:
    """Read the spec of a run, with absolute paths. Raises SpecError."""
    path = Path(path)
    return resolve_paths(read_spec(path, RunSpec), path.parent.resolve())


def _with_paths(spec: RunSpec, model: Callable[[str], str], file: Callable[[str], str]) -> RunSpec:
    """The spec with changed paths. `model` changes paths of models (a folder or a hub id), `file` those of files."""
    data = spec.model_dump()
    drift = (data["verbal"] or {}).get("drift")
    checkpoints = [data["target"], data["other_model"], *data["checkpoints"]]
    for section, key, changed in (
        *((checkpoint, key, model) for checkpoint in checkpoints for key in ("path", "adapter")),
        *((data["task"], "path", file), (data["post_training"], "dialogues", file), (drift, "dialogues", file)),
    ):
        if section and section[key]:
            section[key] = changed(section[key])
    return RunSpec.model_validate(data)


def resolve_paths(spec: RunSpec, base: Path) -> RunSpec:
    """Make paths absolute, relative to `base`. A model's path that is no local folder stays as it is: a hub id."""

    def model(path: str) -> str:
        local = (base / path).expanduser()
        return str(local.resolve()) if path.startswith((".", "/", "~")) or local.exists() else path

    return _with_paths(spec, model, file=lambda path: str((base / path).expanduser().resolve()))


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
