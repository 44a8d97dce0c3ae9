"""Save a checkpoint, or an adapter, so that a kill leaves the whole folder or none."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from transformers import PreTrainedModel

from engine.config import LoraSpec
from engine.model.adapters import merged
from engine.runs.files import flush, readable_errors
from engine.runs.weights import ADAPTER_CONFIG


def save(model: PreTrainedModel, tokenizer: Any, folder: Path) -> None:
    """Save a checkpoint in the format of `save_pretrained`.

    Raises RunError where the disk is full or can't be written; nothing half written is left then.
    """

    def write(temporary: Path) -> None:
        model.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)

    _replace_folder(folder, write)


def save_adapter(adapted: Any, folder: Path) -> None:
    """Save the adapter of peft's wrapper `adapted` alone. Raises as `save`.

    `checkpoints.load` puts it on the base model, which brings the tokenizer. The folder names no path of this machine,
    and the same weights give the same bytes.
    """

    def write(temporary: Path) -> None:
        adapted.save_pretrained(temporary, save_embedding_layers=False)
        (temporary / "README.md").unlink()  # an empty form, with the path of the base model
        file = temporary / ADAPTER_CONFIG
        about = json.loads(file.read_text(encoding="utf-8")) | {"base_model_name_or_path": None}
        if isinstance(about["target_modules"], list):
            about["target_modules"].sort()  # peft has a set of them
        file.write_text(json.dumps(about, indent=1, sort_keys=True) + "\n", encoding="utf-8")

    _replace_folder(folder, write)


def save_trained(model: Any, adapted: Any | None, lora: LoraSpec | None, tokenizer: Any, folder: Path) -> None:
    """Save a trained model, or the adapter in it, as `lora` says. Raises as `save`, and AdapterError."""
    if adapted is None or lora is None:
        save(model, tokenizer, folder)
    elif lora.save_as == "adapter":
        save_adapter(adapted, folder)
    else:
        save(merged(deepcopy(adapted)), tokenizer, folder)


def _replace_folder(folder: Path, write: Callable[[Path], None]) -> None:
    """Have a folder written and put in its place. Files are only written and removed in hidden folders beside it, and
    complete folders are renamed."""
    temporary, old = (folder.with_name(f".{folder.name}.{end}") for end in ("tmp", "old"))
    for rest in (temporary, old):
        shutil.rmtree(rest, ignore_errors=True)
    try:
        with readable_errors(folder):
            try:
                write(temporary)
            except SafetensorError as error:  # it holds the system's error as text only
                number = re.search(r"os error (\d+)", str(error))
                raise OSError(int(number.group(1)) if number else 0, str(error)) from None
            for file in temporary.rglob("*"):
                flush(file)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    if folder.exists():
        os.replace(folder, old)
    os.replace(temporary, folder)
    shutil.rmtree(old, ignore_errors=True)
