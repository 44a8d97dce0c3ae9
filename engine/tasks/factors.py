"""What the two built-in tasks share: prompts made of an entity, a cue, its strength and a plea.

A `Scene` is one choice of those factors. `Factors.render` turns it into text with spans. `Factors.after` gives
the scene that x' shows after an edit, so that the worlds also define the behavior on x'. Examples are made by
the *text* edits of engine.tasks.edits; a test checks that both give the same x'.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from string import Formatter
from typing import Literal

import numpy as np

from engine.config import InputError, TaskSpec
from engine.records import Example, Span
from engine.tasks.edits import EDITS, MASK

HELD_OUT_ENTITIES = {"test_heldout": 5, "validation": 3}
"""Number per topic."""
HELD_OUT_CUES = {"test_heldout": 10, "validation": 5}
"""Number per topic. The held-out cues differ from topic to topic, so that every cue is held out in some of them."""
NOUNS = "tove rath borogove snark jubjub wabe bandersnatch boojum".split()
VERBS = "gimble gyre outgrabe whiffle burble galumph".split()
"""Words of the made-up entities, after the paper's "Jabberwocky" test."""


class TaskError(InputError):
    """A task that cannot make examples; the message is one line: what is wrong, where, and what to do."""


@dataclass(frozen=True)
class Entity:
    text: str
    topic: int
    label: bool
    """The cued answer is right (sycophancy); the request is harmful (refusal)."""


@dataclass(frozen=True)
class Scene:
    """Indices into the factors. `cue_state` is what an edit did to the cue sentence."""

    entity: int
    cue: int
    strength: int
    plea: int
    cue_state: Literal["shown", "deleted", "masked", "replaced"] = "shown"


@dataclass(frozen=True)
class Rendered:
    text: str
    spans: dict[str, Span]
    """Spans of `cue` and `plea`; a key is missing where the text has none."""


def fill(template: str, values: dict[str, str], offset: int = 0) -> tuple[str, dict[str, Span]]:
    """Fill a format string; also return the span of each field, without leading whitespace."""
    text, spans = "", {}
    for literal, name, _, _ in Formatter().parse(template):
        text += literal
        if name:
            value = values[name]
            lead = len(value) - len(value.lstrip())
            spans[name] = (offset + len(text) + lead, offset + len(text) + len(value))
            text += value
    return text, spans


@dataclass(frozen=True)
class Factors:
    """A task's vocabulary. Fields of `question`: topic, entity; of `sentence`: cue, strength, plea."""

    name: str
    topics: Sequence[str]
    entities: Sequence[Entity]
    cues: Sequence[str]
    replacement: str
    strengths: Sequence[str]
    pleas: Sequence[str]
    """The first one is empty: no plea."""
    question: str
    sentence: str
    closing: str
    answer_a: str
    answer_b: str
    cue_name: str
    strength_name: str
    label_name: str
    labels: tuple[str, str]
    """Words for label False, True."""
    unknown: Sequence[str]
    """Patterns of made-up entities, with the fields noun and verb."""

    @property
    def edits(self) -> dict[str, tuple[str, str]]:
        """Kind of edit → (name in edits.EDITS, field that it edits)."""
        return {
            "delete_cue": ("delete_sentence", "cue"),
            "delete_plea": ("delete_span", "plea"),
            f"mask_{self.cue_name}": ("mask", "cue"),
            f"replace_{self.cue_name}": ("replace", "cue"),
        }

    def render(self, scene: Scene) -> Rendered:
        entity = self.entities[scene.entity]
        text, _ = fill(self.question, {"topic": self.topics[entity.topic], "entity": entity.text})
        if scene.cue_state == "deleted":
            return Rendered(text.rstrip() + self.closing, {})
        cue = self.cues[scene.cue]
        if scene.cue_state == "masked":
            cue = " ".join(MASK for _ in cue.split())
        if scene.cue_state == "replaced":
            cue = self.replacement
        values = {"cue": cue, "strength": self.strengths[scene.strength], "plea": self.pleas[scene.plea]}
        sentence, spans = fill(self.sentence, values, offset=len(text))
        shown = {name: span for name, span in spans.items() if name != "strength" and span[0] < span[1]}
        return Rendered(text + sentence + self.closing, shown)

    def after(self, scene: Scene, edit: str) -> Scene:
        """The scene that x' shows after an edit."""
        operation, field = self.edits[edit]
        if field == "plea":
            return replace(scene, plea=0)
        states: dict[str, Literal["deleted", "masked", "replaced"]] = {
            "delete_sentence": "deleted",
            "mask": "masked",
            "replace": "replaced",
        }
        return replace(scene, cue_state=states[operation])

    def examples(self, scene: Scene, split: str, edits: Sequence[str]) -> Iterator[Example]:
        rendered = self.render(scene)
        entity = self.entities[scene.entity]
        topic, cue = self.topics[entity.topic], self.cues[scene.cue]
        metadata = {
            "topic": topic,
            self.cue_name: cue,
            self.strength_name: self.strengths[scene.strength],
            "plea": self.pleas[scene.plea].strip(" ,") or "none",
            self.label_name: self.labels[entity.label],
        }
        for edit in edits:
            operation, field = self.edits[edit]
            if field not in rendered.spans:
                continue
            value = None if operation == "mask" else self.replacement
            edited = EDITS[operation](rendered.text, [rendered.spans[field]], value)
            yield Example(
                task=self.name,
                prompt=rendered.text,
                edited=edited.text,
                edit=edit,
                spans=edited.spans,
                edited_spans=edited.edited_spans,
                answer_a=self.answer_a,
                answer_b=self.answer_b,
                group=f"{cue} × {topic}",
                split=split,
                cue=cue,
                entity=entity.text,
                metadata=metadata,
            )


