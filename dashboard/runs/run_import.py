"""A run from a zip file, which may come from anybody: checked before it is unpacked, while it is, and after.

Only names that a run has are taken, only plain files, and no more of them or larger than the limits, whatever the
zip claims of itself. It is unpacked into a hidden folder, its hashes and tables are verified there, and then one
rename puts it among the runs: there is never half a run. Imports no Streamlit.
"""

from __future__ import annotations

import re
import shutil
import stat
import tempfile
import time
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from engine.config import InputError, RunSpec
from engine.runs.files import MANIFEST, readable_errors
from engine.runs.store import Run, RunError
from engine.runs.verify import verify

IMPORTS = ".imports"
MOST_BYTES = 4 * 10**9
"""Unpacked, all files together."""
MOST_FILES = 20_000
MOST_TIMES = 200
"""How much larger than its packed form a file may be: text packs ten times, a zip bomb a thousand times."""
SMALL = 1_000_000
"""Bytes up to which a file may pack as well as it likes."""
MOST_ROWS = 50_000_000
"""Of one table: a few bytes of Parquet can claim any number of rows."""
CHUNK = 1 << 20

_WORD = r"[A-Za-z0-9_][A-Za-z0-9._-]*"
_PARTS = re.compile(
    rf"run\.json|(examples|explanations|metrics)\.parquet|behavior/{_WORD}\.parquet"
    rf"|hidden/{_WORD}/(examples-)?\d{{5}}\.safetensors|concurrent/{_WORD}\.safetensors|patching/{_WORD}\.parquet"
    rf"|checkpoints/{_WORD}/{_WORD}\.(json|safetensors|txt|model|jinja)"
)
"""The names of a run's parts, and of checkpoints that it trained itself: no code, no pickles."""
_LITTER = re.compile(r"__MACOSX/|(.*/)?\.DS_Store$|(.*/)?\.lock$")
NAME = re.compile(next(m.pattern for m in RunSpec.model_fields["name"].metadata if hasattr(m, "pattern")))


class ImportProblem(InputError):
    """A zip that is no sound run; one line that says what is wrong with it."""


def import_run(file: BinaryIO, runs: Path, name: str = "", *, stem: str = "") -> Path:
    """Unpack a run from a zip into `runs`, and return its folder.

    name: of its folder; where empty, the folder in the zip gives it, or `stem`, or the spec. Raises ImportProblem
    (not a zip, a name or size that is refused, damage, a name that is taken) and RunError; nothing is left behind.
    """
    home = runs / IMPORTS
    with readable_errors(home):
        home.mkdir(parents=True, exist_ok=True)
        for old in home.iterdir():  # of an import that was cut off
            if old.stat().st_mtime < time.time() - 3600:
                shutil.rmtree(old, ignore_errors=True)
        folder = Path(tempfile.mkdtemp(dir=home))
    try:
        inside = _unpack(file, folder / "run")
        spec = _verified(folder / "run")
        target = runs / _name(name, inside, stem, spec.name)
        if target.exists():
            raise ImportProblem(f"there is a run {target.name!r} already: give the imported one another name")
        with readable_errors(target):
            (folder / "run").rename(target)
        return target
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def contents(archive: zipfile.ZipFile) -> tuple[str, dict[str, zipfile.ZipInfo]]:
    """The folder in the zip that holds the run ("" for none), and the run's files by their names in it.

    Raises ImportProblem for a name, a kind of file, a number or a claimed size that a run does not have.
    """
    entries = [e for e in archive.infolist() if not _LITTER.match(e.filename)]
    files = [e for e in entries if not e.is_dir()]
    if len(entries) > MOST_FILES:
        raise ImportProblem(f"the zip holds {len(entries):,} files: a run has at most {MOST_FILES:,}")
    for entry in entries:
        _plain(entry)
    total = sum(e.file_size for e in files)
    if total > MOST_BYTES:
        raise ImportProblem(f"the zip unpacks to {total / 1e9:.1f} GB: at most {MOST_BYTES / 1e9:g} GB are taken")
    manifests = [e.filename for e in files if PurePosixPath(e.filename).name == MANIFEST]
    if len(manifests) != 1:
        raise ImportProblem(f"the zip holds {len(manifests) or 'no'} {MANIFEST}: make it of the folder of one run")
    inside = manifests[0].removesuffix(MANIFEST)
    if inside.count("/") > 1:
        raise ImportProblem(f"{MANIFEST} lies too deep in the zip: make it of the run's folder itself")
    found: dict[str, zipfile.ZipInfo] = {}
    seen: set[str] = set()
    for entry in files:
        part = entry.filename.removeprefix(inside)
        if not entry.filename.startswith(inside) or not _PARTS.fullmatch(part):
            raise ImportProblem(f"the zip holds {entry.filename[:100]!r}, which no run has: remove it from the zip")
        if part.casefold() in seen:
            raise ImportProblem(f"the zip holds {part!r} twice")
        seen.add(part.casefold())
        found[part] = entry
    return inside.rstrip("/"), found


