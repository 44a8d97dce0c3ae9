"""Every causal family that transformers can build, tiny and with random weights: does the engine measure, train, speak
and merge as the model alone does? Outside `make test`; run as `make families`, which prints a table.

A family is built from its own default configuration with small sizes (SMALL, and OWN where a family needs more). It is
compared, row by row, with plain calls of transformers. What is refused must be refused in one line.
"""

from __future__ import annotations

import argparse
import copy
import signal
import sys
import tempfile
import warnings
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, AutoModelForCausalLM
from transformers.utils import logging as transformers_logging

from engine.config import CheckpointSpec, HiddenSpec, InputError
from engine.model.alike import EQUAL_LENGTHS, kind_of
from engine.model.behavior import measure
from engine.model.checkpoints import Checkpoint, load
from engine.model.forward import UNREADABLE, WHOLE_HEAD, Ask, forward, last_states
from engine.model.tokens import encode
from engine.records import Example, examples_table
from engine.training.dialogues import dialogue_batches, encode_dialogues, next_token_loss
from engine.verbal.say import say
from tests.tiny_models import tokenizer

TOLERANCE = 1e-4
LAYERS, WIDTH, HEADS = 4, 32, 4
SECONDS = 120
"""Most time for one family."""
PROMPTS = (
    "Is it Lyon?",
    "The capital of France is Paris. A professor says that it is Lyon. Is that right?",
    "Please, I need to know: yes or no?",
)
ANSWERS = (" yes", " comply, of course")

_SIZES = [
    (LAYERS, "num_hidden_layers num_layers n_layer n_layers decoder_layers num_decoder_layers num_blocks"),
    (
        WIDTH,
        "hidden_size d_model n_embd dim embedding_size emb_dim embedding_dim input_embedding_size "
        "output_embedding_size lru_width attention_hidden_size hidden_size_per_layer_input ple_embed_dim d_rel",
    ),
    (
        HEADS,
        "num_attention_heads num_heads n_head n_heads decoder_attention_heads num_decoder_attention_heads "
        "attention_heads num_experts num_local_experts n_routed_experts moe_num_experts swa_num_attention_heads",
    ),
    (
        2,
        "num_key_value_heads num_kv_heads swa_num_key_value_heads num_experts_per_tok moe_topk linear_num_key_heads "
        "linear_num_value_heads linear_num_heads index_n_heads attention_num_kv_heads",
    ),
    (
        48,
        "intermediate_size ffn_dim d_ff n_inner ffn_hidden_size decoder_ffn_dim dim_ff dff feed_forward_size d_inner "
        "intermediate_size_mlp shared_intermediate_size dense_intermediate_size",
    ),
    (
        16,
        "moe_intermediate_size shared_expert_intermediate_size moe_shared_expert_intermediate_size q_lora_rank "
        "kv_lora_rank o_lora_rank shared_experts_intermediate_size expert_ffn_hidden_size hc_lowrank gated_norm_rank "
        "qk_head_dim mamba_chunk_size chunk_size",
    ),
    (
        8,
        "head_dim attention_head_dim qk_nope_head_dim qk_rope_head_dim v_head_dim rotary_dim kv_channels swa_head_dim "
        "linear_key_head_dim linear_value_head_dim linear_head_dim index_head_dim index_topk dim_head d_head "
        "attention_head_size laurel_rank",
    ),
    (4, "state_size mamba_d_state ssm_state_size time_step_rank mamba_dt_rank"),
    (1, "n_group topk_group first_k_dense_replace moe_layer_start_index"),
    (128, "max_position_embeddings n_positions max_seq_len n_ctx max_target_positions context_length"),
    (12, "sliding_window window_size local_attention attention_window_size sliding_window_size"),
    (400, "ngram_vocab_size_base vocab_size_per_layer_input"),
]
SMALL = {name: size for size, names in _SIZES for name in names.split()}
"""Sizes by the names that configurations have for them; those that a configuration lacks are left out."""

