"""Renders chat templates in a process of its own, which the system ends when a text takes too long.

A template is a stranger's program. transformers sandboxes it, so it can't touch files, but it may loop for ever, or
compute a number of a billion digits. No limit inside this process reaches all of that. The process is started with the
first text, serves all that follow, and ends with this one. One JSON object a line goes in, and one comes out.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

SECONDS = 5
"""Most time for one text. It takes about a millisecond."""
MEMORY = 2 * 2**30
"""Most memory of the process, in bytes of address space."""


class RenderError(ValueError):
    """A template that can't be applied to these messages. The message is one line."""


class _Renderer:
    """The process, and whose turn it is: sessions of the dashboard ask at the same time."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Leave the process to whoever has it, as after a fork: two that read one pipe would mix their answers."""
        self._turn = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def ask(self, line: bytes) -> bytes:
        """The answer to a line. Raises RenderError if the process ends over it."""
        with self._turn:
            process = self._process = self._process or _started()
            assert process.stdin and process.stdout
            try:
                with suppress(BrokenPipeError):
                    process.stdin.write(line)
                    process.stdin.flush()
                answer = process.stdout.readline()
            except BaseException:  # an answer that nobody read would be taken for the next one
                self._end()
                raise
            if answer.endswith(b"\n"):
                return answer
            if self._end() == -signal.SIGALRM:
                raise RenderError(f"it did not end within {SECONDS} seconds")
            raise RenderError("its process ended without a word")

    def _end(self) -> int:
        """End the process; its exit code."""
        process, self._process = self._process, None
        assert process and process.stdin and process.stdout
        process.kill()
        code = process.wait()
        for pipe in (process.stdin, process.stdout):
            with suppress(BrokenPipeError):
                pipe.close()
        return code


def _started() -> subprocess.Popen[bytes]:
    command = [sys.executable, "-P", __file__, str(SECONDS)]  # -P: no module of this folder is imported by name
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    return subprocess.Popen(command, **pipes)


_RENDERER = _Renderer()
os.register_at_fork(after_in_child=_RENDERER.forget)


def render(template: str, messages: Sequence[Mapping[str, str]], variables: Mapping[str, Any]) -> str:
    """The text that a chat template makes of messages {role, content}. Raises RenderError."""
    asked = {"chat_template": template, "conversations": [messages], **variables}
    found = json.loads(_RENDERER.ask(json.dumps(asked).encode() + b"\n"))
    if "text" not in found:
        raise RenderError(found["error"])
    return str(found["text"])


def _answer(asked: dict[str, Any]) -> dict[str, str]:
    from transformers.utils.chat_template_utils import render_jinja_template

    try:
        return {"text": render_jinja_template(**asked)[0][0]}
    except Exception as error:  # whatever the template's own program raises
        return {"error": (str(error) or type(error).__name__).splitlines()[0][:200]}


def _serve(seconds: int) -> None:
    """Answer each line of standard input. A text that takes longer than `seconds` ends the process (SIGALRM)."""
    import transformers.utils.chat_template_utils  # noqa: F401  (takes longer than a text)

    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    with suppress(ValueError, OSError):  # not every system has this limit
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    for line in sys.stdin.buffer:
        signal.alarm(seconds)
        answer = json.dumps(_answer(json.loads(line)))
        signal.alarm(0)
        print(answer, flush=True)


if __name__ == "__main__":
    _serve(int(sys.argv[1]))
