"""Examples and labels as rows of tokens, and the losses on them.

A row holds x, the question and, in training, the label. Where neither a chat template nor a shared beginning of the
answers stands in the way, the answer to x is read from the same row, at the last token of x.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from engine.forward import padded, takes
from engine.planning import common_prefix
from engine.tokens import Tokens

LINE = "\n"
"""Ends an explanation where the tokenizer has no end token."""


@dataclass(frozen=True)
class Row:
    """One row of tokens, and where a loss looks at it."""

    ids: tuple[int, ...]
    learn: int | None = None
    """Where the explanation's tokens begin; None: there are none."""
    decide: int | None = None
    """The position after which the two answers part; None: it is not asked."""
    pair: tuple[int, int] = (0, 0)
    """The answers' tokens there."""


def end_of(tokenizer: Any) -> tuple[int, ...]:
    """What an explanation ends with."""
    if tokenizer.eos_token_id is not None:
        return (int(tokenizer.eos_token_id),)
    return tuple(tokenizer(LINE, add_special_tokens=False)["input_ids"])


def template_of(tokenizer: Any, wanted: bool) -> bool:
    return wanted and bool(getattr(tokenizer, "chat_template", None))


def answer_row(tokens: Tokens) -> Row:
    """x up to where its answers part."""
    one, other = tokens.answers
    shared = common_prefix(one, other)
    if shared == min(len(one), len(other)):  # one is the beginning of the other: what follows it decides
        shared -= 1
    return Row((*tokens.prompt, *one[:shared]), None, len(tokens.prompt) + shared - 1, (one[shared], other[shared]))


def question_rows(
    tokenizer: Any, prompts: Sequence[str], tokens: Sequence[Tokens], questions: Sequence[str], *, chat: bool
) -> list[tuple[int, ...]]:
    """Token ids of x and the question after it, to be gone on from; in the chat template if `chat`."""
    if chat:
        out = []
        for prompt, question in zip(prompts, questions, strict=True):
            text = tokenizer.apply_chat_template(
                [{"role": "user", "content": prompt + question}], add_generation_prompt=True, tokenize=False
            )
            out.append(tuple(tokenizer(text, add_special_tokens=False)["input_ids"]))
        return out
    asked = {q: tuple(tokenizer(q, add_special_tokens=False)["input_ids"]) for q in set(questions)}
    return [(*t.prompt, *asked[q]) for t, q in zip(tokens, questions, strict=True)]


def label_rows(
    tokenizer: Any, asked: Sequence[tuple[int, ...]], sentences: Sequence[str], answers: Sequence[Row], *, chat: bool
) -> list[Row]:
    """The questions with their labels to learn. The answer to x is read on the way, where the row holds it."""
    texts = list(dict.fromkeys(sentences))
    known = dict(zip(texts, tokenizer(texts, add_special_tokens=False)["input_ids"], strict=True))
    end = end_of(tokenizer)
    out = []
    for ids, sentence, answer in zip(asked, sentences, answers, strict=True):
        inside = not chat and ids[: len(answer.ids)] == answer.ids
        decide = answer.decide if inside else None
        out.append(Row((*ids, *known[sentence], *end), len(ids), decide, answer.pair))
    return out


@dataclass(frozen=True)
class Logits:
    """Logits where the losses look, float32."""

    words: Tensor
    """[tokens to learn, vocabulary]"""
    word_targets: Tensor
    """[tokens to learn]"""
    answers: Tensor
    """[rows that decide, 3]: log p of answer a's token, of b's, of all others."""
    asked: list[int]
    """Which rows those are."""


def logits_of(model: Any, rows: Sequence[Row]) -> Logits:
    """One forward over rows padded on the right."""
    ids = padded([row.ids for row in rows], model.device)
    wanted = [
        ([] if row.decide is None else [row.decide])
        + ([] if row.learn is None else list(range(row.learn - 1, len(row.ids) - 1)))
        for row in rows
    ]
    width = max(map(len, wanted))
    keep = torch.tensor([[*w, *[0] * (width - len(w))] for w in wanted], device=ids.device)
    more: dict[str, Any] = {"logits_to_keep": keep} if takes(model, "logits_to_keep") else {}
    if takes(model, "use_cache"):
        more["use_cache"] = False
    logits = model(input_ids=ids, **more).logits
    if more.get("logits_to_keep") is not keep:
        logits = logits.take_along_dim(keep[..., None], dim=1)
    logits = logits.float()
    at = [(i, c, row.ids[p + 1]) for i, row in enumerate(rows) for c, p in enumerate(wanted[i]) if p != row.decide]
    asked = [i for i, row in enumerate(rows) if row.decide is not None]
    places = torch.tensor([a[:2] for a in at], dtype=torch.long).reshape(-1, 2)
    deciding = logits[asked, 0].log_softmax(-1) if asked else logits.new_zeros(0, logits.shape[-1])
    pairs = torch.tensor([rows[i].pair for i in asked], dtype=torch.long, device=ids.device).reshape(-1, 2)
    return Logits(
        words=logits[places[:, 0], places[:, 1]],
        word_targets=torch.tensor([a[2] for a in at], dtype=torch.long, device=ids.device),
        answers=_three_way(deciding, pairs),
        asked=asked,
    )


def _three_way(log_probs: Tensor, pairs: Tensor) -> Tensor:
    """log p of two tokens and of all others together: [n, vocabulary] → [n, 3]."""
    both = log_probs.gather(1, pairs)
    rest = torch.log1p(-both.exp().sum(1, keepdim=True).clamp(max=1 - 1e-6))
    return torch.cat([both, rest], dim=1)


def explanation_loss(found: Logits) -> Tensor:
    """Mean cross-entropy of the explanations' tokens."""
    return functional.cross_entropy(found.words, found.word_targets)


def divergence(found: Logits, fixed: Tensor) -> Tensor:
    """Mean KL(fixed ‖ current) of the answer distributions, nats; fixed: log p [rows that decide, 3]."""
    return functional.kl_div(found.answers, fixed.to(found.answers.device), log_target=True, reduction="batchmean")


@torch.no_grad()
def answer_distributions(model: Any, rows: Sequence[Row], batch: int = 256) -> Tensor:
    """log p [rows, 3] of the answers at `model`, on the CPU; equal rows are run once."""
    distinct = sorted(dict.fromkeys(rows), key=lambda row: len(row.ids))
    found = torch.cat([logits_of(model, distinct[i : i + batch]).answers.cpu() for i in range(0, len(distinct), batch)])
    place = {row: i for i, row in enumerate(distinct)}
    return found[torch.from_numpy(np.array([place[row] for row in rows]))]
