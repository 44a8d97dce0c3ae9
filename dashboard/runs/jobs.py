"""Runs made in the background: processes of their own that outlive a rerun, a browser and the dashboard itself.

A job is a folder `.jobs/<id>` beside the runs. All of its state is on disk: `job.json` (what), `spec.yaml` (absolute
paths), `pid` (written by the starter alone, atomically), `status.json` (written by `job_process`), `progress.jsonl`,
`log.txt`, and `cancelled` once a cancel was asked for. One job works at a time; the others wait for their turn.
Imports neither torch nor Streamlit.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import psutil
import yaml
from filelock import FileLock

from engine import child_environment
from engine.config import CheckpointSpec, InputError, RunSpec
from engine.progress import PROGRESS_FILE
from engine.runs.files import readable_errors, replace_file
from engine.runs.store import Run
from engine.spec_files import resolve_paths

JOBS = ".jobs"
MODULE = "dashboard.runs.job_process"
GRACE = 10.0
"""Seconds between asking a process to stop and killing it; what is on disk is whole in either case."""
LOG_TAIL = 20_000
"""Bytes of the log's end that are read."""

State = Literal["queued", "running", "cancelling", "finished", "interrupted", "failed"]
ACTIVE: tuple[State, ...] = ("queued", "running", "cancelling")
Code = tuple[str, str]
"""Name and path of a checkpoint whose own code the user has allowed to run."""


class JobError(InputError):
    """A job that can't be started, resumed or removed; one line in words."""


@dataclass(frozen=True)
class Job:
    folder: Path
    name: str
    run: Path
    """Folder of its run, which may not exist yet."""
    queued: float
    """Time at which it was last queued, in seconds since 1970."""

    @property
    def id(self) -> str:
        return self.folder.name


@dataclass(frozen=True)
class Stage:
    """Progress of one stage of the work; times in seconds since 1970."""

    name: str
    done: int
    total: int
    began: float
    at: float


# Starting


def foreign_code(spec: RunSpec) -> list[CheckpointSpec]:
    """Checkpoints of the spec with `trust_remote_code: true`: their own code would run."""
    return [c for c in (*spec.all_checkpoints, spec.other_model) if c and c.trust_remote_code]


def start(spec: RunSpec, runs: Path, trusted: Collection[Code] = ()) -> Job:
    """Queue a new run under the folder `runs`. Relative paths of the spec start there.

    Raises JobError where a run or a job of that name exists, or a checkpoint asks for its own code to be run and is
    not among `trusted`.
    """
    for checkpoint in foreign_code(spec):
        if (checkpoint.name, checkpoint.path) not in trusted:
            raise JobError(f"{checkpoint.name}: would run code that ships with it: allow that by name, or turn it off")
    runs = runs.resolve()
    with readable_errors(runs / JOBS):
        (runs / JOBS).mkdir(parents=True, exist_ok=True)
    with FileLock(runs / JOBS / ".starting", timeout=30):
        target = runs / spec.name
        if target.exists() or any(j.run == target and state(j) in ACTIVE for j in jobs(runs)):
            raise JobError(f"name: there is a run {spec.name!r} already: choose another name, or go on with that one")
        return _queue(resolve_paths(spec, runs), target, runs)


def resume_run(path: Path, runs: Path) -> Job:
    """Queue an unfinished run that has no job here, such as one made by the command line. Raises JobError."""
    spec, path = resolve_paths(Run.open(path).spec, path.resolve()), path.resolve()
    if foreign_code(spec):
        raise JobError("this run's spec lets code of its checkpoints run: go on with it by the command coupling run")
    runs = runs.resolve()
    known = next((j for j in jobs(runs) if j.run == path), None)
    if known:
        resume(known)
        return known
    with readable_errors(runs / JOBS):
        (runs / JOBS).mkdir(parents=True, exist_ok=True)
    return _queue(spec, path, runs)


def resume(job: Job) -> None:
    """Queue an interrupted or failed job again; its run goes on where it stopped. Raises JobError if it is active."""
    if state(job) in ACTIVE:
        raise JobError(f"{job.name}: is {state(job)} already")
    for name in ("cancelled", "status.json", "progress.jsonl"):
        (job.folder / name).unlink(missing_ok=True)
    _launch(job)


def _queue(spec: RunSpec, target: Path, runs: Path) -> Job:
    folder = runs / JOBS / datetime.now().strftime("%Y%m%d-%H%M%S-%f")
    job = Job(folder, spec.name, target, time.time())
    plain = spec.model_dump(mode="json", exclude_defaults=True)
    with readable_errors(folder):
        folder.mkdir()
        (folder / "spec.yaml").write_text(yaml.safe_dump(plain, sort_keys=False, allow_unicode=True), encoding="utf-8")
    _launch(job)
    return job


def _launch(job: Job) -> None:
    about = {"name": job.name, "run": str(job.run), "queued": time.time()}
    environment = child_environment(PYTHONUNBUFFERED="1", **{PROGRESS_FILE: str(job.folder / "progress.jsonl")})
    with readable_errors(job.folder):
        replace_file(job.folder / "job.json", lambda file: file.write(json.dumps(about).encode()))
        with (job.folder / "log.txt").open("ab") as log:
            process = subprocess.Popen(
                command(job),
                cwd=job.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # so that neither Ctrl-C nor a closed terminal reaches it
            )
        replace_file(job.folder / "pid", lambda file: file.write(str(process.pid).encode()))
    threading.Thread(target=process.wait, daemon=True).start()  # or it would stay a zombie after its end


