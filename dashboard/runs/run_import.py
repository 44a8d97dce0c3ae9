"""A run from a zip file, which may come from anybody: checked before it is unpacked, while it is, and after.

Only names that a run has and only plain files are accepted, within limits on their number and size that hold whatever
the zip claims. The zip is unpacked into a hidden folder, its hashes and tables are verified there, and then one rename
puts it among the runs: there is never half a run. Imports no Streamlit.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import tempfile
import time
import zipfile
import zlib
from collections import Counter
from pathlib import Path, PurePosixPath
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from dashboard.serving import access
from engine.config import InputError, RunSpec
from engine.runs.files import MANIFEST, hidden_folder, readable_errors
from engine.runs.manifest import LONGEST_NAME
from engine.runs.store import Run, RunError
from engine.runs.verify import verify

IMPORTS = ".imports"
MOST_BYTES = 4 * 10**9
"""Limit on the unpacked size of all files together."""
MOST_FILES = 20_000
MOST_TIMES = 200
"""Limit on a file's size relative to its packed size: text shrinks to a tenth, a zip bomb to a thousandth."""
SMALL = 1_000_000
"""Bytes up to which a file may have any packed size."""
MOST_ROWS = 50_000_000
"""Limit on the rows of one table: a few bytes of Parquet can claim any number of rows."""
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

    name: of its folder; where empty, the folder in the zip gives it, or `stem`, or the spec. Raises AccessError,
    ImportProblem (not a zip, a name or size that is refused, damage, a name that is taken) and RunError; nothing is
    left behind.
    """
    access.require("change")
    home = hidden_folder(runs, IMPORTS)
    with readable_errors(home):
        for old in home.iterdir():  # of an import that was cut off
            if old.stat().st_mtime < time.time() - 3600:
                shutil.rmtree(old, ignore_errors=True)
        folder = Path(tempfile.mkdtemp(dir=home))
    try:
        inside = _unpack(file, folder / "run")
        spec = _verified(folder / "run")
        if name and not NAME.fullmatch(name):
            raise ImportProblem(
                f"name {name[:100]!r}: use letters, digits, dot, _ and -, and begin with a letter or digit"
            )
        target = runs / next(n for n in (name, inside, stem, spec.name) if NAME.fullmatch(n))
        if len(target.name) > LONGEST_NAME:
            raise ImportProblem(f"name {target.name[:40]!r}…: use at most {LONGEST_NAME} characters")
        if os.path.lexists(target):
            raise ImportProblem(f"there is a run {target.name!r} already: give the imported one another name")
        with readable_errors(target):
            (folder / "run").rename(target)
        return target
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _contents(archive: zipfile.ZipFile) -> tuple[str, dict[str, zipfile.ZipInfo]]:
    """The folder in the zip that holds the run ("" for none), and the run's files by their names in it.

    Raises ImportProblem for a name, a kind of file, a number or a claimed size that a run does not have.
    """
    entries = [e for e in archive.infolist() if not _LITTER.match(e.filename)]
    files = [e for e in entries if not e.is_dir()]
    if len(entries) > MOST_FILES:
        raise ImportProblem(f"the zip holds {len(entries):,} files: a run has at most {MOST_FILES:,}")
    for entry in entries:
        _refuse_unusual(entry)
    total = sum(e.file_size for e in files)
    if total > MOST_BYTES:
        raise ImportProblem(f"the zip unpacks to {total / 1e9:.1f} GB: the limit is {MOST_BYTES / 1e9:g} GB")
    manifests = [e.filename for e in files if PurePosixPath(e.filename).name == MANIFEST]
    if len(manifests) != 1:
        raise ImportProblem(f"the zip holds {len(manifests) or 'no'} {MANIFEST}: make it of the folder of one run")
    inside = manifests[0].removesuffix(MANIFEST)
    if inside.count("/") > 1:
        raise ImportProblem(f"{MANIFEST} lies too deep in the zip: make it of the run's folder itself")
    for name in (e.filename for e in files):
        if not name.startswith(inside) or not _PARTS.fullmatch(name.removeprefix(inside)):
            raise ImportProblem(f"the zip holds {name[:100]!r}, which no run has: remove it from the zip")
    name, times = Counter(e.filename.casefold() for e in files).most_common(1)[0]
    if times > 1:
        raise ImportProblem(f"the zip holds {name!r} twice")
    return inside.rstrip("/"), {e.filename.removeprefix(inside): e for e in files}


def _refuse_unusual(entry: zipfile.ZipInfo) -> None:
    """Raise ImportProblem unless this is a plain file or folder inside the zip, packed in the usual way."""
    kind, path = stat.S_IFMT(entry.external_attr >> 16), PurePosixPath(entry.filename)
    outside = path.is_absolute() or ".." in path.parts
    swollen = entry.file_size > SMALL and entry.file_size > MOST_TIMES * max(entry.compress_size, 1)
    refused = {
        "a link or a special file: only plain files are accepted": kind not in (0, stat.S_IFREG, stat.S_IFDIR),
        "which is not a path inside a run": outside
        or re.search(r"[\\:\x00-\x1f]", entry.filename + entry.orig_filename),
        "which is encrypted: make the zip without a password": entry.flag_bits & 1,
        "which is packed in an unusual way: use deflate, the default of all programs": entry.compress_type
        not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED),
        f"which unpacks to over {MOST_TIMES} times its size: refused as a zip bomb": swollen,
    }
    for words, found in refused.items():
        if found:
            raise ImportProblem(f"the zip holds {entry.filename[:100]!r}, {words}")


def _unpack(file: BinaryIO, folder: Path) -> str:
    """Write the run's files into the folder, and return the name of the zip's own folder."""
    try:
        with zipfile.ZipFile(file) as archive:
            inside, found = _contents(archive)
            if sum(e.file_size for e in found.values()) > shutil.disk_usage(folder.parent).free:
                raise ImportProblem("the disk has no room for this run: make some, then import it again")
            for part, entry in found.items():
                _unpack_file(archive, entry, folder / part)
    except InputError:
        raise
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, ValueError) as error:  # places outside of it
        raise ImportProblem(f"not a sound zip file ({error}): make or download it again") from None
    return inside


def _unpack_file(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, target: Path) -> None:
    size = 0
    with readable_errors(target), archive.open(entry) as source:
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("xb") as out:
            while chunk := source.read(CHUNK):
                size += len(chunk)
                if size > entry.file_size:  # the claimed sizes together are within the limit
                    raise ImportProblem(f"{target.name!r} is larger than the zip says: refused")
                out.write(chunk)


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
    for part in (p for p in present if p.endswith(".parquet")):
        _refuse_endless(folder, part)
    if problems := verify(folder):
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise ImportProblem(f"not a sound run: {problems[0].replace(f'{folder}/', '')}{more}")
    return run.spec


def _refuse_endless(folder: Path, part: str) -> None:
    """Check the size that a table claims, before anything reads it whole."""
    try:
        about = pq.read_metadata(folder / part)
    except (pa.ArrowException, OSError):
        raise ImportProblem(f"not a sound run: {part} is no table") from None
    size = sum(about.row_group(i).total_byte_size for i in range(about.num_row_groups))
    if about.num_rows > MOST_ROWS or size > MOST_BYTES:
        raise ImportProblem(f"{part} claims {about.num_rows:,} rows and {size / 1e9:.1f} GB: too large to import")
