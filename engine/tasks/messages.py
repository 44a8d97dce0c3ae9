"""Conversations as one text, so that edits, spans and word diffs work on the person's own characters.

A prompt is a text or a list of messages. A list is written as one text, in which each message follows its role:

    ⟦system⟧Be brief.
    ⟦user⟧A professor says that it is Lyon. Is it?
    ⟦assistant⟧Answer:

No chat template is in it: each checkpoint's own is put around it when the checkpoint reads it (`engine.model.chat`). A
last message of the assistant is the beginning of its answer.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple, get_args

Role = Literal["system", "user", "assistant"]
ROLES: tuple[str, ...] = get_args(Role)
ROLE_MARK = rf"⟦(?:{'|'.join(ROLES)})⟧"
"""Pattern of the mark of a role, which word diffs keep whole."""
MARK = re.compile(rf"\n?⟦({'|'.join(ROLES)})⟧")
"""What stands in front of a message; the line break belongs to it."""


class Message(NamedTuple):
    """A message in a conversation's text."""

    role: str
    start: int
    """Where its content begins, in characters of the text."""
    content: str


def is_conversation(text: str) -> bool:
    """Whether a prompt is a conversation, and no plain text."""
    return text.startswith("⟦") and MARK.match(text) is not None


def messages_of(text: str) -> list[Message]:
    """The messages of a conversation's text, in order; none of a plain text."""
    if not is_conversation(text):
        return []
    marks = list(MARK.finditer(text))
    ends = [*(mark.start() for mark in marks[1:]), len(text)]
    return [Message(mark[1], mark.end(), text[mark.end() : end]) for mark, end in zip(marks, ends, strict=True)]


def as_text(messages: Iterable[tuple[str, str]]) -> str:
    """Messages (role, content) as one text; `messages_of` is the inverse. Raises ValueError for what can't be one:
    roles out of order, or a content in which a role is marked."""
    messages = list(messages)
    if problem := disorder([role for role, _ in messages]):
        raise ValueError(problem)
    for number, (_, content) in enumerate(messages, start=1):
        if found := MARK.search(content):
            raise ValueError(f"message {number} holds the mark {found.group().strip()}, which begins a message")
    return "\n".join(f"⟦{role}⟧{content}" for role, content in messages)


def disorder(roles: Sequence[str]) -> str:
    """Why messages with these roles are no prompt; empty if they are one."""
    if not roles:
        return "there is no message: give at least one of the user"
    turns = list(roles[1:] if roles[0] == "system" else roles)
    for number, role in enumerate(turns):
        wanted = ("user", "assistant")[number % 2]
        if role != wanted:
            at = number + 1 + len(roles) - len(turns)
            return f"message {at} is of the {role} where one of the {wanted} belongs: system (or none), then in turns"
    return "" if turns else "there is only a system message: give one of the user"
