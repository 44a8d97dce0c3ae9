"""From a file to checked lines of the plain format, with a record of every row that was not used."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from engine.config import InputError
from engine.importing.anthropic import OLDER
from engine.importing.drafts import Draft, parted
from engine.importing.formats import IMPORTERS
from engine.importing.hub import DataFile, data_files
from engine.importing.options import ImportSpec
from engine.importing.rows import KIND_WORDS, FileKind, Row, RowError, Skipped, kind_of, read_rows
from engine.importing.splits import assigned
from engine.records import Span, example_id
from engine.spec_files import first_problem
from engine.tasks.from_file import ExampleLine

PLAIN = ("prompt", "edited", "edit", "answer_a", "answer_b")


@dataclass(frozen=True)
class Imported:
    """The result of an import, not yet written."""

    spec: ImportSpec
    lines: list[ExampleLine]
    skipped: list[Skipped]
    rows: int
    """Rows that were read, the skipped ones included."""
    files: list[Path]
    licence: str
    source: str
    revision: str = ""

    def counts(self, name: str) -> dict[str, int]:
        """Number of examples for each value of a field, in the order of their first appearance."""
        return dict(Counter(str(getattr(line, name)) for line in self.lines))


def with_edits(spec: ImportSpec, hinted: bool) -> ImportSpec:
    """The spec with the kinds of edit that will be made. Raises InputError for one that the format does not have.

    hinted: a hint, or something about it, was asked for.
    """
    importer = IMPORTERS[spec.format]
    for edit in spec.edits:
        if edit not in importer.edits:
            raise InputError(f"--edit: {spec.format} has no {edit!r}; it has {', '.join(importer.edits)}")
    if hinted and "delete_hint" not in importer.edits:
        raise InputError(f"--hint: {spec.format} has no hints: leave it out; its edits are {', '.join(importer.edits)}")
    usual = importer.usual or (("delete_hint", "replace_speaker") if hinted else ())
    return spec.model_copy(update={"edits": tuple(dict.fromkeys(spec.edits or usual))})


def read(spec: ImportSpec) -> Imported:
    """Read, edit, split and check. Raises InputError: nothing usable, another format, or a file that can't be read."""
    importer = IMPORTERS[spec.format]
    found = data_files(spec)
    rows: list[Row] = []
    skipped: list[Skipped] = []
    for item in islice(_rows(found.files, importer.kinds, spec), spec.rows):
        (rows if isinstance(item, Row) else skipped).append(item)  # type: ignore[arg-type]
    total = len(rows) + len(skipped)
    if rows:
        _check_format(rows, spec)
    drafts, lines_of = [], []
    make = importer.drafter(rows, spec) if rows else None
    seen: dict[str, int] = {}
    for row in rows:
        try:
            assert make is not None
            new = [draft for draft in make(row) if _first(draft, seen, row.number)]
            if not new:
                raise RowError("makes no example: no edit changes it, or it is the same as an earlier row")
            for draft in new:
                _line(draft, "train", spec)
        except RowError as error:
            skipped.append(Skipped(row.number, str(error), row.file))
        else:
            drafts += new
    skipped.sort(key=lambda item: (item.file, item.line))
    if not drafts:
        first = f": line {skipped[0].line}: {skipped[0].reason}" if skipped else ""
        read_as = "" if rows else f" (it was read as {KIND_WORDS[kind_of(found.files[0].path)]})"
        raise InputError(f"{spec.file}: none of {total} rows can be used{first}{read_as}")
    lines_of = [_line(draft, split, spec) for draft, split in zip(drafts, assigned(drafts, spec), strict=True)]
    return Imported(
        spec=spec,
        lines=lines_of,
        skipped=skipped,
        rows=total,
        files=[file.path for file in found.files],
        licence=spec.licence or found.licence or importer.licence,
        source=spec.source or found.source or importer.source,
        revision=found.revision,
    )