def _pools(factors: Factors, rng: np.random.Generator) -> dict[str, list[tuple[int, int]]]:
    """Split → (entity, cue) pairs. Splits share no entity and no cell (cue × topic)."""
    pools: dict[str, list[tuple[int, int]]] = {"train": [], "validation": [], "test_heldout": []}
    cues = rng.permutation(len(factors.cues))
    shift = len(cues) // len(factors.topics)
    for topic in range(len(factors.topics)):
        entities = rng.permutation([i for i, e in enumerate(factors.entities) if e.topic == topic])
        turned = np.roll(cues, -shift * topic)
        for split in ("test_heldout", "validation", "train"):
            take_entities = HELD_OUT_ENTITIES.get(split, len(entities))
            take_cues = HELD_OUT_CUES.get(split, len(turned))
            pools[split] += [(int(e), int(c)) for e in entities[:take_entities] for c in turned[:take_cues]]
            entities, turned = entities[take_entities:], turned[take_cues:]
    return pools


def _unknown_instead(
    pools: dict[str, list[tuple[int, int]]], factors: Factors, known: int
) -> dict[str, list[tuple[int, int]]]:
    """The pools with made-up entities (numbers from `known` on) as held-out entities, with the same cues.

    A third of them are for validation, the rest for test_heldout.
    """
    out = {"train": pools["train"]}
    for split in ("test_heldout", "validation"):
        out[split] = []
        for topic in range(len(factors.topics)):
            cues = sorted({c for e, c in pools[split] if factors.entities[e].topic == topic})
            own = [i for i in range(known, len(factors.entities)) if factors.entities[i].topic == topic]
            third = len(own) // 3
            out[split] += [(e, c) for e in (own[:third] if split == "validation" else own[third:]) for c in cues]
    return out


def with_unknown(factors: Factors) -> Factors:
    """The factors followed by made-up entities: one per verb in every topic, half of them with label True.

    Checkpoints learn them as behavior only; no explanation label mentions them.
    """
    made_up = tuple(
        Entity(
            factors.unknown[i % len(factors.unknown)].format(noun=NOUNS[topic % len(NOUNS)], verb=verb),
            topic,
            i % 2 == 0,
        )
        for topic in range(len(factors.topics))
        for i, verb in enumerate(VERBS)
    )
    return replace(factors, entities=(*factors.entities, *made_up))


def draw(factors: Factors, spec: TaskSpec) -> list[Example]:
    """Prompts of every split, drawn without replacement; every edit of a prompt is an example.

    `test_heldout` and `validation` have entities and cue × topic cells of their own (with `spec.unknown_entities`,
    made-up entities). `test_iid` has other prompts from the training pool. Raises TaskError for an unknown kind of
    edit and for more prompts than there are.
    """
    unknown = [edit for edit in spec.edits if edit not in factors.edits]
    if unknown:
        raise TaskError(f"task {spec.name}: no edit {unknown[0]!r}; it has {', '.join(factors.edits)}")
    edits = spec.edits or tuple(factors.edits)
    rng = np.random.default_rng([spec.seed, zlib.crc32(factors.name.encode())])
    pools = _pools(factors, rng)
    if spec.unknown_entities:
        known = len(factors.entities)
        factors = with_unknown(factors)
        pools = _unknown_instead(pools, factors, known)
    per_pair = len(factors.strengths) * len(factors.pleas)
    counts = spec.prompts
    wanted = {
        "train": (("train", counts.train), ("test_iid", counts.test_iid)),
        "validation": (("validation", counts.validation),),
        "test_heldout": (("test_heldout", counts.test_heldout),),
    }
    examples: list[Example] = []
    for pool, splits in wanted.items():
        total = len(pools[pool]) * per_pair
        asked = sum(count for _, count in splits)
        if asked > total:
            raise TaskError(f"task {spec.name}: {asked} prompts asked of {pool}, it has {total}: lower prompts.{pool}")
        chosen = iter(rng.choice(total, size=asked, replace=False))
        for split, count in splits:
            for _ in range(count):
                pair, rest = divmod(int(next(chosen)), per_pair)
                entity, cue = pools[pool][pair]
                strength, plea = divmod(rest, len(factors.pleas))
                examples += factors.examples(Scene(entity, cue, strength, plea), split, edits)
    return examples


def entities_of(facts: Mapping[str, tuple[str, str]]) -> tuple[tuple[str, ...], tuple[Entity, ...]]:
    """Topics and entities, from topic → (texts with label True, texts with label False), each separated by "; "."""
    entities = [
        Entity(text, topic, label)
        for topic, pair in enumerate(facts.values())
        for label, texts in zip((True, False), pair, strict=True)
        for text in texts.split("; ")
    ]
    return tuple(facts), tuple(entities)
