"""The examples of a run as one checkpoint reads them: questions, labels, and the checkpoint's explanations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from engine.config import InputError, RunSpec
from engine.runs.observed import EVALUATED, Observed
from engine.tasks import WORDINGS, Wording
from engine.tasks.wording import Statement
from engine.verbal.labels import Answers, Labels, balanced, draw_labels

if TYPE_CHECKING:
    from engine.model.tokens import Tokens

SPARE_TOKENS = 2
"""Tokens that an explanation may have beyond the longest label."""


def labelled_edits(observed: Observed) -> list[str]:
    """Kinds of edit that get labels, the headline first. Raises InputError for one that no example has."""
    asked = list(observed.spec.verbal.edits) if observed.spec.verbal else []
    if unknown := [e for e in asked if e not in observed.edits]:
        raise InputError(f"verbal.edits: no example has the edit {unknown[0]!r}: use {observed.edits}")
    return asked or observed.edits


def labels_of(observed: Observed) -> Labels:
    """The fixed labels of a run, from the target's behavior on training examples. Raises InputError without any."""
    verbal = observed.spec.verbal
    assert verbal is not None
    rows = np.sort(np.concatenate([observed.rows(edit, "train") for edit in labelled_edits(observed)]))
    if len(rows) < 2:
        raise InputError("verbal: the split train has no examples to label: give some, or other verbal.edits")
    rng = np.random.default_rng([observed.spec.seed, 10])
    return draw_labels(observed.behavior(observed.target), rows, rng, verbal)


def evaluated(observed: Observed) -> np.ndarray:
    """Rows of every split but train, of all kinds of edit. Each kind in each split is balanced as the labels are, so
    that always saying "changed", or never, does not score well. The balance is that of the target, so that all
    checkpoints are scored on the same examples."""
    changed = Answers.of(observed.behavior(observed.target)).changed
    rng = np.random.default_rng([observed.spec.seed, 11])
    parts = [observed.rows(edit, split) for edit in observed.edits for split in EVALUATED]
    return np.sort(np.concatenate([rows[balanced(changed[rows], rng)] for rows in parts]))


def answer_pairs(examples: pd.DataFrame) -> list[tuple[str, str]]:
    """Answers a and b of each example."""
    return list(zip(examples["answer_a"], examples["answer_b"], strict=True))


def sentences(examples: pd.DataFrame, wording: Wording, edited_is_a: np.ndarray, changed: np.ndarray) -> list[str]:
    """The sentence after the question that states the answer to x' of each example [n], and whether it changed.

    Raises InputError for answers that read alike.
    """
    out = []
    rows = zip(examples["example_id"], answer_pairs(examples), edited_is_a, changed, strict=True)
    for name, pair, is_a, differs in rows:
        try:
            out.append(wording.sentences(*pair)[Statement("a" if is_a else "b", bool(differs))])
        except ValueError as error:
            raise InputError(f"example {name}: {error}") from None
    return out


def truthful_sentences(examples: pd.DataFrame, answers: Answers, task: str) -> list[str]:
    """The question and the sentence of an explainer that states these answers [n] correctly."""
    wording = WORDINGS[task]
    stated = sentences(examples, wording, answers.edited, answers.changed)
    return [wording.question(edit).strip() + said for edit, said in zip(examples["edit"], stated, strict=True)]


class Texts:
    """Examples as one checkpoint reads them. spec: of a run with `verbal`."""

    def __init__(self, examples: pd.DataFrame, spec: RunSpec, checkpoint: Any):
        assert spec.verbal is not None
        self.examples, self.checkpoint = examples, checkpoint
        self.wording = WORDINGS[spec.task.name]
        self.forced = spec.verbal.decoding == "choice"

    def tokens(self, rows: np.ndarray, column: str = "prompt") -> Any:
        from engine.model.behavior import tokenised

        part = self.examples.iloc[rows]
        return tokenised(
            self.checkpoint, list(part[column]), answer_pairs(part), list(part["example_id"]), offsets=False
        )

    def asked(self, rows: np.ndarray) -> list[Tokens]:
        """x and the question as the prompt, and every sentence that may follow as its answers (`_sentences`)."""
        from engine.verbal.rows import question_rows

        questions = [self.wording.question(edit) for edit in self.examples["edit"].iloc[rows]]
        prompts = list(self.examples["prompt"].iloc[rows])
        return question_rows(self.checkpoint, prompts, self.tokens(rows), questions, self._sentences(rows))

    def _sentences(self, rows: np.ndarray) -> list[list[str]]:
        return [list(self.wording.sentences(*pair).values()) for pair in answer_pairs(self.examples.iloc[rows])]

    def material(self, labels: Labels) -> Any:
        """Rows to train on. Raises InputError for answers that read alike, and if x, question and label are longer than
        the model's context."""
        from engine.model.alike import kind_of
        from engine.verbal.rows import answer_row, label_rows
        from engine.verbal.train import Material

        x = [answer_row(t) for t in self.tokens(labels.rows)]
        edited = [answer_row(t, i % 2) for i, t in enumerate(self.tokens(labels.rows, "edited"))]
        stated = sentences(self.examples.iloc[labels.rows], self.wording, labels.edited_is_a, labels.changed)
        which = [every.index(own) for every, own in zip(self._sentences(labels.rows), stated, strict=True)]
        asked, kind = self.asked(labels.rows), kind_of(self.checkpoint.model)
        rows = label_rows(self.checkpoint.tokenizer, asked, which, x, kind=kind)
        longest, limit = max(len(row.ids) for row in rows), self.checkpoint.max_positions
        if limit and longest > limit:
            raise InputError(
                f"verbal: x, question and explanation take {longest} tokens, {self.checkpoint.name} reads at most "
                f"{limit}: shorten the prompts"
            )
        return Material(rows, x, edited)

    def say(self, rows: np.ndarray, **saving: Any) -> list[str]:
        """The checkpoint's explanations of examples [rows]; `saving`: `known` and `on_batch` of `say.say`."""
        from engine.verbal.rows import end_of
        from engine.verbal.say import choose, say

        tokenizer, asked = self.checkpoint.tokenizer, self.asked(rows)
        if self.forced:
            return choose(self.checkpoint, asked, self._sentences(rows), **saving)
        longest = max(len(sentence) for tokens in asked for sentence in tokens.answers) + len(end_of(tokenizer))
        prompts = [tokens.prompt for tokens in asked]
        return say(self.checkpoint.model, tokenizer, prompts, most_tokens=longest + SPARE_TOKENS, **saving)
