"""Load a causal language model: a local folder or a hub id at a revision, with an adapter if there is one."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedConfig, PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
from transformers.utils import logging as transformers_logging

from engine.config import CheckpointSpec, InputError
from engine.runs.files import sha256_of

TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model", "tekken.json")
UNTRAINED_SEED = 0
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class CheckpointError(InputError):
    """A checkpoint that can't be used; the message says in one line what, where and how to mend it."""


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A model in evaluation mode with its tokenizer. `content_hash` identifies weights, configuration and tokenizer."""

    model: PreTrainedModel
    tokenizer: Any
    spec: CheckpointSpec
    device: torch.device
    content_hash: str

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def n_layers(self) -> int:
        """Blocks; hidden states are numbered 0 (embeddings) to n_layers (after the final norm)."""
        return int(self.model.config.get_text_config().num_hidden_layers)

    @property
    def width(self) -> int:
        return int(self.model.config.get_text_config().hidden_size)

    @property
    def max_positions(self) -> int | None:
        """The longest row of tokens the model takes, where it has such a limit."""
        limit = getattr(self.model.config.get_text_config(), "max_position_embeddings", None)
        return int(limit) if limit else None

    @property
    def dtype(self) -> torch.dtype:
        return self.model.dtype

    def layer(self, layer: int) -> int:
        """A layer's non-negative index; raises CheckpointError for one that the model has not."""
        resolved = layer + self.n_layers + 1 if layer < 0 else layer
        if not 0 <= resolved <= self.n_layers:
            raise CheckpointError(
                f"{self.name}: has no layer {layer}: give one of 0 (embeddings) to {self.n_layers}, or -1 for the last"
            )
        return resolved


def load(spec: CheckpointSpec, device: str = "auto", dtype: str = "float32") -> Checkpoint:
    """Load a checkpoint; `spec.untrained` keeps its architecture and draws the weights anew, always the same.

    Raises CheckpointError for anything that is not a causal language model with its tokenizer.
    """
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    where = _device(device)
    config = _config(spec)
    tokenizer = _tokenizer(spec)
    model = _untrained(spec, config, dtype) if spec.untrained else _trained(spec, config, dtype)
    if spec.adapter:
        model = _with_adapter(model, spec)
    model = model.to(where).eval().requires_grad_(False)
    _refuse_unless_causal(model, spec)
    _refuse_unless_they_fit(model, tokenizer, spec)
    return Checkpoint(model, tokenizer, spec, where, checkpoint_hash(spec, getattr(config, "_commit_hash", None)))


def checkpoint_hash(spec: CheckpointSpec, commit: str | None = None) -> str:
    """SHA-256 in hex of what a checkpoint is: the files of a local folder, or a hub id at its commit."""
    digest = hashlib.sha256(b"untrained" if spec.untrained else b"")
    for path, revision in ((spec.path, commit or spec.revision), (spec.adapter, None)):
        if path:
            local = Path(path).expanduser()
            digest.update((sha256_of(local) if local.exists() else f"{path}@{revision}").encode())
    return digest.hexdigest()


