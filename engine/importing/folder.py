"""`coupling import`: a preview of what an importer made, and the folder that is written.

DIR/examples.jsonl holds the examples, DIR/spec.yaml a spec to start from, and DIR/skipped.jsonl the rows that were not
used. DIR/source.json says where the data come from; it is written last.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import yaml

from engine.config import InputError
from engine.importing.build import Imported, read, with_edits
from engine.importing.hub import SUFFIXES
from engine.importing.models import checkpoints_of
from engine.importing.options import ImportSpec
from engine.runs.files import readable_errors, replace_file, sha256_of
from engine.spec_files import parse_spec
from engine.tasks.from_file import ExampleLine, Place, span_in
from engine.tasks.messages import messages_of

__all__ = ["check_folder", "preview", "read", "schema", "spec_of", "write"]

EXAMPLES, SPEC, SKIPPED, SOURCE = "examples.jsonl", "spec.yaml", "skipped.jsonl", "source.json"
SHOWN_SKIPPED = 20
LONGEST_SHOWN = 1200
"""Longest text in the preview, in characters."""

SPEC_TEXT = """\
# A spec to start from, made by `coupling import`. {how}
# Every option stands, with its meaning, in engine/config.
name: {run}
note: {note}
task: {{name: from_file, path: {examples}}}
checkpoints:
{checkpoints}
# The first one gives the fixed labels. {reading}
hidden: {{layers: [-1], positions: [last], dtype: float16}}
explainers: {{kinds: [ridge], regimes: [frozen, refit], headline_edits: [{edit}]}}
"""
READING = {
    False: "Models with a chat template read the prompts in it; `chat: off` makes them read plain text.",
    True: "The prompts are messages, so each model needs a chat template.",
}
"""How models read the prompts, by whether these are messages."""
FILL_IN = """\
# FILL IN: your checkpoints in the order of training. `name` is family--name; `path` is a folder or a .gguf file
# (relative to this file), or a hub id, with `revision:` if you like; `step` is the training step.
- {name: model--before, path: models/before, step: 0}
- {name: model--after, path: models/after, step: 1000}"""


def spec_of(given: Mapping[str, Any]) -> ImportSpec:
    """Checked options, from those of the command line; None and empty lists are left out. Raises InputError."""
    taken = {key: given[key] for key in ImportSpec.model_fields if given.get(key) not in (None, [], ())}
    taken.setdefault("name", default_name(str(given["file"])))
    if "columns" in taken:
        taken["columns"] = columns_of(taken["columns"])
    hinted = any(key in taken for key in ("hint", "hints", "speakers"))
    if "speakers" in taken:
        taken["speakers"] = speakers_in(Path(taken["speakers"]))
    checkpoints_of(taken.get("models", ()), Path())  # bad names are said before the data are read
    for key in ("answer_a", "answer_b", "closing"):
        if key in taken:
            taken[key] = taken[key].replace("\\n", "\n")  # a shell passes on a backslash and an n
    return with_edits(parse_spec(taken, "import", ImportSpec), hinted)


def columns_of(given: Sequence[str]) -> dict[str, str]:
    """Role → column, from "prompt=NAME,edited=NAME". A comma belongs to a name unless `role=` follows it."""
    found: dict[str, str] = {}
    for part in (part for text in given for part in re.split(r",\s*(?=\w+=)", text)):
        role, _, column = part.partition("=")
        if not column or role in found:
            raise InputError(f"--columns: {part!r}: give each role once, as role=column, separated by commas")
        found[role.strip()] = column.strip()
    return found


def speakers_in(path: Path) -> tuple[str, ...]:
    """The speakers in a text file, one a line. Raises InputError."""
    try:
        if path.exists() and not path.is_file():  # a device or a pipe could be read for ever
            raise InputError(f"{path}: is not a file: --speakers needs a text file with one speaker a line")
        names = path.read_text(encoding="utf-8-sig").split("\n")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file: --speakers needs a text file with one speaker a line") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: can't be read as UTF-8 text: {error}") from None
    if not any(map(str.strip, names)):
        raise InputError(f"{path}: is empty: write one speaker a line, for example My aunt")
    return tuple(filter(None, map(str.strip, names)))


def default_name(file: str) -> str:
    """A name for the data set, from the file's: letters, digits, dots, hyphens and underscores are kept."""
    stem = Path(file).stem if Path(file).suffix in SUFFIXES else Path(file).name
    return re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip("-._") or "imported"


def schema() -> dict[str, Any]:
    """JSON Schema of a line of the plain format, from the type that parses it."""
    return ExampleLine.model_json_schema() | {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A line of a file of examples (task: {name: from_file})",
    }


def counts_text(made: Imported) -> str:
    """Counts: rows, examples by edit and by split, and the skipped rows with their reasons."""

    def listed(name: str) -> str:
        return ", ".join(f"{count} {value}" for value, count in made.counts(name).items())

    entities, cues = (len({getattr(line, name) for line in made.lines} - {None}) for name in ("entity", "cue"))
    lines = [
        f"{made.rows} rows, {len(made.skipped)} skipped → {len(made.lines)} examples",
        f"edits:  {listed('edit')}",
        f"splits: {listed('split')}",
        f"{len({line.prompt for line in made.lines})} prompts, {entities} entities, {cues} cues",
    ]
    for skip in made.skipped[:SHOWN_SKIPPED]:
        lines.append(f"skipped {skip.file + ', ' if skip.file else ''}line {skip.line}: {skip.reason}")
    if len(made.skipped) > SHOWN_SKIPPED:
        lines.append(f"… and {len(made.skipped) - SHOWN_SKIPPED} more skipped rows; all are in {SKIPPED}")
    return printable("\n".join(lines))


