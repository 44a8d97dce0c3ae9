"""Jobs: they outlive who started them, say how far they are, stop when asked, and go on; a stranger is none of them."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dashboard.runs import jobs
from dashboard.runs.consent import ConsentError
from dashboard.runs.jobs import Job, JobError
from dashboard.runs.jobs_view import duration
from engine import pipeline, progress
from engine.config import RunSpec
from engine.runs.store import Run
from engine.runs.verify import verify
from engine.spec_files import load_spec, parse_spec, resolve_paths
from tests.synthetic_run import write_run
from tests.tiny_run import write_spec


def a_spec(name: str = "mine", **checkpoint: object) -> RunSpec:
    checkpoints = [{"name": "gpt2--step-0", "path": "model", **checkpoint}]
    return parse_spec({"name": name, "task": {"name": "sycophancy"}, "checkpoints": checkpoints}, "test", RunSpec)


def wait(until: Callable[[], object]) -> None:
    deadline = time.monotonic() + 120  # far beyond what any load makes of it
    while not until():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def done(job: Job) -> Job:
    wait(lambda: jobs.state(job) not in jobs.ACTIVE)
    return job


@pytest.fixture
def does(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Let jobs run a few lines of Python instead; `folder` is theirs. Processes that are left are killed."""

    def script(lines: str) -> None:
        tell = "import json, os, pathlib, signal, sys, time\nfolder = pathlib.Path(sys.argv[1])\n"
        tell += "(folder / 'pid').write_text(str(os.getpid()))\n"
        tell += "if (folder / 'cancelled').exists():\n    sys.exit(130)\n"  # as `job_process`
        tell += "def status(**s):\n    new = folder / 'new'\n    new.write_text(json.dumps(s))\n"
        tell += "    new.replace(folder / 'status.json')\nstatus(phase='working')\n"
        monkeypatch.setattr(jobs, "command", lambda job: [sys.executable, "-c", tell + lines, str(job.folder)])

    yield script
    for job in jobs.jobs(tmp_path):
        if thread := jobs.cancel(job, grace=0.1):
            thread.join()


def test_a_job_ends_with_its_code_and_its_last_words(tmp_path: Path, does) -> None:
    does("status(phase='ended', code=0)")
    job = done(jobs.start(a_spec("good"), tmp_path))
    assert (jobs.state(job), jobs.reason(job)) == ("finished", "")
    does("print('looking'); print('coupling: <b>task</b>: no such file'); status(phase='ended', code=2)")
    job = done(jobs.start(a_spec("bad"), tmp_path))
    assert (jobs.state(job), jobs.reason(job)) == ("failed", "<b>task</b>: no such file")
    assert jobs.log(job).startswith("looking")
    assert [j.name for j in jobs.jobs(tmp_path)] == ["bad", "good"], "the latest first"


