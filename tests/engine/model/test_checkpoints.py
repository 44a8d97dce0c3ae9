"""Checkpoints load from disk as they are, and whatever is not one is refused in one line."""

from __future__ import annotations

import importlib.util
import json
import shutil

import pytest
import torch
from transformers import (
    CONFIG_MAPPING,
    AutoModelForImageTextToText,
    BertConfig,
    BertLMHeadModel,
    DistilBertConfig,
    GPT2Model,
    LlamaConfig,
    LlamaForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
)

from engine.config import CheckpointSpec, HiddenSpec
from engine.model import checkpoints
from engine.model.behavior import measure
from engine.model.checkpoints import CheckpointError, load
from engine.model.saving import save
from engine.model.tokens import encode
from engine.records import Example, examples_table
from tests import reference
from tests.tiny_models import CONTEXT, LAYERS, SHAPES, WIDTH, build, tokenizer


def spec(path, **more) -> CheckpointSpec:
    return CheckpointSpec(name="tiny--step-0", path=str(path), **more)


@pytest.mark.parametrize("shape", [*SHAPES, "mamba"])
def test_every_shape_loads(shape, tmp_path):
    checkpoint = load(spec(build(shape, tmp_path)), device="cpu")
    assert (checkpoint.n_layers, checkpoint.width, checkpoint.name) == (LAYERS, WIDTH, "tiny--step-0")
    assert checkpoint.max_positions == (None if shape == "mamba" else CONTEXT)
    assert (checkpoint.layer(-1), checkpoint.layer(0)) == (LAYERS, 0)
    with pytest.raises(CheckpointError, match="has no layer 9"):
        checkpoint.layer(9)
    assert not checkpoint.model.training and checkpoint.model.dtype == torch.float32


def test_shards_are_read_and_one_that_is_missing_is_named(tmp_path):
    whole = load(spec(build("llama", tmp_path / "whole")), "cpu")
    whole.model.save_pretrained(tmp_path / "shards", max_shard_size="20KB")
    whole.tokenizer.save_pretrained(tmp_path / "shards")
    first, *others = sorted((tmp_path / "shards").glob("model-*.safetensors"))
    ids = torch.tensor([[5, 6, 7]])
    found = load(spec(tmp_path / "shards"), "cpu").model(input_ids=ids).logits
    assert others and torch.equal(found, whole.model(input_ids=ids).logits)
    first.unlink()
    with pytest.raises(CheckpointError, match=f"its weights can't be loaded: .*{first.name}"):
        load(spec(tmp_path / "shards"), "cpu")


TEXT_PART = {
    "vocab_size": 400,
    "hidden_size": WIDTH,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 48,
    "head_dim": 8,
    "max_position_embeddings": CONTEXT,
}
IMAGE_PART = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "image_size": 16,
    "patch_size": 8,
}


@pytest.mark.parametrize("family", ["gemma3", "mistral3", "llava"])
def test_the_text_model_inside_a_model_that_reads_images(family, tmp_path):
    kind = CONFIG_MAPPING[family]
    parts = (("text_config", TEXT_PART), ("vision_config", IMAGE_PART))
    types = {part: {"model_type": getattr(kind(), part).model_type} for part, _ in parts}
    model = AutoModelForImageTextToText.from_config(kind(**{part: types[part] | own for part, own in parts}))
    checkpoint = load(spec(saved(model.eval(), tmp_path)), "cpu")
    assert (checkpoint.n_layers, checkpoint.width, checkpoint.max_positions) == (LAYERS, WIDTH, CONTEXT)
    examples = [
        Example(
            "t", "Is it Lyon, she says?", "Is it Lyon?", "cut", ((10, 20),), ((10, 10),), " yes", " no", "g", "train"
        )
    ]
    found = measure(checkpoint, examples_table(examples), hidden=HiddenSpec(layers=(1, LAYERS)))
    (x,) = encode(checkpoint.tokenizer, [examples[0].prompt], [(" yes", " no")])
    assert found.f[0] == pytest.approx(reference.log_odds(checkpoint, x.prompt, x.answers), abs=1e-4)


