"""A merged adapter answers as the unmerged one, on every module that peft can adapt, or it is refused in one line."""

from __future__ import annotations

import pytest
import torch
from peft import IA3Config, LoHaConfig, LoraConfig, PrefixTuningConfig, PromptTuningConfig, get_peft_model
from safetensors.torch import load_file, save_file
from torch import nn

from engine.config import CheckpointSpec, InputError, LoraSpec
from engine.model.adapters import AdapterError, add_lora, merged
from engine.model.checkpoints import CheckpointError, load
from engine.model.saving import save
from tests.tiny_models import SCALED, SHAPES, build

ROW = torch.tensor([[5, 6, 7, 200, 31, 9, 12, 44]])
LORA = {"r": 2, "lora_alpha": 8, "init_lora_weights": False, "task_type": "CAUSAL_LM"}


@pytest.fixture(autouse=True)
def seeded():
    """peft draws an adapter's first weights from torch's own generator."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def loaded(folder, **more):
    return load(CheckpointSpec(name="tiny--model", path=str(folder), **more), "cpu")


def kinds_of_modules(model: nn.Module) -> list[str]:
    """The last part of the name of each module that LoRA can adapt."""
    fit = (nn.Linear, nn.Embedding, nn.Conv1d)
    named = {
        name.rpartition(".")[2]
        for name, module in model.named_modules()
        if isinstance(module, fit) or type(module).__name__ == "Conv1D"
    }
    return sorted(named)


@pytest.mark.parametrize("shape", [*SHAPES, *SCALED, "mamba", "opt"])
def test_every_module_merges_as_it_answers(shape, tmp_path):
    folder = build(shape, tmp_path / "base")
    modules = kinds_of_modules(loaded(folder).model)
    assert len(modules) > 3
    for module in modules:
        model = loaded(folder).model
        try:
            adapted = get_peft_model(model, LoraConfig(target_modules=[module], **LORA))
            with torch.no_grad():
                plain, right = loaded(folder).model(input_ids=ROW).logits, adapted.eval()(input_ids=ROW).logits
        except (ValueError, RuntimeError):  # peft can't adapt it: parts of Mamba, OPT's positions
            assert shape in ("mamba", "opt")
            continue
        assert not torch.allclose(plain, right) or shape == "mamba", "its forward passes by the adapter: refused below"
        adapted.save_pretrained(tmp_path / module)
        try:
            found = loaded(folder, adapter=str(tmp_path / module)).model
        except CheckpointError as error:
            assert "can't be merged" in str(error) and "\n" not in str(error), module
            continue
        with torch.no_grad():
            torch.testing.assert_close(found(input_ids=ROW).logits, right, atol=1e-3, rtol=1e-4, msg=module)


@pytest.mark.parametrize("modules", [["lm_head"], ["wte"], ["lm_head", "wte"], ["wpe", "c_attn"]])
def test_a_shared_embedding_is_doubled_and_saved_so(modules, tmp_path):
    one = loaded(build("gpt2", tmp_path / "base"))
    assert one.model.lm_head.weight is one.model.transformer.wte.weight
    adapted = get_peft_model(one.model, LoraConfig(target_modules=modules, **LORA)).eval()
    with torch.no_grad():
        right = adapted(input_ids=ROW).logits
    save(merged(adapted), one.tokenizer, tmp_path / "made")
    with torch.no_grad():
        torch.testing.assert_close(loaded(tmp_path / "made").model(input_ids=ROW).logits, right, atol=1e-3, rtol=1e-4)


def test_the_modules_of_a_spec_are_saved_as_they_answer(tmp_path):
    one = loaded(build("gpt2", tmp_path / "base"))
    adapted = add_lora(one.model, LoraSpec(rank=2, modules=("lm_head", "c_attn")), seed=0, where="verbal.lora")
    with torch.no_grad():
        for name, weight in adapted.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.3)
        right = adapted.eval()(input_ids=ROW).logits
        torch.testing.assert_close(merged(adapted)(input_ids=ROW).logits, right, atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize(
    "config",
    [
        LoraConfig(target_modules=["q_proj"], use_dora=True, **LORA),
        LoraConfig(target_modules=["q_proj"], modules_to_save=["lm_head"], **LORA),
        LoraConfig(target_modules=["q_proj"], lora_bias=False, use_rslora=True, **LORA),
        LoHaConfig(target_modules=["v_proj"], r=2, init_weights=False),
        IA3Config(target_modules=["k_proj", "down_proj"], feedforward_modules=["down_proj"], init_ia3_weights=False),
    ],
    ids=["dora", "saved head", "rslora", "loha", "ia3"],
)
def test_other_kinds_merge_too(config, tmp_path):
    folder = build("llama", tmp_path / "base")
    adapted = get_peft_model(loaded(folder).model, config).eval()
    with torch.no_grad():
        for name, weight in adapted.named_parameters():
            if weight.requires_grad and "modules_to_save" in name:
                weight.add_(0.1 * torch.randn_like(weight))
        right = adapted(input_ids=ROW).logits
    adapted.save_pretrained(tmp_path / "adapter")
    with torch.no_grad():
        found = loaded(folder, adapter=str(tmp_path / "adapter")).model(input_ids=ROW).logits
    torch.testing.assert_close(found, right, atol=1e-3, rtol=1e-4)


def test_a_module_that_cannot_be_adapted_is_refused_before_training(tmp_path):
    one = loaded(build("opt", tmp_path / "base"))
    with pytest.raises(InputError, match=r"verbal.lora.modules: ") as caught:
        add_lora(one.model, LoraSpec(rank=2, modules=("embed_positions",)), seed=0, where="verbal.lora")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("config", [PromptTuningConfig, PrefixTuningConfig])
def test_an_adapter_that_is_no_change_of_weights_is_refused(config, tmp_path):
    folder = build("llama", tmp_path / "base")
    adapted = get_peft_model(loaded(folder).model, config(task_type="CAUSAL_LM", num_virtual_tokens=3))
    adapted.save_pretrained(tmp_path / "adapter")
    with pytest.raises(CheckpointError, match=r"kind .*_TUNING can't be merged") as caught:
        loaded(folder, adapter=str(tmp_path / "adapter"))
    assert "\n" not in str(caught.value)


def test_an_adapter_with_missing_weights_is_refused(tmp_path):
    folder = build("llama", tmp_path / "base")
    get_peft_model(loaded(folder).model, LoraConfig(target_modules=["q_proj"], **LORA)).save_pretrained(tmp_path / "a")
    file = tmp_path / "a" / "adapter_model.safetensors"
    save_file({name.replace("layers.1.", "blocks.1."): weight for name, weight in load_file(file).items()}, file)
    with pytest.raises(CheckpointError, match="not all of its weights were found"):
        loaded(folder, adapter=str(tmp_path / "a"))


def test_a_merge_that_changes_the_answers_is_refused(tmp_path, monkeypatch):
    adapted = get_peft_model(loaded(build("llama", tmp_path)).model, LoraConfig(target_modules=["q_proj"], **LORA))
    monkeypatch.setattr(type(adapted.base_model), "merge_and_unload", lambda self: self.unload())
    with pytest.raises(AdapterError, match=r"merged it answers differently \(by .* nats\)"):
        merged(adapted)
