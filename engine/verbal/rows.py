"""Examples and labels as rows of tokens, and the losses on them.

A row holds x, the question and, in training, the label. The answer to x is read from the same row, at the last token of
x, unless the row does not begin with the tokens of x (a chat template goes on after them) or the answers begin alike.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from engine.config import InputError
from engine.model.alike import Kind, any_rows, in_kinds
from engine.model.batching import common_prefix
from engine.model.checkpoints import Checkpoint
from engine.model.forward import batch_of, run, takes
from engine.model.tokens import TokenError, Tokens, encode

NO_TOKEN = -1
"""Stands for a missing second token."""
PLACEHOLDER_PROB = 1e-12
"""Probability given to NO_TOKEN. It is constant, so it adds nothing to a divergence."""
TokenPair = tuple[int, int, int]
"""A position and two tokens that may follow it: both answers' tokens where the answers part; later, the next token and
NO_TOKEN."""


@dataclass(frozen=True)
class TokenRow:
    """One row of tokens, and the positions that enter the losses."""

    ids: tuple[int, ...]
    learn: int | None = None
    """Where the explanation's tokens begin; None: there are none."""
    pairs: tuple[TokenPair, ...] = ()
    """Where the answer distribution is read."""


def ids_of(tokenizer: Any, texts: Iterable[str]) -> dict[str, tuple[int, ...]]:
    """Each text → its token ids, without special tokens."""
    distinct = list(dict.fromkeys(texts))
    return dict(zip(distinct, map(tuple, tokenizer(distinct, add_special_tokens=False)["input_ids"]), strict=True))


def end_of(tokenizer: Any) -> tuple[int, ...]:
    """The tokens that end an explanation: the end token, or a line break if the tokenizer has none."""
    end = tokenizer.eos_token_id
    return ids_of(tokenizer, ["\n"])["\n"] if end is None else (int(end),)


def answer_row(tokens: Tokens, continued: int | None = None) -> TokenRow:
    """x up to where its answers part. `continued` (0 or 1): to the end of that answer, because f is a sum over all
    tokens of an answer."""
    one, other = tokens.answers
    shared = common_prefix(one, other)
    if shared == min(len(one), len(other)):  # one is the beginning of the other: what follows it decides
        shared -= 1
    start = len(tokens.prompt)
    parting = (start + shared - 1, one[shared], other[shared])
    if continued is None:
        return TokenRow((*tokens.prompt, *one[:shared]), pairs=(parting,))
    answer = tokens.answers[continued]
    further = tuple((start + i - 1, answer[i], NO_TOKEN) for i in range(shared + 1, len(answer)))
    return TokenRow((*tokens.prompt, *answer[: max(shared, len(answer) - 1)]), pairs=(parting, *further))


def question_rows(
    checkpoint: Checkpoint,
    prompts: Sequence[str],
    tokens: Sequence[Tokens],
    questions: Sequence[str],
    sentences: Sequence[Sequence[str]],
) -> list[Tokens]:
    """x and the question after it as prompts, with the sentences that may follow as their answers.

    A plain text is continued by the question, and that by a sentence. In a chat template the question stands in the
    last message, and a sentence is tokenised as an answer is. Raises InputError for a template that can't be applied.
    """
    if checkpoint.chat is None:
        asked = ids_of(checkpoint.tokenizer, questions)
        said = ids_of(checkpoint.tokenizer, (sentence for own in sentences for sentence in own))
        rows = zip(tokens, questions, sentences, strict=True)
        return [Tokens((*t.prompt, *asked[q]), tuple(said[s] for s in own), ()) for t, q, own in rows]
    texts = [prompt + question for prompt, question in zip(prompts, questions, strict=True)]
    try:
        return encode(checkpoint.tokenizer, texts, sentences, chat=checkpoint.chat, offsets=False)
    except TokenError as error:
        raise InputError(f"verbal: {prompts[error.args[1]][:60]!r} and its question: {error.args[0]}") from None


