"""The likeliest next tokens after some prompts, and the first tokens of both answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from engine.model.batching import common_prefix
from engine.model.behavior import tokenised
from engine.model.checkpoints import Checkpoint
from engine.model.forward import Ask, forward


@dataclass(frozen=True)
class NextTokens:
    """Tokens, sorted by their largest probability after any of the prompts."""

    tokens: tuple[str, ...]
    probabilities: np.ndarray
    """float64 [prompts, tokens]"""
    answers: tuple[str, ...]
    """The answers that begin with the token after the first prompt: "a", "b", "a and b", or empty."""
    shared: int
    """Number of tokens that both answers have in common at their beginning, after the first prompt."""


def next_tokens(
    checkpoint: Checkpoint, prompts: Sequence[str], answers: tuple[str, str], *, top: int = 6
) -> NextTokens:
    """The `top` likeliest next tokens of each prompt, at the position from which the answers are scored, and the first
    token of each answer. Raises BehaviorError for a prompt that can't be measured (`behavior.tokenised`)."""
    encoded = tokenised(checkpoint, prompts, [answers] * len(prompts), ["the prompt"] * len(prompts), offsets=False)
    outputs = [forward(checkpoint.model, [t.prompt], [Ask(0, len(t.prompt) - 1, 0)])[2] for t in encoded]
    p = np.stack([output.logits[0, -1].float().softmax(-1).double().cpu().numpy() for output in outputs])
    firsts = [answer[0] for answer in encoded[0].answers]
    wanted = {int(i) for row in p for i in np.argsort(-row, kind="stable")[:top]} | set(firsts)
    order = sorted(wanted, key=lambda i: (-p[:, i].max(), i))
    begins = tuple(" and ".join(n for n, first in zip("ab", firsts, strict=True) if first == i) for i in order)
    texts = tuple(_text(checkpoint, i) for i in order)
    return NextTokens(texts, p[:, order], begins, common_prefix(*encoded[0].answers))


def _text(checkpoint: Checkpoint, token: int) -> str:
    """The token as text; a token that is part of a character, by its name in the vocabulary."""
    text = checkpoint.tokenizer.decode([token])
    return text if text and "\ufffd" not in text else str(checkpoint.tokenizer.convert_ids_to_tokens(token))
