"""A spec while it is being written: YAML text, the same as plain data, and what is wrong with it.

The data hold only what differs from the defaults, as a spec file would. Validation is `RunSpec`'s own, and what can be
looked up cheaply on disk. Imports neither torch nor Streamlit.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from dashboard.runs.run_size import layers
from engine.config import RunSpec, SpecError
from engine.runs.store import Run
from engine.spec_files import load_spec, relative_paths, resolve_paths

Place = tuple[str | int, ...]
"""Where a value stands: ("checkpoints", 0, "path")."""
Data = dict[str, Any]
EMPTY: Data = {"task": {"name": "sycophancy"}, "checkpoints": [{}]}
LONGEST = 200_000
"""Characters of YAML that are read; aliases could make a small text grow without end, so they are refused."""


class _NoAliases(yaml.SafeLoader):
    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark
            raise yaml.MarkedYAMLError(problem="aliases are not allowed here", problem_mark=mark)
        return super().compose_node(parent, index)


def to_yaml(data: Data) -> str:
    """The data as text, in the order of the spec class."""
    known = [name for name in RunSpec.model_fields if name in data]
    ordered = {name: data[name] for name in [*known, *(k for k in data if k not in known)]}
    return yaml.safe_dump(ordered, sort_keys=False, allow_unicode=True, width=100)


def from_yaml(text: str) -> Data:
    """Plain data; raises SpecError with the line at which the text can't be read."""
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
    """Set the value at a place, making sections on the way; None removes it, and a section that is empty then."""
    *way, last = place
    at: Any = data
    for key, following in zip(way, place[1:], strict=True):
        wanted = list if isinstance(following, int) else dict
        if not isinstance(get(at, (key,)), wanted):
            at[key] = wanted()
        at = at[key]
    if value is not None:
        at[last] = value
        return
    at.pop(last, None)
    if not at and len(way) == 1:
        data.pop(str(way[0]))


def check(data: Data, base: Path) -> tuple[RunSpec | None, list[str]]:
    """The valid spec, its paths as written, or None; and what is wrong, in words.

    base: the folder at which relative paths start.
    """
    try:
        spec = RunSpec.model_validate(data)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False)
        # A list whose items are all wrong also counts as too short: its items' own errors say what is wrong.
        return None, [_in_words(e) for e in found if e["type"] != "too_short" or not e["input"]]
    missing = _missing_on_disk(spec, base)
    return (None if missing else spec), missing


def _in_words(error: ErrorDetails) -> str:
    place, given = named(error["loc"]), error["input"]
    said = error["msg"].removeprefix("Value error, ").replace("Input should be", "should be")
    match error["type"]:
        case "missing":
            said = "fill this in"
        case "extra_forbidden":
            said = "no such option: check its spelling, or remove it"
        case "string_pattern_mismatch" if place == "name":
            said = "use letters, digits, dot, _ and -, and begin with a letter or digit"
        case "too_short":
            said = "needs at least one"
        case kind if kind != "value_error" and isinstance(given, (str, int, float)) and given != "":
            said += f" (it is {given!r:.60})"
    return f"{place}: {said}" if place else said


def _missing_on_disk(spec: RunSpec, base: Path) -> list[str]:
    """Files and model folders that a valid spec names and that are not there."""
    spec = resolve_paths(spec, base)
    drift = spec.verbal and spec.verbal.drift
    files = {
        "task, path": spec.task.path,
        "post training, dialogues": spec.post_training and spec.post_training.dialogues,
        "verbal, drift, dialogues": drift and drift.dialogues,
    }
    found = [f"{place}: no such file: {file}" for place, file in files.items() if file and not Path(file).is_file()]
    models = {f"checkpoint {i}": model for i, model in enumerate(spec.checkpoints, 1)}
    for place, model in [*models.items(), ("target", spec.target), ("other model", spec.other_model)]:
        needed = {model.path: "config.json", model.adapter: "adapter_config.json"} if model else {}
        for path, file in needed.items():
            if path and Path(path).is_absolute() and not (Path(path) / file).is_file():
                found.append(f"{place}: no model here (no {file}): {path}")
    blocks = layers(spec.checkpoints[0])
    if blocks is not None and (wrong := [k for k in spec.hidden.layers if not -blocks - 1 <= k <= blocks]):
        found.append(f"hidden, layers: the first checkpoint has {blocks} layers: there is no layer {wrong[0]}")
    return found


def named(place: Place) -> str:
    """A place as people read it: `checkpoint 2, path`."""
    words: list[str] = []
    for part in place:
        if isinstance(part, int):
            words[-1] = f"{words[-1].rstrip('s')} {part + 1}"
        else:
            words.append(part.replace("_", " "))
    return ", ".join(words)


def template(source: Path, base: Path) -> Data:
    """The data of a spec file or of a run's folder, with paths relative to `base`; raises InputError.

    Permission to run a checkpoint's own code is left out: whoever starts a run gives it, for that run.
    """
    spec = load_spec(source) if source.is_file() else resolve_paths(Run.open(source).spec, source)
    data = relative_paths(spec, base).model_dump(mode="json", exclude_defaults=True)
    for model in [data.get("target"), data.get("other_model"), *data["checkpoints"]]:
        if model:
            model.pop("trust_remote_code", None)
    return data


def free_name(name: str, runs: Path) -> str:
    """`name`, or `name-2` and so on where a run has it."""
    taken = {p.name for p in runs.iterdir()} if runs.is_dir() else set()
    return next(n for n in (name, *(f"{name}-{i}" for i in range(2, 10_000))) if n not in taken)
