"""Named slices that outlive a session: a small file beside the runs, shared by all users of this dashboard.

The file is data like any other. An entry that does not fit its run is left out when the file is read.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from filelock import FileLock

from dashboard.reading import data
from dashboard.reading.slices import SliceError, parse
from dashboard.serving import access
from engine.runs.files import MANIFEST, replace_file
from engine.runs.store import RunError

FILE = "slices.json"
MOST_SAVED = 500
"""Slices of all runs together."""


def file() -> Path:
    """The first of the dashboard's folders that has such a file, else the first that can be written. Raises RunError
    where there is none."""
    folders = [Path(d).resolve() for d in data.directories()]
    folders = [f.parent if (f / MANIFEST).exists() else f for f in folders]
    used = [f for f in folders if (f / FILE).is_file()]
    writable = [f for f in folders if f.is_dir() and os.access(f, os.W_OK)]
    if not (used or writable):
        raise RunError("no folder of the dashboard can be written, so a slice can't be saved: copy the link instead")
    return (used or writable)[0] / FILE


def _read(where: Path) -> list[dict[str, str]]:
    """Every entry: run, name, slice; RunError where the file is no such list."""
    if not where.is_file():
        return []
    try:
        entries = json.loads(where.read_text(encoding="utf-8"))
        return [{key: str(entry[key]) for key in ("run", "name", "slice")} for entry in entries]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise RunError(f"{where}: saved slices can't be read ({type(error).__name__}): mend or remove it") from None


def of_run(path: Path, columns: Collection[str]) -> dict[str, str]:
    """Name → text form of the slices saved for a run, sorted by name, without those that don't fit the run."""
    found = {}
    with suppress(RunError):
        for entry in _read(file()):
            with suppress(SliceError):
                part = parse(entry["slice"], columns)
                if entry["run"] == path.name and part and entry["name"]:
                    found[entry["name"]] = str(part)
    return dict(sorted(found.items()))


def save(path: Path, name: str, text: str | None) -> None:
    """Save or replace the slice (text form) that a run has under a name; None removes it. Raises AccessError or
    RunError, one line."""
    access.require("change")
    where = file()
    try:
        with FileLock(where.with_suffix(".lock"), timeout=5):
            entries = [e for e in _read(where) if (e["run"], e["name"]) != (path.name, name)]
            if text is not None:
                entries.append({"run": path.name, "name": name, "slice": text})
            if len(entries) > MOST_SAVED:
                raise RunError(f"{where}: holds {MOST_SAVED} slices already: remove some first")
            written = json.dumps(entries, indent=1, ensure_ascii=False).encode()
            replace_file(where, lambda out: out.write(written))
    except OSError as error:  # or another session holds the lock
        raise RunError(f"{where}: can't be written: {error.strerror or error}") from None