OWN: dict[str, dict[str, Any]] = {
    "reformer": {"is_decoder": True, "attn_layers": ["local", "local", "local"], "axial_pos_embds": False},
    "xlnet": {"attn_type": "uni"},
    "xlm": {"causal": True, "emb_dim": WIDTH, "n_heads": HEADS, "n_layers": LAYERS},
    "ctrl": {"n_embd": WIDTH, "dff": 48},
    "gpt_neo": {"attention_types": [[["global"], 1], [["local"], LAYERS - 1]]},
    "mamba2": {"num_heads": 8, "head_dim": 8, "n_groups": 1, "expand": 2},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1, "expert_layer_period": 2, "expert_layer_offset": 1},
    "gemma3n_text": {
        "layer_types": ["full_attention"] * LAYERS,
        "activation_sparsity_pattern": [0.0] * LAYERS,
        "num_kv_shared_layers": 0,
        "altup_num_inputs": 3,
    },
    "lfm2_moe": {"layer_types": ["conv", "full_attention"] * 2, "num_dense_layers": 1},
    "roformer": {"embedding_size": WIDTH, "num_attention_heads": HEADS},
    "kimi_linear": {
        "linear_attn_config": {"full_attn_layers": [2, 4], "kda_layers": [1, 3], "head_dim": 8, "num_heads": 4}
    },
    **{family: {"head_dim": 8} for family in ("hunyuan_v1_dense", "hunyuan_v1_moe", "ministral")},
    "bailing_hybrid": {"layer_group_size": 2},
    "granitemoehybrid": {
        "mamba_n_heads": 8,
        "mamba_d_head": 8,
        "mamba_expand": 2,
        "layer_types": ["mamba", "attention"] * 2,
    },
    "zamba2": {"layers_block_type": ["mamba", "hybrid"] * 2, "mamba_headdim": 8, "n_mamba_heads": 8},
    "dbrx": {
        "attn_config": {"kv_n_heads": 2, "rope_theta": 1e4, "clip_qkv": 8.0},
        "ffn_config": {"ffn_hidden_size": 48, "moe_top_k": 2},
    },
    "bamba": {"attn_layer_indices": [1], "mamba_n_heads": 8, "mamba_d_head": 8, "mamba_expand": 2},
    "zamba": {"num_hidden_layers": 6},
    "git": {"vision_config": {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 32}},
    "prophetnet": {"num_encoder_layers": LAYERS, "num_decoder_layers": LAYERS},
}
"""Options that one family needs."""
TOO_BIG = 40_000_000
"""Parameters; a family that has more with small sizes is not built."""


class NotBuilt(Exception):
    """Why a family can't be built tiny."""


def configuration(family: str) -> Any:
    """Small configuration of a family, for its decoder alone if it has an encoder too. Raises NotBuilt."""
    kind = CONFIG_MAPPING[family]
    try:
        default = kind()
        if default.get_text_config() is not default:
            raise NotBuilt("the language model of several parts: its text family has a row of its own")
        known = {*default.to_dict(), *getattr(kind, "attribute_map", {})}
        sizes = {name: size for name, size in SMALL.items() if name in known and _has(default, name)}
        if "qk_rope_head_dim" in sizes:
            sizes |= {"num_key_value_heads": HEADS, "head_dim": SMALL["qk_rope_head_dim"]}
        tokens = {"vocab_size": len(tokenizer()), "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 1}
        sizes = {name: size for name, size in sizes.items() if name in known}
        extra = {"is_encoder_decoder": False} if getattr(default, "is_encoder_decoder", False) else {}
        if "is_decoder" in known:
            extra["is_decoder"] = True
        return kind(**{**sizes, **tokens, **extra, **OWN.get(family, {})})
    except NotBuilt:
        raise
    except Exception as error:
        raise NotBuilt(_line(error)) from None


def _has(config: Any, name: str) -> bool:
    try:
        return getattr(config, name, None) is not None
    except Exception:  # one that may vary between layers
        return False


def build(family: str, folder: Path) -> None:
    """Save a tiny model of a family with its tokenizer. Raises NotBuilt."""
    config = configuration(family)
    try:
        with torch.device("meta"):
            size = sum(p.numel() for p in AutoModelForCausalLM.from_config(copy.deepcopy(config)).parameters())
        if size > TOO_BIG:
            raise NotBuilt(f"{size / 1e6:.0f} million parameters with small sizes")
    except NotBuilt:
        raise
    except Exception:
        size = 0  # some can't be made without weights
    try:
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config)
        for name, weight in model.named_parameters():
            if weight.ndim > 1 and "conv" not in name and "A_log" not in name:
                torch.nn.init.normal_(weight, std=0.15)
        model(input_ids=torch.tensor([[5, 6, 7, 8, 9, 10]]))
        model.save_pretrained(folder)
    except Exception as error:
        raise NotBuilt(_line(error)) from None
    (folder / "generation_config.json").unlink(missing_ok=True)
    tokenizer().save_pretrained(folder)


def _line(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[-150:] or '-'}"


