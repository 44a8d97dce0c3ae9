"""The text that a model reads for a prompt: the prompt itself, or its messages in the model's chat template.

`tokens.encode` asks here for every text, so f, hidden states, words, patching, attribution and training read the same.
In a template, a plain text is one message of the user. After the user's last message stands the generation prompt, and
an answer follows as the template writes the assistant's words: without its own leading white space. A last message of
the assistant is the beginning of the answer, which goes on from there as it is.
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from engine.config import ChatSpec, InputError
from engine.model.rendering import RenderError, render
from engine.records import Span
from engine.tasks.messages import Message, disorder, messages_of

CLOCK = "strftime_now"
"""Function by which a chat template writes the date."""
STRFTIME = ("-d", "-m", "-y", "-j", "-H", "-I", "-M", "-S", *"aAbBcdDeFGhHIjmMnpRSTuUVwWxXyYzZ%")
PLACE = "\ue000{}\ue001"
"""Stands for a message's content where the template is rendered without it."""


class ChatError(InputError):
    """A prompt that can't be read as its model is asked to. The message is one line without a subject."""


@dataclass(frozen=True)
class Piece:
    """Characters of the person's own text that stand unchanged in the text that is read."""

    own: int
    read: int
    length: int


@dataclass(frozen=True)
class Reading:
    """A prompt as a model reads it."""

    text: str
    gap: str | None = None
    """White space between text and answer; None: the answers continue the text as they are."""

    def answered(self, answer: str) -> str:
        """The answer as it follows the text."""
        return answer if self.gap is None else self.gap + answer.lstrip()


class Chat:
    """The chat template of one checkpoint, with the system text, variables and day of a run."""

    def __init__(self, tokenizer: Any, spec: ChatSpec):
        """Raises ChatError for a tokenizer that has several templates and no default."""
        try:
            self.template: str = tokenizer.get_chat_template()
        except ValueError as error:
            raise ChatError(_one_line(error)) from None
        self.spec = spec
        self._tokenizer = tokenizer
        self.day = date.fromisoformat(spec.date) if spec.date else date.today()
        self._fixed = with_fixed_day(self.template, self.day)
        self._frame = functools.lru_cache(maxsize=256)(self._frame_of)

    @property
    def used(self) -> dict[str, Any]:
        """What a run records: a hash of the template, the system text, the variables, and the day if one is written."""
        digest = hashlib.sha256(self.template.encode()).hexdigest()
        told: dict[str, Any] = {"template_sha256": digest, "system": self.spec.system}
        told |= {"variables": self.spec.variables} if self.spec.variables else {}
        return told | ({"date": self.day.isoformat()} if CLOCK in self.template else {})

    def read(self, prompt: str) -> Reading:
        """The text of a prompt. Raises ChatError: messages out of order, or a template that refuses them."""
        messages, begun = self._messages(prompt)
        text = self._render([(m.role, m.content) for m in messages])
        return Reading(text, self._gap) if begun is None else Reading(text + self._gap + begun.content.lstrip())

    def pieces(self, prompt: str, text: str) -> list[Piece]:
        """Where the messages of a prompt stand in its text. Raises ChatError for a template that rewrites a message."""
        messages, begun = self._messages(prompt)
        contents = tuple(m.content if m.start < 0 else None for m in messages)
        literals, order = self._frame(tuple(m.role for m in messages), contents)
        found: list[Piece] = []
        rebuilt = literals[0]
        for number, after in zip(order, literals[1:], strict=True):
            _, start, content = messages[number]
            forms = (content, content.strip(), content.rstrip(), content.lstrip())
            form = next((f for f in forms if text.startswith(f + after, len(rebuilt))), content)
            found.append(Piece(start + content.find(form), len(rebuilt), len(form)))
            rebuilt += form + after
        if begun is not None:
            said = begun.content.lstrip()
            rebuilt += self._gap + said
            found.append(Piece(begun.start + len(begun.content) - len(said), len(rebuilt) - len(said), len(said)))
        if rebuilt != text:
            raise ChatError("its characters can't be placed: the chat template rewrites a message")
        return found

    def _messages(self, prompt: str) -> tuple[list[Message], Message | None]:
        """The messages to which the assistant answers, and the beginning of its answer if there is one. The system text
        of the run (it starts at −1) is in front of messages that have none."""
        messages = messages_of(prompt) or [Message("user", 0, prompt)]
        if problem := disorder([m.role for m in messages]):
            raise ChatError(problem)
        begun = messages.pop() if messages[-1].role == "assistant" else None
        if begun and not begun.content.strip():
            raise ChatError("ends with an empty message of the assistant: leave it out")
        if self.spec.system is not None and messages[0].role != "system":
            messages.insert(0, Message("system", -1, self.spec.system))
        return messages, begun

    def _render(self, messages: Sequence[tuple[str, str]]) -> str:
        """Messages in the template; behind one of the user stands the generation prompt."""
        said = [{"role": role, "content": content} for role, content in messages]
        variables = self._tokenizer.special_tokens_map | self.spec.variables
        try:
            return render(self._fixed, said, variables | {"add_generation_prompt": messages[-1][0] == "user"})
        except RenderError as error:
            raise ChatError(f"the chat template can't be applied ({error})") from None

    def _frame_of(self, roles: tuple[str, ...], contents: tuple[str | None, ...]) -> tuple[list[str], list[int]]:
        """What a template writes before, between and after those messages whose content is None, and their order."""
        places = [PLACE.format(i) if content is None else content for i, content in enumerate(contents)]
        text = self._render(list(zip(roles, places, strict=True)))
        own = [i for i, content in enumerate(contents) if content is None]
        if any(text.count(places[i]) != 1 for i in own):
            raise ChatError("its characters can't be placed: the chat template does not write every message once")
        order = sorted(own, key=lambda i: text.index(places[i]))
        return re.split("|".join(places[i] for i in order), text), order

    @functools.cached_property
    def _gap(self) -> str:
        """The white space that the template writes between the generation prompt and the assistant's words."""
        asked, said = [("user", PLACE.format(0))], PLACE.format(1)
        try:
            prompt, whole = self._render(asked), self._render([*asked, ("assistant", said)])
        except ChatError:
            return ""
        gap = whole.partition(said)[0].removeprefix(prompt) if whole.startswith(prompt) else ""
        return "" if gap.strip() else gap


