"""GGUF files as checkpoints: read by transformers once, and kept in a cache as folders of `save_pretrained`.

Quantised weights are stored as the float32 numbers that they stand for, so the folder is up to eight times as large as
the file. It is made anew when the file has changed.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
import logging
import os
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

from filelock import FileLock

from engine.config import InputError

MAGIC = b"GGUF"
CACHE = "introspective-coupling/gguf"
"""Folder in the user's cache (XDG_CACHE_HOME, or ~/.cache)."""

log = logging.getLogger(__name__)


class GgufError(InputError):
    """A GGUF file that can't be used. The message is one line."""


def is_gguf(path: str) -> bool:
    return path.lower().endswith(".gguf")


def folder_of(path: str) -> Path:
    """The folder with the model of a GGUF file; it is made if it is not there. Raises GgufError."""
    file = Path(path).expanduser().resolve()
    if not file.is_file():
        raise GgufError(f"{path}: no such file: give a GGUF file on this disk")
    with file.open("rb") as begun:
        if begun.read(len(MAGIC)) != MAGIC:
            raise GgufError(f"{path}: is no GGUF file (it does not begin with {MAGIC.decode()})")
    about = file.stat()
    key = hashlib.sha256(f"{file}\0{about.st_size}\0{about.st_mtime_ns}".encode()).hexdigest()[:16]
    folder = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / CACHE / f"{file.stem}-{key}"
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_name(f".{folder.name}.lock")):
            if not folder.is_dir():
                _convert(file, folder)
    return folder


def _convert(file: Path, folder: Path) -> None:
    from engine.model.saving import save

    if importlib.util.find_spec("gguf") is None:
        raise GgufError(f"{file}: needs the extra gguf: pip install introspective-coupling[gguf]")
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, GgufConfig

    source: dict[str, Any] = {"pretrained_model_name_or_path": str(file.parent), "gguf_file": file.name}
    options = {"dtype": torch.float32, "quantization_config": GgufConfig(dequantize=True), "output_loading_info": True}
    try:
        AutoConfig.from_pretrained(**source)  # reads the file's head: of another family, or cut off?
        log.warning("%s is converted once, to %s", file.name, folder)
        with redirect_stderr(io.StringIO()):  # a progress bar that no option turns off
            model, report = AutoModelForCausalLM.from_pretrained(**source, **options)
        tokenizer = AutoTokenizer.from_pretrained(**source)
    except Exception as error:  # many types, by what is wrong with the file
        why = _one_line(error)
        if "architecture" in why or "gguf_arch" in why:
            raise GgufError(f"{file}: transformers can't read its family from GGUF files ({why})") from None
        raise GgufError(f"{file}: can't be read, is it cut off or damaged? ({why})") from None
    if missing := sorted(report["missing_keys"]):
        raise GgufError(f"{file}: {len(missing)} weights are missing ({missing[0]} …): is it cut off?")
    for owner, name in ((model, "hf_quantizer"), (model.config, "quantization_config")):
        if hasattr(owner, name):
            delattr(owner, name)
    save(model, tokenizer, folder)


def _one_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:200]
