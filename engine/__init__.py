"""Measure whether a language model's explanations of itself track what it does now.

In a notebook: `engine.run("spec.yaml")` makes a run, `engine.open_run("runs/mine")` opens one. Both return a
`dashboard.notebook.OpenRun`: data frames with the column names of the pages, and Plotly figures.
"""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import Any

from engine.config import RunSpec

ROOT = Path(__file__).resolve().parent.parent
"""The folder that holds the packages `engine` and `dashboard`: a checkout, or site-packages."""
SAMPLES = ROOT / "sample_runs"
"""Sample runs, checkpoints and specs: those of a checkout, or the smaller set in an installed package."""
if not (SAMPLES / "specs").is_dir():
    SAMPLES = Path(__file__).with_name("sample_runs")


def child_environment(**variables: str) -> dict[str, str]:
    """Environment for a Python child process that imports this copy of the packages from any working folder."""
    path = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return os.environ | {"PYTHONPATH": os.pathsep.join(path)} | variables


def open_run(path: Path | str) -> Any:
    """A finished run as an `OpenRun`. Raises RunError if the folder holds none."""
    return importlib.import_module("dashboard.notebook").OpenRun(path)


def run(spec: RunSpec | Path | str, out: Path | str | None = None, *, quiet: bool = False) -> Any:
    """Make the run of a spec, or resume it, with a progress bar for each stage; returns it as an `OpenRun`.

    spec: a YAML file, or a RunSpec with absolute paths. out: the run's folder; default runs/NAME, NAME from the spec.
    Raises InputError.
    """
    from engine import pipeline
    from engine.progress import bars
    from engine.spec_files import load_spec

    resolved = spec if isinstance(spec, RunSpec) else load_spec(spec)
    with bars(quiet) as progress:
        finished = pipeline.make_run(resolved, Path(out or Path("runs") / resolved.name), progress=progress)
    return open_run(finished.path)
