"""Runs made in the background: processes of their own that outlive a rerun, a browser and the dashboard itself.

A job is a folder `.jobs/<id>` beside the runs, and all of its state is on disk:

- `job.json` says which run it makes, and `spec.yaml` how (absolute paths).
- `pid` holds the number of its process, and is locked while that process lives. The starter takes the lock before it
  writes `job.json`, and the process inherits it. So at no moment does a job that was started look as if it had ended.
- `status.json`, `progress.jsonl` and `log.txt` are written by the process (`job_process`).
- `cancelled` is there once a cancel was asked for.

One job works at a time; the others wait for their turn. Imports neither torch nor Streamlit.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import psutil
import yaml
from filelock import FileLock

from dashboard.runs import consent
from dashboard.runs.consent import Consent
from dashboard.serving import access
from engine import child_environment
from engine.config import InputError, RunSpec
from engine.progress import PROGRESS_FILE
from engine.runs.files import hidden_folder, readable_errors, refuse_strays, replace_file, stray
from engine.runs.store import Run
from engine.spec_files import load_spec, resolve_paths

JOBS, PID, CANCELLED = ".jobs", "pid", "cancelled"
GRACE = 10.0
"""Seconds between asking a process to stop and killing it. Parts on disk are whole in either case."""
LOG_TAIL = 20_000
"""Bytes of the log's end that are read."""

State = Literal["queued", "running", "cancelling", "finished", "interrupted", "failed"]
ACTIVE: tuple[State, ...] = ("queued", "running", "cancelling")


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


@dataclass(frozen=True)
class Stage:
    """Progress of one stage of the work; times in seconds since 1970."""

    name: str
    done: int
    total: int
    began: float
    at: float
    unit: str = ""
    """Of `done` and `total`: `tokens`, or empty."""
    first: int = 0
    """What was done before it began here: a run that goes on does not begin at 0."""
    note: str = ""
    """How it goes, in a few words; mostly empty."""

    @property
    def rate(self) -> float | None:
        """Units a second since it began; None: too early to say."""
        seconds = self.at - self.began
        return (self.done - self.first) / seconds if seconds > 0 and self.done > self.first else None


# Starting


def start(spec: RunSpec, runs: Path, given: Collection[Consent] = ()) -> Job:
    """Queue a new run under the folder `runs`. Relative paths of the spec start there.

    Raises AccessError, ConsentError (see `consent.require`), and JobError where a run or a job of that name exists.
    """
    access.require("change")
    consent.require(spec, given)
    runs = runs.resolve()
    target = runs / spec.name
    with _starting(runs):
        if target.exists() or writes(target, runs):
            raise JobError(f"name: there is a run {spec.name!r} already: choose another name, or go on with that one")
        return _queue(resolve_paths(spec, runs), target, runs)


def resume(path: Path, runs: Path, given: Collection[Consent] = (), within: Iterable[Path | str] | None = None) -> Job:
    """Queue the run in this folder again, whether a job or the command line began it; it goes on where it stopped.

    within: the folders that a person named; by default `runs`. Raises AccessError, ConsentError (`consent.require`),
    JobError where the run lies elsewhere or a job of it is active, and RunError or SpecError where it can't be read.
    """
    access.require("change")
    path, runs = path.resolve(), runs.resolve()
    if not inside(path, [runs] if within is None else within):
        raise JobError(f"{path}: lies outside the folders of this dashboard: go on by the command coupling run")
    if path.exists():
        refuse_strays(path)
    with _starting(runs):
        known = job_of(path, runs)
        if known and (now := state(known)) in ACTIVE:
            raise JobError(f"{known.name}: is {now} already")
        spec = spec_of(path, runs)
        consent.require(spec, given)
        if known is None:
            return _queue(spec, path, runs)
        _launch(known, spec)
        return known


def inside(path: Path, folders: Iterable[Path | str]) -> bool:
    """Whether a path really lies in one of the folders: a link among them may lead to a run that is elsewhere."""
    return any(path.resolve().is_relative_to(Path(folder).resolve()) for folder in folders)


def job_of(path: Path, runs: Path) -> Job | None:
    """The latest job of the run in this folder."""
    return next((job for job in jobs(runs) if job.run == path.resolve()), None)


def spec_of(path: Path, runs: Path) -> RunSpec:
    """The spec, with absolute paths, by which the run in this folder would go on: that of its job, or its own."""
    known = job_of(path, runs)
    return load_spec(known.folder / "spec.yaml") if known else resolve_paths(Run.open(path).spec, path.resolve())


@contextmanager
def _starting(runs: Path) -> Iterator[None]:
    """Hold the lock under which jobs are started, so that two sessions never start the same run twice."""
    with FileLock(hidden_folder(runs, JOBS) / ".starting", timeout=30):
        yield


def _queue(spec: RunSpec, target: Path, runs: Path) -> Job:
    folder = runs / JOBS / datetime.now().strftime("%Y%m%d-%H%M%S-%f")
    plain = spec.model_dump(mode="json", exclude_defaults=True)
    with readable_errors(folder):
        folder.mkdir()
        (folder / "spec.yaml").write_text(yaml.safe_dump(plain, sort_keys=False, allow_unicode=True), encoding="utf-8")
    job = Job(folder, spec.name, target, time.time())
    _launch(job, spec)
    return job


