"""How large a run will be, before it is made: examples, forward passes, disk. Imports neither torch nor Streamlit."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from engine.config import CheckpointSpec, RunSpec
from engine.tasks import FACTORS

LONGEST_COUNTED = 200 * 10**6
"""Bytes of a file of examples whose lines are counted; the lines of the rest are estimated from its length."""


@dataclass(frozen=True)
class Size:
    prompts: int | None
    """None where the examples come from a file: its prompts may recur."""
    examples: int
    """At most: an edit that does not apply to a prompt makes none."""
    texts: int
    """Texts that go through a model, at all checkpoints and the control."""
    hidden_bytes: int | None
    """Size of the hidden states that the finished run keeps; None where a model's width is not known here."""


def size(spec: RunSpec) -> Size:
    """An estimate from the spec (absolute paths), the file of examples and the models' config.json alone."""
    task, first = spec.task, spec.checkpoints[0]
    if task.name == "from_file":
        prompts, examples = None, _lines(Path(task.path or ""))
    else:
        prompts = sum(task.prompts.model_dump().values())
        examples = prompts * len(task.edits or FACTORS[task.name].edits)
    models = len(dict.fromkeys((*spec.all_checkpoints, spec.control_model)))
    width = _config_number(first, "hidden_size", "n_embd", "d_model")
    kept: int | None = 0
    if spec.hidden.keep != "none":
        each = len(spec.hidden.layers) * (2 if spec.hidden.dtype == "float16" else 4)
        rows = (prompts or examples) + (2 * examples if spec.hidden.keep == "all" else 0)
        kept = None if width is None else len(spec.checkpoints) * rows * each * width
    return Size(prompts, examples, models * ((prompts or 0) + examples), kept)


def layers(checkpoint: CheckpointSpec) -> int | None:
    """The number of blocks of a local model; None where its config.json does not say it."""
    return _config_number(checkpoint, "num_hidden_layers", "n_layer")


def _config_number(checkpoint: CheckpointSpec, *names: str) -> int | None:
    """A whole number from a local model's config.json, under the first of the names that it has."""
    with suppress(OSError, ValueError, AttributeError):
        config = json.loads((Path(checkpoint.path) / "config.json").read_text(encoding="utf-8"))
        both = (config.get("text_config") or {}) | config
        return next((both[name] for name in names if isinstance(both.get(name), int)), None)
    return None


def _lines(file: Path) -> int:
    with suppress(OSError), file.open("rb") as lines:
        read = lines.read(LONGEST_COUNTED)
        return round(read.count(b"\n") * file.stat().st_size / len(read)) if read else 0
    return 0


def described(found: Size) -> str:
    """`at most 15,000 examples of 4,000 prompts; 57,000 texts through models; 12.0 MB of hidden states kept`."""
    prompts = f" of {found.prompts:,} prompts" if found.prompts else ""
    if found.hidden_bytes is None:
        disk = "hidden states of a size not known here"
    elif found.hidden_bytes == 0:
        disk = "no hidden states kept"
    else:
        disk = f"{max(found.hidden_bytes / 1e6, 0.1):,.1f} MB of hidden states kept"
    return f"at most {found.examples:,} examples{prompts}; {found.texts:,} texts through models; {disk}"
