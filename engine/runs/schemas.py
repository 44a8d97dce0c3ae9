"""The columns of a run's tables, and whether a table has them. What they hold is checked by `values`."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa

from engine.records import (
    BEHAVIOR,
    EXAMPLES,
    EXPLANATIONS,
    FORMAT_VERSION,
    META,
    METRICS,
    PATCHING,
    PATCHING_AGREEMENT,
    SETTING,
)

SCHEMAS = {
    "examples": EXAMPLES,
    "behavior": BEHAVIOR,
    "explanations": EXPLANATIONS,
    "metrics": METRICS,
    "patching": PATCHING,
}
PLAIN = (pa.types.is_boolean, pa.types.is_integer, pa.types.is_floating, pa.types.is_string, pa.types.is_null)
"""Types of columns that another version may have written. Not every value of another type can be read in Python."""
ALWAYS = {*(name for name, _ in SETTING if name != "condition"), "split", "n", "self", "orig", "gap", "chosen"}
"""Columns of the metrics that every version has written."""


def kind_of(part: str) -> str | None:
    """Which of `SCHEMAS` a part has; None for what is no such table."""
    kind = part.removesuffix(".parquet").split("/")[0]
    return kind if part.endswith(".parquet") and kind in SCHEMAS else None


def schema_of(part: str) -> pa.Schema | None:
    kind = kind_of(part)
    if part.endswith(".agreement.parquet"):
        return PATCHING_AGREEMENT
    return None if kind is None else SCHEMAS[kind]


def schema_problems(found: pa.Schema, part: str, version: int = FORMAT_VERSION) -> Iterator[str]:
    """What is wrong with the columns of a part, one line each. Metrics of an earlier version may lack columns."""
    wanted = schema_of(part) or pa.schema([])
    names = found.names
    yield from (f"column {name!r} stands twice" for name in sorted({n for n in names if names.count(n) > 1}))
    for field in wanted:
        at = names.index(field.name) if field.name in names else -1
        if at < 0:
            if kind_of(part) != "metrics" or version >= FORMAT_VERSION or field.name in ALWAYS:
                yield f"column {field.name!r} is missing"
        elif found.field(at).type != field.type:
            yield f"column {field.name!r} is {found.field(at).type}, not {field.type}"
    for field in found:
        if kind_of(part) == "examples" and field.name.startswith(META):
            if field.type != pa.string():
                yield f"column {field.name!r} is {field.type}, not string"
        elif field.name not in wanted.names and not any(is_it(field.type) for is_it in PLAIN):
            yield f"column {field.name!r} is {field.type}, which no version has written"
