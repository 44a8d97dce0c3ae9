"""The model's explanations: greedy generation after the question, in batches; or a forced choice.

Rows of the same length form a batch, so nothing is padded; equal rows are run once. transformers' own `generate` does
the work, with the cache of the architecture, and with none of the checkpoint's own defaults: the words are the model's
likeliest tokens. That is checked on the first row of each length; after a failure the model is run token by token.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import groupby
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import GenerationConfig

from engine.model.alike import Kind, kind_of
from engine.model.batch_size import rows_a_batch
from engine.model.checkpoints import Checkpoint
from engine.model.counterfactuals import Text, score_texts
from engine.model.forward import run
from engine.model.tokens import Tokens

ROWS_AT_ONCE = 256
TIE = 1e-3
"""Tokens whose logits differ by less than this, relative to the largest one above 1, are equally likely."""
OnBatch = Callable[[dict[int, str], int], None]
"""Gets the words of a batch, by the number of their row, and the batch's tokens."""
WordsOf = Callable[[Any, Any, Sequence[tuple[int, ...]], int], Tensor]


@torch.no_grad()
def say(
    model: Any,
    tokenizer: Any,
    asked: Sequence[tuple[int, ...]],
    *,
    most_tokens: int,
    known: Mapping[int, str] | None = None,
    on_batch: OnBatch | None = None,
) -> list[str]:
    """The words after each row of token ids [n], without special tokens, at most `most_tokens` tokens long.

    Batches follow from the rows and the model alone. `known`: number of a row → its words, from an earlier call that
    was stopped; batches of which all are known are not run again. `on_batch` gets each batch's new words, and tokens.
    """
    numbers: dict[tuple[int, ...], list[int]] = {}
    for number, ids in enumerate(asked):
        numbers.setdefault(ids, []).append(number)
    said = dict(known or {})
    model.eval()
    kind = kind_of(model)
    for length, group in groupby(sorted(numbers, key=len), key=len):
        rows, words_of = list(group), None
        at_once = min(ROWS_AT_ONCE, rows_a_batch(model, length + most_tokens))
        for start in range(0, len(rows), at_once):
            part = rows[start : start + at_once]
            if all(number in said for ids in part for number in numbers[ids]):
                continue
            if words_of is None:
                words_of = _way(model, tokenizer, rows[:at_once], most_tokens, kind)
            made = words_of(model, tokenizer, part, most_tokens)
            words = tokenizer.batch_decode(made[:, length:], skip_special_tokens=True)
            new = {number: text for ids, text in zip(part, words, strict=True) for number in numbers[ids]}
            said |= new
            if on_batch:
                on_batch(new, made.numel())
    return [said[number] for number in range(len(asked))]


def _way(model: Any, tokenizer: Any, rows: Sequence[tuple[int, ...]], most_tokens: int, kind: Kind) -> WordsOf:
    """How rows of one length are continued: by `generate`, if it gives the likeliest words after the first of them."""
    length = len(rows[0])
    if len({kind(length + more) for more in range(most_tokens + 1)}) > 1:  # the cache would be of another kind
        return _token_by_token
    made = _generated(model, tokenizer, rows, most_tokens)
    return _once(made, rows) if _is_argmax(model, tokenizer, made[0], length) else _token_by_token


def _once(made: Tensor, rows: Sequence[tuple[int, ...]]) -> WordsOf:
    """`_generated`, which does not run again the batch on which it was tried."""
    return lambda model, tokenizer, part, most: made if part == rows else _generated(model, tokenizer, part, most)


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


def choose(
    checkpoint: Checkpoint,
    asked: Sequence[Tokens],
    sentences: Sequence[Sequence[str]],
    *,
    known: Mapping[int, str] | None = None,
    on_batch: OnBatch | None = None,
) -> list[str]:
    """The likeliest of each row's answers [n], as the sentence at its place; `known` and `on_batch` as for `say`."""
    said, trial = dict(known or {}), None
    at_once = rows_a_batch(checkpoint.model, max((len(tokens.prompt) for tokens in asked), default=1))
    for start in range(0, len(asked), at_once):
        block = range(start, min(start + at_once, len(asked)))
        if start and all(number in said for number in block):
            continue  # the first block is scored again, because it says whether prefixes can be shared
        groups = [[Text(asked[n].prompt, asked[n].answers)] for n in block]
        scored = score_texts(checkpoint, groups, batch_size=ROWS_AT_ONCE // 8, trial=trial)
        trial = scored.report.trial if trial is None else trial
        best = [int(np.argmax(scored.log_probs[at, : len(asked[n].answers)])) for at, n in enumerate(block)]
        new = {n: sentences[n][number] for n, number in zip(block, best, strict=True) if n not in said}
        said |= new
        if on_batch and new:
            on_batch(new, scored.report.tokens)
    return [said[number] for number in range(len(asked))]
