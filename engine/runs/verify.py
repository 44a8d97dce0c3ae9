"""Check of a run: every part is there, undamaged, and has the right columns and rows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from engine.records import BEHAVIOR, EXAMPLES, EXPLANATIONS, FORMAT_VERSION, METRICS, PATCHING, PATCHING_AGREEMENT
from engine.runs.files import MANIFEST, RunError, safe_part, sha256_of
from engine.runs.store import Run

SCHEMAS = {
    "examples": EXAMPLES,
    "behavior": BEHAVIOR,
    "explanations": EXPLANATIONS,
    "metrics": METRICS,
    "patching": PATCHING,
}


def verify(path: Path | str) -> list[str]:
    """Problems of a run, each a line that names the part. Empty for a run that is complete and sound.

    Checked: every part is there with its recorded hash; a finished run has all the parts that it needs; schemas; ids
    are unique, and the same in all tables; no number is NaN.
    """
    try:
        run = Run.open(path)
        problems = [] if run.state == "complete" else [f"{MANIFEST}: the run is {run.state}, not complete"]
        sound = []
        for part, recorded in run.parts.items():
            file = run.path / safe_part(part)
            if not file.is_file():
                problems.append(f"{part}: missing")
            elif sha256_of(file) != recorded.get("sha256"):
                problems.append(f"{part}: damaged (its contents are not what was recorded)")
            else:
                sound.append(part)
    except RunError as error:
        return [str(error)]
    behaviors = [f"behavior/{checkpoint.name}.parquet" for checkpoint in run.spec.all_checkpoints]
    if run.manifest["format_version"] < FORMAT_VERSION:
        problems.append(f"{MANIFEST}: format {run.manifest['format_version']}: `coupling rescore` brings it up to date")
        sound = [part for part in sound if part != "metrics.parquet"]
    if run.state == "complete":
        needed = ["examples.parquet", *behaviors, "explanations.parquet", "metrics.parquet"]
        problems += [f"{part}: missing" for part in needed if part not in run.parts]
    ids: pa.ChunkedArray | None = None
    for part in sorted(sound, key=lambda p: p != "examples.parquet"):  # the examples first: the others refer to them
        try:
            if part.endswith(".parquet"):
                problems += [f"{part}: {problem}" for problem in _table_problems(run, part, ids)]
                if part == "examples.parquet" and "example_id" in run.read_schema(part).names:
                    ids = run.read_table(part, ["example_id"])["example_id"]
            elif part.endswith(".safetensors"):
                run.read_arrays(part, keys=())
        except RunError as error:
            problems.append(str(error))
    return problems


def _table_problems(run: Run, part: str, ids: pa.ChunkedArray | None) -> Iterator[str]:
    """Problems of a table, read column by column to save memory. `ids`: those of the examples, if there are any."""
    kind = part.removesuffix(".parquet").split("/")[0]
    if kind not in SCHEMAS:
        return
    schema = PATCHING_AGREEMENT if part.endswith(".agreement.parquet") else SCHEMAS[kind]
    found = run.read_schema(part)
    for field in schema:
        at = found.get_field_index(field.name)
        if at < 0:
            yield f"column {field.name!r} is missing"
        elif found.field(at).type != field.type:
            yield f"column {field.name!r} is {found.field(at).type}, not {field.type}"
    for name in found.names:
        column = run.read_table(part, [name])[name]
        if pa.types.is_floating(column.type):
            bad = pc.sum(pc.invert(pc.is_finite(column))).as_py() or 0
            bad += column.null_count if kind == "behavior" else 0
            if bad:
                yield f"column {name!r} holds {bad} values that are no number"
    if kind == "metrics" or "example_id" not in found.names:
        return
    own = run.read_table(part, ["example_id"])["example_id"]
    if kind == "examples" and pc.count_distinct(own, mode="all").as_py() < len(own):
        yield "example_id is not unique"
    if kind == "behavior" and part.count("/") == 1 and ids is not None and not own.equals(ids):
        yield "its rows are not those of examples.parquet, in their order"
    if kind in ("explanations", "patching") and ids is not None:
        explained = pc.cast(own.unique(), pa.string())
        if not pc.all(pc.is_in(explained, value_set=ids.combine_chunks()), min_count=0).as_py():
            yield "it explains examples that are not in examples.parquet"
