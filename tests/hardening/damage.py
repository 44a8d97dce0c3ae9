"""Damaged run folders: what `verify`, the pages and the import of a zip make of them; and single flipped bits."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

from streamlit.testing.v1 import AppTest

from dashboard.runs.run_import import import_run
from engine.config import InputError
from engine.runs.store import Run, RunError
from engine.runs.verify import verify
from tests import bad_runs
from tests.dashboard.app import PAGES, ROOT
from tests.dashboard.runs.test_run_import import members, zipped
from tests.synthetic_run import write_run

LONGEST = 700
HOW = ("cut", "flip", "gone", "longer", "empty", "other", "zeros", "folder")
RECORD = "run.json"


def sound(folder: Path) -> Path:
    return write_run(folder / "good", prompts=12, checkpoints=2, edits=("delete_cue",), noises=(0.0,))


def parts(run: Path) -> list[str]:
    return sorted(Run.open(run).parts)


def damaged(good: Path, n: int, seed: int = 0) -> Iterator[tuple[str, Path]]:
    """A name and a damaged copy beside the sound run: each kind of `bad_runs`, then random damage of a random file."""
    draw, bad = random.Random(seed), good.parent / "bad"
    kinds = bad_runs.UNREADABLE | bad_runs.UNSOUND
    for i in range(n):
        shutil.rmtree(bad, ignore_errors=True)
        shutil.copytree(good, bad)
        if i < len(kinds):
            name = list(kinds)[i]
            kinds[name](bad)
        else:
            part, how = draw.choice([*parts(good), RECORD]), draw.choice(HOW)
            how = "cut" if part == RECORD and how == "flip" else how  # a flip may hit a note
            name = f"{part}: {how}"
            _damage(bad, part, how, draw)
        yield name, bad


def _damage(run: Path, part: str, how: str, draw: random.Random) -> None:
    file = run / part
    raw = file.read_bytes()
    at = draw.randrange(1, len(raw) - 2)
    other = run / next(p for p in draw.sample(parts(run.parent / "good"), 2) if p != part)
    changed = {
        "cut": raw[:at],
        "flip": raw[:at] + bytes([raw[at] ^ 1 << draw.randrange(8)]) + raw[at + 1 :],
        "longer": raw + draw.randbytes(9),
        "empty": b"",
        "other": other.read_bytes(),
        "zeros": b"\0" * len(raw),
    }
    file.unlink()
    if how == "folder":
        file.mkdir()
    elif how in changed:
        file.write_bytes(changed[how])


def drawn(folder: Path, page: str, **parameters: str) -> AppTest:
    """A page on a folder of runs."""
    os.environ["COUPLING_RUNS"] = str(folder)
    app = AppTest.from_file(str(ROOT / "dashboard" / "app.py"), default_timeout=120)
    app.query_params.update(parameters)
    if page != "overview":
        app.switch_page(f"../pages/{page}.py")
    return app.run()


def misread(good: Path, bad: Path, page: str) -> str:
    """What is wrong with how a damaged run is taken; empty if it is refused, named, and alone."""
    problems = verify(bad)
    if not problems or any("\n" in line or len(line) > LONGEST for line in problems):
        return f"verify says {problems}"
    if verify(good):
        return "the sound run beside it is not sound any more"
    for run, wrong in (("good", good), ("bad", bad)):
        app = drawn(good.parent, page, run=run)
        if app.exception:
            return f"{page} of {run}: {app.exception[0].value[:200]}"
        if wrong is good and app.error:
            return f"{page} of the sound run: {app.error[0].value[:200]}"
    try:
        if bad.is_dir():
            import_run(zipped(members(bad)), good.parent / "imported")
        return "it comes in by a zip"
    except InputError as error:
        return "" if "\n" not in str(error) else f"zip: {error}"


def flips(good: Path, n: int, seed: int = 0) -> Iterator[str]:
    """One line for each flipped bit of a part that is read all the same; an empty one where it is refused."""
    draw = random.Random(seed)
    names = parts(good)
    sizes = [(good / part).stat().st_size for part in names]
    for _ in range(n):
        part = draw.choices(names, sizes)[0]
        raw = (good / part).read_bytes()
        at, bit = draw.randrange(len(raw)), draw.randrange(8)
        (good / part).write_bytes(raw[:at] + bytes([raw[at] ^ 1 << bit]) + raw[at + 1 :])
        try:
            run = Run.open(good)
            run.read_arrays(part) if part.endswith(".safetensors") else run.read_table(part)
            yield f"{part}: bit {bit} of byte {at} is not noticed"
        except RunError as error:
            yield "" if "not what was recorded" in str(error) else f"{part}: {error}"
        finally:
            (good / part).write_bytes(raw)


def pages(n: int) -> list[str]:
    return [PAGES[i % len(PAGES)] for i in range(n)]