def test_a_job_is_alive_from_the_first_moment_at_which_it_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A session that looks just before and just after the process is made, or while it writes nothing."""
    made, seen, start = [], [], subprocess.Popen

    def look() -> None:
        job = jobs.jobs(tmp_path)[0]
        seen.append((jobs.state(job), jobs.process_of(job)))

    def popen(*arguments: Any, **options: Any) -> subprocess.Popen:
        look()
        made.append(start(*arguments, **options))
        look()
        return made[0]

    monkeypatch.setattr(jobs.subprocess, "Popen", popen)
    monkeypatch.setattr(jobs, "command", lambda job: ["sleep", "600"])
    job = jobs.start(a_spec(), tmp_path)
    look()
    made[0].kill()
    assert seen == [("queued", None)] * 3
    assert jobs.state(done(job)) == "interrupted"


def test_a_job_outlives_a_parent_that_dies_as_soon_as_it_has_started_it(tmp_path: Path) -> None:
    code = (
        "import os, subprocess; from pathlib import Path; from dashboard.runs import jobs\n"
        "from engine.config import RunSpec\n"
        "jobs.command = lambda job: ['sh', '-c', 'echo $$ > pid; exec sleep 600']\n"
        "start = subprocess.Popen\n"
        "jobs.subprocess.Popen = lambda *a, **options: (start(*a, **options), os._exit(0))\n"
        f"jobs.start(RunSpec.model_validate_json({a_spec().model_dump_json()!r}), Path({str(tmp_path)!r}))"
    )
    root = Path(__file__).parents[3]
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, cwd=root)
    job = jobs.jobs(tmp_path)[0]
    assert jobs.state(job) == "queued", "alive, and has said nothing yet"
    wait(lambda: jobs.process_of(job))
    process = jobs.process_of(job)
    assert process is not None
    assert os.getsid(process.pid) == process.pid != os.getsid(0)
    thread = jobs.cancel(job)
    assert thread is not None
    thread.join()
    assert jobs.state(done(job)) == "interrupted"


def test_a_stranger_with_the_same_pid_is_not_the_job(tmp_path: Path, does) -> None:
    does("status(phase='ended', code=130)")
    job = done(jobs.start(a_spec(), tmp_path))
    (job.folder / "pid").write_text(str(os.getpid()))
    assert jobs.state(job) == "interrupted"
    assert jobs.cancel(job) is None, "or this test would end here"


def test_cancel_asks_and_then_kills(tmp_path: Path, does) -> None:
    does(
        "signal.signal(signal.SIGTERM, lambda *_: print('no', flush=True))\nprint('up', flush=True)\n"
        "while True: signal.pause()"
    )
    job = jobs.start(a_spec(), tmp_path)
    wait(lambda: "up" in jobs.log(job))
    asking = jobs.cancel(job, grace=600)
    wait(lambda: "no" in jobs.log(job))
    assert jobs.state(job) == "cancelling"
    killing = jobs.cancel(job, grace=0)
    assert asking is not None and killing is not None
    killing.join()
    asking.join()
    done(job)
    assert (jobs.state(job), jobs.reason(job)) == ("interrupted", "")


def test_a_job_that_was_killed_by_others_says_so_and_goes_on(tmp_path: Path, does) -> None:
    does("signal.pause()")
    job = jobs.start(a_spec(), tmp_path)
    wait(lambda: jobs.state(job) == "running")
    process = jobs.process_of(job)
    assert process is not None
    with pytest.raises(JobError, match="running already"):
        jobs.resume(job.run, tmp_path)
    with pytest.raises(JobError, match="cancel it first"):
        jobs.forget(job)
    process.kill()
    assert jobs.state(done(job)) == "interrupted"
    assert "out of memory" in jobs.reason(job)
    does("status(phase='ended', code=0)")
    jobs.resume(job.run, tmp_path)
    assert jobs.state(done(job)) == "finished"
    jobs.forget(job)
    assert jobs.jobs(tmp_path) == []


def test_one_run_one_name(tmp_path: Path, does) -> None:
    does("signal.pause()")
    jobs.start(a_spec(), tmp_path)
    with pytest.raises(JobError, match="another name"):
        jobs.start(a_spec(), tmp_path)
    (tmp_path / "there").mkdir()
    with pytest.raises(JobError, match="another name"):
        jobs.start(a_spec("there"), tmp_path)
    assert jobs.writes(tmp_path / "mine", tmp_path)
    assert not jobs.writes(tmp_path / "there", tmp_path)


def test_foreign_code_runs_only_where_it_was_allowed_by_name(tmp_path: Path, does) -> None:
    does("status(phase='ended', code=0)")
    asking = a_spec(trust_remote_code=True)
    for trusted in ((), {("gpt2--step-0", "elsewhere")}, {("other", "model")}):
        with pytest.raises(ConsentError, match="allow it by name"):
            jobs.start(asking, tmp_path, trusted)
    assert not (tmp_path / ".jobs").exists()
    jobs.start(asking, tmp_path, {("gpt2--step-0", "model")})
    # A run may come from anybody: what its own spec allows, nobody here has allowed.
    path = write_run(tmp_path / "given", prompts=8, checkpoints=2, finish=False)
    manifest = json.loads((path / "run.json").read_text())
    manifest["spec"]["checkpoints"][0]["trust_remote_code"] = True
    (path / "run.json").write_text(json.dumps(manifest))
    with pytest.raises(ConsentError, match="allow it by name"):
        jobs.resume(path, tmp_path)


def test_a_folder_that_can_not_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Exception, match="can't be written"):
        jobs.start(a_spec(), tmp_path / "file")


def test_what_is_damaged_in_a_job_is_passed_over(tmp_path: Path) -> None:
    for name, text in {"a": "{", "b": "[]", "c": '{"name": "x", "run": "y", "queued": "later"}'}.items():
        (tmp_path / ".jobs" / name).mkdir(parents=True)
        (tmp_path / ".jobs" / name / "job.json").write_text(text)
    assert jobs.jobs(tmp_path) == []
    job = Job(tmp_path, "x", tmp_path, 0)
    (tmp_path / "progress.jsonl").write_text('{"stage": "s", "done": 1, "total": 2, "at": 5}\n[]\n{"stage": "s", "do')
    assert jobs.progress(job) == [jobs.Stage("s", 1, 2, 5.0, 5.0, first=1)]
    (tmp_path / "log.txt").write_bytes(b"10%\r50%\r100%\r\n\xff end\n")
    assert jobs.log(job) == "100%\n\ufffd end"
    (tmp_path / "log.txt").write_bytes(b"x" * 10**6)
    assert len(jobs.log(job)) == jobs.LOG_TAIL


def test_progress_is_written_line_by_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "progress.jsonl"
    monkeypatch.setenv(progress.PROGRESS_FILE, str(file))
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", math.inf)
    with progress.bars(quiet=True) as told:
        for done in range(101):
            told("one", done, 100)
        told("two", 0, 1)
    said = [(line["stage"], line["done"]) for line in map(json.loads, file.read_text().splitlines())]
    assert said == [("one", 0), ("one", 100), ("two", 0)], (
        "the first and the last of a stage, and those between at intervals"
    )
    progress.to_file(tmp_path / "absent" / "file")("s", 0, 1)  # a file that can't be written stops nothing


def test_durations_read_as_people_say_them() -> None:
    assert [duration(s) for s in (0.4, 59, 61, 3700, 86_400)] == ["0 s", "59 s", "1 min 1 s", "1 h 1 min", "24 h 0 min"]


def test_a_real_run_is_cancelled_goes_on_and_ends_sound_while_others_wait(tmp_path: Path) -> None:
    spec, runs = load_spec(write_spec(tmp_path)), tmp_path / "runs"
    first, second, third = (
        jobs.start(spec.model_copy(update={"name": name}), runs) for name in ("first", "second", "third")
    )
    jobs.cancel(third)  # most likely before its process has written its number: it finds that out by itself
    wait(lambda: any(s.name.startswith("behavior") for s in jobs.progress(first)))
    process = jobs.process_of(first)
    assert process is not None
    process.suspend()  # or it might end while it is looked at
    assert (jobs.state(first), jobs.state(second)) == ("running", "queued")
    jobs.cancel(second)
    done(second), done(third)
    jobs.cancel(first, grace=600)
    process.resume()
    done(first)
    assert {jobs.state(first), jobs.state(second), jobs.state(third)} == {"interrupted"}
    assert Run.open(first.run).state == "interrupted"
    assert not second.run.exists() and not third.run.exists(), "they never had their turn"
    jobs.forget(first)  # as if the command line had made it
    first = jobs.resume(first.run, runs)
    assert jobs.state(done(first)) == "finished", jobs.log(first)
    assert resolve_paths(Run.open(first.run).spec, first.run) == spec.model_copy(update={"name": "first"})
    assert verify(first.run) == []
    recorded = [s.name for s in jobs.progress(first)]
    expected = pipeline.stages(spec)
    assert recorded == expected[expected.index(recorded[0]) :], "the page counts the stages that the engine reports"
    assert all(s.done == s.total for s in jobs.progress(first))
