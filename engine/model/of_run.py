"""Load the checkpoints of a run so that they read prompts as the run does, and record how that is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.config import ChatSpec, CheckpointSpec, RunSpec
from engine.model import chat
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


def dated_chat_of(spec: RunSpec, manifest: Mapping[str, Any]) -> ChatSpec:
    """The same with a day in any case, the recorded one or today: several workers must read the same text."""
    found = chat_of(spec, manifest)
    return found.model_copy(update={"date": found.date or chat.date.today().isoformat()})


def load_of_run(record: Run, checkpoint: CheckpointSpec, device: str, dtype: str = "float32") -> Checkpoint:
    """Load a checkpoint of a run (its path can be opened). While the run is made, its chat template is recorded.

    Raises CheckpointError.
    """
    loaded = load(checkpoint, device, dtype, chat_of(record.spec, record.manifest))
    note_chat(record, loaded.name, loaded.chat.used if loaded.chat else None)
    return loaded


def note_chat(record: Run, checkpoint: str, used: dict[str, Any] | None) -> None:
    """Record how a checkpoint reads prompts (`Chat.used`; None: as plain text), while the run is made."""
    before = record.manifest["notes"].get(NOTE, {})
    if used and record.manifest["status"] != "complete" and before.get(checkpoint) != used:
        record.note(**{NOTE: before | {checkpoint: used}})
