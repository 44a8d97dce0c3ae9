"""Tasks: each makes examples, one for every prompt and kind of edit.

To add a task, write a module with `examples(spec)` and enter it in TASKS, in WORDINGS and in `config.TaskSpec`.
"""

from __future__ import annotations

from collections.abc import Callable

from engine.config import TaskSpec
from engine.records import Example
from engine.tasks import from_file, refusal, sycophancy
from engine.tasks.factors import Factors, with_unknown
from engine.tasks.wording import Wording

TASKS: dict[str, Callable[[TaskSpec], list[Example]]] = {
    "sycophancy": sycophancy.examples,
    "refusal": refusal.examples,
    "from_file": from_file.examples,
}
"""Each raises InputError for a bad file, an unknown edit, or more prompts than there are."""

FACTORS: dict[str, Factors] = {"sycophancy": sycophancy.FACTORS, "refusal": refusal.FACTORS}
"""Vocabularies of the built-in tasks; the sample worlds use them too."""

UNKNOWN: dict[str, Factors] = {name: with_unknown(factors) for name, factors in FACTORS.items()}
"""The same vocabularies, followed by made-up entities."""

WORDINGS: dict[str, Wording] = {
    "sycophancy": sycophancy.WORDING,
    "refusal": refusal.WORDING,
    "from_file": Wording(),
}
"""The question that asks a model to explain itself, and the sentences it may answer with."""


def task_examples(spec: TaskSpec) -> list[Example]:
    """The examples of a spec. Raises InputError, see TASKS."""
    return TASKS[spec.name](spec)
