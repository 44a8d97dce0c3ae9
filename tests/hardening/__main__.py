"""`python -m tests.hardening [WHAT …] [--n N] [--seed S]` prints a row of a Markdown table for each kind of attack.

Without WHAT all of them run, which takes hours; a line on the error stream names each case that does not hold.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import tempfile
import time
from pathlib import Path

from tests.hardening.attacks import ATTACKS


def main() -> int:
    options = argparse.ArgumentParser(prog="python -m tests.hardening", description=__doc__)
    options.add_argument("what", nargs="*", metavar="WHAT", help=f"any of: {', '.join(ATTACKS)}; default: all")
    options.add_argument("--n", type=int, help="number of cases of each; default: that of tests/README.md")
    options.add_argument("--seed", type=int, default=0)
    asked = options.parse_args()
    if unknown := [what for what in asked.what if what not in ATTACKS]:
        options.error(f"{unknown[0]!r} is none of {', '.join(ATTACKS)}")
    os.environ |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "1"}
    logging.disable(logging.WARNING)
    print("| what is tried | what is promised | held | broken | command |\n|---|---|---|---|---|", flush=True)
    broken = 0
    for what in asked.what or ATTACKS:
        attack, started, held, failed = ATTACKS[what], time.monotonic(), 0, 0
        with tempfile.TemporaryDirectory() as folder:
            for wrong in attack.tried(Path(folder), asked.n or attack.n, asked.seed):
                held, failed = held + (not wrong), failed + bool(wrong)
                if wrong:
                    print(f"{what}: {wrong}", file=sys.stderr, flush=True)
        broken += failed
        command = f"`python -m tests.hardening {what}`"
        minutes = (time.monotonic() - started) / 60
        row = f"| {attack.about} | {attack.promise} | {held} of {held + failed} | {failed} | {command} |"
        print(row, file=sys.stdout, flush=True)
        print(f"{what}: {minutes:.1f} minutes", file=sys.stderr, flush=True)
    return 1 if broken else 0


if __name__ == "__main__":
    raise SystemExit(main())
