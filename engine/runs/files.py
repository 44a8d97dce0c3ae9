"""Files of runs: found, hashed, locked, and written as a whole or not at all."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from filelock import FileLock, Timeout

from engine.config import InputError
from engine.runs.manifest import LONGEST, Record, parsed

MANIFEST = "run.json"
LOCK = ".lock"
TEMPORARY = ".tmp"
WEIGHTS = "checkpoints"
"""Folder of the checkpoints that a run trains. They are no parts; hidden folders in it are unfinished ones."""
PARTS = re.compile(
    r"(examples|explanations|metrics|metrics\.before)\.parquet|"
    r"(behavior|concurrent|hidden|patching|pieces|post_training|said|verbal)/.*\.(parquet|safetensors)"
)
"""Names that parts have. Other files in a run's folder are somebody's own."""
DISK_FULL = (28, 122)  # ENOSPC, EDQUOT
TOO_LARGE = 27  # EFBIG: a limit of the system or of the user


class RunError(InputError):
    """A run that can't be used or written."""


def stray(folder: Path) -> Path | None:
    """Something in a folder, or deeper, that is neither a plain file nor a plain folder; None where there is none."""
    left = [str(folder)]
    while left:
        # What a process that writes the run has renamed or removed meanwhile is no stray.
        with suppress(FileNotFoundError), os.scandir(left.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    left.append(entry.path)
                elif not entry.is_file(follow_symlinks=False) and os.path.lexists(entry.path):
                    return Path(entry.path)
    return None


def refuse_strays(folder: Path) -> None:
    """Raise RunError where a run's folder holds links or special files.

    A link would make a reader read, and a writer change, what is no part of the run; a pipe would make it wait.
    """
    try:
        found = stray(folder)
    except OSError as error:
        raise RunError(f"{folder}: can't be read: {error.strerror or error}") from None
    if found:
        kind = "a link" if found.is_symlink() else "neither a file nor a folder"
        raise RunError(f"{found}: is {kind}: a run holds plain files and folders only: remove it, or put a copy there")


def hidden_folder(runs: Path, name: str) -> Path:
    """The folder `name` in a folder of runs, made if it is not there.

    Raises RunError where it, or what lies directly in it, is a link or a special file.
    """
    folder = runs / name
    if folder.is_symlink():
        raise RunError(f"{folder}: is a link: a folder is needed there: remove it")
    with readable_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        found = next((p for p in folder.iterdir() if p.is_symlink() or not (p.is_file() or p.is_dir())), None)
    if found:
        raise RunError(f"{found}: is a link or a special file: remove it")
    return folder


def find_runs(directories: Iterable[Path | str], depth: int = 3) -> list[Path]:
    """Folders with a `run.json` in or under the directories, sorted. Hidden folders are skipped.

    A link directly to a run is that run. A link to anything else is not followed.
    """
    found: set[Path] = set()

    def look(folder: Path, left: int) -> None:
        if is_file(folder / MANIFEST):
            found.add(folder)
        elif left:
            with suppress(OSError):
                for child in folder.iterdir():
                    if is_folder(child) and not child.name.startswith("."):
                        look(child, 0 if child.is_symlink() else left - 1)

    for directory in directories:
        look(Path(directory), depth)
    return sorted(found)


def sha256_of(path: Path | str) -> str:
    """SHA-256 in hex of a file, or of a folder's names and contents (without hidden files and *.md)."""
    path = Path(path)
    if path.is_file():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    digest = hashlib.sha256()
    for name in sorted(f.relative_to(path).as_posix() for f in path.rglob("*") if f.is_file() and f.suffix != ".md"):
        if not any(p.startswith(".") for p in name.split("/")):
            digest.update(f"{name}\0{sha256_of(path / name)}\n".encode())
    return digest.hexdigest()


def read_manifest(path: Path) -> dict[str, Any]:
    """`run.json` of a run's folder as checked plain data, which the caller may change. Raises RunError."""
    return read_record(path).own()


def read_record(path: Path) -> Record:
    """The record of a run, which all readers share. Raises RunError: what is wrong with it, where, how to mend it."""
    file = path / MANIFEST
    if not is_folder(path):
        raise RunError(f"{path}: no such folder: give the folder of a run")
    refuse_strays(path)
    try:
        with file.open("rb") as open_file:
            raw = open_file.read(LONGEST + 1)
    except FileNotFoundError:
        raise RunError(f"{path}: not a run (it has no {MANIFEST}): give the folder of a run") from None
    except OSError as error:
        raise RunError(f"{file}: can't be read: {error.strerror}") from None
    found = parsed(raw)
    if isinstance(found, str):
        raise RunError(f"{file}: {found}")
    return found


def is_folder(path: Path) -> bool:
    """Whether there is a folder that can be looked at; a name that no file can have is none."""
    with suppress(OSError, ValueError):
        return path.is_dir()
    return False


def is_file(path: Path) -> bool:
    """Whether there is a file that can be looked at; a name that no file can have is none."""
    with suppress(OSError, ValueError):
        return path.is_file()
    return False


def refuse_foreign(path: Path) -> None:
    """Raise RunError unless a run may start here: in no folder, an empty one, or one where a start was cut short."""
    if path.exists() and not path.is_dir():
        raise RunError(f"{path}: is a file: give a folder for the run")
    ours = (LOCK, f".{MANIFEST}{TEMPORARY}")
    if path.is_dir():
        if any(child.name not in ours for child in path.iterdir()):
            raise RunError(f"{path}: not empty, and not a run: give a new or an empty folder")
        refuse_strays(path)


def remove_leftovers(run: Path, parts: Collection[str]) -> None:
    """Remove what a killed writer left in a run: temporary files, parts that are not among `parts`, empty folders.

    Only the writer may call it. Raises OSError.
    """
    for unfinished in (run / WEIGHTS).glob(".*"):
        shutil.rmtree(unfinished)
    for path in sorted(run.rglob("*"), reverse=True):  # what a folder holds comes before it
        name = path.relative_to(run).as_posix()
        if path.is_dir():
            if PARTS.fullmatch(f"{name}/.parquet") and not any(path.iterdir()):
                path.rmdir()
        elif name not in parts and (PARTS.fullmatch(name) or (path.name[0] == "." and path.suffix == TEMPORARY)):
            path.unlink(missing_ok=True)


def safe_part(part: str) -> str:
    """The part's name. Raises RunError if it leads out of the run's folder: a manifest may come from anybody."""
    pure = PurePosixPath(part)
    if pure.is_absolute() or ".." in pure.parts or "\\" in part or not part:
        raise RunError(f"part {part!r}: not a path inside the run")
    return part


def locked(path: Path) -> FileLock:
    """Take the writer's lock of a folder; the system releases it when the process dies. Raises RunError."""
    lock = FileLock(path / LOCK, thread_local=False)
    try:
        lock.acquire(timeout=0.5)  # `is_locked` holds it for an instant
    except Timeout:
        raise RunError(f"{path}: another process is writing this run: wait for it, or give another folder") from None
    except OSError as error:
        raise RunError(f"{path}: can't be written: {error.strerror or error}") from None
    return lock


def is_locked(path: Path) -> bool:
    """Whether a process holds the writer's lock."""
    if not (path / LOCK).exists():
        return False
    lock = FileLock(path / LOCK, thread_local=False)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    except OSError:  # a read-only folder: unknown
        return False
    lock.release()
    return False


@contextmanager
def readable_errors(target: Path) -> Iterator[None]:
    """Turn OSError into RunError, with a message of its own for a full disk."""
    try:
        yield
    except OSError as error:
        problem = f"can't be written: {error.strerror or error}"
        if error.errno in DISK_FULL:
            problem = "the disk is full: make room, then give the same command again; it goes on from here"
        if error.errno == TOO_LARGE:
            problem = "larger than files may be here (ulimit -f, or the file system): allow more, then go on from here"
        raise RunError(f"{target}: {problem}") from None


def replace_file(target: Path, write: Callable[[BinaryIO], Any], *, own: str = "") -> None:
    """Write a temporary file, flush it to the disk, and rename it. After a failure nothing is left behind.

    `own`: a word in the temporary file's name, where several processes may write the same file at once.
    """
    temporary = target.with_name(f".{target.name}{own and f'.{own}'}{TEMPORARY}")
    try:
        temporary.unlink(missing_ok=True)  # what is left of a writer that was killed, or a link that somebody planted
        with temporary.open("xb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    flush(target.parent)


def flush(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    if os.name == "posix":
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
