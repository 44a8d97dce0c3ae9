"""The attacks by name: each yields one line for every case, empty where the promise holds."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from tests.hardening.commands import wrong
from tests.tiny_run import write_spec


@dataclass(frozen=True)
class Attack:
    about: str
    promise: str
    n: int
    """Cases, where nobody says how many; 0: as many as there are."""
    tried: Callable[[Path, int, int], Iterator[str]]
    """(an empty folder, number of cases, seed) → a line for each case."""


def kills(folder: Path, n: int, seed: int) -> Iterator[str]:
    from tests.hardening.kills import Kills

    killed, draw = Kills(folder), random.Random(seed)
    for _ in range(n):
        yield killed.killed(draw.uniform(0, killed.seconds))


def moments(folder: Path, n: int, seed: int) -> Iterator[str]:
    from tests.hardening.kills import Kills

    killed = Kills(folder)
    left = killed.moments()
    for copy in random.Random(seed).sample(left, n) if n else left:
        yield killed.left(copy)


def damage(folder: Path, n: int, seed: int) -> Iterator[str]:
    from tests.hardening import damage as damages

    good = damages.sound(folder)
    for page, (name, bad) in zip(damages.pages(n), damages.damaged(good, n, seed), strict=True):
        found = damages.misread(good, bad, page)
        yield f"{name}: {found}" if found else ""


def flips(folder: Path, n: int, seed: int) -> Iterator[str]:
    from tests.hardening import damage as damages

    yield from damages.flips(damages.sound(folder), n, seed)


def addresses(folder: Path, n: int, seed: int) -> Iterator[str]:
    from tests.hardening import damage as damages
    from tests.hardening.addresses import opened

    damages.sound(folder)
    yield from opened(folder, n, seed)


def specs(folder: Path, n: int, seed: int) -> Iterator[str]:
    from tests.hardening import odd

    for name, path in odd.specs(folder, n, seed):
        yield _tried(name, "run", str(path), "--out", str(folder / "run"), "--quiet")
        shutil.rmtree(folder / "run", ignore_errors=True)


def files(folder: Path, n: int, seed: int) -> Iterator[str]:
    """Data files, each as the examples of a run, and every third one as a file to import."""
    from tests.hardening import odd

    spec = yaml.safe_load(write_spec(folder).read_text())
    spec["noise"]["levels"] = [0]
    for i, (name, path) in enumerate(odd.data_files(folder, n, seed)):
        spec["task"]["path"] = path.name
        (folder / "odd.yaml").write_text(yaml.safe_dump(spec))
        yield _tried(name, "run", str(folder / "odd.yaml"), "--out", str(folder / "run"), "--quiet")
        if i % 3 == 0:
            out = str(folder / "imported")
            yield _tried(f"import {name}", "import", "jsonl", str(path), "--out", out, "--yes", "--task", "odd")
        for made in ("run", "imported"):
            shutil.rmtree(folder / made, ignore_errors=True)


def checkpoints(folder: Path, n: int, seed: int) -> Iterator[str]:
    from tests.hardening import odd

    write_spec(folder)
    for name, path in odd.checkpoints(folder, folder / "first", n, seed):
        yield _tried(name, "check", str(path))


def _tried(name: str, *arguments: str) -> str:
    found = wrong(*arguments)
    return f"{name}: {found}" if found else ""


ONE_LINE = "the command works, or ends with 2 and one line"
ATTACKS = {
    "kills": Attack(
        "kill −9 at random points of a run", "the same command ends with equal bytes, nothing left over", 60, kills
    ),
    "moments": Attack("kill −9 before and after each fsync, rename, unlink", "the same", 0, moments),
    "damage": Attack(
        "damaged folders: verify, pages, zip", "refused and named, the run beside it unaffected", 200, damage
    ),
    "flips": Attack("single-bit flips", "none is read as a result", 600, flips),
    "specs": Attack("odd specs", ONE_LINE, 200, specs),
    "files": Attack("odd data files, run and imported", ONE_LINE, 120, files),
    "checkpoints": Attack("odd checkpoints", ONE_LINE, 100, checkpoints),
    "addresses": Attack("odd values in addresses of pages", "the page is drawn, or says what is wrong", 300, addresses),
}
