"""A llama of transformers as a GGUF file, as llama.cpp's converter writes it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

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


def write_gguf(network: Any, file: Path, add_words: Callable[[Any], None], family: str = "llama") -> Path:
    """Write an untied llama in fp32. `add_words` adds the tokenizer to the `GGUFWriter`."""
    from gguf import GGUFWriter

    config = network.config
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    writer = GGUFWriter(file, family)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(heads["q_proj"])
    writer.add_head_count_kv(heads["k_proj"])
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_vocab_size(config.vocab_size)
    add_words(writer)
    weights = {name: weight.numpy() for name, weight in network.state_dict().items()}
    found = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
    blocks = range(config.num_hidden_layers)
    found |= {f"model.layers.{i}.{old}": f"blk.{i}.{new}" for i in blocks for old, new in NAMES.items()}
    for old, new in found.items():
        weight = weights[f"{old}.weight"]
        if own := heads.get(old.rsplit(".", 1)[-1]):  # rows of q and k are in llama.cpp's order of rotary pairs
            weight = weight.reshape(own, 2, -1, config.hidden_size).swapaxes(1, 2).reshape(weight.shape)
        writer.add_tensor(f"{new}.weight", np.ascontiguousarray(weight))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file
