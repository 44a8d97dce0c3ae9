"""Hashes of files, taken once as long as a file stays as it is."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from engine.runs.files import sha256_of

SETTLED = 2 * 10**9
"""Nanoseconds. Clocks of file systems are coarse: of a file written a moment ago the stamp may hide a later write."""
MOST = 50_000
"""Hashes that are kept."""

Stamp = tuple[int, int, int, int]
"""Size, time of the content, time of the entry, inode."""

_kept: dict[tuple[str, Stamp], str] = {}
_lock = threading.Lock()
_locks = [threading.Lock() for _ in range(64)]
"""A file has the one of its name's hash: different files are hashed side by side."""
_beside = ThreadPoolExecutor(1, "hashes")


def stamp_of(file: Path) -> Stamp:
    about = os.stat(file)
    return about.st_size, about.st_mtime_ns, about.st_ctime_ns, about.st_ino


def hash_of(file: Path) -> str:
    """SHA-256 in hex of a file. It is read only if its stamp is new. Raises OSError."""
    stamp = stamp_of(file)
    key = (str(file), stamp)
    if (known := _kept.get(key)) is not None:
        return known
    with _locks[hash(key[0]) % len(_locks)]:  # sessions that wait for the same file find its hash
        if (known := _kept.get(key)) is not None:
            return known
        found = sha256_of(file)
        if stamp_of(file) == stamp and time.time_ns() - stamp[1] > SETTLED:
            with _lock:
                _kept[key] = found
                if len(_kept) > MOST:
                    del _kept[next(iter(_kept))]
    return found


def hash_ahead(files: Iterable[Path]) -> None:
    """Begin to hash files that will be read soon, beside what this process does meanwhile."""
    for file in files:
        _beside.submit(_hashed, file)


def _hashed(file: Path) -> None:
    with suppress(OSError):  # whoever reads the file is told
        hash_of(file)
