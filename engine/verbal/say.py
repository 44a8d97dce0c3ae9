"""The model's explanations: greedy generation after the question, in batches; or a forced choice.

Rows of the same length form a batch, so nothing is padded; equal rows are run once. transformers' own `generate` does
the work, with the cache of the architecture.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import numpy as np
import torch
from transformers import GenerationConfig

from engine.model.checkpoints import Checkpoint
from engine.model.counterfactuals import Text, score_texts
from engine.verbal.rows import ids_of

ROWS_AT_ONCE = 256


@torch.no_grad()
def say(model: Any, tokenizer: Any, asked: Sequence[tuple[int, ...]], *, most_tokens: int) -> list[str]:
    """The words after each row of token ids [n], without special tokens, at most `most_tokens` tokens long."""
    end = tokenizer.eos_token_id
    config = GenerationConfig(
        do_sample=False, max_new_tokens=most_tokens, eos_token_id=end, pad_token_id=0 if end is None else end
    )
    said: dict[tuple[int, ...], str] = {}
    model.eval()
    for length, group in groupby(sorted(dict.fromkeys(asked), key=len), key=len):
        rows = list(group)
        for start in range(0, len(rows), ROWS_AT_ONCE):
            part = rows[start : start + ROWS_AT_ONCE]
            given = torch.tensor(part, device=model.device)
            mask = torch.ones_like(given)
            made = model.generate(input_ids=given, attention_mask=mask, generation_config=config, use_cache=True)
            words = tokenizer.batch_decode(made[:, length:], skip_special_tokens=True)
            said |= dict(zip(part, words, strict=True))
    return [said[ids] for ids in asked]


def choose(checkpoint: Checkpoint, asked: Sequence[tuple[int, ...]], options: Sequence[Sequence[str]]) -> list[str]:
    """The likeliest of each row's options [n] after its token ids."""
    known = ids_of(checkpoint.tokenizer, (text for row in options for text in row))
    groups = [[Text(ids, tuple(known[text] for text in row))] for ids, row in zip(asked, options, strict=True)]
    log_probs = score_texts(checkpoint, groups, batch_size=ROWS_AT_ONCE // 8).log_probs
    return [row[int(best)] for row, best in zip(options, np.argmax(log_probs, axis=1), strict=True)]
