"""Measure whether a language model's explanations of itself track what it does now."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
"""The folder that holds the packages `engine` and `dashboard`: a checkout, or site-packages."""
SAMPLES = ROOT / "sample_runs"
"""Sample runs, checkpoints and specs: those of a checkout, else the smaller set inside an installed package."""
if not (SAMPLES / "specs").is_dir():
    SAMPLES = Path(__file__).with_name("sample_runs")


def child_environment(**variables: str) -> dict[str, str]:
    """Environment for a Python child process: it imports this copy of the packages, whatever its working folder is."""
    path = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return os.environ | {"PYTHONPATH": os.pathsep.join(path)} | variables