def chat_for(tokenizer: Any, spec: ChatSpec) -> Chat | None:
    """How a checkpoint reads prompts; None: as plain text. Raises ChatError where the spec asks for a template that is
    not there."""
    there = bool(getattr(tokenizer, "chat_template", None))
    if spec.mode == "on" and not there:
        raise ChatError("has no chat template: set chat: auto or off, or save the template with the tokenizer")
    return Chat(tokenizer, spec) if there and spec.mode != "off" else None


def in_own_characters(offsets: Sequence[Span], pieces: Sequence[Piece], length: int) -> list[Span]:
    """Ranges of the text that is read as ranges of the person's own text of `length` characters. Those of the template
    are empty: they stand where the next message begins, and behind the last one at length + 1."""
    found: list[Span] = []
    for start, end in offsets:
        piece = next((p for p in pieces if end <= p.read or start < p.read + p.length), None)
        if piece is None:
            found.append((length + 1, length + 1))
            continue
        shift = piece.own - piece.read
        start, end = max(start, piece.read), min(end, piece.read + piece.length)
        found.append((start + shift, end + shift) if start < end else (piece.own, piece.own))
    return found


def with_fixed_day(template: str, day: date) -> str:
    """A chat template in which strftime_now, by which templates write the date, always writes the same day."""
    if CLOCK not in template:
        return template
    parts = (f"replace({json.dumps('%' + code)}, {json.dumps(day.strftime('%' + code))})" for code in STRFTIME)
    # The empty expression keeps a first line break of the template.
    return f"{{% macro {CLOCK}(form) %}}{{{{ form | {' | '.join(parts)} }}}}{{% endmacro %}}{{{{ '' }}}}{template}"


def _one_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:200]
