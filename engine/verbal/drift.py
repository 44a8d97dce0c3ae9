"""Dialogues that move the behavior: from a world that turns step by step, or from a file. They hold no explanations."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from engine.config import InputError, RunSpec
from engine.model.chat import Chat
from engine.tasks import FACTORS, UNKNOWN
from engine.tasks.from_file import read_dialogues
from engine.tasks.worlds import Rules, answer_scenes, draw_rules, sample_scenes, with_more_entities

Sample = Callable[[int, float], Sequence[Any]]
"""(step, share of the drift that is done, 0 to 1) → rows of `loop.encode_dialogues`."""

LEARN_PROMPT_OF = 4
"""One prompt in 4 is trained on all its tokens; the others on their answers only."""


def sampler(spec: RunSpec, tokenizer: Any, labelled: Iterable[str | None], chat: Chat | None = None) -> Sample | None:
    """The dialogues of each step; a step always gets the same ones. None: the run has no drift.

    labelled: entities of the labelled examples. chat: how the model reads prompts. Raises InputError for dialogues that
    can't be used.
    """
    from engine.training.dialogues import encode_dialogues

    drift, task, seed = spec.verbal.drift if spec.verbal else None, spec.task, spec.seed
    if drift is None:
        return None
    if drift.dialogues is not None:
        dialogues = read_dialogues(Path(drift.dialogues))

        def from_file(step: int, _: float) -> Sequence[Any]:
            rng = np.random.default_rng([seed, 8, step])
            chosen = [dialogues[i] for i in rng.integers(len(dialogues), size=drift.prompts_a_step)]
            prompts, answers = zip(*chosen, strict=True)
            said = [[answer] for answer in answers]
            return encode_dialogues(tokenizer, prompts, said, answer_weight=drift.answer_weight, chat=chat)

        return from_file

    assert drift.world is not None
    world, known = drift.world, FACTORS[task.name]
    factors = UNKNOWN[task.name] if task.unknown_entities else known
    family = spec.checkpoints[0].family
    rules = Rules(draw_rules(known, drift.rules_seed, family).start, draw_rules(known, drift.seed, family).end)
    spoken_of = set(labelled)
    free = [i for i, e in enumerate(factors.entities) if drift.entities == "all" or e.text not in spoken_of]
    if not free:
        raise InputError("verbal.drift.entities: every entity has labels: hold some out, or use all")

    def from_world(step: int, share: float) -> Sequence[Any]:
        rng = np.random.default_rng([seed, 8, step])
        rule = with_more_entities(rules.at(world, drift.until * share), factors, drift.rules_seed)
        scenes = sample_scenes(factors, rng, drift.prompts_a_step)
        if len(free) < len(factors.entities):
            entities = rng.choice(free, size=len(scenes)).tolist()
            scenes = [replace(scene, entity=e) for scene, e in zip(scenes, entities, strict=True)]
        dialogues = answer_scenes(factors, rule, rng, scenes, drift.answers_a_prompt)
        weight = drift.answer_weight
        return encode_dialogues(tokenizer, *dialogues, answer_weight=weight, every=LEARN_PROMPT_OF, chat=chat)

    return from_world
