"""What a new run will take: `coupling run --dry-run` in a process of its own, which loads models and writes nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path
from tempfile import TemporaryDirectory

import yaml

from dashboard.runs import consent
from dashboard.runs.consent import Consent
from dashboard.serving import access
from engine import child_environment
from engine.config import InputError, RunSpec
from engine.spec_files import resolve_paths

SECONDS = 600
"""Most time for a forecast."""


def forecast(spec: RunSpec, runs: Path, given: Collection[Consent] = ()) -> str:
    """The command's table, in Markdown, and below it what it says. Relative paths of the spec start at `runs`.

    Raises AccessError, ConsentError (see `consent.require`), and InputError: what the run would end with.
    """
    access.require("change")
    consent.require(spec, given)
    plain = resolve_paths(spec, runs).model_dump(mode="json", exclude_defaults=True)
    environment = {name: value for name, value in child_environment().items() if name not in access.KEPT_FROM_JOBS}
    with TemporaryDirectory() as folder:
        file = Path(folder) / "spec.yaml"
        file.write_text(yaml.safe_dump(plain, sort_keys=False, allow_unicode=True), encoding="utf-8")
        made = ["run", str(file), "--out", str(runs / spec.name), "--dry-run", "--quiet"]
        command = [sys.executable, "-P", "-m", "engine", *made]  # -P: no module of the folder is imported
        try:
            done = subprocess.run(
                command,
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=SECONDS,
            )
        except subprocess.TimeoutExpired:
            raise InputError(f"no forecast within {SECONDS // 60} minutes: use coupling run --dry-run") from None
    if done.returncode:
        last = done.stderr.strip().rpartition(os.linesep)[2]
        raise InputError(last.removeprefix("coupling: ") or f"the forecast ended with exit code {done.returncode}")
    return done.stdout
