"""A GGUF file is the model that was written into it: converted once, and refused in one line where it is damaged."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from engine.config import CheckpointSpec
from engine.model import gguf
from engine.model.checkpoints import Checkpoint, CheckpointError, load
from tests.chat_templates import SMOLLM2
from tests.tiny_models import CONTEXT, HEADS, LAYERS, TEXT, WIDTH, build

needs_gguf = pytest.mark.skipif(importlib.util.find_spec("gguf") is None, reason="the extra gguf is not installed")
NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}
"""Names of a block's weights in llama's GGUF files."""


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return at(build("llama", tmp_path_factory.mktemp("llama")))


def at(path: Path) -> Checkpoint:
    return load(CheckpointSpec(name="llama--tiny", path=str(path)), "cpu")


def as_gguf(model: Checkpoint, path: Path, family: str = "llama") -> Path:
    """Write a llama as llama.cpp's converter does: rows of q and k in its own order of rotary pairs."""
    from gguf import GGUFWriter

    config, words = model.model.config, model.tokenizer
    writer = GGUFWriter(path, family)
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_vocab_size(len(words))
    about = json.loads(words.backend_tokenizer.to_str())["model"]
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(sorted(about["vocab"], key=about["vocab"].__getitem__))
    writer.add_token_types([3 if token == 0 else 1 for token in range(len(words))])  # a control token, and normal ones
    writer.add_token_merges([" ".join(pair) for pair in about["merges"]])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(0)
    writer.add_add_bos_token(False)
    writer.add_chat_template(SMOLLM2)
    weights = {name: weight.numpy() for name, weight in model.model.state_dict().items()}
    found = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
    found |= {f"blk.{i}.{new}": f"model.layers.{i}.{old}" for i in range(LAYERS) for old, new in NAMES.items()}
    for new, old in found.items():
        weight = weights[f"{old}.weight"]
        if "attn_q" in new or "attn_k" in new:
            heads = HEADS if "attn_q" in new else config.num_key_value_heads
            weight = weight.reshape(heads, 2, -1, WIDTH).swapaxes(1, 2).reshape(weight.shape)
        writer.add_tensor(f"{new}.weight", np.ascontiguousarray(weight))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@needs_gguf
def test_it_is_the_model_that_was_written_and_is_converted_once(original, tmp_path, monkeypatch) -> None:
    file = as_gguf(original, tmp_path / "tiny.gguf")
    found = at(file)
    ids = torch.tensor([original.tokenizer(TEXT).input_ids])
    assert found.tokenizer(TEXT).input_ids == ids[0].tolist()
    torch.testing.assert_close(found.model(ids).logits, original.model(ids).logits, atol=1e-5, rtol=1e-4)
    assert found.spec.path == str(file) and found.chat is not None, "its chat template is there too"
    monkeypatch.setattr(gguf, "_convert", lambda *_: pytest.fail("it is converted already"))
    torch.testing.assert_close(at(file).model(ids).logits, found.model(ids).logits)


@needs_gguf
def test_a_file_that_is_cut_off_and_a_family_that_cant_be_read_are_told(original, tmp_path, caplog) -> None:
    whole = as_gguf(original, tmp_path / "whole.gguf").read_bytes()
    for share in (0.02, 0.6):
        (tmp_path / "cut.gguf").write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(CheckpointError, match=r"cut\.gguf: can't be read, is it cut off or damaged\?"):
            at(tmp_path / "cut.gguf")
    with pytest.raises(CheckpointError, match="transformers can't read its family from GGUF files"):
        at(as_gguf(original, tmp_path / "odd.gguf", family="nosuch"))
    assert not list((tmp_path / "cache").rglob("config.json")), "nothing is kept of them"
    assert "is converted once" not in caplog.text, "the error is the only line"


def test_what_is_no_gguf_file_is_told(original, tmp_path, monkeypatch) -> None:
    with pytest.raises(CheckpointError, match="no such file"):
        at(tmp_path / "none.gguf")
    (tmp_path / "text.gguf").write_text("hello")
    with pytest.raises(CheckpointError, match="is no GGUF file"):
        at(tmp_path / "text.gguf")
    (tmp_path / "empty.gguf").write_bytes(gguf.MAGIC)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(CheckpointError, match=r"needs the extra gguf: pip install introspective-coupling\[gguf\]"):
        at(tmp_path / "empty.gguf")
