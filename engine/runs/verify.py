"""Check of a run: whatever a page or a stage of the engine takes for granted is there, whole and as it should be."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from safetensors import SafetensorError, safe_open

from engine.records import FORMAT_VERSION
from engine.runs import states
from engine.runs.files import MANIFEST, RunError, is_file, safe_part, sha256_of
from engine.runs.schemas import kind_of, schema_problems
from engine.runs.store import Run
from engine.runs.values import Known, table_problems
from engine.runs.weights import weight_problems

EXAMPLES = "examples.parquet"
UNREADABLE = (pa.ArrowException, OSError, ValueError, TypeError, KeyError, SafetensorError)
"""What readers of damaged files raise."""
Group = tuple[str, str]
"""A checkpoint, and what its hidden states are of: prompts or examples."""


def verify(path: Path | str) -> list[str]:
    """Problems of a run, each a line that names the part. Empty for a run that is complete and sound.

    Checked: `run.json` itself; that a finished run has all the parts that it needs, each with its recorded hash, length
    and rows; the columns of every table and what they hold; the shapes and numbers of hidden states; trained weights.
    """
    path = Path(path)
    try:
        run = Run.open(path)
        state = run.state
        unfinished = [] if state == "complete" else [f"{MANIFEST}: the run is {state}, not complete"]
        return [*unfinished, *unsound(run)]
    except RunError as error:
        return [str(error)]


def unsound(run: Run) -> list[str]:
    """Problems of the parts that a run records, and of what it lacks if it is complete."""
    version = run.manifest["format_version"]
    problems = _needed(run) if run.state == "complete" else []
    if version < FORMAT_VERSION:
        problems.append(f"{MANIFEST}: format {version}: `coupling rescore` brings it up to date")
    sound = []
    for part, recorded in run.parts.items():
        if why := _damage(run.path / safe_part(part), recorded):
            problems.append(f"{part}: {why}")
        else:
            sound.append(part)
    known = Known(run.measured)
    if EXAMPLES in sound:
        sound.remove(EXAMPLES)  # first: the others refer to them
        problems += _problems_of_table(run, EXAMPLES, known)
        with suppress(RunError):  # named above
            table = run.read_table(EXAMPLES, ["example_id", "edit"])
            known = Known(run.measured, table["example_id"], tuple(e for e in table["edit"].unique().to_pylist() if e))
    for part in sound:
        if part.endswith(".parquet") and (part != "metrics.parquet" or version == FORMAT_VERSION):
            problems += _problems_of_table(run, part, known)
    return [*problems, *_problems_of_arrays(run, [p for p in sound if p.endswith(".safetensors")], known)]


def _needed(run: Run) -> list[str]:
    """What a complete run lacks."""
    behaviors = [f"behavior/{checkpoint.name}.parquet" for checkpoint in run.measured.all_checkpoints]
    needed = [EXAMPLES, *behaviors, "explanations.parquet", "metrics.parquet"]
    absent = [f"{part}: missing" for part in needed if part not in run.parts]
    return [*absent, *weight_problems(run.path, run.spec, run.manifest["notes"].get("weights") or {})]


def _damage(file: Path, recorded: dict) -> str | None:
    """How a file differs from what was recorded; read anew, because a disk may spoil a file and keep its stamp."""
    try:
        if not is_file(file):
            return "missing"
        if file.stat().st_size != recorded["bytes"] or sha256_of(file) != recorded["sha256"]:
            return "damaged (its contents are not what was recorded)"
    except OSError as error:
        return f"can't be read: {error.strerror or error}"
    return None


def _problems_of_table(run: Run, part: str, known: Known) -> list[str]:
    file = run.path / part
    try:
        about = pq.read_metadata(file)
        problems = list(schema_problems(about.schema.to_arrow_schema(), part, run.manifest["format_version"]))
        if about.num_rows != run.parts[part].get("rows", about.num_rows):
            problems.append(f"holds {about.num_rows:,} rows, and {run.parts[part]['rows']} were recorded")
        if kind_of(part) is None:
            pq.read_table(file)
        elif not problems:
            problems = list(table_problems(file, part, known))
    except UNREADABLE as error:
        problems = [f"damaged ({' '.join(str(error).split())[:200]})"]
    return [f"{part}: {problem}" for problem in problems]


def _problems_of_arrays(run: Run, parts: list[str], known: Known) -> Iterator[str]:
    rows: dict[Group, list[tuple]] = defaultdict(list)
    """Of each part its name, its length, and the names and widths of its arrays."""
    for part in sorted(parts):
        try:
            with safe_open(run.path / part, framework="np") as file:
                arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (it is no mapping)
        except UNREADABLE as error:
            yield f"{part}: damaged ({' '.join(str(error).split())[:200]})"
            continue
        if part.startswith("hidden/") and part.count("/") == 2:
            yield from (f"{part}: {problem}" for problem in states.problems(arrays))
            shape = tuple(sorted((key, *array.shape[1:]) for key, array in arrays.items()))
            length = next((len(array) for array in arrays.values() if array.ndim), 0)
            rows[_group(part)].append((part, length, shape))
        elif part.startswith("concurrent/") and not _explains(arrays.get("explanation")):
            yield f"{part}: holds no numbers under 'explanation'"
    if known.ids is not None and run.state == "complete":
        prompts = (pc.max(run.read_table(EXAMPLES, ["prompt_id"])["prompt_id"]).as_py() or 0) + 1
        wanted = {"examples": len(known.ids), "prompts": prompts}
        whole = _hidden_parts(run.parts)
        for (checkpoint, what), found in rows.items():
            if len(found) < whole[checkpoint, what]:  # a damaged part is named already
                continue
            first, shapes = found[0][0], {shape for *_, shape in found}
            if len(shapes) > 1:
                yield f"{first}: its arrays are others than those of the next parts"
            if (length := sum(n for _, n, _ in found)) != wanted[what]:
                yield f"{first}: {length:,} hidden states of {checkpoint} for {wanted[what]:,} {what}"


def _group(part: str) -> Group:
    _, checkpoint, name = part.split("/")
    return checkpoint, "examples" if name.startswith("examples-") else "prompts"


def _hidden_parts(parts: Iterable[str]) -> Counter[Group]:
    return Counter(_group(part) for part in parts if part.startswith("hidden/") and part.count("/") == 2)


def _explains(array: np.ndarray | None) -> bool:
    return array is not None and array.ndim == 1 and array.dtype.kind == "f" and bool(np.isfinite(array).all())
