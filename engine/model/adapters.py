"""Add an adapter to a model, or merge it, so that the merged model answers as the unmerged one.

peft merges the weights of one module at a time. Where input and output embeddings share their weight, an adapter on one
of them would change both, so the weight is doubled first. What can't be merged is refused after a look at one row.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from engine.config import InputError, LoraSpec

TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 0.5, torch.float16: 0.1}
"""Largest difference of a log-odds, in nats."""
ROW = tuple(range(3, 15))
"""Token ids on which merged and unmerged models are compared."""


class AdapterError(InputError):
    """An adapter that can't be merged. The message is one line."""


def put_on(model: Any, adapter: str, *, trainable: bool = False) -> Any:
    """peft's wrapper of the model with a saved adapter. With `trainable`, the adapter alone is trained further.

    Raises AdapterError if weights of the adapter are missing, or are saved under names that the model does not know,
    and for an adapter of another base model.
    """
    from peft import PeftModel

    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        try:
            adapted = PeftModel.from_pretrained(model, adapter, is_trainable=trainable)
        except (RuntimeError, ValueError) as error:
            if "size mismatch" not in str(error) and "arget modules" not in str(error):
                raise
            raise AdapterError(
                f"belongs to another base model ({_base_of(adapter)}): give that one as `path`"
            ) from None
    if any("missing adapter keys" in str(warning.message) for warning in told):
        raise AdapterError("not all of its weights were found under the names of this model's modules: save it again")
    return adapted


def _base_of(adapter: str) -> str:
    from peft import PeftConfig

    named = PeftConfig.from_pretrained(adapter).base_model_name_or_path
    return f"it was trained on {named}" if named else "it does not say which"


def merged(adapted: Any, row: Sequence[int] = ROW) -> Any:
    """The base model with the adapter merged into its weights; `adapted` (peft's wrapper) is used up.

    Raises AdapterError if the adapter is of a kind without a merge, or if the merged model answers `row` differently.
    """
    if not hasattr(adapted, "merge_and_unload") or not hasattr(adapted.base_model, "merge_and_unload"):
        kind = adapted.active_peft_config.peft_type.value
        raise AdapterError(f"an adapter of the kind {kind} can't be merged into weights: give one that can, as LoRA")
    adapted.eval()
    before = _logits(adapted, row)
    _double_shared_weights(adapted.base_model.model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that embeddings no longer share a weight
        model = adapted.merge_and_unload()
    likely = before.topk(2).indices
    first, second = (_logits(model, row) - before).gather(1, likely).T
    apart = float((first - second).abs().max())
    if not apart <= TOLERANCE.get(model.dtype, max(TOLERANCE.values())):
        why = f"merged it answers differently (by {apart:.2g} nats): give one that adapts other modules"
        raise AdapterError(f"the adapter can't be merged: {why}")
    return model


@torch.inference_mode()
def _logits(model: Any, row: Sequence[int]) -> Tensor:
    """Logits after each token of the row, [length, vocabulary], fp32."""
    known = model.get_input_embeddings().weight.shape[0]
    ids = torch.tensor([[token % known for token in row]], device=model.device)
    return model(input_ids=ids).logits[0].float()


def _double_shared_weights(model: nn.Module) -> None:
    """Give each adapted module a weight of its own, where it shares one with another module."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    adapted = [module.get_base_layer() for module in model.modules() if isinstance(module, BaseTunerLayer)]
    users: dict[int, set[int]] = {}
    for module in model.modules():
        for weight in module.parameters(recurse=False):
            users.setdefault(weight.data_ptr(), set()).add(id(module))
    for module in adapted:
        for name, weight in list(module.named_parameters(recurse=False)):
            if len(users.get(weight.data_ptr(), ())) > 1:
                setattr(module, name, nn.Parameter(weight.detach().clone(), requires_grad=weight.requires_grad))


def add_lora(model: nn.Module, lora: LoraSpec, seed: int, where: str) -> Any:
    """Add adapters to the model in place, and train nothing else; returns peft's wrapper, which can merge them.

    Raises InputError, which names the section of the spec, `where`.
    """
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError:
        raise InputError(f"{where} needs the extra peft: pip install introspective-coupling[peft]") from None
    modules: Any = list(lora.modules) or "all-linear"
    config = LoraConfig(r=lora.rank, lora_alpha=lora.alpha, target_modules=modules, task_type="CAUSAL_LM")
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of peft about transformers, and about weights that are stored transposed
        torch.manual_seed(seed)
        try:
            adapted = get_peft_model(model, config)
            _refuse_unless_mergeable(adapted)
        except (ValueError, RuntimeError) as error:
            raise InputError(f"{where}.modules: {str(error).splitlines()[0][:300]}") from None
    return adapted


@torch.no_grad()
def _refuse_unless_mergeable(adapted: Any) -> None:
    """Try the merge that ends the training, on a copy with adapters that change something. Raises AdapterError."""
    copy = deepcopy(adapted)
    for name, weight in copy.named_parameters():
        if "lora_" in name:
            weight.normal_(std=0.02)
    merged(copy)