def _rows(files: Sequence[DataFile], kinds: Sequence[FileKind], spec: ImportSpec) -> Iterator[Row | Skipped]:
    for file in files:
        kind = kind_of(file.path)
        if kind not in kinds:
            raise InputError(f"{file.path}: looks like {KIND_WORDS[kind]}: use `coupling import {kind}`")
        for item in read_rows(file.path, kind):
            if len(files) == 1 and not file.split:
                yield item
            elif isinstance(item, Skipped):
                yield Skipped(item.line, item.reason, file.name)
            else:
                more = {"hub_split": file.split} if file.split and "hub_split" not in item.values else {}
                yield Row(item.number, item.values | more, file.name)


def _check_format(rows: Sequence[Row], spec: ImportSpec) -> None:
    """Raises InputError if no row has the columns of the format. The message says which format it looks like."""
    needed = IMPORTERS[spec.format].columns
    columns = set().union(*(row.values for row in rows))
    older = spec.format == "anthropic-evals" and columns.issuperset(OLDER)
    missing = [name for name in needed if name not in columns and not older]
    looks = [name for name, importer in IMPORTERS.items() if importer.columns and columns.issuperset(importer.columns)]
    if not needed and looks and not spec.columns:
        raise InputError(f"{spec.file}: looks like {looks[0]}: use `coupling import {looks[0]}`, or give --columns")
    if not missing:
        return
    hint = f"its columns are {', '.join(sorted(columns))}"
    if looks:
        hint = f"it looks like {looks[0]}: use `coupling import {looks[0]}`"
    elif columns.issuperset(PLAIN):
        hint = "it is in the plain format already: name it in a spec, task: {name: from_file, path: …}"
    raise InputError(f"{spec.file}: not in the format {spec.format}: it has no {', '.join(missing)}; {hint}")


def _first(draft: Draft, seen: dict[str, int], number: int) -> bool:
    """Whether no earlier draft has the same prompts and answers."""
    key = example_id("from_file", draft.prompt, draft.edited.text, (draft.answer_a, draft.answer_b))
    return seen.setdefault(key, number) == number


def _line(draft: Draft, split: str, spec: ImportSpec) -> ExampleLine:
    """A checked line of the plain format. Raises RowError."""
    group = draft.group or (f"{draft.cue} × {draft.entity}" if draft.cue and draft.cue != draft.unit else draft.unit)
    texts = {
        "prompt": draft.prompt,
        "edited": draft.edited.text,
        "spans": draft.edited.spans,
        "edited_spans": draft.edited.edited_spans,
    }
    try:
        return ExampleLine.model_validate(
            {
                **(_as_messages(draft, spec.closing) if spec.chat else texts),
                "edit": draft.edit,
                "answer_a": draft.answer_a,
                "answer_b": draft.answer_b,
                "group": group,
                "split": split,
                "cue": draft.cue,
                "entity": draft.entity,
                "metadata": dict(draft.metadata),
            }
        )
    except ValidationError as error:
        raise RowError(first_problem(error, draft.edit)) from None


def _as_messages(draft: Draft, closing: str) -> dict[str, Any]:
    """Prompts and spans of a draft as messages: the user's, and the beginning of the assistant's answer where the
    prompt has a closing or a lead of its own ("Answer:")."""

    def messages(text: str) -> list[dict[str, str]]:
        body, lead = (text.removesuffix(closing), closing) if closing and text.endswith(closing) else parted(text, "")
        begun = [{"role": "assistant", "content": lead.strip()}] if lead.strip() else []
        return [{"role": "user", "content": body}, *begun]

    def places(spans: Sequence[Span], said: list[dict[str, str]]) -> list[tuple[int, int, int]]:
        end = len(said[0]["content"])
        return [(0, min(start, end), min(stop, end)) for start, stop in spans]

    prompt, edited = messages(draft.prompt), messages(draft.edited.text)
    return {
        "prompt": prompt,
        "edited": edited,
        "spans": places(draft.edited.spans, prompt),
        "edited_spans": places(draft.edited.edited_spans, edited),
    }
