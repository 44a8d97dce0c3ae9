"""Tasks: each yields examples, one for every prompt and kind of edit."""

from __future__ import annotations

from collections.abc import Callable

from engine.config import TaskSpec
from engine.records import Example
from engine.tasks import from_file, refusal, sycophancy
from engine.tasks.factors import Factors, TaskError

Task = Callable[[TaskSpec], list[Example]]

TASKS: dict[str, Task] = {
    "sycophancy": sycophancy.examples,
    "refusal": refusal.examples,
    "from_file": from_file.examples,
}

FACTORS: dict[str, Factors] = {"sycophancy": sycophancy.FACTORS, "refusal": refusal.FACTORS}
"""The vocabulary of the built-in tasks, which the sample worlds speak."""

__all__ = ["FACTORS", "TASKS", "Task", "TaskError", "task_examples"]


def task_examples(spec: TaskSpec) -> list[Example]:
    """The examples that a spec asks for. Raises TaskError: what is wrong, where, how to mend it."""
    return TASKS[spec.name](spec)
