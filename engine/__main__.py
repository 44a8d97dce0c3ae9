"""The command `coupling`."""

from __future__ import annotations

import signal
import sys
import tempfile
import traceback
from collections.abc import Callable
from typing import NoReturn

import typer

from engine.command import data, runs, serving, studies
from engine.config import InputError

app = typer.Typer(
    help="Measure whether a language model's explanations of itself track what it does now.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
COMMANDS: dict[str, Callable[..., None]] = {
    "run": runs.make,
    "report": runs.report,
    "dashboard": serving.dashboard,
    "import": data.import_data,
    "check": runs.check,
    "verify": runs.verify,
    "rescore": runs.rescore,
    "patch": runs.patch,
    "zoo": studies.zoo,
    "study": studies.study,
    "stress": studies.stress,
    "demo": serving.demo,
    "samples": studies.samples,
    "real": studies.real,
}
for name, command in COMMANDS.items():
    app.command(name)(command)

INTERRUPTED, FAULT = 130, 70
"""Exit codes, beside 2 for bad input and 1 for a damaged run."""


def _fail(message: str, code: int) -> NoReturn:
    print(message, file=sys.stderr)
    sys.exit(code)


def main() -> None:
    """Entry point. Bad input ends with one line and exit code 2, Ctrl-C with 130; both keep all finished work.

    A fault of the program ends with one line and 70; its traceback is in a log file.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        app()
    except InputError as error:
        _fail(f"coupling: {error}", 2)
    except (KeyboardInterrupt, SystemExit) as stop:
        if isinstance(stop, SystemExit) and stop.code != INTERRUPTED:  # typer turns Ctrl-C into an exit code
            raise
        _fail("coupling: stopped; the same command goes on from here", INTERRUPTED)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(0)
    except MemoryError as error:
        why = f"this machine has not enough memory for it ({str(error)[:200] or 'no more is given'})"
        _fail(f"coupling: {why}: finished work is kept; give smaller numbers, or fewer examples", 2)
    except Exception as error:  # the net below all checks: a fault of the program, not of its input
        if isinstance(error, OSError) and error.filename is not None:
            _fail(f"coupling: {str(error.filename)[:300]}: {error.strerror or error}: check this file or folder", 2)
        with tempfile.NamedTemporaryFile("w", prefix="coupling-", suffix=".log", delete=False) as log:
            log.write(traceback.format_exc())
        what = f"a fault of the program ({type(error).__name__}); finished work is kept"
        _fail(f"coupling: {what}. The details are in {log.name}: please report them", FAULT)


if __name__ == "__main__":
    main()
