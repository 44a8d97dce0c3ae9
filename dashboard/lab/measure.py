"""One question to both checkpoints of a run: f(x), f(x'), the effect of each sentence, the next tokens, and the
explanation. The engine, and with it torch, is imported when the first question is asked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from dashboard.lab import draft
from dashboard.reading import data, models
from dashboard.refit import new_prompts
from dashboard.refit.new_prompts import Choice, FittedRidge
from engine.config import InputError
from engine.records import Span
from engine.tasks.edits import sentences

if TYPE_CHECKING:
    from engine.model.checkpoints import Checkpoint
    from engine.model.next_tokens import NextTokens

MOST_SENTENCES = 40
ROWS_AT_ONCE = 8


@dataclass(frozen=True)
class Question:
    """Everything that the answer depends on: two equal questions have one answer."""

    path: Path
    stamp: str
    checkpoints: tuple[str, str]
    """Target and current."""
    prompt: str
    edited: str | None
    """x'; None: no counterfactual."""
    answers: tuple[str, str]
    explainer: Choice | None
    words: str | None = None
    """The kind of edit that the model is asked about in words; None: it was not trained to answer."""


@dataclass(frozen=True)
class Reading:
    """Measurements at one checkpoint, in nats; None for those that were not asked for or can't be made."""

    checkpoint: str
    f: float
    f_edited: float | None
    sentence_effects: tuple[float, ...]
    """For each sentence: f without the sentence, less f(x)."""
    next: NextTokens
    explanation: float | None
    unlike: bool | None
    """As `new_prompts.is_unlike`: the hidden state lies farther out than nearly all of the run's own prompts."""
    as_measured: bool | None
    """Whether the checkpoint on disk is the one that the run measured; None: not recorded."""
    words: str | None = None
    """The question after x and the model's own answer to it."""

    @property
    def effect(self) -> float | None:
        """Δ"""
        return None if self.f_edited is None else self.f_edited - self.f


@dataclass(frozen=True)
class Result:
    question: Question
    target: Reading
    current: Reading
    sentences: tuple[Span, ...]
    """The first `MOST_SENTENCES` of x; none if the prompt is a single one."""
    n_sentences: int

    @property
    def readings(self) -> tuple[Reading, ...]:
        """The target's, then the current checkpoint's; a single one if they are the same."""
        return (self.target,) if self.target is self.current else (self.target, self.current)


def ask(question: Question, progress: Callable[[str], None]) -> Result:
    """Measure at both checkpoints, one after the other. `progress` gets a line before each step (plain text).

    Raises InputError for a checkpoint that can't be loaded, or a prompt that it can't read.
    """
    explainer = None
    if question.explainer is not None:
        progress(f"Fitting the explainer of {question.explainer.edit} again")
        explainer = new_prompts.fitted(question.path, question.explainer)
    every = sentences(question.prompt)
    kept = every[:MOST_SENTENCES] if len(every) > 1 else []
    found = {}
    for name in dict.fromkeys(question.checkpoints):
        progress(f"{name}: waiting for its turn, and loading")
        with models.model(question.path, name) as checkpoint:
            progress(f"{name}: measuring {len(kept) + 2} texts")
            found[name] = _read(question, checkpoint, kept, explainer)
    target, current = (found[name] for name in question.checkpoints)
    return Result(question, target, current, tuple(kept), len(every))


def _read(question: Question, checkpoint: Checkpoint, kept: list[Span], explainer: FittedRidge | None) -> Reading:
    from engine.config import HiddenSpec
    from engine.model.behavior import measure
    from engine.model.next_tokens import next_tokens

    name, hidden = checkpoint.name, None
    if explainer is not None and name in new_prompts.explained_at(question.path):
        dtype = data.spec(question.path).hidden.dtype  # so a prompt of the run gets its recorded explanation
        hidden = HiddenSpec(layers=(explainer.choice.layer,), dtype=dtype)
    texts = [question.prompt if question.edited is None else question.edited]
    texts += draft.without_each(question.prompt, kept)
    try:
        measured = measure(checkpoint, _table(question, texts), hidden=hidden, batch_size=ROWS_AT_ONCE)
        prompts = [question.prompt] if question.edited is None else [question.prompt, question.edited]
        following = next_tokens(checkpoint, prompts, question.answers)
    except InputError as error:
        raise InputError(str(error).removeprefix("example ")) from None
    f = float(measured.f[0])
    explanation, unlike = None, None
    if explainer is not None and hidden is not None:
        (states,) = measured.prompts.values()
        h = states[0].astype(np.float64)
        if h.shape != explainer.weights.shape:
            raise InputError(f"{name}: has hidden states of width {len(h)}, the run's have {len(explainer.weights)}")
        explanation, unlike = explainer.says(h), new_prompts.is_unlike(question.path, explainer, name, h)
    return Reading(
        checkpoint=name,
        f=f,
        f_edited=None if question.edited is None else float(measured.f_edited[0]),
        sentence_effects=tuple(float(v) - f for v in measured.f_edited[1:]),
        next=following,
        explanation=explanation,
        unlike=unlike,
        as_measured=models.is_as_measured(question.path, name),
        words=None if question.words is None else _in_words(question, question.words, checkpoint),
    )


def _in_words(question: Question, edit: str, checkpoint: Checkpoint) -> str:
    from engine.verbal.texts import Texts

    example = _table(question, [question.prompt]).to_pandas().assign(edit=edit)
    texts = Texts(example, data.spec(question.path), checkpoint)
    try:
        (said,) = texts.say(np.zeros(1, np.int64))
    except ValueError as error:  # the answers read alike
        raise InputError(str(error)) from None
    return texts.wording.question(edit).strip() + said


def _table(question: Question, texts: list[str]) -> pa.Table:
    """x with each of its x', as `behavior.measure` takes examples. The ids appear in error messages."""
    ids = ["your prompt", *(f"your prompt without sentence {i}" for i in range(1, len(texts)))]
    same = {"prompt": question.prompt, "answer_a": question.answers[0], "answer_b": question.answers[1]}
    columns = {"example_id": ids, "edited": texts} | {name: [text] * len(texts) for name, text in same.items()}
    return pa.table(columns)
