"""kill -9 of a real run at random moments, and the folder that a kill at each fsync, rename and unlink leaves.

The same command must then finish the run, with the bytes of one that nobody killed and no file beside them. A run is
made in a forked process, so that torch is imported once. A killed process leaves its folder as it was at that moment:
so one run is made, and its folder is copied before and after each watched call wherever it has changed.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from engine import pipeline
from engine.config import RunSpec
from engine.model import batch_size
from engine.runs import pieces
from engine.runs.files import MANIFEST
from engine.runs.verify import verify
from engine.spec_files import load_spec
from engine.training import state
from tests.tiny_run import examples, write_spec

WATCHED = ("fsync", "replace", "rename", "unlink", "remove", "rmdir")
SHARD = 12
"""Examples of a shard: small, so that behavior is written in several parts."""
TOKENS = 5
"""Tokens of a batch: so few that a shard is measured in several pieces, each of which is saved, as is every step."""
UNFINISHED = ("run.json: the run is running, not complete", "run.json: the run is interrupted, not complete")


def a_spec(folder: Path) -> RunSpec:
    """A run that trains a checkpoint with an explainer beside it, and measures in pieces."""
    lines = [json.dumps({"prompt": line["prompt"], "answer": line["answer_a"]}) + "\n" for line in examples(1)]
    (folder / "dialogues.jsonl").write_text("".join(lines))
    checkpoints = [
        {"name": "gpt2--step-0000", "path": "first", "step": 0},
        *({"name": f"gpt2--step-{step:04d}", "trained": True, "step": step} for step in (2, 4)),
    ]
    concurrent = {"edit": "delete_cue", "layer": -1}
    changes = {
        "checkpoints": checkpoints,
        "hidden": {"layers": [-1]},
        "explainers": {"kinds": ["ridge"], "regimes": ["frozen"], "folds": 2, "steps": 5},
        "noise": {"levels": [0], "kinds": ["shuffle"], "seeds": 1},
        "post_training": {"dialogues": "dialogues.jsonl", "prompts_a_step": 4, "concurrent": concurrent},
    }
    path = write_spec(folder, "killed", **changes)
    (folder / "data.jsonl").write_text("".join(json.dumps(line) + "\n" for line in examples(1)))
    return load_spec(path)


def forked(work: Callable[[], object], kill_after: float | None = None) -> int:
    """Do some work in a forked process: its exit code, or minus the signal that ended it."""
    child = os.fork()
    if not child:
        code = 1
        try:
            work()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    if kill_after is not None:
        time.sleep(kill_after)
        os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def made(spec: RunSpec, out: Path, copies: Path | None = None) -> None:
    """Make the run, in this process alone. `copies` gets its folder as it is before and after each watched call."""
    if copies:
        for name in WATCHED:
            setattr(os, name, _watched(getattr(os, name), out, copies))
    pieces.SHARD, pieces.SECONDS, state.SECONDS = SHARD, 0.0, 0.0
    batch_size.tokens_a_batch = lambda model: TOKENS
    pipeline.make_run(spec, out)


def _watched(call: Callable, out: Path, copies: Path) -> Callable:
    def copy() -> None:
        now = "".join(f"{name} {hashlib.sha256(raw).hexdigest()}\n" for name, raw in sorted(files(out).items()))
        kept = copies / hashlib.sha256(now.encode()).hexdigest()[:12]
        if not kept.exists():
            shutil.copytree(out, kept)

    def around(*given: object, **more: object) -> object:
        copy()
        result = call(*given, **more)
        copy()
        return result

    return around


def files(folder: Path) -> dict[str, bytes]:
    """What stands in a folder: of a file its bytes, of a folder nothing."""
    return {p.relative_to(folder).as_posix(): b"" if p.is_dir() else p.read_bytes() for p in folder.rglob("*")}


def content(out: Path) -> dict[str, bytes]:
    """What stands in a run's folder; of its record all but the time that it took."""
    found = files(out)
    return found | {MANIFEST: json.dumps(json.loads(found[MANIFEST]) | {"timings": {}}).encode()}


class Kills:
    """The unbroken run, and what became of one that was killed."""

    def __init__(self, folder: Path):
        self.folder, self.spec = folder, a_spec(folder)
        started = time.perf_counter()
        assert forked(lambda: made(self.spec, folder / "unbroken")) == 0
        self.seconds = time.perf_counter() - started
        self.wanted = content(folder / "unbroken")

    def moments(self) -> list[Path]:
        """The different folders that a kill at some moment leaves."""
        copies = self.folder / "copies"
        copies.mkdir()
        assert forked(lambda: made(self.spec, self.folder / "watched", copies)) == 0
        return sorted(copies.iterdir(), key=lambda copy: copy.stat().st_ctime_ns)

    def killed(self, seconds: float) -> str:
        """What is wrong with a run that was killed after some seconds and then finished; empty if nothing is."""
        out = self.folder / "killed"
        forked(lambda: made(self.spec, out), kill_after=seconds)
        return self.finished(out)

    def left(self, copy: Path) -> str:
        """The same for a folder that a kill left."""
        out = self.folder / "killed"  # beside the unbroken run: a record holds paths relative to its folder
        copy.rename(out)
        return self.finished(out)

    def finished(self, out: Path) -> str:
        """Go on with a run, compare, and remove it."""
        problems = [p for p in verify(out) if p not in UNFINISHED] if (out / MANIFEST).exists() else []
        code = forked(lambda: made(self.spec, out))
        found = {} if code else content(out)
        shutil.rmtree(out)
        if problems:
            return f"after the kill: {problems[0]}"
        if code:
            return f"the same command ends with {code}"
        if over := sorted(found.keys() - self.wanted.keys()):
            return f"left over: {over[0]}"
        if other := sorted(name for name, value in self.wanted.items() if found.get(name) != value):
            return f"not the same bytes: {other[0]}"
        return ""