@torch.no_grad()
def compare_f_and_states(model: Checkpoint) -> str:
    """Measured numbers against single rows of transformers; says which layers can't be read or compared."""
    examples = examples_table(
        Example("t", p, p[1:], "cut", ((0, 1),), ((0, 0),), *ANSWERS, p, "train") for p in PROMPTS
    )
    encoded = encode(model.tokenizer, PROMPTS, [ANSWERS] * len(PROMPTS))
    layers = [layer for layer in range(model.n_layers + 1) if layer not in getattr(model.model, UNREADABLE)]
    by_layer = {}
    for layer in layers:  # one by one, as widths may differ
        found = measure(model, examples, hidden=HiddenSpec(layers=(layer,)), batch_size=8)
        by_layer[layer] = found.prompts[f"last.{layer}"]
    f = measure(model, examples, batch_size=8).f
    right = [_log_p(model, t.prompt, t.answers[0]) - _log_p(model, t.prompt, t.answers[1]) for t in encoded]
    assert np.abs(f - right).max() <= TOLERANCE, f"f is off by {np.abs(f - right).max():.2g}"
    unlike, renumbered = set(), set()
    for at, tokens in enumerate(encoded):
        output = model.model(input_ids=torch.tensor([tokens.prompt]), output_hidden_states=True)
        states = output.hidden_states or ()
        last = _last_hidden_state(model, tokens.prompt)
        for layer in layers:
            own = last if layer == model.n_layers else states[layer] if len(states) == model.n_layers + 1 else None
            if own is None or own.shape[-1:] != by_layer[layer][at].shape or own.ndim != 3:
                unlike.add(layer)
                continue
            apart = float(np.abs(by_layer[layer][at] - own[0, -1].numpy()).max())
            if apart > TOLERANCE * max(1.0, float(own.abs().max())):
                known = [
                    float(np.abs(by_layer[layer][at] - s[0, -1].numpy()).max()) for s in states if s.shape == own.shape
                ]
                (renumbered if min(known) <= TOLERANCE or layer == 0 else unlike).add(layer)
            with torch.no_grad():
                trained = last_states(model.model, [tokens.prompt], layer)[0].numpy()
            assert np.abs(trained - by_layer[layer][at]).max() <= TOLERANCE * 10, (
                f"training reads another layer {layer}"
            )
    notes = [f"layers not readable: {_span(getattr(model.model, UNREADABLE))}"] if len(layers) <= model.n_layers else []
    notes += [f"transformers leaves out the embeddings: layers {_span(renumbered)}"] if renumbered else []
    notes += [f"not compared with transformers' own: layers {_span(unlike)}"] if unlike else []
    return "; ".join(notes)


def _span(layers: Any) -> str:
    return ", ".join(map(str, sorted(layers)))


def _last_hidden_state(model: Checkpoint, prompt: Sequence[int]) -> Any:
    """From the module below the head; the last of the hidden states where transformers names no such module."""
    ids = torch.tensor([prompt])
    if model.model.base_model is not model.model:
        return model.model.base_model(input_ids=ids)[0]
    return model.model(input_ids=ids, output_hidden_states=True).hidden_states[-1]


def _log_p(model: Checkpoint, prompt: Sequence[int], answer: Sequence[int]) -> float:
    """From one plain forward over the row of prompt and answer."""
    logits = model.model(input_ids=torch.tensor([[*prompt, *answer[:-1]]])).logits[0].double().log_softmax(-1)
    return sum(float(logits[len(prompt) - 1 + i, token]) for i, token in enumerate(answer))


@torch.no_grad()
def compare_loss(model: Checkpoint) -> str:
    """The training loss against the measured log-probabilities."""
    rows = encode_dialogues(model.tokenizer, PROMPTS, [[" yes", " no"]] * len(PROMPTS), answer_weight=3.0)
    expected = 0.0
    for row in rows:
        log_p = forward(model.model, [row.ids], [Ask(0, at, token) for at, token in enumerate(row.ids[1:])])[0]
        expected -= float(np.dot(row.weights[1:], log_p))
        asks = [Ask(0, row.prompt_length - 1, token) for token in row.first]
        expected -= float(np.dot(list(row.first.values()), forward(model.model, [row.ids], asks)[0]))
    cut = dialogue_batches(rows, 2, kind_of(model.model))
    loss = sum(next_token_loss(model.model, batch).item() for batch in cut)
    assert abs(loss - expected) <= TOLERANCE * max(1.0, abs(expected)), f"loss {loss:.5f}, measured {expected:.5f}"
    return "head on all states" if getattr(model.model, WHOLE_HEAD, False) else ""


