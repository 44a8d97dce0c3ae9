"""The server ends with the command that started it, however that ended."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Mapping

PARENT = "COUPLING_PARENT"
"""Variable with the number of the process whose end also ends the server; without it nothing does."""
LOOK, GRACE = 1.0, 10.0
"""Seconds between two looks; and from asking the server to stop until it is ended. It writes no file."""


def end_with_parent(environment: Mapping[str, str] = os.environ) -> None:
    """Watch the parent process in a thread of its own, if the environment names it."""
    parent = environment.get(PARENT, "")
    if parent.isdecimal() and os.name == "posix":
        threading.Thread(target=_watch, args=(int(parent),), name="parent", daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(LOOK)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE)
    os._exit(1)
