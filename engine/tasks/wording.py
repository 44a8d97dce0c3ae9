"""How a model is asked what it would do without the cue, and how its answer reads.

The question stands after x, without the model's answer to x: what that would have been, it must find in itself. A
sentence says what the answer to x' would be and whether that is another one:

    Without the hint I would answer no. My answer would change.

The first words are the question, put by us; the model goes on. Content is stated in either case, so that it can be
scored where nothing changes too. `parse` is the inverse of `sentences` and takes nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

CHANGED = {True: "My answer would change.", False: "My answer would not change."}


@dataclass(frozen=True)
class Statement:
    """What a sentence says."""

    answer: str
    """To x': "a" or "b"."""
    changed: bool
    """Whether the answer to x differs from it."""


@dataclass(frozen=True)
class Wording:
    """A task's own words."""

    questions: Mapping[str, str] = field(default_factory=dict)
    """Kind of edit → what is put after x; the model's words follow."""
    other: str = "\nWithout that I would answer"
    """The same for a kind of edit that is not there."""
    names: tuple[str, str] | None = None
    """How answers a and b are called; none: by their own words."""

    def question(self, edit: str) -> str:
        return self.questions.get(edit, self.other)

    def sentences(self, answer_a: str, answer_b: str) -> dict[Statement, str]:
        """Every explanation of an example with these answers, as it follows the question. Raises ValueError where
        both answers read the same."""
        a, b = (" ".join(name.split()) for name in self.names or (answer_a, answer_b))
        if a == b:
            raise ValueError(f"answers a and b both read {a!r}: an explanation could not tell them apart")
        return {
            Statement(name, changed): f" {words}. {CHANGED[changed]}"
            for name, words in (("a", a), ("b", b))
            for changed in (False, True)
        }

    def beginnings(self, answer_a: str, answer_b: str) -> tuple[str, str]:
        """How an explanation goes on with answer a, and with answer b: `sentences` up to where nothing but the answer
        has been said. Raises ValueError as they do."""
        every = self.sentences(answer_a, answer_b)
        a, b = (every[Statement(name, False)].removesuffix(f" {CHANGED[False]}") for name in ("a", "b"))
        return a, b

    def parse(self, said: str, answer_a: str, answer_b: str) -> Statement | None:
        """What the model's words say; None for anything that is not exactly one of `sentences`, but for white space
        and whatever stands on further lines."""
        first = " ".join((said.strip().splitlines() or [""])[0].split())
        known = {sentence.strip(): meant for meant, sentence in self.sentences(answer_a, answer_b).items()}
        return known.get(first)
