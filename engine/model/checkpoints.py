"""Load and save causal language models: a folder, a GGUF file, or a hub id at a revision, with an adapter if given."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import torch
from huggingface_hub import HfApi, try_to_load_from_cache
from huggingface_hub.errors import HfHubHTTPError, HFValidationError
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoTokenizer,
    BitsAndBytesConfig,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES,
)
from transformers.utils import logging as transformers_logging

from engine.config import ChatSpec, CheckpointSpec, InputError
from engine.model import gguf, pickles
from engine.model.adapters import AdapterError, merged, put_on
from engine.model.chat import Chat, ChatError, chat_for
from engine.model.checks import TEXT, CheckError, examine
from engine.model.forward import UNREADABLE
from engine.model.sizes import DivergedError, diverged, refuse_diverged, refuse_too_large, refuse_wrong_sizes

TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model", "tekken.json")
UNTRAINED_SEED = 0
DEVICE_SHARE = 0.6
"""Share of the device's free memory for weights, where others wait elsewhere. The rest is for the forward."""
HUB_SECONDS = 10
"""Within which the hub has to answer."""
LIMITS = (
    "max_position_embeddings",
    "n_positions",
    "max_seq_len",
    "max_sequence_length",
    "max_target_positions",
    "n_ctx",
)
"""Names of the longest row in configurations."""
AUTO = ChatSpec()
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class CheckpointError(InputError):
    """A checkpoint that can't be used. The message says in one line what is wrong, where, and how to fix it."""


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A model in evaluation mode with its tokenizer."""

    model: PreTrainedModel
    tokenizer: Any
    spec: CheckpointSpec
    device: torch.device
    chat: Chat | None = None
    """How it reads prompts in its chat template; None: as plain text."""

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def n_layers(self) -> int:
        """Number of blocks. Hidden states are numbered 0 (embeddings) to n_layers (after the final norm)."""
        return int(self.model.config.get_text_config().num_hidden_layers)

    @property
    def width(self) -> int:
        return int(self.model.config.get_text_config().hidden_size)

    @property
    def max_positions(self) -> int | None:
        """Length of the longest row of tokens that the model accepts; None: no limit."""
        return longest_row(self.model)

    def layer(self, layer: int) -> int:
        """The layer's non-negative index. Raises CheckpointError if the model has no such layer, or can't show it."""
        resolved = layer + self.n_layers + 1 if layer < 0 else layer
        if not 0 <= resolved <= self.n_layers:
            raise CheckpointError(
                f"{self.name}: has no layer {layer}: give one of 0 (embeddings) to {self.n_layers}, or -1 for the last"
            )
        if why := getattr(self.model, UNREADABLE, {}).get(resolved):
            raise CheckpointError(f"{self.name}: layer {layer} can't be read: {why}: give another layer")
        return resolved


def longest_row(model: PreTrainedModel) -> int | None:
    """Tokens of the longest row that the model accepts, by the names that configurations have for it."""
    config = model.config.get_text_config()
    limits = [getattr(config, name, None) for name in LIMITS]
    for module in model.modules():  # positions that are counted from behind the padding's own
        positions = getattr(module, "position_embeddings", None)
        if isinstance(positions, nn.Embedding) and positions.padding_idx is not None:
            limits.append(positions.num_embeddings - positions.padding_idx - 1)
    return min((limit for limit in limits if isinstance(limit, int) and limit > 0), default=None)


def load(spec: CheckpointSpec, device: str = "auto", dtype: str = "float32", chat: ChatSpec = AUTO) -> Checkpoint:
    """Load a checkpoint. With `spec.untrained` its architecture gets random weights from a fixed seed.

    Raises CheckpointError for anything that is not a causal language model with its tokenizer, and DivergedError for a
    model whose weights or outputs are NaN or infinite.
    """
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    where, given = _device(device), spec
    if gguf.is_gguf(spec.path):
        try:
            spec = spec.model_copy(update={"path": str(gguf.folder_of(spec.path))})
        except gguf.GgufError as error:
            raise CheckpointError(str(error)) from None
    config = _config(spec)
    tokenizer = _tokenizer(spec)
    try:
        reads = chat_for(tokenizer, chat)
    except ChatError as error:
        raise CheckpointError(f"{spec.path}: {error}") from None
    text = tokenizer(TEXT, add_special_tokens=False).input_ids
    placed = _placed(spec, where)
    model = _model(spec, config, DTYPES[dtype], text, placed)
    model = (model if placed else model.to(where)).eval().requires_grad_(False)
    where = model.device
    with _in_one_line(f"{spec.path}: {config.model_type} can't be run"):
        try:
            refuse_diverged(model)
            _refuse_unless_causal(model, spec)
        except DivergedError as error:
            raise DivergedError(f"{spec.name} ({spec.path}): {error}") from None
    known = model.get_input_embeddings().num_embeddings
    if max([*text, *tokenizer("a").input_ids]) >= known:
        raise CheckpointError(
            f"{spec.path}: the tokenizer has tokens beyond the model's {known} embeddings: not a pair"
        )
    with _in_one_line(f"{spec.path}: {config.model_type} can't be run"):
        try:
            examine(model, text, longest_row(model))
        except CheckError as error:
            raise CheckpointError(f"{spec.path}: {error}") from None
    return Checkpoint(model, tokenizer, given, where, reads)


def _device(name: str) -> torch.device:
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        name = next(kind for kind in ("cuda", "mps", "cpu") if there[kind])
    kind = name.split(":")[0]
    if not there[kind]:
        raise CheckpointError(f"device: there is no {kind} on this machine: give auto or cpu")
    return torch.device(name)


@contextmanager
def _in_one_line(what: str) -> Iterator[None]:
    """Turn any error of transformers, peft and their parsers, which raise many types, into a CheckpointError."""
    try:
        yield
    except (CheckpointError, DivergedError):
        raise
    except Exception as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise CheckpointError(f"{what}: {lines[0][:300]}") from None


def _source(spec: CheckpointSpec) -> dict[str, Any]:
    """Arguments of `from_pretrained`."""
    path = str(Path(spec.path).expanduser()) if _is_local(spec.path) else spec.path
    return {
        "pretrained_model_name_or_path": path,
        "revision": spec.revision or "main",
        "trust_remote_code": spec.trust_remote_code,
    }


def _is_local(path: str) -> bool:
    return Path(path).expanduser().exists() or path.startswith(("/", ".", "~"))


def _config(spec: CheckpointSpec) -> PreTrainedConfig:
    folder = Path(spec.path).expanduser()
    if _is_local(spec.path):
        if not folder.exists():
            raise CheckpointError(f"{spec.path}: no such folder: give a folder with a saved model, or a hub id")
        if not (folder / "config.json").is_file():
            raise CheckpointError(f"{spec.path}: not a model (no config.json): give a folder made by save_pretrained")
        with _in_one_line(f"{spec.path}: can't be loaded as a model"):
            refuse_wrong_sizes(folder)
    if not _is_local(spec.path):
        _refuse_unreachable(spec)
    with _in_one_line(f"{spec.path}: can't be loaded as a model"):
        try:
            config = AutoConfig.from_pretrained(**_source(spec))
        except ValueError as error:
            if "trust_remote_code" not in str(error):
                raise
            needs = (
                "needs code that ships with it: set trust_remote_code: true for it in the spec if you trust it "
                "(coupling patch: --trust)"
            )
            raise CheckpointError(f"{spec.path}: {needs}") from None
    with _in_one_line(f"{spec.path}: {config.model_type} has not one text model"):
        config.get_text_config()
    if getattr(config, "is_encoder_decoder", False):
        raise CheckpointError(f"{spec.path}: {config.model_type} is an encoder-decoder: give a causal language model")
    remote = "AutoModelForCausalLM" in (getattr(config, "auto_map", None) or {})
    if config.model_type not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES and not remote and not _has_parts(config):
        raise CheckpointError(f"{spec.path}: {config.model_type} is no causal language model: give one that is")
    return config


def _has_parts(config: PreTrainedConfig) -> bool:
    """Whether the model reads images too, so that it is no causal language model to transformers. It is given texts."""
    name = config.model_type
    return name in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES and name not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES


def _refuse_unreachable(spec: CheckpointSpec) -> None:
    """Raise CheckpointError at once where a model is neither on this disk nor on a hub that can be reached, because
    transformers would try again for half a minute."""
    source = _source(spec)
    path, revision = source["pretrained_model_name_or_path"], source["revision"]
    try:
        if isinstance(try_to_load_from_cache(path, "config.json", revision=revision), str):
            return
        HfApi().model_info(path, revision=revision, timeout=HUB_SECONDS)
    except (HfHubHTTPError, HFValidationError):
        return  # the hub answers, or the id is none: transformers says what is wrong
    except Exception:  # the network raises many types
        raise CheckpointError(
            f"{path}: no such folder or file here, and the model hub can't be reached: give the path of a folder made "
            "by save_pretrained or of a .gguf file, relative to the spec"
        ) from None


def _tokenizer(spec: CheckpointSpec) -> Any:
    folder = Path(spec.path).expanduser()
    files = [*TOKENIZER_FILES, *(["tokenizer_config.json"] if spec.trust_remote_code else [])]
    # Without these files, transformers creates a tokenizer that has no words.
    there = not folder.is_dir() or any((folder / name).is_file() for name in files)
    with _in_one_line(f"{spec.path}: its tokenizer can't be loaded"):
        tokenizer = AutoTokenizer.from_pretrained(**_source(spec)) if there else None
        if tokenizer is None or not tokenizer("a b", add_special_tokens=False).input_ids:
            raise CheckpointError(f"{spec.path}: has no tokenizer: save the model's tokenizer into the same folder")
    return tokenizer


def _model(
    spec: CheckpointSpec, config: PreTrainedConfig, dtype: torch.dtype, text: Sequence[int], placed: dict[str, Any]
) -> PreTrainedModel:
    kind: Any = AutoModelForImageTextToText if _has_parts(config) else AutoModelForCausalLM
    if spec.untrained:
        with _in_one_line(f"{spec.path}: can't be built without its weights"), torch.random.fork_rng():
            options: dict[str, Any] = {"dtype": dtype, "trust_remote_code": spec.trust_remote_code}
            with torch.device("meta"):
                refuse_too_large(kind.from_config(config, **options).parameters(), dtype)
            torch.manual_seed(UNTRAINED_SEED)
            model = kind.from_config(config, **options)
    else:
        with _in_one_line(f"{spec.path}: its weights can't be loaded"):
            _refuse_pickles(spec, config)
            options = _source(spec) | {"config": config, "dtype": dtype, "output_loading_info": True} | placed
            options |= {"use_safetensors": None if spec.pickled_weights else True, "weights_only": True}
            model, report = kind.from_pretrained(**options)
        if missing := sorted(report["missing_keys"]):
            why = f"{len(missing)} weights are missing ({missing[0]} …): not saved from a causal language model?"
            raise CheckpointError(f"{spec.path}: {why}")
    if not spec.adapter:
        return model
    try:
        import peft  # noqa: F401
    except ImportError:
        raise CheckpointError("an adapter needs the extra peft: pip install introspective-coupling[peft]") from None
    with _in_one_line(f"{spec.adapter}: can't be put on {spec.path}"):
        if not spec.pickled_weights and (found := pickles.pickle_of_adapter(str(spec.adapter))):
            raise CheckpointError(_pickled(str(spec.adapter), found))
        try:
            return merged(put_on(model, str(spec.adapter)), text)
        except AdapterError as error:
            raise CheckpointError(f"{spec.adapter}: {error}") from None


def _placed(spec: CheckpointSpec, where: torch.device) -> dict[str, Any]:
    """Arguments of `from_pretrained` that say where a model's parts go as it is loaded; empty: it is moved whole.

    One device computes: states of several would meet in no tensor.
    """
    if spec.untrained or not (spec.device_map or spec.load_in):
        return {}
    for package, option in (("accelerate", "device_map"), ("bitsandbytes", "load_in")):
        if getattr(spec, option) and importlib.util.find_spec(package) is None:
            raise CheckpointError(f"{spec.path}: the option {option} needs {package}: pip install {package}")
    placed: dict[str, Any] = {"device_map": spec.device_map or {"": where}}
    if spec.device_map and where.type == "cuda":
        free, _ = torch.cuda.mem_get_info(where)
        most = {where.index or 0: int(DEVICE_SHARE * free), "cpu": psutil.virtual_memory().available}
        placed["max_memory"] = most
    if spec.load_in:
        logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # it warns at every forward in float32
        placed["quantization_config"] = BitsAndBytesConfig(load_in_8bit=True)
    return placed


def _refuse_pickles(spec: CheckpointSpec, config: PreTrainedConfig) -> None:
    """Raise CheckpointError where weights would be read from a pickle, unless the spec asks for that by name."""
    path, revision = (_source(spec)[key] for key in ("pretrained_model_name_or_path", "revision"))
    if pickles.is_adapter_on_the_hub(path, revision):
        raise CheckpointError(f"{spec.path}: is an adapter: give its model as `path`, and the adapter as `adapter`")
    named = getattr(config, "transformers_weights", None)
    if not spec.pickled_weights and (found := pickles.pickle_of_model(path, revision, named)):
        raise CheckpointError(_pickled(spec.path, found))


def _pickled(path: str, found: str) -> str:
    return (
        f"{path}: its weights are a pickle ({found}), which is not read: convert them to safetensors (load the model "
        "where you trust it, and call its save_pretrained), or set pickled_weights: true for this checkpoint"
    )


def _refuse_unless_causal(model: PreTrainedModel, spec: CheckpointSpec) -> None:
    """Refuse encoders: in a causal model a later token never changes the logits of an earlier one."""
    ids = torch.tensor([[1, *range(2, 9)], [1, *range(9, 16)]], device=model.device)
    with torch.inference_mode():
        logits = model(input_ids=ids % model.get_input_embeddings().num_embeddings).logits[:, 0].float()
    if not torch.isfinite(logits).any():  # some families give impossible tokens minus infinity
        raise DivergedError(diverged("it answers with NaN or infinity"))
    tolerance = 1e-5 if model.dtype == torch.float32 else 1e-2  # the kernels round
    if not torch.allclose(logits[0], logits[1], rtol=0, atol=tolerance * float(logits.abs().max() + 1e-9)):
        raise CheckpointError(
            f"{spec.path}: {model.config.model_type} reads later tokens too (an encoder): give a causal language model"
        )
