"""Checks the draft of a spec: `RunSpec`'s own validation, and what can be looked up cheaply on disk."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from dashboard.runs.run_size import layers
from dashboard.runs.spec_draft import Data, Place
from engine.config import RunSpec
from engine.spec_files import resolve_paths


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
            if path and path.lower().endswith(".gguf") and Path(path).is_file():
                continue
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
