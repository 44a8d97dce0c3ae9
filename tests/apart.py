"""Processes that start at once: they are forked from one that has imported torch and done nothing else. A process that
is started by Python's own command spends most of its time on that import."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from engine.__main__ import main
from engine.runs import parts

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload([__name__, "engine.pipeline", "engine.model.checkpoints"])


def coupling(*arguments: object, killed_after: str = "") -> int:
    """Exit code of `coupling …` in a process of its own, or minus the signal that ended it. killed_after: the end of a
    file's path; kill -9 as soon as that file is written."""
    process = FORKS.Process(target=_command, args=(list(map(str, arguments)), killed_after))
    process.start()
    process.join()
    assert process.exitcode is not None
    return process.exitcode


def _command(arguments: list[str], killed_after: str) -> None:
    replace_file = parts.replace_file

    def replaced(target: Path, write: Callable, **more: object) -> None:
        replace_file(target, write, **more)
        if killed_after and target.as_posix().endswith(killed_after):
            os.kill(os.getpid(), signal.SIGKILL)

    parts.replace_file = replaced
    sys.argv = ["coupling", *arguments]
    main()
