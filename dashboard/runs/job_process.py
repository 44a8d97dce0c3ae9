"""The process of one job: waits for its turn, then does what `coupling run` does.

Started as `python -m dashboard.runs.job_process DIR`.
It writes `status.json`: {"phase": "waiting"}, {"phase": "working"}, then {"phase": "ended", "code": the exit code}.
The turn is a file lock: the system releases it however the process ends.
"""

from __future__ import annotations

import json
import sys
import time
import traceback
from pathlib import Path

from filelock import AcquireReturnProxy, FileLock, Timeout

from dashboard.runs import jobs
from engine.__main__ import main as coupling
from engine.runs.files import replace_file

POLL = 0.3
"""Seconds between two looks at the queue."""


def main(folder: Path) -> int:
    tell(folder, phase="waiting")
    with wait_for_turn(folder):
        tell(folder, phase="working")
        code = work(folder)
        tell(folder, phase="ended", code=code)
    return code


def tell(folder: Path, **status: object) -> None:
    text = json.dumps(status | {"at": time.time()})
    replace_file(folder / "status.json", lambda file: file.write(text.encode()))


def wait_for_turn(folder: Path) -> AcquireReturnProxy:
    """Wait for, take and return the lock that a working job holds. Jobs that were queued earlier go first."""
    lock = FileLock(folder.parent / ".turn")
    while True:
        queue = jobs.jobs(folder.parent.parent)
        mine = next((job for job in queue if job.folder == folder), None)
        if mine is None:
            raise SystemExit("the record of this job was removed")
        if not any(job.queued < mine.queued and jobs.state(job) == "queued" for job in queue):
            try:
                return lock.acquire(timeout=0)
            except Timeout:
                pass
        time.sleep(POLL)


def work(folder: Path) -> int:
    """Run the command in this process; its exit code."""
    run = json.loads((folder / "job.json").read_text(encoding="utf-8"))["run"]
    sys.argv = ["coupling", "run", str(folder / "spec.yaml"), "--out", run, "--quiet"]
    try:
        coupling()
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except Exception:
        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
