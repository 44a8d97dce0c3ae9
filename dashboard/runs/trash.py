"""Deleting runs with a way back: a run is moved into `.trash` beside it, and from there back, or away for good.

An entry is a folder `.trash/<id>` with `about.json` and the run's folder. Moving is a rename within one file system,
so a run is never half here and half there. Imports no Streamlit.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from dashboard.runs import jobs
from engine.__main__ import SAMPLES
from engine.config import InputError
from engine.runs.files import LOCK, MANIFEST, locked, readable_errors, replace_file

TRASH = ".trash"


class TrashError(InputError):
    """A run that can't be moved; one line in words."""


@dataclass(frozen=True)
class Trashed:
    folder: Path
    """The entry in the trash; the run is the folder `name` in it."""
    name: str
    home: Path
    """The folder with runs that it was in."""
    place: Path
    """Where in `home` it was: a relative path."""
    when: datetime
    bytes: int

    @property
    def run(self) -> Path:
        return self.folder / self.place.name


def is_sample(path: Path) -> bool:
    """Whether a run came with the program: those are what its documents and tests speak of."""
    return path.resolve().parent == SAMPLES.resolve() and (SAMPLES / "specs" / f"{path.name}.yaml").is_file()


def why_not(path: Path, directories: Sequence[Path | str]) -> str:
    """Why a run may not be moved to the trash; empty where it may."""
    path = path.resolve()
    if is_sample(path):
        return "This run came with the program, and stays."
    if path in {Path(d).resolve() for d in directories}:
        return "The dashboard was started on this very folder: start it on the folder above, to delete the run."
    home = _home(path, directories)
    if home is None:
        return "This run lies outside the folders that the dashboard was started on."
    if jobs.writes(path, home):
        return "A job is working on this run: cancel it first."
    return ""


def delete(path: Path, directories: Sequence[Path | str]) -> Trashed:
    """Move a run to the trash of the folder that it is in. Raises TrashError, or RunError while it is being written."""
    path = path.resolve()
    if not (path / MANIFEST).is_file():
        raise TrashError(f"{path.name}: is not a run")
    if reason := why_not(path, directories):
        raise TrashError(f"{path.name}: {reason}")
    home = _home(path, directories)
    assert home is not None  # else why_not had said so
    folder = home / TRASH / datetime.now().strftime("%Y%m%d-%H%M%S-%f")
    about = {"place": path.relative_to(home).as_posix(), "when": datetime.now().isoformat(timespec="seconds")}
    with locked(path), readable_errors(path):
        folder.mkdir(parents=True)
        try:
            replace_file(folder / "about.json", lambda file: file.write(json.dumps(about).encode()))
            path.rename(folder / path.name)
        except OSError:
            shutil.rmtree(folder, ignore_errors=True)
            raise
    (folder / path.name / LOCK).unlink(missing_ok=True)
    return _read(folder) or Trashed(folder, path.name, home, Path(about["place"]), datetime.now(), 0)


def trashed(directories: Iterable[Path | str]) -> list[Trashed]:
    """What lies in the trash of the folders, the latest first."""
    homes = dict.fromkeys(Path(d).resolve() for d in directories)
    found = [entry for home in homes for folder in (home / TRASH).glob("*/") if (entry := _read(folder))]
    return sorted(found, key=lambda entry: entry.when, reverse=True)


def restore(entry: Trashed) -> Path:
    """Move a run back to where it was. Raises TrashError where something else is there now."""
    target = entry.home / entry.place
    if target.exists():
        raise TrashError(f"{entry.name}: there is another run of this name now: move that one to the trash first")
    with readable_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        entry.run.rename(target)
    shutil.rmtree(entry.folder, ignore_errors=True)
    return target


def remove(entries: Iterable[Trashed]) -> None:
    """Delete for good."""
    for entry in entries:
        with readable_errors(entry.folder):
            shutil.rmtree(entry.folder)


def _home(path: Path, directories: Iterable[Path | str]) -> Path | None:
    """The nearest of the directories that holds the path."""
    homes = [h for h in (Path(d).resolve() for d in directories) if h != path and path.is_relative_to(h)]
    return max(homes, key=lambda h: len(h.parts), default=None)


def _read(folder: Path) -> Trashed | None:
    """An entry, if it holds a run and its record names a place inside the folder with runs."""
    home = folder.parent.parent
    with suppress(OSError, ValueError, KeyError, TypeError):
        about = json.loads((folder / "about.json").read_text(encoding="utf-8"))
        place = Path(str(about["place"]))
        if place.is_absolute() or ".." in place.parts or not place.name or not (folder / place.name).is_dir():
            return None
        size = sum(f.stat().st_size for f in (folder / place.name).rglob("*") if f.is_file())
        return Trashed(folder, place.name, home, place, datetime.fromisoformat(str(about["when"])), size)
    return None