def test_layers_that_wait_elsewhere_change_no_number(tmp_path, monkeypatch):
    folder, ids = build("llama", tmp_path / "a"), torch.tensor([[5, 6, 7]])
    expected = load(spec(folder), "cpu").model(input_ids=ids).logits
    assert torch.equal(load(spec(folder, device_map="auto"), "cpu").model(input_ids=ids).logits, expected)
    near, far = ("model.embed_tokens", "model.layers.0", "model.norm", "model.rotary_emb", "lm_head"), (1, 2)
    where = dict.fromkeys(near, "cpu") | {f"model.layers.{layer}": "disk" for layer in far}
    monkeypatch.setattr(checkpoints, "_placed", lambda *_: {"device_map": where, "offload_folder": tmp_path / "b"})
    found = load(spec(folder, device_map="auto"), "cpu")
    assert any(weight.is_meta for weight in found.model.parameters()) and found.device.type == "cpu"
    assert torch.equal(found.model(input_ids=ids).logits, expected)


@pytest.mark.parametrize(
    ("option", "package"), [({"device_map": "auto"}, "accelerate"), ({"load_in": "8bit"}, "bitsandbytes")]
)
def test_what_an_option_needs_is_said(option, package, tmp_path, monkeypatch):
    folder = build("gpt2", tmp_path)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(
        CheckpointError, match=f"the option {next(iter(option))} needs {package}: pip install {package}"
    ):
        load(spec(folder, **option), "cpu")


if importlib.util.find_spec("bitsandbytes"):  # no extra has it: most machines are better off without

    def test_linear_layers_in_8_bits(tmp_path):
        folder, ids = build("llama", tmp_path), torch.tensor([[5, 6, 7]])
        one, other = load(spec(folder), "cpu"), load(spec(folder, load_in="8bit"), "cpu")
        assert type(other.model.model.layers[0].mlp.up_proj).__name__ == "Linear8bitLt"
        apart = (one.model(input_ids=ids).logits - other.model(input_ids=ids).logits).abs().max()
        assert 0 < apart < 0.05 * one.model(input_ids=ids).logits.abs().max()


def test_untrained_is_another_model_always_the_same(tmp_path):
    folder = build("gpt2", tmp_path / "a")
    one, other = load(spec(folder), "cpu"), load(spec(folder), "cpu", "bfloat16")
    assert other.model.dtype == torch.bfloat16
    state = torch.get_rng_state()
    untrained, twice = load(spec(folder, untrained=True), "cpu"), load(spec(folder, untrained=True), "cpu")
    assert torch.equal(state, torch.get_rng_state()), "nobody else's randomness is touched"
    weights = [dict(c.model.named_parameters())["transformer.h.0.mlp.c_fc.weight"] for c in (one, untrained, twice)]
    assert torch.equal(weights[1], weights[2]) and not torch.allclose(weights[0], weights[1])


def test_an_adapter_is_merged(tmp_path):
    from peft import LoraConfig, get_peft_model

    folder = build("llama", tmp_path / "base")
    base = load(spec(folder), "cpu")
    adapted = get_peft_model(base.model, LoraConfig(target_modules=["q_proj"], r=2, init_lora_weights=False))
    ids = torch.tensor([[5, 6, 7]])
    expected = adapted(input_ids=ids).logits
    adapted.save_pretrained(tmp_path / "adapter")
    loaded = load(spec(folder, adapter=str(tmp_path / "adapter")), "cpu")
    torch.testing.assert_close(loaded.model(input_ids=ids).logits, expected)
    with pytest.raises(CheckpointError, match="can't be put on"):
        load(spec(folder, adapter=str(tmp_path / "absent")), "cpu")
    wide = LlamaConfig(hidden_size=64, num_hidden_layers=1, num_attention_heads=4, intermediate_size=8, vocab_size=400)
    LlamaForCausalLM(wide).save_pretrained(tmp_path / "wide")
    tokenizer().save_pretrained(tmp_path / "wide")
    for other in (tmp_path / "wide", build("gpt2", tmp_path / "gpt2")):
        with pytest.raises(CheckpointError, match="belongs to another base model"):
            load(spec(other, adapter=str(tmp_path / "adapter")), "cpu")