def label_rows(
    tokenizer: Any, asked: Sequence[Tokens], which: Sequence[int], answers: Sequence[TokenRow], *, kind: Kind = any_rows
) -> list[TokenRow]:
    """The questions with their labels, each the sentence of that number. The answer to x is read from the same row if
    the row holds it, and if the model treats it as the row of x alone (`alike.kind_of`)."""
    end = end_of(tokenizer)
    out = []
    for tokens, number, answer in zip(asked, which, answers, strict=True):
        ids = tokens.prompt
        row = (*ids, *tokens.answers[number], *end)
        inside = ids[: len(answer.ids)] == answer.ids and kind(len(row)) == kind(len(answer.ids))
        out.append(TokenRow(row, len(ids), answer.pairs if inside else ()))
    return out


@dataclass(frozen=True)
class Logits:
    """Logits at the positions that enter the losses, float32."""

    words: Tensor  # [tokens to learn, vocabulary]
    word_targets: Tensor  # [tokens to learn]
    answers: Tensor  # [pairs of all rows, 3]: log p of the first token, of the second, of all others
    with_pairs: list[int]  # rows that have pairs


def logits_of(model: Any, rows: Sequence[TokenRow]) -> Logits:
    """The logits of rows; one forward for each kind of rows that the model treats differently."""
    groups = in_kinds(model, [len(row.ids) for row in rows])
    parts = [_logits_of(model, [rows[i] for i in group]) for group in groups]
    if len(parts) == 1:
        return parts[0]
    answers: dict[int, Tensor] = {}
    for group, part in zip(groups, parts, strict=True):
        with_pairs = [group[i] for i in part.with_pairs]
        answers |= dict(zip(with_pairs, part.answers.split([len(rows[i].pairs) for i in with_pairs]), strict=True))
    return Logits(
        words=torch.cat([part.words for part in parts]),
        word_targets=torch.cat([part.word_targets for part in parts]),
        answers=torch.cat([answers[i] for i in sorted(answers)] or [parts[0].answers]),
        with_pairs=sorted(answers),
    )


def _logits_of(model: Any, rows: Sequence[TokenRow]) -> Logits:
    ids = batch_of(model, [row.ids for row in rows])
    wanted = [
        [position for position, _, _ in row.pairs]
        + ([] if row.learn is None else list(range(row.learn - 1, len(row.ids) - 1)))
        for row in rows
    ]
    width = max(map(len, wanted))
    keep = torch.tensor([[*w, *[0] * (width - len(w))] for w in wanted], device=ids.device)
    logits = run(model, ids, logits_to_keep=keep).logits
    if not takes(model, "logits_to_keep"):
        logits = logits.take_along_dim(keep[..., None], dim=1)
    logits = logits.float()
    learnt = [
        (i, c, row.ids[wanted[i][c] + 1]) for i, row in enumerate(rows) for c in range(len(row.pairs), len(wanted[i]))
    ]
    read = [(i, c, first, second) for i, row in enumerate(rows) for c, (_, first, second) in enumerate(row.pairs)]
    words = torch.tensor(learnt, dtype=torch.long, device=ids.device).reshape(-1, 3)
    pairs = torch.tensor(read, dtype=torch.long, device=ids.device).reshape(-1, 4)
    return Logits(
        words=logits[words[:, 0], words[:, 1]],
        word_targets=words[:, 2],
        answers=_three_way(logits[pairs[:, 0], pairs[:, 1]].log_softmax(-1), pairs[:, 2:]),
        with_pairs=[i for i, row in enumerate(rows) if row.pairs],
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

    fixed: log p [pairs, 3] of each row that has pairs.
    """
    then = torch.cat(list(fixed)).to(found.answers.device)
    return functional.kl_div(found.answers, then, log_target=True, reduction="sum") / len(fixed)


@torch.no_grad()
def answer_distributions(model: Any, rows: Sequence[TokenRow], batch: int = 256) -> list[Tensor]:
    """log p [pairs, 3] of each row's answers at `model`, on the CPU; equal rows are run once."""
    distinct = sorted(dict.fromkeys(rows), key=lambda row: len(row.ids))
    found: dict[TokenRow, Tensor] = {}
    for start in range(0, len(distinct), batch):
        part = distinct[start : start + batch]
        answers = logits_of(model, part).answers.cpu().split([len(row.pairs) for row in part])
        found |= dict(zip(part, answers, strict=True))
    return [found[row] for row in rows]