def free() -> None:
    """Give cached accelerator memory back after a checkpoint has been dropped."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    kind = name.split(":")[0]
    if (kind == "cuda" and not torch.cuda.is_available()) or (kind == "mps" and not torch.backends.mps.is_available()):
        raise CheckpointError(f"device: there is no {kind} on this machine: give auto or cpu")
    return torch.device(name)


def _is_local(path: str) -> bool:
    return Path(path).expanduser().exists() or path.startswith(("/", ".", "~"))


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__


def _arguments(spec: CheckpointSpec) -> dict[str, Any]:
    path = str(Path(spec.path).expanduser()) if _is_local(spec.path) else spec.path
    return {
        "pretrained_model_name_or_path": path,
        "revision": spec.revision or "main",
        "trust_remote_code": spec.trust_remote_code,
    }


def _config(spec: CheckpointSpec) -> PreTrainedConfig:
    folder = Path(spec.path).expanduser()
    if _is_local(spec.path):
        if not folder.exists():
            raise CheckpointError(f"{spec.path}: no such folder: give a folder with a saved model, or a hub id")
        if not (folder / "config.json").is_file():
            raise CheckpointError(f"{spec.path}: not a model (no config.json): give a folder made by save_pretrained")
    try:
        config = AutoConfig.from_pretrained(**_arguments(spec))
    except (OSError, ValueError, KeyError, ImportError) as error:
        if "trust_remote_code" in str(error):
            raise CheckpointError(
                f"{spec.path}: needs code that ships with it: set trust_remote_code: true if you trust it"
            ) from None
        raise CheckpointError(f"{spec.path}: can't be loaded as a model: {_first_line(error)}") from None
    if getattr(config, "is_encoder_decoder", False):
        raise CheckpointError(f"{spec.path}: {config.model_type} is an encoder-decoder: give a causal language model")
    remote = "AutoModelForCausalLM" in (getattr(config, "auto_map", None) or {})
    if config.model_type not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES and not remote:
        raise CheckpointError(f"{spec.path}: {config.model_type} is no causal language model: give one that is")
    return config


def _tokenizer(spec: CheckpointSpec) -> Any:
    # Without its files, transformers makes up a tokenizer that knows no words.
    missing = f"{spec.path}: has no tokenizer: save the model's tokenizer into the same folder"
    folder = Path(spec.path).expanduser()
    if folder.is_dir() and not any((folder / name).is_file() for name in TOKENIZER_FILES):
        remote_code = (folder / "tokenizer_config.json").is_file() and spec.trust_remote_code
        if not remote_code:
            raise CheckpointError(missing)
    try:
        tokenizer = AutoTokenizer.from_pretrained(**_arguments(spec))
        if not tokenizer("a b", add_special_tokens=False).input_ids:
            raise CheckpointError(missing)
    except CheckpointError:
        raise
    except Exception as error:  # whatever its parsers throw
        raise CheckpointError(f"{spec.path}: its tokenizer can't be loaded: {_first_line(error)}") from None
    return tokenizer


def _trained(spec: CheckpointSpec, config: PreTrainedConfig, dtype: str) -> PreTrainedModel:
    try:
        model, report = AutoModelForCausalLM.from_pretrained(
            **_arguments(spec), config=config, dtype=DTYPES[dtype], output_loading_info=True
        )
    except Exception as error:  # safetensors, pickle refusal, shapes: many types, one meaning
        raise CheckpointError(f"{spec.path}: its weights can't be loaded: {_first_line(error)}") from None
    if missing := sorted(report["missing_keys"]):
        raise CheckpointError(
            f"{spec.path}: {len(missing)} weights are missing ({missing[0]} …): not saved from a causal language model?"
        )
    return model


def _untrained(spec: CheckpointSpec, config: PreTrainedConfig, dtype: str) -> PreTrainedModel:
    with torch.random.fork_rng():
        torch.manual_seed(UNTRAINED_SEED)
        return AutoModelForCausalLM.from_config(config, dtype=DTYPES[dtype], trust_remote_code=spec.trust_remote_code)


def _with_adapter(model: PreTrainedModel, spec: CheckpointSpec) -> PreTrainedModel:
    try:
        from peft import PeftModel
    except ImportError:
        raise CheckpointError("an adapter needs the extra peft: pip install introspective-coupling[peft]") from None
    try:
        return PeftModel.from_pretrained(model, str(spec.adapter)).merge_and_unload()
    except Exception as error:  # missing folder, another base, unknown method
        raise CheckpointError(f"{spec.adapter}: can't be put on {spec.path}: {_first_line(error)}") from None


def _refuse_unless_causal(model: PreTrainedModel, spec: CheckpointSpec) -> None:
    """A later token must not change an earlier one's logits: so is found what is an encoder by another name."""
    ids = torch.tensor([[1, *range(2, 9)], [1, *range(9, 16)]], device=model.device)
    with torch.inference_mode():
        logits = model(input_ids=ids % model.get_input_embeddings().num_embeddings).logits[:, 0].float()
    tolerance = 1e-5 if model.dtype == torch.float32 else 1e-2  # equal but for the kernels' rounding
    if not torch.allclose(logits[0], logits[1], rtol=0, atol=tolerance * float(logits.abs().max() + 1e-9)):
        raise CheckpointError(
            f"{spec.path}: {model.config.model_type} reads later tokens too (an encoder): give a causal language model"
        )


def _refuse_unless_they_fit(model: PreTrainedModel, tokenizer: Any, spec: CheckpointSpec) -> None:
    rows = model.get_input_embeddings().num_embeddings
    probe = tokenizer("The quick brown fox, 12 à Ω.").input_ids
    if max(probe, default=0) >= rows:
        raise CheckpointError(f"{spec.path}: its tokenizer has tokens that the model ({rows}) has not: not a pair")
