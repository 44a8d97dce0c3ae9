"""A run's checkpoints, loaded when a page first needs one. Only this module and its callers need torch.

All sessions share the models: two are kept, and one forward pass runs at a time. A run may come from anybody, so code
that ships with a checkpoint is never run from here and no pickle is read, whatever the run's spec says.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st

from dashboard.reading import data
from dashboard.serving import access
from engine.config import ChatSpec, CheckpointSpec
from engine.runs.store import RunError
from engine.runs.weights import folder_of
from engine.spec_files import resolve_paths, with_trained_paths

if TYPE_CHECKING:
    from engine.model.attribution import TokenAttribution
    from engine.model.checkpoints import Checkpoint

_LOCK = threading.Lock()


def checkpoint_spec(path: Path, name: str) -> CheckpointSpec:
    """A run's checkpoint with a path that can be opened, and without any permission."""
    for spec in with_trained_paths(resolve_paths(data.spec(path), path), path.resolve()).all_checkpoints:
        if spec.name == name:
            return spec.without_permissions()
    raise RunError(f"{path.name}: has no checkpoint {name}")


def missing(path: Path, name: str) -> tuple[str, bool] | None:
    """For a checkpoint that is not on this disk: a line on how to get it, and whether it can be downloaded."""
    from engine.studies import real

    spec = checkpoint_spec(path, name)
    where = Path(spec.path).expanduser()
    kept = not spec.trained or folder_of(path, name).exists()
    if where.exists() and kept:
        return None
    if not kept:
        how = "its run trained it and did not keep the weights. Make the run again with verbal.keep_checkpoints: true."
    elif where.match(str(real.MODELS / real.MODEL)):
        how = f"coupling real --out {where.parents[2]} downloads it (98 MB)."
    elif where.is_absolute():
        how = (
            f"the run expects a saved model in {spec.path}. Put it there, or move the run back beside its checkpoints."
        )
    else:
        how = f"it will be downloaded from the model hub, as {spec.path}, when it is needed."
    return f"{name} is not on this disk: {how}", kept and not where.is_absolute()


@st.cache_resource(max_entries=2, show_spinner="Loading the model")
def _load(spec_json: str, chat_json: str) -> Checkpoint:
    from engine.model.checkpoints import load

    chat = ChatSpec.model_validate_json(chat_json)
    return load(CheckpointSpec.model_validate_json(spec_json), chat=chat)


@contextmanager
def model(path: Path, name: str) -> Iterator[Checkpoint]:
    """The model of a checkpoint, for one caller at a time. Raises AccessError, or InputError if it can't be loaded."""
    from engine.model.of_run import chat_of

    access.require("change")
    spec, chat = checkpoint_spec(path, name), chat_of(data.spec(path), data.manifest(path))
    with _LOCK:
        yield _load(spec.model_dump_json(), chat.model_dump_json())


def is_as_measured(path: Path, name: str) -> bool | None:
    """Whether the checkpoint on disk is the one that the run measured; None if the run recorded no hash of it."""
    spec = checkpoint_spec(path, name)
    base = data.spec(path).checkpoints[0].name if spec.trained and spec.adapter else name  # an adapter lies in the run
    recorded = data.manifest(path)["provenance"].get("content", {}).get(base)
    if recorded is None:
        return None
    from engine.runs.files import sha256_of

    folder = Path(spec.path)
    return folder.exists() and sha256_of(folder) == recorded


@st.cache_data(max_entries=64, show_spinner="Integrating gradients")
def token_attribution(path: Path, name: str, prompt: str, answers: tuple[str, str]) -> TokenAttribution:
    """How much each token of the prompt raises f at a checkpoint, in nats. Raises InputError."""
    from engine.model.attribution import token_attribution as attribute

    with model(path, name) as checkpoint:
        return attribute(checkpoint, prompt, *answers)