def test_without_a_network_a_hub_id_is_refused_at_once(monkeypatch):
    def unreachable(*_, **__):
        raise OSError("no route to host")

    monkeypatch.setattr("huggingface_hub.HfApi.model_info", unreachable)
    monkeypatch.setattr("transformers.AutoConfig.from_pretrained", lambda **_: pytest.fail("this would try for long"))
    with pytest.raises(
        CheckpointError, match="nobody/nothing: no such folder or file here, and the model hub can't be"
    ):
        load(spec("nobody/nothing"), "cpu")


def test_a_save_that_is_killed_leaves_the_last_checkpoint_or_none(tmp_path, monkeypatch):
    one, folder = load(spec(build("gpt2", tmp_path / "given")), "cpu"), tmp_path / "made"

    def killed(*_, **__):
        raise KeyboardInterrupt

    for before in (False, True):
        with monkeypatch.context() as during:
            during.setattr(type(one.tokenizer), "save_pretrained", killed)
            with pytest.raises(KeyboardInterrupt):
                save(one.model, one.tokenizer, folder)
        assert folder.exists() == before
        save(one.model, one.tokenizer, folder)
        assert load(spec(folder), "cpu").n_layers == LAYERS
    assert {path.name for path in tmp_path.iterdir()} == {"given", "made"}


def saved(model, folder):
    model.save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


def test_what_is_no_causal_language_model_is_said(tmp_path):
    small = {"vocab_size": 400, "num_hidden_layers": 1, "num_attention_heads": 2, "hidden_size": 16}
    good = build("gpt2", tmp_path / "good")
    distil, remote, cut_off = (shutil.copytree(good, tmp_path / name) for name in ("distil", "remote", "cut-off"))
    (tmp_path / "empty").mkdir()
    bert = saved(BertLMHeadModel(BertConfig(intermediate_size=16, **small)), tmp_path / "bert")
    DistilBertConfig().save_pretrained(distil)
    t5 = T5Config(vocab_size=400, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2)
    t5_folder = saved(T5ForConditionalGeneration(t5), tmp_path / "t5")
    headless = build("llama", tmp_path / "headless")
    config = json.loads((headless / "config.json").read_text())
    (headless / "config.json").write_text(json.dumps(config | {"num_hidden_layers": LAYERS + 1}))
    wordless = tmp_path / "wordless"
    load(spec(good), "cpu").model.save_pretrained(wordless)
    strange = {"model_type": "mine", "auto_map": {"AutoConfig": "mine.C", "AutoModelForCausalLM": "mine.M"}}
    (remote / "config.json").write_text(json.dumps(strange))
    (cut_off / "model.safetensors").write_bytes((good / "model.safetensors").read_bytes()[:5000])
    for path, message in (
        (tmp_path / "absent", "no such folder"),
        (tmp_path / "empty", "not a model"),
        (bert, "reads later tokens too"),
        (distil, "distilbert is no causal language model"),
        (t5_folder, "encoder-decoder"),
        (headless, "weights are missing"),
        (wordless, "has no tokenizer"),
        (remote, "trust_remote_code"),
        (cut_off, "weights can't be loaded"),
        ("nobody/no-such-model", "can't be (loaded as a model|reached)"),
    ):
        with pytest.raises(CheckpointError, match=message) as caught:
            load(spec(path), "cpu")
        assert "\n" not in str(caught.value)
    with pytest.raises(CheckpointError, match="there is no"):
        load(spec(good), "cuda" if not torch.cuda.is_available() else "mps")


def test_a_body_without_its_head_still_loads_where_the_head_is_tied(tmp_path):
    folder = build("gpt2", tmp_path / "a")
    body = GPT2Model.from_pretrained(folder)
    saved(body, tmp_path / "body")
    ids = torch.tensor([[5, 6, 7]])
    one, other = load(spec(folder), "cpu"), load(spec(tmp_path / "body"), "cpu")
    torch.testing.assert_close(one.model(input_ids=ids).logits, other.model(input_ids=ids).logits)