def command(job: Job) -> list[str]:
    return [sys.executable, "-m", MODULE, str(job.folder)]


# Looking


def jobs(runs: Path) -> list[Job]:
    """All jobs beside the runs, the latest first; folders that hold no readable job are left out."""
    return sorted(filter(None, map(_read, (runs.resolve() / JOBS).glob("*/job.json"))), key=lambda j: -j.queued)


def _read(file: Path) -> Job | None:
    with suppress(OSError, ValueError, KeyError, TypeError):
        about = json.loads(file.read_text(encoding="utf-8"))
        return Job(file.parent, str(about["name"]), Path(about["run"]), float(about["queued"]))
    return None


def state(job: Job) -> State:
    cancelled = (job.folder / "cancelled").exists()
    status = _status(job)  # read before the process is looked for: it may end in between
    if process_of(job):
        return "cancelling" if cancelled else "running" if status.get("phase") in ("working", "ended") else "queued"
    code = _status(job).get("code")
    if code == 0:
        return "finished"
    return "interrupted" if cancelled or code in (None, 130) else "failed"


def process_of(job: Job) -> psutil.Process | None:
    """The living process of a job. Another process that got the same number has another command line."""
    with suppress(OSError, ValueError, psutil.Error):
        process = psutil.Process(int((job.folder / "pid").read_text()))
        mine = _command_line(process)[1:] == command(job)[1:]
        return process if mine and process.status() != psutil.STATUS_ZOMBIE else None
    return None


def _command_line(process: psutil.Process) -> list[str]:
    """The arguments of a process. The system shows none for a moment while it sets a new process up: wait for them."""
    for _ in range(100):
        line = process.cmdline()  # raises psutil.ZombieProcess for one that has ended
        if line:
            return line
        time.sleep(0.02)
    return []


def _status(job: Job) -> dict[str, Any]:
    with suppress(OSError, ValueError):
        status = json.loads((job.folder / "status.json").read_text())
        return status if isinstance(status, dict) else {}
    return {}


def progress(job: Job) -> list[Stage]:
    """The stages begun so far, in their order."""
    found: dict[str, Stage] = {}
    with suppress(OSError):
        for line in (job.folder / "progress.jsonl").read_text(encoding="utf-8", errors="replace").splitlines():
            with suppress(ValueError, KeyError, TypeError):  # a line that is being written
                said = json.loads(line)
                name, at = str(said["stage"]), float(said["at"])
                began = found[name].began if name in found else at
                found[name] = Stage(name, int(said["done"]), int(said["total"]), began, at)
    return list(found.values())


def log(job: Job) -> str:
    """The end of the process's log; of a line that was redrawn, its last state."""
    with suppress(OSError), (job.folder / "log.txt").open("rb") as file:
        file.seek(0, os.SEEK_END)
        file.seek(max(0, file.tell() - LOG_TAIL))
        text = file.read().decode(errors="replace")
        return "\n".join(line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n")).strip()
    return ""


def reason(job: Job) -> str:
    """Why a job ended before its run was finished, in one line; empty where there is nothing to say."""
    now = state(job)
    last = next((line for line in reversed(log(job).splitlines()) if line.strip()), "")
    if now == "failed":
        return last.removeprefix("coupling: ") or f"ended with code {_status(job).get('code')} and without a word"
    if now == "interrupted" and not (job.folder / "cancelled").exists() and _status(job).get("code") is None:
        return "its process is gone without a word: killed, out of memory, or the machine was switched off"
    return ""


# Ending


def cancel(job: Job, grace: float = GRACE) -> threading.Thread | None:
    """Ask the process to stop, and kill it after `grace` seconds if it has not; the run can be resumed later.

    Returns the thread that waits and kills; None if there was no process.
    """
    process = process_of(job)
    if process is None:
        return None
    (job.folder / "cancelled").touch()

    def stop() -> None:
        _signal(process, signal.SIGTERM)
        _, alive = psutil.wait_procs([process], timeout=grace)
        if alive:
            _signal(process, getattr(signal, "SIGKILL", signal.SIGTERM))

    thread = threading.Thread(target=stop, daemon=True)
    thread.start()
    return thread


def _signal(process: psutil.Process, number: int) -> None:
    """To the process and its children: it leads a group of its own."""
    with suppress(OSError, psutil.Error):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)


def forget(job: Job) -> None:
    """Remove an ended job's record and log; its run stays. Raises JobError for one that has not ended."""
    if state(job) in ACTIVE:
        raise JobError(f"{job.name}: is {state(job)}: cancel it first")
    shutil.rmtree(job.folder, ignore_errors=True)


def writes(path: Path, runs: Path) -> bool:
    """Whether a job that has not ended works, or waits to work, on the run in this folder."""
    return any(j.run == path.resolve() and state(j) in ACTIVE for j in jobs(runs))