def preview(made: Imported, show: int) -> str:
    """The first `show` examples of every kind of edit, and the counts."""
    blocks = []
    for edit in made.counts("edit"):
        for line in [line for line in made.lines if line.edit == edit][:show]:
            parts = {
                "edit": f"{line.edit} of {' and '.join(_cut(line, place) for place in line.spans or ())}",
                "x": line.prompt,
                "x′": line.edited,
                "answers": f"a {line.answer_a!r}, b {line.answer_b!r}",
                "about": ", ".join(f"{k} {v}" for k, v in (line.metadata or {}).items()),
            }
            blocks.append("\n".join(f"{key}: {_shortened(text)}" for key, text in parts.items()))
    return printable("\n\n".join([*blocks, counts_text(made)]))


def _cut(line: ExampleLine, place: Place) -> str:
    return repr(line.prompt[slice(*span_in(line.prompt, place))])


def _shortened(text: str) -> str:
    half = LONGEST_SHOWN // 2
    return text if len(text) <= LONGEST_SHOWN else f"{text[:half]} […] {text[-half:]}"


def printable(text: str) -> str:
    """Text from data without control characters, which a terminal would obey."""
    return "".join(c if c.isprintable() or c == "\n" else "�" for c in text)


def check_folder(out: Path, overwrite: bool) -> None:
    """Raises InputError if the folder is a file, or has files in it and may not be overwritten."""
    with readable_errors(out):
        if out.exists() and not out.is_dir():
            raise InputError(f"{out}: is a file: give a folder with --out")
        if out.is_dir() and any(out.iterdir()) and not overwrite:
            raise InputError(f"{out}: not empty: give another folder with --out, or --replace to write over it")


def write(made: Imported, out: Path) -> list[Path]:
    """Write the folder, each file as a whole or not at all; returns the files. Raises InputError."""
    with readable_errors(out):
        out.mkdir(parents=True, exist_ok=True)
        (out / SOURCE).unlink(missing_ok=True)
        texts = {EXAMPLES: json_lines(map(written, made.lines))}
        texts[SPEC] = spec_text(made, out)
        if made.skipped:
            texts[SKIPPED] = json_lines(
                {"line": s.line, "reason": s.reason} | ({"file": s.file} if s.file else {}) for s in made.skipped
            )
        else:
            (out / SKIPPED).unlink(missing_ok=True)
        texts[SOURCE] = json.dumps(source_record(made), ensure_ascii=False, indent=1) + "\n"
        for name, text in texts.items():
            data = text.encode()
            replace_file(out / name, lambda file, data=data: file.write(data))  # type: ignore[misc]
    return [out / name for name in texts]


def written(line: ExampleLine) -> dict[str, Any]:
    """A line as it is written: messages as a list."""
    said = {key: messages_of(getattr(line, key)) for key in ("prompt", "edited")}
    lists = {key: [{"role": m.role, "content": m.content} for m in found] for key, found in said.items() if found}
    return line.model_dump(mode="json", exclude_none=True) | lists


def json_lines(rows: Iterable[Mapping[str, Any]]) -> str:
    """One JSON object a line."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def spec_text(made: Imported, out: Path) -> str:
    """The spec to start from, in the folder `out`. It is a valid spec as it stands; where no models were named, apart
    from its checkpoints."""
    models = checkpoints_of(made.spec.models, out)
    note = f"{len(made.lines)} examples imported from {Path(made.spec.file).name} ({made.spec.format})."
    if made.source or made.licence:
        note += f" {', '.join(filter(None, (made.source, made.licence)))}."

    def quoted(text: str) -> str:
        return yaml.safe_dump(text, allow_unicode=True, width=10**6, default_style='"').strip()

    flow: dict[str, Any] = {"default_flow_style": True, "sort_keys": False, "allow_unicode": True, "width": 10**6}
    lines = [f"- {yaml.safe_dump(one, **flow).strip()}" for one in models]
    return SPEC_TEXT.format(
        how=f"{'Now' if models else 'Fill in the lines marked FILL IN, then'}: coupling run {SPEC}",
        checkpoints="\n".join(lines) or FILL_IN,
        run=quoted(made.spec.name),
        note=quoted(note),
        examples=EXAMPLES,
        reading=READING[made.spec.chat],
        edit=quoted(next(iter(made.counts("edit")))),
    )


def source_record(made: Imported) -> dict[str, Any]:
    """What source.json holds: licence, source, files with hashes, counts and options."""
    try:
        own = version("introspective-coupling")
    except PackageNotFoundError:
        own = ""
    files = [{"name": p.name, "bytes": p.stat().st_size, "sha256": sha256_of(p)} for p in made.files]
    return {
        "licence": made.licence or "unknown: ask who published the data",
        "source": made.source or "unknown",
        "revision": made.revision,
        "files": files,
        "format": made.spec.format,
        "rows": made.rows,
        "skipped": len(made.skipped),
        "examples": len(made.lines),
        "edits": made.counts("edit"),
        "splits": made.counts("split"),
        "options": made.spec.model_dump(mode="json", exclude_defaults=True, exclude={"models"})
        | {"file": Path(made.spec.file).name},
        "version": own,
    }