def _launch(job: Job, spec: RunSpec) -> None:
    """Start the process of a job, whose spec a person has consented to."""
    consented = consent.variables(map(consent.consent_to, spec.asking))
    about = {"name": job.name, "run": str(job.run), "queued": time.time()}
    progress = {PROGRESS_FILE: str(job.folder / "progress.jsonl")}
    environment = child_environment(PYTHONUNBUFFERED="1", **progress, **consented)
    environment = {name: value for name, value in environment.items() if name not in access.KEPT_FROM_JOBS}
    with (
        readable_errors(job.folder),
        (job.folder / PID).open("wb") as held,
        (job.folder / "log.txt").open("ab") as log,
    ):
        fcntl.flock(held, fcntl.LOCK_EX)
        for name in (CANCELLED, "status.json", "progress.jsonl"):
            (job.folder / name).unlink(missing_ok=True)
        replace_file(job.folder / "job.json", lambda file: file.write(json.dumps(about).encode()))
        process = subprocess.Popen(
            command(job),
            cwd=job.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=[held.fileno()],
            start_new_session=True,  # so that neither Ctrl-C nor a closed terminal reaches it
        )
    threading.Thread(target=process.wait, daemon=True).start()  # or it would stay a zombie after its end


def command(job: Job) -> list[str]:
    """-P: or Python would import modules from the process's own folder, that of the job."""
    return [sys.executable, "-P", "-m", "dashboard.runs.job_process", str(job.folder)]


# Looking


def jobs(runs: Path) -> list[Job]:
    """All jobs beside the runs, the latest first; folders that hold no readable job, or more than plain files, are
    left out."""
    home = runs.resolve() / JOBS
    files = [] if home.is_symlink() else home.glob("*/job.json")
    return sorted(filter(None, map(_read, files)), key=lambda j: -j.queued)


def _read(file: Path) -> Job | None:
    with suppress(OSError, ValueError, KeyError, TypeError):
        if file.parent.is_symlink() or stray(file.parent):
            return None
        about = json.loads(file.read_text(encoding="utf-8"))
        return Job(file.parent, str(about["name"]), Path(about["run"]), float(about["queued"]))
    return None


def state(job: Job) -> State:
    cancelled = (job.folder / CANCELLED).exists()
    phase = _status(job).get("phase")  # read before the process is looked for: it may end in between
    if alive(job):
        return "cancelling" if cancelled else "running" if phase in ("working", "ended") else "queued"
    code = _status(job).get("code")
    if code == 0:
        return "finished"
    return "interrupted" if cancelled or code in (None, 130) else "failed"


def alive(job: Job) -> bool:
    """Whether the process of a job lives, or is being started: whether another holds the lock on `pid`."""
    with suppress(OSError), (job.folder / PID).open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)  # shared: two readers never take each other for the job
        except BlockingIOError:
            return True
    return False


def process_of(job: Job) -> psutil.Process | None:
    """The living process of a job; None where there is none, or where it has not written its number yet."""
    if alive(job):
        with suppress(OSError, ValueError, psutil.Error):
            return psutil.Process(int((job.folder / PID).read_text()))
    return None


def writes(path: Path, runs: Path) -> bool:
    """Whether a job that has not ended works, or waits to work, on the run in this folder."""
    return any(j.run == path.resolve() and state(j) in ACTIVE for j in jobs(runs))


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
                done, before = int(said["done"]), found.get(name)
                began, first = (before.began, before.first) if before and done >= before.done else (at, done)
                unit, note = str(said.get("unit", "")), str(said.get("note", ""))
                found[name] = Stage(name, done, int(said["total"]), began, at, unit, first, note)
    return list(found.values())


def log(job: Job) -> str:
    """The end of the process's log. Of a line that was redrawn, the last state is kept."""
    with suppress(OSError), (job.folder / "log.txt").open("rb") as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - LOG_TAIL))
        text = file.read().decode(errors="replace")
        return "\n".join(line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n")).strip()
    return ""


def reason(job: Job) -> str:
    """Why a job ended before its run was finished, in one line; empty where there is nothing to say."""
    now, code = state(job), _status(job).get("code")
    if now == "failed":
        last = log(job).rpartition("\n")[2]
        return last.removeprefix("coupling: ") or f"ended with exit code {code} and no message"
    if now == "interrupted" and code is None and not (job.folder / CANCELLED).exists():
        return "its process ended without a message: it was killed, ran out of memory, or the machine was switched off"
    return ""


# Ending


def cancel(job: Job, grace: float = GRACE) -> threading.Thread | None:
    """Ask the process to stop, and kill it after `grace` seconds if it has not; the run can be resumed later.

    Returns the thread that waits and kills; None if there was no process. A process that has not written its number
    yet cannot be signalled: it writes its number first, then finds that it is cancelled, and ends by itself. Raises
    AccessError.
    """
    access.require("change")
    if not alive(job):
        return None
    (job.folder / CANCELLED).touch()
    process = process_of(job)

    def stop() -> None:
        if process is None:
            return
        _signal(process, signal.SIGTERM)
        _, living = psutil.wait_procs([process], timeout=grace)
        if living:
            _signal(process, signal.SIGKILL)

    thread = threading.Thread(target=stop, daemon=True)
    thread.start()
    return thread


def _signal(process: psutil.Process, number: int) -> None:
    """Send a signal to the process and its children: it leads a group of its own."""
    with suppress(OSError):
        os.killpg(process.pid, number)


def forget(*ended: Job) -> None:
    """Remove the records and logs of jobs; their runs stay. Raises AccessError, and JobError if one has not ended."""
    access.require("change")
    for job in ended:
        if (now := state(job)) in ACTIVE:
            raise JobError(f"{job.name}: is {now}: cancel it first")
        shutil.rmtree(job.folder, ignore_errors=True)
