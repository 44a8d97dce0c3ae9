"""Examples from a JSON Lines file: one object per line.

Required keys: prompt, edited, edit, answer_a, answer_b. Optional: group, split, cue, entity, metadata (an object),
spans and edited_spans (lists of [start, end] in characters). Defaults: spans from a word diff, one group per prompt,
and a seeded split by groups.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rapidfuzz.distance import Indel

from engine.config import TaskSpec
from engine.records import SPLITS, Example, Span
from engine.tasks.factors import TaskError

NEEDED = ("prompt", "edited", "edit", "answer_a", "answer_b")
OPTIONAL = ("group", "split", "cue", "entity", "metadata", "spans", "edited_spans")
SHARES = {"train": 0.6, "validation": 0.1, "test_heldout": 0.3}
"""Shares of the groups, if the file has no splits."""
IID_SHARE = 0.2
"""Share of the training groups' prompts that become test_iid."""


def diff_spans(prompt: str, edited: str) -> tuple[tuple[Span, ...], tuple[Span, ...]]:
    """Where two texts differ, word by word: ranges of x and of x', in pairs.

    Adjacent changes are one range; an insertion has an empty range in x.
    """
    tokens = [re.findall(r"\s+|\w+|[^\w\s]", text) for text in (prompt, edited)]
    starts = [np.cumsum([0, *(len(t) for t in side)]).tolist() for side in tokens]
    pairs: list[tuple[Span, Span]] = []
    for change in Indel.opcodes(*tokens):
        if change.tag == "equal":
            continue
        here = (starts[0][change.src_start], starts[0][change.src_end])
        there = (starts[1][change.dest_start], starts[1][change.dest_end])
        if pairs and pairs[-1][0][1] == here[0] and pairs[-1][1][1] == there[0]:
            pairs[-1] = ((pairs[-1][0][0], here[1]), (pairs[-1][1][0], there[1]))
        else:
            pairs.append((here, there))
    return tuple(p for p, _ in pairs), tuple(q for _, q in pairs)


def _objects(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """(file and line number, object) of each line that is not blank."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise TaskError(f"{path}: no such file: check task.path (relative to the spec)") from None
    except (OSError, UnicodeDecodeError) as error:
        raise TaskError(f"{path}: can't be read as UTF-8 text: {error}") from None
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise TaskError(f"{where}: not valid JSON ({error.msg}): one object a line") from None
        if not isinstance(row, dict):
            raise TaskError(f"{where}: is a {type(row).__name__}, not an object: write {{…}} on each line")
        yield where, row


def _spans(row: dict[str, Any], key: str, text: str, where: str) -> tuple[Span, ...]:
    try:
        spans = tuple((int(start), int(end)) for start, end in row[key])
    except (TypeError, ValueError):
        raise TaskError(f"{where}: {key} must be a list of [start, end] pairs") from None
    for start, end in spans:
        if not 0 <= start <= end <= len(text):
            raise TaskError(f"{where}: {key} has [{start}, {end}], outside the text of {len(text)} characters")
    return spans


def _checked(row: dict[str, Any], where: str) -> None:
    for key in NEEDED:
        if key not in row:
            raise TaskError(f"{where}: {key!r} is missing: add it (needed: {', '.join(NEEDED)})")
        if not isinstance(row[key], str) or not row[key]:
            raise TaskError(f"{where}: {key!r} must be a text that is not empty")
    unknown = [key for key in row if key not in NEEDED + OPTIONAL]
    if unknown:
        raise TaskError(f"{where}: unknown key {unknown[0]!r}: check its spelling, or move it into metadata")
    for key in ("group", "split", "cue", "entity"):
        if row.get(key) is not None and not isinstance(row[key], str):
            raise TaskError(f"{where}: {key!r} must be a text")
    if row.get("split") is not None and row["split"] not in SPLITS:
        raise TaskError(f"{where}: split {row['split']!r} is none of {', '.join(SPLITS)}")
    if not isinstance(row.get("metadata") or {}, dict):
        raise TaskError(f"{where}: metadata must be an object")
    if row["answer_a"] == row["answer_b"]:
        raise TaskError(f"{where}: answer_a and answer_b are the same: no behavior to measure")
    if row["prompt"] == row["edited"]:
        raise TaskError(f"{where}: prompt and edited are the same: nothing is edited")


def _assigned(rows: Sequence[dict[str, Any]], rng: np.random.Generator) -> list[str]:
    """The split of each row. Whole groups are held out; single prompts of the other groups become test_iid."""
    groups = sorted({row["group"] for row in rows})
    cuts = np.cumsum([round(share * len(groups)) for share in SHARES.values()])
    rank = {groups[g]: r for r, g in enumerate(rng.permutation(len(groups)).tolist())}
    names = list(SHARES)
    prompts = sorted({row["prompt"] for row in rows})
    aside = dict(zip(prompts, (rng.random(len(prompts)) < IID_SHARE).tolist(), strict=True))
    splits = []
    for row in rows:
        split = names[min(int(np.searchsorted(cuts, rank[row["group"]], side="right")), len(names) - 1)]
        splits.append("test_iid" if split == "train" and aside[row["prompt"]] else split)
    return splits


def examples(spec: TaskSpec) -> list[Example]:
    """Read the examples of `spec.path`. Raises TaskError with the line number."""
    path = Path(spec.path or "")
    rows: list[dict[str, Any]] = []
    for where, row in _objects(path):
        _checked(row, where)
        if bool(rows) and (row.get("split") is None) != (rows[0].get("split") is None):
            raise TaskError(f"{where}: some lines have a split and some have none: give it on all lines or on none")
        found = diff_spans(row["prompt"], row["edited"])
        for key, text, default in (("spans", "prompt", found[0]), ("edited_spans", "edited", found[1])):
            row[key] = default if row.get(key) is None else _spans(row, key, row[text], where)
        row["group"] = row.get("group") or row["prompt"]
        rows.append(row)
    if not rows:
        raise TaskError(f"{path}: is empty: it needs one JSON object a line, with {', '.join(NEEDED)}")
    kinds = sorted({row["edit"] for row in rows})
    for edit in spec.edits:
        if edit not in kinds:
            raise TaskError(f"{path}: no line has edit {edit!r}; it has {', '.join(kinds)}")
    if rows[0].get("split") is None:
        splits = _assigned(rows, np.random.default_rng(spec.seed))
    else:
        splits = [row["split"] for row in rows]
    return [
        Example(
            task="from_file",
            prompt=row["prompt"],
            edited=row["edited"],
            edit=row["edit"],
            spans=row["spans"],
            edited_spans=row["edited_spans"],
            answer_a=row["answer_a"],
            answer_b=row["answer_b"],
            group=row["group"],
            split=split,
            cue=row.get("cue"),
            entity=row.get("entity"),
            metadata={str(k): str(v) for k, v in (row.get("metadata") or {}).items()},
        )
        for row, split in zip(rows, splits, strict=True)
        if not spec.edits or row["edit"] in spec.edits
    ]
