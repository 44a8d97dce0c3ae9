"""Keeps the garbage collector out of the way of messages."""

from __future__ import annotations

import gc
import sys

_modules = 0
"""Modules that were there at the last freeze."""


def freeze_modules() -> None:
    """Take all objects that exist out of garbage collection, if modules were imported since the last call.

    Streamlit collects after every script run. While it walks through all modules the server sends nothing.
    To be called at the start of a run: by then the garbage of the run before has been collected.
    """
    global _modules
    if len(sys.modules) > _modules:
        _modules = len(sys.modules)
        gc.freeze()