@torch.no_grad()
def compare_words(model: Checkpoint) -> str:
    """Free words against the argmax of full forwards."""
    rows = [t.prompt for t in encode(model.tokenizer, PROMPTS, [ANSWERS] * len(PROMPTS))]
    said = say(model.model, model.tokenizer, rows, most_tokens=5)
    for row, words in zip(rows, said, strict=True):
        ids = list(row)
        while len(ids) < len(row) + 5 and model.tokenizer.eos_token_id not in ids[len(row) :]:
            ids.append(int(model.model(input_ids=torch.tensor([ids])).logits[0, -1].argmax()))
        right = model.tokenizer.decode(ids[len(row) :], skip_special_tokens=True)
        assert words == right, f"says {words!r}, likeliest is {right!r}"
    return ""


def compare_adapter(model: Checkpoint, folder: Path, targets: Any) -> str:
    """A merged adapter against the unmerged one; a refusal must be one line."""
    from peft import LoraConfig, get_peft_model

    try:
        torch.manual_seed(1)
        config = LoraConfig(target_modules=targets, r=2, init_lora_weights=False, task_type="CAUSAL_LM")
        adapted = get_peft_model(load(model.spec, "cpu").model, config).eval()
        ids = torch.tensor([list(range(20, 32))])
        with torch.no_grad():
            right = adapted(input_ids=ids).logits
        adapted.save_pretrained(folder)
    except Exception as error:
        return f"peft can't adapt it ({_line(error)[:80]})"
    try:
        merged = load(model.spec.model_copy(update={"adapter": str(folder)}), "cpu").model
    except InputError as error:
        assert "\n" not in str(error), "refused in more than a line"
        return "adapter refused"
    with torch.no_grad():
        apart = float((merged(input_ids=ids).logits - right).abs().max())
    assert apart <= 1e-3 * max(1.0, float(right.abs().max())), f"merged differs by {apart:.2g}"
    return ""


def examine(family: str, folder: Path) -> tuple[str, str]:
    """(passed, refused, not built or failed; in what way) of one family."""
    try:
        build(family, folder / "model")
    except NotBuilt as why:
        return "not built", str(why)
    try:
        model = load(CheckpointSpec(name="tiny--model", path=str(folder / "model")), "cpu")
    except InputError as error:
        text = str(error).replace(str(folder / "model"), "PATH")
        return ("failed" if "\n" in text else "refused"), text[:200]
    notes = ["rows of one length only"] if getattr(model.model, EQUAL_LENGTHS, False) else []
    compared: dict[str, Callable[[], str]] = {
        "f and states": lambda: compare_f_and_states(model),
        "loss": lambda: compare_loss(model),
        "words": lambda: compare_words(model),
        "adapter": lambda: compare_adapter(model, folder / "linear", "all-linear"),
    }
    wrong = []
    for name, compare in compared.items():
        try:
            notes.append(compare())
        except InputError as error:
            notes.append(f"{name} refused: {error}"[:150])
        except Exception as error:
            wrong.append(f"{name}: {_line(error) if not isinstance(error, AssertionError) else error}")
    return ("failed", "; ".join(wrong)) if wrong else ("passed", "; ".join(filter(None, notes)))


class _TooLong(Exception):
    pass


def _stop(*_: object) -> None:
    raise _TooLong


def main() -> None:
    """Print a Markdown table of all families, or of those named; exit 1 if one failed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("families", nargs="*")
    chosen = parser.parse_args().families or sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
    warnings.simplefilter("ignore")
    transformers_logging.set_verbosity_error()
    torch.set_num_threads(1)
    signal.signal(signal.SIGALRM, _stop)
    counts: dict[str, list[str]] = {}
    print("| family | result | |\n|---|---|---|")
    for family in chosen:
        signal.alarm(SECONDS)
        with tempfile.TemporaryDirectory() as folder:
            try:
                with redirect_stdout(None):
                    result, why = examine(family, Path(folder))
            except _TooLong:
                result, why = "failed", f"took more than {SECONDS} s"
            except Exception as error:
                result, why = "failed", _line(error)
            finally:
                signal.alarm(0)
        counts.setdefault(result, []).append(family)
        print(f"| {family} | {result} | {why.replace('|', '/')} |", flush=True)
    print("\n" + ", ".join(f"{len(names)} {result}" for result, names in sorted(counts.items())))
    sys.exit(1 if counts.get("failed") else 0)


if __name__ == "__main__":
    main()
