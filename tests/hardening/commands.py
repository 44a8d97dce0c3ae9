"""A command of the program, run in this process: how it ends, and whether that is as promised."""

from __future__ import annotations

import io
import re
import sys
import tempfile
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from unittest import mock

from engine.__main__ import FAULT, main

LONGEST = 1500
"""Characters of the longest line of error."""


def ended(*arguments: str) -> tuple[int, str]:
    """Exit code and the error stream of `coupling …`. An exception gives the code of a fault."""
    errors = io.StringIO()
    given, caught = mock.patch.object(sys, "argv", ["coupling", *arguments]), mock.patch("signal.signal")
    with given, caught, redirect_stdout(io.StringIO()), redirect_stderr(errors):
        try:
            main()
        except SystemExit as stop:
            return int(stop.code or 0), errors.getvalue()
        except BaseException as error:
            return FAULT, f"{type(error).__name__}: {error}"
    return 0, errors.getvalue()


def wrong(*arguments: str) -> str:
    """What breaks the promise that a command works, or ends with 2 and one line; empty if nothing does."""
    code, errors = ended(*arguments)
    said = [line for line in errors.splitlines() if line.startswith("coupling: ")]
    if code == FAULT:
        log = re.search(rf"{tempfile.gettempdir()}\S+\.log", errors)
        last = Path(log.group()).read_text().splitlines()[-1][:300] if log else errors[:300]
        return f"exit {code}: {last}"
    if code not in (0, 2):
        return f"exit {code}: {errors[-300:]}"
    if code == 2 and (len(said) != 1 or len(said[0]) > LONGEST or not errors.rstrip().endswith(said[0])):
        return f"not one line: {errors[-300:]}"
    return ""
