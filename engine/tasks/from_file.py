"""Examples and dialogues from JSON Lines files: one object per line.

A line of examples needs prompt, edited, edit, answer_a and answer_b. Optional: group, split, cue, entity, metadata (an
object), spans and edited_spans (lists of [start, end] in characters). Defaults: spans from a word diff, one group per
prompt, and a seeded split by groups.

prompt and edited are texts, or lists of messages {role, content}. Spans of messages are [message, start, end]: the
message's number from 0, and characters of its content.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import numpy as np
from pydantic import BaseModel, BeforeValidator, Field, TypeAdapter, ValidationError, model_validator
from rapidfuzz.distance import Indel

from engine.config import InputError, Split, Strict, TaskSpec
from engine.records import Example, Span
from engine.spec_files import first_problem
from engine.tasks.messages import ROLE_MARK, Role, as_text, messages_of


class MessageLine(Strict):
    """One message of a prompt."""

    role: Role = Field(description="system (the first message only), or user and assistant in turns")
    content: str = Field(description="its text, without a chat template")


def _one_text(value: Any) -> Any:
    """A list of messages as one text; anything else as it is."""
    if not isinstance(value, list):
        return value
    try:
        messages = _MESSAGES.validate_python(value)
    except ValidationError as error:
        raise ValueError(first_problem(error, "messages (from 0)")) from None
    return as_text((message.role, message.content) for message in messages)


_MESSAGES = TypeAdapter(list[MessageLine])
Text = Annotated[str, Field(min_length=1)]
Prompt = Annotated[
    str,
    Field(min_length=1),
    BeforeValidator(_one_text, json_schema_input_type=Text | Annotated[list[MessageLine], Field(min_length=1)]),
]
"""A text, or messages, which become one text (`engine.tasks.messages`)."""
Place = tuple[int, int] | tuple[int, int, int]
"""A range of characters: [start, end) of a text, or [message, start, end)."""
Line = TypeVar("Line", bound=BaseModel)

SHARES = {"train": 0.6, "validation": 0.1, "test_heldout": 0.3}
"""Shares of the groups, if the file names no splits."""
HALF = re.compile(r"\\u[dD][89a-fA-F]")
"""A JSON escape of half a character. Two of them in a row make a whole one."""
IID_SHARE = 0.2
"""Share of the training groups' prompts that become test_iid instead."""


def diff_spans(prompt: str, edited: str) -> tuple[tuple[Span, ...], tuple[Span, ...]]:
    """Word diff of two texts: the ranges of x that differ, and the ranges of x' that stand in their place.

    Adjacent changes are one range; an insertion has an empty range in x.
    """
    tokens = [re.findall(rf"{ROLE_MARK}|\s+|\w+|[^\w\s]", text) for text in (prompt, edited)]
    starts = [np.cumsum([0, *(len(t) for t in side)]).tolist() for side in tokens]
    pairs: list[tuple[Span, Span]] = []
    for change in Indel.opcodes(*tokens):
        if change.tag == "equal":
            continue
        here = (starts[0][change.src_start], starts[0][change.src_end])
        there = (starts[1][change.dest_start], starts[1][change.dest_end])
        if pairs and pairs[-1][0][1] == here[0] and pairs[-1][1][1] == there[0]:
            pairs[-1] = ((pairs[-1][0][0], here[1]), (pairs[-1][1][0], there[1]))
        else:
            pairs.append((here, there))
    return tuple(p for p, _ in pairs), tuple(q for _, q in pairs)


class ExampleLine(Strict):
    """A line of a file of examples."""

    prompt: Prompt = Field(description="x: a text, or a list of messages")
    edited: Prompt = Field(description="x', different from x")
    edit: Text = Field(description="kind of edit")
    answer_a: Text = Field(description="answer as it continues the prompt, with its leading space")
    answer_b: Text = Field(description="another answer")
    group: str | None = Field(None, description="unit of the splits; empty: the prompt")
    split: Split | None = Field(None, description="on all lines or on none; empty: drawn by groups")
    cue: str | None = Field(None, description="first factor of the two-way bootstrap, for example a speaker")
    entity: str | None = Field(None, description="second factor of the two-way bootstrap, for example a question")
    metadata: dict[str, Any] | None = Field(None, description="anything to filter by")
    spans: list[Place] | None = Field(
        None, description="edited ranges of x, [start, end) in characters, or [message, start, end); empty: a diff"
    )
    edited_spans: list[Place] | None = Field(None, description="the ranges of x' in their place")

    @model_validator(mode="after")
    def _makes_sense(self) -> ExampleLine:
        if self.answer_a == self.answer_b:
            raise ValueError("answer_a and answer_b are the same: no behavior to measure")
        if self.prompt == self.edited:
            raise ValueError("prompt and edited are the same: nothing is edited")
        for spans, text in ((self.spans, self.prompt), (self.edited_spans, self.edited)):
            for place in spans or ():
                span_in(text, place)
        return self


