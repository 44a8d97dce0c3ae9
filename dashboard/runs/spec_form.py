"""A spec while it is being written: plain nested data, its problems beside the fields they are about, and as YAML.

The data hold only what differs from the defaults, as a spec file would. Validation is `RunSpec`'s own, and what can be
looked up cheaply on disk. Imports neither torch nor Streamlit.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from dashboard.runs.run_size import layers
from engine.config import CheckpointSpec, InputError, RunSpec, SpecError
from engine.runs.store import Run
from engine.spec_files import load_spec, relative_paths, resolve_paths

Place = tuple[str | int, ...]
"""Where a value stands: ("checkpoints", 0, "path")."""
Data = dict[str, Any]
SWITCHED = ("target", "other_model", "post_training", "concurrent")
"""Sections that mean something even where nothing in them is set."""
LONGEST = 200_000
"""Characters of YAML that are read; aliases could make a small text grow without end, so they are refused."""


class _NoAliases(yaml.SafeLoader):
    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.MarkedYAMLError(problem="aliases are not taken here", problem_mark=self.peek_event().start_mark)
        return super().compose_node(parent, index)


# Values


def get(data: Any, place: Place) -> Any:
    """The value at a place; None where there is none."""
    for key in place:
        if isinstance(data, dict):
            data = data.get(key)
        elif isinstance(data, list) and isinstance(key, int) and key < len(data):
            data = data[key]
        else:
            return None
    return data


def put(data: Data, place: Place, value: Any) -> None:
    """Set the value at a place, making sections on the way; None removes it, and sections that are empty then."""
    *way, last = place
    at: Any = data
    for key, following in zip(way, place[1:], strict=True):
        wanted = list if isinstance(following, int) else dict
        if not isinstance(get(at, (key,)), wanted):
            at[key] = wanted()
        at = at[key]
    if value is not None:
        at[last] = value
    elif isinstance(at, dict):
        at.pop(last, None)
        if not at and way and isinstance(way[-1], str) and way[-1] not in SWITCHED:
            put(data, tuple(way), None)


# Problems


def check(data: Data, base: Path) -> tuple[RunSpec | None, dict[Place, list[str]]]:
    """The valid spec, its paths as written, or None; and what is wrong, in words, by place (() for the whole).

    base: the folder at which relative paths start.
    """
    try:
        spec = RunSpec.model_validate(data)
    except ValidationError as error:
        found: dict[Place, list[str]] = {}
        for detail in error.errors(include_url=False, include_context=False):
            place, words = _in_words(detail)
            if detail["type"] == "too_short" and get(data, place):
                continue  # there are some, and what is wrong with them is said where they stand
            if words not in found.setdefault(place, []):
                found[place].append(words)
        return None, found
    missing = _missing_on_disk(spec, base)
    return (None if missing else spec), missing


def _in_words(detail: ErrorDetails) -> tuple[Place, str]:
    place, said = tuple(detail["loc"]), detail["msg"].removeprefix("Value error, ")
    match detail["type"]:
        case "missing":
            return place, "fill this in"
        case "extra_forbidden":
            return place, "no such option: check its spelling, or remove it"
        case "string_pattern_mismatch" if place == ("name",):
            return place, "use letters, digits, dot, _ and -, and begin with a letter or digit"
        case "value_error" if place == ("task",):
            return (*place, "path"), said
        case "value_error" if place[:1] in (("checkpoints",), ("target",), ("other_model",)):
            return (*place, "path" if "needs a path" in said else "name"), said
        case "too_short":
            return place, "needs at least one"
        case "value_error":  # RunSpec's own: the words begin with the option that they are about
            key, colon, rest = said.partition(":")
            if colon and key.split(".")[0] in RunSpec.model_fields:
                return (*place, *key.split(".")), rest.strip()
            first = said.split(" ")[0]
            return ((*place, first) if first in RunSpec.model_fields else place), said
    given = detail["input"]
    shown = f" (it is {given!r:.60})" if isinstance(given, (str, int, float)) and given != "" else ""
    return place, said.replace("Input should be", "should be") + shown


def _missing_on_disk(spec: RunSpec, base: Path) -> dict[Place, list[str]]:
    """Files and model folders that a valid spec names and that are not there."""
    resolved = resolve_paths(spec, base)
    found: dict[Place, list[str]] = {}
    files: dict[Place, str | None] = {("task", "path"): resolved.task.path}
    if resolved.post_training:
        files["post_training", "dialogues"] = resolved.post_training.dialogues
    for place, file in files.items():
        if file and not Path(file).is_file():
            found[place] = [f"no such file: {file}"]
    models: list[tuple[Place, CheckpointSpec | None]] = [
        (("checkpoints", i), c) for i, c in enumerate(resolved.checkpoints)
    ]
    for place, model in [*models, (("target",), resolved.target), (("other_model",), resolved.other_model)]:
        for key in ("path", "adapter"):
            path = model and getattr(model, key)
            if model and path and Path(path).is_absolute():
                needed = "adapter_config.json" if key == "adapter" else "config.json"
                if not (Path(path) / needed).is_file():
                    found[*place, key] = [f"no model here (no {needed}): {path}"]
    blocks = layers(resolved.checkpoints[0])
    if blocks is not None and (wrong := [k for k in spec.hidden.layers if not -blocks - 1 <= k <= blocks]):
        found["hidden", "layers"] = [f"the first checkpoint has {blocks} layers: there is no layer {wrong[0]}"]
    return found


def check_examples(spec: RunSpec, base: Path) -> dict[Place, list[str]]:
    """What is wrong with the examples that a valid spec asks for. It makes them: up to seconds."""
    from engine.pipeline import load_examples  # takes a second to import

    try:
        load_examples(resolve_paths(spec, base))
    except InputError as error:
        return {("task",): [str(error)]}
    return {}


def at_or_below(problems: dict[Place, list[str]], place: Place) -> list[str]:
    """What is wrong with the value at a place, or inside it."""
    return [words for at, lines in problems.items() if at[: len(place)] == place for words in lines]


def named(place: Place) -> str:
    """A place as people read it: `checkpoint 2, path`."""
    words: list[str] = []
    for part in place:
        if isinstance(part, int):
            words[-1] = f"{words[-1].rstrip('s')} {part + 1}"
        else:
            words.append(part.replace("_", " "))
    return ", ".join(words)


# YAML, and where to start from


def to_yaml(data: Data) -> str:
    """In the order of the spec class."""
    known = [name for name in RunSpec.model_fields if name in data]
    ordered = {name: data[name] for name in [*known, *(k for k in data if k not in known)]}
    return yaml.safe_dump(ordered, sort_keys=False, allow_unicode=True, width=100)


def from_yaml(text: str) -> Data:
    """Plain data; raises SpecError with the line at which it can't be read."""
    if len(text) > LONGEST:
        raise SpecError(f"the text has {len(text):,} characters: a spec has at most {LONGEST:,}")
    try:
        data = yaml.load(text, Loader=_NoAliases)  # noqa: S506 (a SafeLoader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}: " if mark else ""
        raise SpecError(f"{where}not valid YAML: {getattr(error, 'problem', None) or error}") from None
    if not isinstance(data, dict) or not all(isinstance(key, str) for key in data):
        raise SpecError("a spec is a mapping of keys to values, such as `name: mine`")
    return data


