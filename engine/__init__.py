"""Measure whether a language model's explanations of itself track what it does now.

In a notebook: `engine.run("spec.yaml")` makes a run, `engine.open_run("runs/mine")` opens one. Both return a
`dashboard.notebook.OpenRun`: data frames with the column names of the pages, and Plotly figures.
"""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engine.config import RunSpec

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


def open_run(path: Path | str) -> Any:
    """A finished run as an `OpenRun`. Raises RunError, in one line, where the folder holds none."""
    return importlib.import_module("dashboard.notebook").OpenRun(path)


def run(spec: RunSpec | Path | str, out: Path | str | None = None, *, quiet: bool = False) -> Any:
    """Make the run of a spec, or go on with it, with a progress bar for each stage; returns it as an `OpenRun`.

    spec: a YAML file, or a RunSpec with absolute paths. out: the run's folder; default runs/NAME of the spec.
    Raises InputError: what was wrong, where, and how to mend it.
    """
    from engine import pipeline
    from engine.config import RunSpec
    from engine.progress import bars
    from engine.spec_files import load_spec

    resolved = spec if isinstance(spec, RunSpec) else load_spec(Path(spec))
    with bars(quiet) as progress:
        finished = pipeline.make_run(resolved, Path(out) if out else Path("runs") / resolved.name, progress=progress)
    return open_run(finished.path)
