"""The model's explanations: greedy generation after the question, in batches; or a forced choice.

Rows of the same length form a batch, so nothing is padded; equal rows are run once. transformers' own `generate` does
the work, with the cache of the architecture, and with none of the checkpoint's own defaults: the words are the model's
likeliest tokens. That is checked on the first row of each length; after a failure the model is run token by token.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import GenerationConfig

from engine.model.alike import kind_of
from engine.model.checkpoints import Checkpoint
from engine.model.counterfactuals import Text, score_texts
from engine.model.forward import run
from engine.model.tokens import Tokens

ROWS_AT_ONCE = 256
TIE = 1e-3
"""Tokens whose logits differ by less than this, relative to the largest one above 1, are equally likely."""


@torch.no_grad()
def say(model: Any, tokenizer: Any, asked: Sequence[tuple[int, ...]], *, most_tokens: int) -> list[str]:
    """The words after each row of token ids [n], without special tokens, at most `most_tokens` tokens long."""
    said: dict[tuple[int, ...], str] = {}
    model.eval()
    kind, words_of = kind_of(model), _generated
    for length, group in groupby(sorted(dict.fromkeys(asked), key=len), key=len):
        rows = list(group)
        for start in range(0, len(rows), ROWS_AT_ONCE):
            part = rows[start : start + ROWS_AT_ONCE]
            if len({kind(length + more) for more in range(most_tokens + 1)}) > 1:  # the cache would be of another kind
                made = _token_by_token(model, tokenizer, part, most_tokens)
            else:
                made = words_of(model, tokenizer, part, most_tokens)
                if start == 0 and not _is_argmax(model, tokenizer, made[0], length):
                    words_of = _token_by_token
                    made = words_of(model, tokenizer, part, most_tokens)
            words = tokenizer.batch_decode(made[:, length:], skip_special_tokens=True)
            said |= dict(zip(part, words, strict=True))
    return [said[ids] for ids in asked]


def _generated(model: Any, tokenizer: Any, rows: Sequence[tuple[int, ...]], most_tokens: int) -> Tensor:
    """Rows of one length and the likeliest tokens after them, [rows, length + most_tokens] or shorter."""
    end = tokenizer.eos_token_id
    config = GenerationConfig(
        do_sample=False, max_new_tokens=most_tokens, eos_token_id=end, pad_token_id=0 if end is None else end
    )
    given = torch.tensor(rows, device=model.device)
    mask = torch.ones_like(given)
    with _without_defaults(model):
        return model.generate(input_ids=given, attention_mask=mask, generation_config=config, use_cache=True)


def _token_by_token(model: Any, tokenizer: Any, rows: Sequence[tuple[int, ...]], most_tokens: int) -> Tensor:
    """The same from a full forward for each token, for a model whose `generate` says something else."""
    made, end = torch.tensor(rows, device=model.device), tokenizer.eos_token_id
    done = torch.zeros(len(rows), dtype=torch.bool, device=model.device)
    for _ in range(most_tokens):
        likeliest = run(model, made, logits_to_keep=1).logits[:, -1].argmax(-1)
        made = torch.cat([made, torch.where(done, 0 if end is None else end, likeliest)[:, None]], dim=1)
        if end is not None:
            done |= likeliest == end
        if done.all():
            break
    return made


@contextmanager
def _without_defaults(model: Any) -> Iterator[None]:
    """Context without the defaults of the checkpoint's generation_config.json, which `generate` would add to ours: a
    repetition penalty, suppressed or forced tokens, a minimal length."""
    own = model.generation_config
    model.generation_config = GenerationConfig()
    try:
        yield
    finally:
        model.generation_config = own


def _is_argmax(model: Any, tokenizer: Any, made: Tensor, length: int) -> bool:
    """Whether each token that was made, up to the first end token, is the likeliest after the row before it."""
    new = made[length:].tolist()
    if tokenizer.eos_token_id in new:
        new = new[: new.index(tokenizer.eos_token_id) + 1]
    row = made[: length + len(new)]
    logits = run(model, row[None]).logits[0, length - 1 : -1].float()
    chosen = logits.gather(1, row[length:, None])[:, 0]
    return bool((logits.amax(1) - chosen <= TIE * logits.abs().amax().clamp(min=1.0)).all())


def choose(checkpoint: Checkpoint, asked: Sequence[Tokens]) -> list[int]:
    """The number of the likeliest answer of each row [n]."""
    groups = [[Text(tokens.prompt, tokens.answers)] for tokens in asked]
    log_probs = score_texts(checkpoint, groups, batch_size=ROWS_AT_ONCE // 8).log_probs
    return [int(np.argmax(row[: len(tokens.answers)])) for row, tokens in zip(log_probs, asked, strict=True)]
