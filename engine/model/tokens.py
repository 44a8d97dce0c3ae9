"""From texts to token ids, with the boundary between prompt and answers in the right place. No torch.

`encode` is the only way from a prompt to tokens, for measuring and for training, so both see the same tokens. With a
chat template, the text of a prompt is what `chat` makes of it; places stay those of the person's own text.

The prompt and each prompt + answer are tokenised as whole texts, as the model met them in training. The prompt's tokens
are the common beginning of these token sequences; the tokens after it in prompt + answer are the answer's. So both
answers are conditioned on exactly the same tokens and f is a proper log-odds, whether the tokenizer puts a BOS or a
space in front, or merges across the boundary (prompt "… is ", answer "yes": the space then belongs to the answer).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from engine.model.batching import common_prefix
from engine.model.chat import Chat, ChatError, Reading, in_own_characters
from engine.records import Span
from engine.tasks.messages import is_conversation


class TokenError(ValueError):
    """A text that can't be tokenised as a prompt with answers."""


@dataclass(frozen=True)
class Tokens:
    """One prompt with its answers."""

    prompt: tuple[int, ...]
    answers: tuple[tuple[int, ...], ...]
    """Each at least one token."""
    offsets: tuple[Span, ...]
    """Characters of the person's own text that each prompt token stands for; empty ranges for a BOS and for tokens of
    a chat template."""


def encode(
    tokenizer: Any,
    prompts: Sequence[str],
    answers: Sequence[Sequence[str]],
    *,
    chat: Chat | None = None,
    offsets: bool = True,
) -> list[Tokens]:
    """Tokenise prompts, each with its answers as they continue it (leading space included).

    The special tokens that the tokenizer puts in front of a text (a BOS) are there once: a prompt that begins with
    their text gets no second ones. With `chat`, the template alone writes special tokens.

    `offsets`: also return the characters of each token, where the tokenizer can.

    Raises TokenError (`.args[1]` is the row) for an empty answer, if no token of the prompt is left before the
    answers, for messages without `chat`, and for a prompt that `chat` can't read.
    """
    read = _readings(prompts, chat)
    texts = list(dict.fromkeys(reading.text for reading in read))
    asked = list(zip(read, answers, strict=True))
    joints = list(dict.fromkeys(r.text + r.answered(answer) for r, row in asked for answer in row))
    front = () if chat else _specials_in_front(tokenizer)
    offsets = offsets and bool(getattr(tokenizer, "is_fast", False))
    known = tokenizer(texts, add_special_tokens=False, return_offsets_mapping=offsets, verbose=False)
    of_text = dict(zip(texts, known["input_ids"], strict=True))
    whole_ids = tokenizer(joints, add_special_tokens=False, verbose=False)["input_ids"]
    of_joint = dict(zip(joints, whole_ids, strict=True))
    of_characters = dict(zip(texts, known["offset_mapping"], strict=True)) if offsets else {}
    encoded = []
    for row, (reading, continuations) in enumerate(asked):
        text = reading.text
        said = [reading.answered(answer) for answer in continuations]
        if len(set(said)) < len(set(continuations)):
            raise TokenError("its answers differ in their leading white space only, which a chat template sets", row)
        wholes = {answer: of_joint[text + answer] for answer in said}
        shared = min(common_prefix(of_text[text], whole) for whole in wholes.values())
        ids = tuple(of_text[text][:shared])
        added = () if ids[: len(front)] == front else front
        if not added and not ids:
            raise TokenError("no token of the prompt is left in front of the answers: give a longer prompt", row)
        empty = any(not answer or (chat and not answer.strip()) for answer in continuations)
        if empty or any(len(whole) == shared for whole in wholes.values()):
            raise TokenError("an answer has no tokens: give a text that continues the prompt", row)
        characters: tuple[Span, ...] = ()
        if offsets:
            marks = [(int(start), int(end)) for start, end in of_characters[text][:shared]]
            if chat:
                marks = _own(chat, prompts[row], text, marks, row)
            characters = (*((0, 0) for _ in added), *marks)
        rest = tuple(tuple(wholes[answer][shared:]) for answer in said)
        encoded.append(Tokens((*added, *ids), rest, characters))
    return encoded


def _readings(prompts: Sequence[str], chat: Chat | None) -> list[Reading]:
    """The text of each prompt; equal ones are rendered once. Raises TokenError."""
    known: dict[str, Reading] = {}
    for row, prompt in enumerate(prompts):
        if prompt in known:
            continue
        if chat is None and is_conversation(prompt):
            why = "its prompt has messages, and this model reads plain text (it has no chat template, or chat is off)"
            raise TokenError(f"{why}: give a text, or a model with a chat template", row)
        try:
            known[prompt] = Reading(prompt) if chat is None else chat.read(prompt)
        except ChatError as error:
            raise TokenError(str(error), row) from None
    return [known[prompt] for prompt in prompts]


def _own(chat: Chat, prompt: str, text: str, marks: list[Span], row: int) -> list[Span]:
    try:
        return in_own_characters(marks, chat.pieces(prompt, text), len(prompt))
    except ChatError as error:
        raise TokenError(str(error), row) from None


def span_positions(offsets: Sequence[Span], spans: Sequence[Span]) -> tuple[int, ...]:
    """Positions of the tokens that overlap the spans; if none does, the position of the token before the first span.

    Raises TokenError if the tokenizer gives no offsets.
    """
    if not offsets:
        raise TokenError("position span: this tokenizer can't tell which characters a token stands for: use last")
    inside = [i for i, (s, e) in enumerate(offsets) if e > s and any(s < stop and e > start for start, stop in spans)]
    if inside:
        return tuple(inside)
    gap = min((start for start, _ in spans), default=offsets[-1][1])
    return (max((i for i, (_, e) in enumerate(offsets) if e <= gap), default=0),)


def _specials_in_front(tokenizer: Any) -> tuple[int, ...]:
    """The special tokens in front of a text (a BOS, or none). Those behind a text are never used."""
    bare, full = tokenizer("a", add_special_tokens=False)["input_ids"], tokenizer("a")["input_ids"]
    for i in range(len(full) - len(bare) + 1):
        if full[i : i + len(bare)] == bare:
            return tuple(full[:i])
    return ()