def as_data(spec: RunSpec, base: Path) -> Data:
    """A spec with absolute paths as the form's data: what differs from the defaults, paths relative to `base`.

    Leave to run a checkpoint's own code is not taken over: it is given by whoever starts a run, for that run.
    """
    data = relative_paths(spec, base).model_dump(mode="json", exclude_defaults=True)
    for model in [data.get("target"), data.get("other_model"), *data["checkpoints"]]:
        if model:
            model.pop("trust_remote_code", None)
    return data


def template(source: Path, base: Path) -> Data:
    """The data of a spec file or of a run's folder; raises InputError where it can't be read."""
    spec = load_spec(source) if source.is_file() else resolve_paths(Run.open(source).spec, source)
    return as_data(spec, base)


def empty() -> Data:
    return {"task": {"name": "sycophancy"}, "checkpoints": [{}]}


def free_name(name: str, runs: Path) -> str:
    """`name`, or `name-2` and so on where a run has it."""
    taken = {p.name for p in runs.iterdir()} if runs.is_dir() else set()
    return next(n for n in (name, *(f"{name}-{i}" for i in range(2, 10_000))) if n not in taken)


def spec_files(folders: Sequence[Path]) -> list[Path]:
    """Specs that stand in folders, sorted by name."""
    return sorted((f for folder in folders for f in folder.glob("*.yaml")), key=lambda f: f.name)
