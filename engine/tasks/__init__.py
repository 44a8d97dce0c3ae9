"""Tasks: each makes examples, one for every prompt and kind of edit.

To add a task, write a module with `examples(spec)` and enter it in TASKS, in WORDINGS and in `config.TaskSpec`.
"""

from __future__ import annotations

from collections.abc import Callable

from engine.config import TaskSpec
from engine.records import Example
from engine.tasks import from_file, refusal, sycophancy
from engine.tasks.factors import Factors, TaskError, with_unknown
from engine.tasks.wording import Wording

Task = Callable[[TaskSpec], list[Example]]

TASKS: dict[str, Task] = {
    "sycophancy": sycophancy.examples,
    "refusal": refusal.examples,
    "from_file": from_file.examples,
}

FACTORS: dict[str, Factors] = {"sycophancy": sycophancy.FACTORS, "refusal": refusal.FACTORS}
"""Vocabularies of the built-in tasks; the sample worlds use them too."""

UNKNOWN: dict[str, Factors] = {name: with_unknown(factors) for name, factors in FACTORS.items()}
"""The same vocabularies, followed by made-up entities."""

WORDINGS: dict[str, Wording] = {
    "sycophancy": sycophancy.WORDING,
    "refusal": refusal.WORDING,
    "from_file": Wording(),
}
"""How a model is asked to explain itself, and the sentences it may answer with."""

__all__ = ["FACTORS", "TASKS", "UNKNOWN", "WORDINGS", "Task", "TaskError", "Wording", "task_examples"]


def task_examples(spec: TaskSpec) -> list[Example]:
    """The examples of a spec. Raises TaskError for a bad file, an unknown edit or too many prompts."""
    return TASKS[spec.name](spec)
