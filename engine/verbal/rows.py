"""Examples and labels as rows of tokens, and the losses on them.

A row holds x, the question and, in training, the label. Where neither a chat template nor a shared beginning of the
answers stands in the way, the answer to x is read from the same row, at the last token of x.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from engine.model.batching import common_prefix
from engine.model.forward import padded, takes
from engine.model.tokens import Tokens

LINE = "\n"
"""Ends an explanation where the tokenizer has no end token."""


NO_TOKEN = -1
"""Stands where an ask has no second token."""
PLACEHOLDER_PROB = 1e-12
"""Probability given to NO_TOKEN. It is constant, so it adds nothing to a divergence."""
Ask = tuple[int, int, int]
"""A position and two tokens that may follow: where the answers part, both; later, the next one and NO_TOKEN."""


@dataclass(frozen=True)
class Row:
    """One row of tokens, and where a loss looks at it."""

    ids: tuple[int, ...]
    learn: int | None = None
    """Where the explanation's tokens begin; None: there are none."""
    asks: tuple[Ask, ...] = ()
    """Where the answer distribution is read."""


def end_of(tokenizer: Any) -> tuple[int, ...]:
    """What an explanation ends with."""
    if tokenizer.eos_token_id is not None:
        return (int(tokenizer.eos_token_id),)
    return tuple(tokenizer(LINE, add_special_tokens=False)["input_ids"])


def template_of(tokenizer: Any, wanted: bool) -> bool:
    return wanted and bool(getattr(tokenizer, "chat_template", None))


def answer_row(tokens: Tokens, continued: int | None = None) -> Row:
    """x up to where its answers part. `continued`: on to the end of that answer (0 or 1), so that all of it is held:
    f is a sum over all tokens of an answer."""
    one, other = tokens.answers
    shared = common_prefix(one, other)
    if shared == min(len(one), len(other)):  # one is the beginning of the other: what follows it decides
        shared -= 1
    start = len(tokens.prompt)
    parting = (start + shared - 1, one[shared], other[shared])
    if continued is None:
        return Row((*tokens.prompt, *one[:shared]), asks=(parting,))
    answer = tokens.answers[continued]
    further = tuple((start + i - 1, answer[i], NO_TOKEN) for i in range(shared + 1, len(answer)))
    return Row((*tokens.prompt, *answer[: max(shared, len(answer) - 1)]), asks=(parting, *further))


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
        out.append(Row((*ids, *known[sentence], *end), len(ids), answer.asks if inside else ()))
    return out


@dataclass(frozen=True)
class Logits:
    """Logits where the losses look, float32."""

    words: Tensor
    """[tokens to learn, vocabulary]"""
    word_targets: Tensor
    """[tokens to learn]"""
    answers: Tensor
    """[asks of all rows, 3]: log p of the first token, of the second, of all others."""
    asked: list[int]
    """Rows that have any."""


def logits_of(model: Any, rows: Sequence[Row]) -> Logits:
    """One forward over rows padded on the right."""
    ids = padded([row.ids for row in rows], model.device)
    wanted = [
        [position for position, _, _ in row.asks]
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
    learnt = [
        (i, c, row.ids[wanted[i][c] + 1]) for i, row in enumerate(rows) for c in range(len(row.asks), len(wanted[i]))
    ]
    asked = [(i, c, *row.asks[c][1:]) for i, row in enumerate(rows) for c in range(len(row.asks))]
    words = torch.tensor(learnt, dtype=torch.long, device=ids.device).reshape(-1, 3)
    asks = torch.tensor(asked, dtype=torch.long, device=ids.device).reshape(-1, 4)
    return Logits(
        words=logits[words[:, 0], words[:, 1]],
        word_targets=words[:, 2],
        answers=_three_way(logits[asks[:, 0], asks[:, 1]].log_softmax(-1), asks[:, 2:]),
        asked=[i for i, row in enumerate(rows) if row.asks],
    )


def _three_way(log_probs: Tensor, pairs: Tensor) -> Tensor:
    """log p of two tokens and of all others together: [n, vocabulary] → [n, 3]."""
    both = log_probs.gather(1, pairs.clamp(min=0))
    both = torch.where(pairs == NO_TOKEN, math.log(PLACEHOLDER_PROB), both)
    rest = torch.log1p(-both.exp().sum(1, keepdim=True).clamp(max=1 - 1e-6))
    return torch.cat([both, rest], dim=1)


def explanation_loss(found: Logits) -> Tensor:
    """Mean cross-entropy of the explanations' tokens."""
    return functional.cross_entropy(found.words, found.word_targets)


def divergence(found: Logits, fixed: Sequence[Tensor]) -> Tensor:
    """KL(fixed ‖ current) of the answer distributions, summed over an answer's tokens, mean over rows, nats.

    fixed: log p [asks, 3] of each row that has any.
    """
    then = torch.cat(list(fixed)).to(found.answers.device)
    return functional.kl_div(found.answers, then, log_target=True, reduction="sum") / len(fixed)


@torch.no_grad()
def answer_distributions(model: Any, rows: Sequence[Row], batch: int = 256) -> list[Tensor]:
    """log p [asks, 3] of each row's answers at `model`, on the CPU; equal rows are run once."""
    distinct = sorted(dict.fromkeys(rows), key=lambda row: len(row.ids))
    found: dict[Row, Tensor] = {}
    for start in range(0, len(distinct), batch):
        part = distinct[start : start + batch]
        answers = logits_of(model, part).answers.cpu().split([len(row.asks) for row in part])
        found |= dict(zip(part, answers, strict=True))
    return [found[row] for row in rows]
