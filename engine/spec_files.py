"""Spec files: YAML in, checked specs out, and the paths in them made absolute or relative."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError

from engine.config import CheckpointSpec, RunSpec, SpecError, Strict

AnySpec = TypeVar("AnySpec", bound=Strict)
NOT_YAML = (yaml.YAMLError, ValueError, TypeError, AttributeError, LookupError, OverflowError)
"""What PyYAML's parser and the constructors of its tags raise."""
LONGEST = 1_000_000
"""Bytes of the longest YAML file that is read, and characters of the longest text."""
LONGEST_SHOWN = 80
"""Characters of a key that errors repeat."""
MOST_VALUES, DEEPEST = 100_000, 40
"""Bounds of a spec once its aliases are written out: number of values, and how deep they are nested."""


class _Loader(yaml.SafeLoader):
    """Plain data only; a key that stands twice in a mapping is an error, because one of the two would be lost."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        seen = set()
        for key, _ in node.value:
            if key.tag != "tag:yaml.org,2002:merge" and isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.MarkedYAMLError(
                        problem=f"the key {key.value!r} stands twice", problem_mark=key.start_mark
                    )
                seen.add(key.value)
        return super().construct_mapping(node, deep)


def parse_yaml(text: str, where: Path | str = "") -> dict[str, Any]:
    """The keys and values of a YAML text. `where` names it in errors.

    Raises SpecError, with the line, for a text that is not YAML or not a mapping, and for values that can't be stored:
    integers beyond 64 bits, text with NUL or half a surrogate pair, too many or too deeply nested values.
    """
    prefix = f"{where}: " if where else ""
    if len(text) > LONGEST:
        raise SpecError(f"{prefix}the text has {len(text):,} characters: a spec has at most {LONGEST:,}")
    try:
        data = yaml.load(text, Loader=_Loader)  # noqa: S506 (a SafeLoader)
    except RecursionError:
        raise SpecError(f"{prefix}nested too deeply: at most {DEEPEST} levels are read") from None
    except NOT_YAML as error:
        mark = getattr(error, "problem_mark", None)
        place = ", ".join(filter(None, (str(where), f"line {mark.line + 1}" if mark else "")))
        reason = getattr(error, "problem", None) or str(error).splitlines()[0][:200]
        if not isinstance(error, yaml.YAMLError):
            reason = f"a value is not what its tag or its digits say ({reason})"
        raise SpecError(f"{place}{': ' if place else ''}not valid YAML: {reason}") from None
    if not isinstance(data, dict):
        raise SpecError(f"{prefix}a spec is a mapping of keys to values, such as `name: mine`")
    if problem := unstorable(data):
        raise SpecError(f"{prefix}{problem}")
    return data


def shown(key: str, most: int) -> str:
    """A key as part of one line of at most so many characters, whatever is in it."""
    line = "".join(c if c.isprintable() else "·" for c in key[: most + 1])
    return line if len(line) <= most else f"{line[:most]}…"


def unstorable(data: Any, most: int = MOST_VALUES) -> str | None:
    """The first value of plain data that can't be stored, and why; None if there is none."""
    left = most
    pending: list[tuple[str, Any, int]] = [("", data, 0)]
    while pending:
        key, value, depth = pending.pop()
        left -= 1
        place = shown(key, LONGEST_SHOWN)
        if depth > DEEPEST:
            return f"{place}: nested too deeply: at most {DEEPEST} levels are read"
        if left < 0:
            return f"more than {most:,} values (aliases count as what they stand for): give a smaller spec"
        if isinstance(value, str) and ("\0" in value or any("\ud800" <= c <= "\udfff" for c in value)):
            return f"{place}: a text with a NUL or half a character (a lone surrogate): remove it"
        if isinstance(value, int) and abs(value) >= 2**63:
            return f"{place}: the number is too large: integers have at most 64 bits"
        if isinstance(value, dict):
            if wrong := [k for k in value if not isinstance(k, str)]:
                return f"{place or 'spec'}: the key {str(wrong[0])[:40]!r} is not a text: put it in quotes"
            pending += [(f"{key}.{k}" if key else k, inner, depth + 1) for k, inner in value.items()]
            pending += [(f"{key}.{k}"[-60:], k, depth + 1) for k in value]
        elif isinstance(value, list | tuple | set):
            pending += [(f"{key}.{i}", inner, depth + 1) for i, inner in enumerate(value)]
    return None


def read_yaml(path: Path) -> dict[str, Any]:
    """The keys and values of a YAML file, as `parse_yaml`. Raises SpecError: what is wrong, where, how to mend it."""
    try:
        if path.exists() and not path.is_file():  # a device or a pipe could be read for ever
            raise SpecError(f"{path}: is not a file: give a YAML file")
        with path.open(encoding="utf-8-sig") as file:
            return parse_yaml(file.read(LONGEST + 1), path)
    except FileNotFoundError:
        raise SpecError(f"{path}: no such file; sample_runs/specs has some to start from") from None
    except (OSError, ValueError) as error:
        if isinstance(error, SpecError):
            raise
        raise SpecError(f"{path}: can't be read: {getattr(error, 'strerror', None) or error}") from None


def first_problem(error: ValidationError, where: Path | str) -> str:
    """One line about the first problem that pydantic found; `where` names the file."""
    first = error.errors()[0]
    key = shown(".".join(str(part)[:LONGEST_SHOWN] for part in first["loc"]), 5 * LONGEST_SHOWN)
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    if first["type"] == "extra_forbidden":
        return f"{where}: unknown key {key!r}: check its spelling, or remove it{more}"
    if first["type"] == "missing":
        return f"{where}: {key!r} is missing: add it{more}"
    reason = " ".join(first["msg"].removeprefix("Value error, ").split())
    return ": ".join(filter(None, (str(where), key, reason[: 5 * LONGEST_SHOWN]))) + more


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
    return parse_spec(read_yaml(path), path, model)


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
    """The spec with the folders in which the run keeps the checkpoints that it trains.

    An adapter goes on the first checkpoint, whose path must be one that can be opened.
    """
    first, adapters = spec.checkpoints[0], spec.lora is not None and spec.lora.save_as == "adapter"

    def found(checkpoint: CheckpointSpec) -> CheckpointSpec:
        folder = str(run / "checkpoints" / checkpoint.name)
        if not checkpoint.trained:
            return checkpoint
        if not adapters:
            return checkpoint.model_copy(update={"path": folder})
        own = {"name": checkpoint.name, "step": checkpoint.step, "trained": True, "adapter": folder}
        return first.model_copy(update=own)

    return spec.model_copy(update={"checkpoints": tuple(map(found, spec.checkpoints))})
