"""How large a run will be, before it is made: examples, forward passes, disk. Imports neither torch nor Streamlit."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from engine.config import CheckpointSpec, RunSpec, TaskSpec
from engine.tasks import FACTORS

LONGEST_COUNTED = 200 * 10**6
"""Bytes of a file of examples whose lines are counted; of a longer one the beginning, and the rest by its length."""


@dataclass(frozen=True)
class Size:
    prompts: int | None
    """None: of a file, whose prompts may recur."""
    examples: int
    """At most: an edit that does not apply to a prompt makes none."""
    texts: int
    """Texts that go through a model, at all checkpoints and the control."""
    hidden_bytes: int | None
    """Of hidden states that the finished run keeps; None where a model's width is not known here."""


def size(spec: RunSpec) -> Size:
    """An estimate from the spec (absolute paths), the file of examples and the models' config.json alone."""
    prompts, examples = counts(spec.task)
    models = len(dict.fromkeys((*spec.all_checkpoints, spec.control_model)))
    first = spec.checkpoints[0]
    width = config_number(first, "hidden_size", "n_embd", "d_model")
    kept: int | None = 0
    if spec.hidden.keep != "none":
        each = len(spec.hidden.layers) * (2 if spec.hidden.dtype == "float16" else 4)
        rows = (prompts or examples) + (2 * examples if spec.hidden.keep == "all" else 0)
        kept = None if width is None else len(spec.checkpoints) * rows * each * width
    return Size(prompts, examples, models * ((prompts or 0) + examples), kept)


def counts(task: TaskSpec) -> tuple[int | None, int]:
    """Prompts, where the spec says how many, and examples at most."""
    if task.name == "from_file":
        return None, _lines(Path(task.path or ""))
    prompts = sum(task.prompts.model_dump().values())
    return prompts, prompts * len(task.edits or FACTORS[task.name].edits)


def layers(checkpoint: CheckpointSpec) -> int | None:
    """How many blocks a local model has."""
    return config_number(checkpoint, "num_hidden_layers", "n_layer")


def config_number(checkpoint: CheckpointSpec, *names: str) -> int | None:
    """A whole number from a local model's config.json, under the first of the names that it has."""
    with suppress(OSError, ValueError, AttributeError):
        config = json.loads((Path(checkpoint.path) / "config.json").read_text(encoding="utf-8"))
        for holder in (config, config.get("text_config") or {}):
            for name in names:
                if isinstance(holder.get(name), int):
                    return holder[name]
    return None


def _lines(file: Path) -> int:
    with suppress(OSError), file.open("rb") as lines:
        read = lines.read(LONGEST_COUNTED)
        total = file.stat().st_size
        return round(read.count(b"\n") * total / len(read)) if read else 0
    return 0


def in_words(found: Size) -> str:
    """`about 15,000 examples of 4,000 prompts; 57,000 texts through models; 12 MB of hidden states`."""
    whole = f"at most {found.examples:,} examples"
    whole += f" of {found.prompts:,} prompts" if found.prompts else ""
    kept = found.hidden_bytes
    disk = (
        "hidden states of a size not known here"
        if kept is None
        else f"{max(kept / 1e6, 0.1):,.1f} MB of hidden states kept"
    )
    return f"{whole}; {found.texts:,} texts through models; {disk if kept != 0 else 'no hidden states kept'}"
