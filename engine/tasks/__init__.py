"""Tasks: each yields examples, one for every prompt and kind of edit."""

from __future__ import annotations

from collections.abc import Callable

from engine.config import TaskSpec
from engine.records import Example
from engine.tasks import from_file, refusal, sycophancy
from engine.tasks.factors import Factors, TaskError
from engine.tasks.unknown import with_unknown
from engine.tasks.wording import Wording

Task = Callable[[TaskSpec], list[Example]]

TASKS: dict[str, Task] = {
    "sycophancy": sycophancy.examples,
    "refusal": refusal.examples,
    "from_file": from_file.examples,
}

FACTORS: dict[str, Factors] = {"sycophancy": sycophancy.FACTORS, "refusal": refusal.FACTORS}
"""The vocabulary of the built-in tasks, which the sample worlds speak."""

UNKNOWN: dict[str, Factors] = {
    "sycophancy": with_unknown(sycophancy.FACTORS, sycophancy.UNKNOWN),
    "refusal": with_unknown(refusal.FACTORS, refusal.UNKNOWN),
}
"""The same with made-up things, after the known ones."""

WORDINGS: dict[str, Wording] = {
    "sycophancy": sycophancy.WORDING,
    "refusal": refusal.WORDING,
    "from_file": Wording(),
}
"""How a model is asked to explain itself, and how its answer reads."""

__all__ = ["FACTORS", "TASKS", "UNKNOWN", "WORDINGS", "Task", "TaskError", "Wording", "task_examples"]


def task_examples(spec: TaskSpec) -> list[Example]:
    """The examples that a spec asks for. Raises TaskError: what is wrong, where, how to mend it."""
    return TASKS[spec.name](spec)