def _plain(entry: zipfile.ZipInfo) -> None:
    """Raise ImportProblem for what is not a plain file or folder inside the zip, or not honestly packed."""
    name = entry.filename
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise ImportProblem(f"the zip holds {name[:100]!r}, a link or a special file: only plain files are taken")
    pure = PurePosixPath(name)
    if pure.is_absolute() or ".." in pure.parts or re.search(r"[\\:\x00-\x1f]", name + entry.orig_filename):
        raise ImportProblem(f"the zip holds {name[:100]!r}, which is no path inside a run")
    if entry.flag_bits & 1:
        raise ImportProblem("the zip is encrypted: make it without a password")
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ImportProblem(f"the zip packs {name[:100]!r} in an unusual way: use deflate, the default of all programs")
    if entry.file_size > SMALL and entry.file_size > MOST_TIMES * max(entry.compress_size, 1):
        raise ImportProblem(f"{name[:100]!r} unpacks to over {MOST_TIMES} times its size: refused as a zip bomb")


def _unpack(file: BinaryIO, folder: Path) -> str:
    """Write the run's files into the folder, and return the name of the zip's own folder."""
    left = MOST_BYTES
    try:
        with zipfile.ZipFile(file) as archive:
            inside, found = contents(archive)
            if sum(e.file_size for e in found.values()) > shutil.disk_usage(folder.parent).free:
                raise ImportProblem("the disk has no room for this run: make some, then import it again")
            for part, entry in found.items():
                target = folder / part
                with readable_errors(target), archive.open(entry) as source:
                    target.parent.mkdir(parents=True, exist_ok=True)
                    with target.open("xb") as out:
                        size = 0
                        while chunk := source.read(CHUNK):
                            size += len(chunk)
                            if size > entry.file_size or size > left:
                                raise ImportProblem(f"{part!r} is larger than the zip says: refused")
                            out.write(chunk)
                        left -= size
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, UnicodeDecodeError) as error:
        raise ImportProblem(f"not a sound zip file ({error}): make or download it again") from None
    return inside


def _verified(folder: Path) -> RunSpec:
    """The spec of a run that is complete and sound; else ImportProblem. Only what the manifest names may be there."""
    try:
        run = Run.open(folder)
    except RunError as error:
        raise ImportProblem(str(error).replace(f"{folder}/", "")) from None
    present = {f.relative_to(folder).as_posix() for f in folder.rglob("*") if f.is_file()}
    trained = tuple(f"checkpoints/{c.name}/" for c in run.spec.checkpoints if c.trained)
    if strangers := sorted(p for p in present - {MANIFEST, *run.parts} if not p.startswith(trained)):
        raise ImportProblem(f"the zip holds {strangers[0]!r}, which {MANIFEST} does not name: remove it from the zip")
    _refuse_swollen(folder, (p for p in present if p.endswith(".parquet")))
    if problems := verify(folder):
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise ImportProblem(f"not a sound run: {problems[0].replace(f'{folder}/', '')}{more}")
    return run.spec


def _refuse_swollen(folder: Path, tables: Iterable[str]) -> None:
    """Look at the tables' own claims before anything reads them whole."""
    for part in tables:
        try:
            about = pq.read_metadata(folder / part)
        except (pa.ArrowException, OSError):
            raise ImportProblem(f"not a sound run: {part} is no table") from None
        size = sum(about.row_group(i).total_byte_size for i in range(about.num_row_groups))
        if about.num_rows > MOST_ROWS or size > MOST_BYTES:
            raise ImportProblem(f"{part} claims {about.num_rows:,} rows and {size / 1e9:.1f} GB: too large to take")


def _name(given: str, inside: str, stem: str, own: str) -> str:
    """The first of the names that can be a run's; a given one must."""
    if given and not NAME.fullmatch(given):
        raise ImportProblem(
            f"name {given[:100]!r}: use letters, digits, dot, _ and -, and begin with a letter or digit"
        )
    return next(n for n in (given, inside, stem, own) if NAME.fullmatch(n))


__all__ = ["ImportProblem", "RunError", "contents", "import_run"]