def span_in(text: str, place: Place) -> Span:
    """The characters of a prompt's text that a place names. Raises ValueError for a place outside it."""
    *message, start, end = place
    messages = messages_of(text)
    if bool(message) != bool(messages):
        need = "[message, start, end], as the prompt has messages" if messages else "[start, end], as it is a text"
        raise ValueError(f"span {list(place)}: give {need}")
    if message and not 0 <= message[0] < len(messages):
        raise ValueError(f"span {list(place)}: there is no message {message[0]}; the first of {len(messages)} is 0")
    _, first, content = messages[message[0]] if message else ("", 0, text)
    if not 0 <= start <= end <= len(content):
        raise ValueError(f"span {[start, end]} is outside the text of {len(content)} characters")
    return first + start, first + end


class DialogueLine(BaseModel):
    """A line of a file of dialogues; other keys are ignored."""

    prompt: Annotated[str, BeforeValidator(_one_text)]
    answer: Text


def read_lines(path: Path, model: type[Line]) -> Iterator[tuple[str, Line]]:
    """(file and line number, checked object) of each line that is not blank. Lines end at \\n only.

    Raises InputError: a file that can't be read or has no objects, or a line that the model refuses.
    """
    try:
        if path.exists() and not path.is_file():  # a device or a pipe could be read for ever
            raise InputError(f"{path}: is not a file: give a file of JSON Lines")
        lines = path.read_bytes().decode("utf-8-sig").split("\n")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file: check its path (relative to the spec)") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: can't be read as UTF-8 text: {error}") from None
    if not any(map(str.strip, lines)):
        needed = ", ".join(name for name, field in model.model_fields.items() if field.is_required())
        raise InputError(f"{path}: is empty: it needs one JSON object a line, with {needed}")
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            row = json.loads(line)
            if HALF.search(line) and (lone := re.search(r"[\ud800-\udfff]", json.dumps(row, ensure_ascii=False))):
                half = f"\\u{ord(lone.group()):x}"
                raise InputError(f"{where}: {half} is half of a character: write both halves, or the character itself")
            if not isinstance(row, dict):
                raise InputError(f"{where}: is a {type(row).__name__}, not an object: write {{…}} on each line")
            yield where, model.model_validate(row)
        except json.JSONDecodeError as error:
            raise InputError(f"{where}: not valid JSON ({error.msg}): one object a line") from None
        except RecursionError:
            raise InputError(f"{where}: nested too deeply: one plain object a line") from None
        except ValidationError as error:
            raise InputError(first_problem(error, where)) from None
        except ValueError as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"{where}: a number has too many digits: write it as text, or shorten it") from None


def read_dialogues(path: Path) -> list[tuple[str, str]]:
    """(prompt, answer) of each line. Raises InputError with the line's number."""
    return [(line.prompt, line.answer) for _, line in read_lines(path, DialogueLine)]


def _assigned(lines: Sequence[ExampleLine], rng: np.random.Generator) -> list[str]:
    """The split of each line. Whole groups are held out; single prompts of the training groups become test_iid."""
    group_of = [line.group or line.prompt for line in lines]
    groups, prompts = sorted(set(group_of)), sorted({line.prompt for line in lines})
    cuts = np.cumsum([round(share * len(groups)) for share in SHARES.values()])
    rank = {groups[g]: r for r, g in enumerate(rng.permutation(len(groups)).tolist())}
    names = list(SHARES)
    aside = dict(zip(prompts, (rng.random(len(prompts)) < IID_SHARE).tolist(), strict=True))
    splits = []
    for line, group in zip(lines, group_of, strict=True):
        split = names[min(int(np.searchsorted(cuts, rank[group], side="right")), len(names) - 1)]
        splits.append("test_iid" if split == "train" and aside[line.prompt] else split)
    return splits


def examples(spec: TaskSpec) -> list[Example]:
    """Read the examples of `spec.path`. Raises InputError with the line's number."""
    path = Path(spec.path or "")
    lines: list[ExampleLine] = []
    for where, line in read_lines(path, ExampleLine):
        if lines and (line.split is None) != (lines[0].split is None):
            raise InputError(f"{where}: some lines have a split and some have none: give it on all lines or on none")
        lines.append(line)
    kinds = sorted({line.edit for line in lines})
    for edit in spec.edits:
        if edit not in kinds:
            raise InputError(f"{path}: no line has edit {edit!r}; it has {', '.join(kinds)}")
    given = [line.split for line in lines if line.split]
    splits = given or _assigned(lines, np.random.default_rng(spec.seed))
    pairs = zip(lines, splits, strict=True)
    return [_example(line, split) for line, split in pairs if not spec.edits or line.edit in spec.edits]


def _example(line: ExampleLine, split: str) -> Example:
    spans, edited_spans = diff_spans(line.prompt, line.edited)
    given = line.model_dump(exclude={"split"})
    return Example(
        **given
        | {
            "task": "from_file",
            "split": split,
            "group": line.group or line.prompt,
            "spans": spans if line.spans is None else tuple(span_in(line.prompt, p) for p in line.spans),
            "edited_spans": edited_spans
            if line.edited_spans is None
            else tuple(span_in(line.edited, p) for p in line.edited_spans),
            "metadata": {k: str(v) for k, v in (line.metadata or {}).items()},
        }
    )
