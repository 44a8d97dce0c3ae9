"""Deleting runs with a way back: a run is moved into `.trash` beside it, and from there back, or away for good.

An entry is a folder `.trash/<id>` with `about.json` and the run's folder. Moving is a rename within one file system,
so a run is never half here and half there. Imports no Streamlit.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from dashboard.runs import jobs
from dashboard.serving import access
from engine import SAMPLES
from engine.config import InputError
from engine.runs.files import (
    LOCK,
    MANIFEST,
    RunError,
    hidden_folder,
    locked,
    readable_errors,
    refuse_strays,
    replace_file,
)

TRASH = ".trash"


class TrashError(InputError):
    """A run that can't be moved; one line in words."""


@dataclass(frozen=True)
class Trashed:
    folder: Path
    """The entry in the trash, `home`/.trash/<id>; the run is the folder `name` in it."""
    place: Path
    """Where in `home` the run was: a relative path."""
    when: datetime

    @property
    def home(self) -> Path:
        """The folder of runs that the run was in."""
        return self.folder.parent.parent

    @property
    def name(self) -> str:
        return self.place.name

    @property
    def bytes(self) -> int:
        return sum(f.lstat().st_size for f in (self.folder / self.name).rglob("*") if f.is_symlink() or f.is_file())


def is_sample(path: Path) -> bool:
    """Whether a run came with the program. Its documents and tests refer to such a run, so it can't be deleted."""
    return path.resolve().parent == SAMPLES.resolve() and (SAMPLES / "specs" / f"{path.name}.yaml").is_file()


def why_not(path: Path, directories: Sequence[Path | str]) -> str:
    """Why a run may not be moved to the trash; empty where it may."""
    path = path.resolve()
    if is_sample(path):
        return "This run came with the program, and stays."
    if path in {Path(d).resolve() for d in directories}:
        return "The dashboard was started on this very folder: start it on the folder above, to delete the run."
    home = home_of(path, directories)
    if home is None:
        return "This run lies outside the folders that the dashboard was started on."
    try:
        refuse_strays(path)
    except RunError as error:
        return str(error)
    return "A job is working on this run: cancel it first." if jobs.writes(path, home) else ""


def delete(path: Path, directories: Sequence[Path | str]) -> Trashed:
    """Move a run to the trash of the folder that it is in. Raises AccessError, TrashError, or RunError while it is
    being written."""
    access.require("change")
    path = path.resolve()
    reason = why_not(path, directories) if (path / MANIFEST).is_file() else "This is not a run."
    home = home_of(path, directories)
    if reason or home is None:
        raise TrashError(f"{path.name}: {reason}")
    now = datetime.now()
    entry = Trashed(home / TRASH / now.strftime("%Y%m%d-%H%M%S-%f"), path.relative_to(home), now)
    about = {"place": entry.place.as_posix(), "when": now.isoformat(timespec="seconds")}
    hidden_folder(home, TRASH)
    with locked(path), readable_errors(path):
        entry.folder.mkdir()
        try:
            replace_file(entry.folder / "about.json", lambda file: file.write(json.dumps(about).encode()))
            path.rename(entry.folder / path.name)
        except OSError:
            shutil.rmtree(entry.folder, ignore_errors=True)
            raise
    (entry.folder / path.name / LOCK).unlink(missing_ok=True)
    return entry


def trashed(directories: Iterable[Path | str]) -> list[Trashed]:
    """The entries in the trash of the folders, the latest first."""
    homes = dict.fromkeys(Path(d).resolve() for d in directories)
    places = [home / TRASH for home in homes if not (home / TRASH).is_symlink()]
    found = [entry for place in places for folder in place.glob("*/") if (entry := _read(folder))]
    return sorted(found, key=lambda entry: entry.when, reverse=True)


def restore(entry: Trashed) -> Path:
    """Move a run back to where it was. Raises AccessError, TrashError where something else is there now, or a link
    leads elsewhere, and RunError where the run holds links or special files."""
    access.require("change")
    target = entry.home / entry.place
    if os.path.lexists(target):
        raise TrashError(f"{entry.name}: there is another run of this name now: move that one to the trash first")
    if not target.parent.resolve().is_relative_to(entry.home.resolve()):
        raise TrashError(f"{entry.name}: {target.parent} is a link to elsewhere: remove it")
    refuse_strays(entry.folder)
    with readable_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        (entry.folder / entry.name).rename(target)
    shutil.rmtree(entry.folder, ignore_errors=True)
    return target


def empty(entries: Iterable[Trashed]) -> None:
    """Delete the entries for good. Raises AccessError."""
    access.require("change")
    for entry in entries:
        with readable_errors(entry.folder):
            shutil.rmtree(entry.folder)


def home_of(path: Path, directories: Iterable[Path | str]) -> Path | None:
    """The nearest of the directories that holds the path."""
    homes = [h for h in (Path(d).resolve() for d in directories) if h != path and path.is_relative_to(h)]
    return max(homes, key=lambda h: len(h.parts), default=None)


def _read(folder: Path) -> Trashed | None:
    """An entry, if it holds a run and its record names a place inside the folder with runs."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        about = json.loads((folder / "about.json").read_text(encoding="utf-8"))
        place, when = Path(str(about["place"])), datetime.fromisoformat(str(about["when"]))
        inside = not place.is_absolute() and ".." not in place.parts and place.name != ""
        linked = folder.is_symlink() or (folder / place.name).is_symlink()
        return Trashed(folder, place, when) if inside and not linked and (folder / place.name).is_dir() else None
    return None
