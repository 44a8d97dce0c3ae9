"""Load the checkpoints of a run so that they read prompts as the run does, and record how that is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.config import ChatSpec, CheckpointSpec, RunSpec
from engine.model.checkpoints import Checkpoint, load
from engine.runs.store import Run

NOTE = "chat"
"""Note of a run: checkpoint → `Chat.used`, for checkpoints that read prompts in a chat template."""


def chat_of(spec: RunSpec, manifest: Mapping[str, Any]) -> ChatSpec:
    """How the checkpoints of a run read prompts, on the day that the run has recorded. A finished run without the note
    read plain text, as earlier versions always did."""
    used = manifest["notes"].get(NOTE, {})
    if manifest["status"] == "complete" and not used:
        return spec.chat.model_copy(update={"mode": "off"})
    recorded = next((of_one["date"] for of_one in used.values() if "date" in of_one), None)
    return spec.chat.model_copy(update={"date": spec.chat.date or recorded})


def load_of_run(record: Run, checkpoint: CheckpointSpec, device: str, dtype: str = "float32") -> Checkpoint:
    """Load a checkpoint of a run (its path can be opened). While the run is made, its chat template is recorded.

    Raises CheckpointError.
    """
    loaded = load(checkpoint, device, dtype, chat_of(record.spec, record.manifest))
    used = record.manifest["notes"].get(NOTE, {})
    if loaded.chat and record.manifest["status"] != "complete" and used.get(loaded.name) != loaded.chat.used:
        record.note(**{NOTE: used | {loaded.name: loaded.chat.used}})
    return loaded
