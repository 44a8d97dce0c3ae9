"""A folder of runs from a stranger, with an unfinished job in it: nothing in it gives the consent to run code."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from streamlit.testing.v1 import AppTest

from dashboard.runs import consent, jobs
from dashboard.runs.consent import ConsentError, require
from dashboard.runs.jobs import JobError
from engine import child_environment
from engine.config import RunSpec
from engine.runs.files import RunError
from engine.spec_files import load_spec, parse_spec
from tests.dashboard.app import Open, opened, said
from tests.hardening.commands import ended
from tests.synthetic_run import write_run
from tests.tiny_run import write_spec

__all__ = ["opened"]
CONFIG = {"model_type": "mine", "auto_map": {"AutoConfig": "mine.Config", "AutoModelForCausalLM": "mine.Model"}}


class Stranger:
    """A folder of runs with a job that was interrupted, whose checkpoint brings code that leaves a mark."""

    def __init__(self, home: Path):
        self.home, self.mark = home / "runs", home / "mark"
        self.model = self.home / "model"
        self.model.mkdir(parents=True)
        self.code = f"import pathlib\npathlib.Path({str(self.mark)!r}).write_text('here')\n"
        (self.model / "config.json").write_text(json.dumps(CONFIG))
        (self.model / "mine.py").write_text(self.code)
        self.run = self.home / "nice"
        self.job = self.add_job("given", self.run)
        spec = yaml.safe_load(write_spec(self.home).read_text())
        spec["checkpoints"][0] |= {"path": "model", "trust_remote_code": True}
        (self.home / "spec.yaml").write_text(yaml.safe_dump(spec))
        (self.job / "spec.yaml").write_text(yaml.safe_dump(spec).replace("path: ", f"path: {self.home}/"))

    def add_job(self, name: str, run: Path) -> Path:
        folder = self.home / ".jobs" / name
        folder.mkdir(parents=True)
        (folder / "job.json").write_text(json.dumps({"name": "nice", "run": str(run), "queued": 1.0}))
        return folder

    @property
    def asked(self) -> consent.Consent:
        return "gpt2--step-0000", str(self.model)

    @property
    def code_ran(self) -> bool:
        return self.mark.exists()


@pytest.fixture
def stranger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stranger:
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "modules"))  # where transformers copies code that it runs
    return Stranger(tmp_path)


def wait(until: Callable[[], object]) -> None:
    deadline = time.monotonic() + 300
    while not until():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def log_of(job: jobs.Job) -> str:
    """What a job has said, once it has ended."""
    wait(lambda: jobs.state(job) not in jobs.ACTIVE)
    return jobs.log(job)


def test_going_on_with_a_strangers_job_asks_for_consent_first_and_again(stranger: Stranger) -> None:
    assert [jobs.state(job) for job in jobs.jobs(stranger.home)] == ["interrupted"]
    for given in ((), {("gpt2--step-0000", "elsewhere")}, {("gpt2--step-0100", str(stranger.model))}):
        with pytest.raises(ConsentError, match="gpt2--step-0000: the spec lets code"):
            jobs.resume(stranger.run, stranger.home, given)
    assert not (stranger.job / "pid").exists(), "no process was started"
    assert not stranger.code_ran
    log_of(jobs.resume(stranger.run, stranger.home, {stranger.asked}))
    assert stranger.code_ran, "or this test would show nothing: with consent, the code does run"
    written = [path.read_text(errors="replace") for path in stranger.home.rglob("*") if path.is_file()]
    assert not [text for text in written if consent.VARIABLE in text]
    with pytest.raises(ConsentError):
        jobs.resume(stranger.run, stranger.home)
    code = (
        "import sys; from pathlib import Path; from dashboard.runs import jobs\n"
        "jobs.resume(Path(sys.argv[1]), Path(sys.argv[2]))"
    )
    command = [sys.executable, "-c", code, str(stranger.run), str(stranger.home)]
    done = subprocess.run(command, env=child_environment(), capture_output=True, text=True, check=False)
    assert "ConsentError" in done.stderr, "another process knows nothing of it"


def test_the_jobs_own_process_asks_too(stranger: Stranger) -> None:
    """Whoever starts it by hand, and a spec that was changed after the consent."""
    command = [*jobs.command(jobs.jobs(stranger.home)[0])]
    environment = child_environment()
    environment.pop(consent.VARIABLE, None)
    others = consent.variables({("gpt2--step-0100", str(stranger.home / "second"))})
    for given in ({}, others):
        done = subprocess.run(command, env=environment | given, capture_output=True, text=True, check=False)
        assert done.returncode == 2
        assert done.stderr.strip().startswith("coupling: gpt2--step-0000: the spec lets code")
    assert not stranger.code_ran


def test_nothing_in_a_jobs_folder_is_imported(stranger: Stranger) -> None:
    """Python would look for modules in the folder that it is started in."""
    plain = stranger.job / "spec.yaml"
    plain.write_text(plain.read_text().replace("trust_remote_code: true", "trust_remote_code: false"))
    for name in ("yaml", "json", "filelock", "torch", "sitecustomize"):
        (stranger.job / f"{name}.py").write_text(stranger.code)
    for name in ("dashboard", "engine"):
        (stranger.job / name).mkdir()
        (stranger.job / name / "__init__.py").write_text(stranger.code)
    log = log_of(jobs.resume(stranger.run, stranger.home))
    assert "trust_remote_code" in log, "it came as far as the checkpoint"
    assert not stranger.code_ran


def test_a_job_with_links_in_its_folder_is_no_job(stranger: Stranger, tmp_path: Path) -> None:
    """Going on would empty the file that `pid` leads to, write to the log's, and wait at a pipe."""
    precious = tmp_path / "precious"
    precious.write_text("years of work")
    for name in ("pid", "log.txt", "status.json", "progress.jsonl", "cancelled", "spec.yaml"):
        folder = stranger.add_job(f"linked-{name}", stranger.home / name)
        (folder / name).symlink_to(precious)
    os.mkfifo(stranger.add_job("pipe", stranger.home / "pipe") / "log.txt")
    assert [job.folder.name for job in jobs.jobs(stranger.home)] == ["given"]
    whole = shutil.move(stranger.home / ".jobs", tmp_path / "elsewhere")
    (stranger.home / ".jobs").symlink_to(whole)
    assert jobs.jobs(stranger.home) == []
    with pytest.raises(RunError, match="is a link"):
        jobs.start(parse_spec(yaml.safe_load((whole / "given" / "spec.yaml").read_text()), "test", RunSpec),
                   stranger.home, {stranger.asked})  # fmt: skip
    (stranger.home / ".jobs").unlink()
    (stranger.home / ".jobs").mkdir()
    (stranger.home / ".jobs" / ".starting").symlink_to(precious)
    with pytest.raises(RunError, match="is a link"):
        jobs.resume(stranger.run, stranger.home, {stranger.asked})
    assert precious.read_text() == "years of work"


def test_a_job_writes_nothing_outside_the_folders_that_were_named(stranger: Stranger, tmp_path: Path) -> None:
    stranger.add_job("out", tmp_path / "out")
    (stranger.home / "link").symlink_to(write_run(tmp_path / "mine", prompts=8, checkpoints=2, finish=False))
    stranger.add_job("link", stranger.home / "link")
    for run in (tmp_path / "out", stranger.home / "link", stranger.home / ".." / "out"):
        with pytest.raises(JobError, match="outside the folders"):
            jobs.resume(run, stranger.home, {stranger.asked})
    with pytest.raises(JobError, match="outside the folders"):
        jobs.resume(stranger.run, stranger.home, {stranger.asked}, within=[tmp_path / "elsewhere"])
    assert not (tmp_path / "out").exists()


def test_a_run_with_links_does_not_go_on(stranger: Stranger, tmp_path: Path) -> None:
    run = write_run(stranger.home / "linked", prompts=8, checkpoints=2, finish=False)
    (run / "checkpoints").symlink_to(tmp_path)
    with pytest.raises(RunError, match="checkpoints: is a link"):
        jobs.resume(run, stranger.home)
    stranger.add_job("linked", run)
    with pytest.raises(RunError, match="checkpoints: is a link"):
        jobs.resume(run, stranger.home)


def test_one_function_decides_on_everything_that_a_spec_asks_for(stranger: Stranger) -> None:
    spec = load_spec(stranger.home / "spec.yaml")
    require(spec, {stranger.asked})
    require(spec.without_permissions(), ())
    pickled = spec.checkpoints[1].model_copy(update={"pickled_weights": True})
    spec = spec.model_copy(update={"other_model": pickled.model_copy(update={"name": "gpt2--other"})})
    with pytest.raises(ConsentError, match="gpt2--other: the spec lets pickles be read"):
        require(spec, {stranger.asked})
    require(spec, {stranger.asked, ("gpt2--other", pickled.path)})
    assert spec.without_permissions().asking == []
    assert [c.name for c in spec.without_permissions(keep={"gpt2--other"}).asking] == ["gpt2--other"]


def test_a_finished_run_of_a_stranger_is_patched_without_its_code(stranger: Stranger) -> None:
    run = write_run(stranger.home / "finished", prompts=40, checkpoints=2)
    manifest = json.loads((run / "run.json").read_text())
    for checkpoint in manifest["spec"]["checkpoints"]:
        checkpoint |= {"path": "../model", "trust_remote_code": True}
    (run / "run.json").write_text(json.dumps(manifest))
    command = ["patch", str(run), "--device", "cpu", "--examples", "4", "--quiet"]
    code, error = ended(*command)
    assert code == 2 and "needs code that ships with it" in error
    assert not stranger.code_ran
    command = [sys.executable, "-m", "engine", *command, "--trust", "gpt2--step-0000"]
    done = subprocess.run(command, env=child_environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "needs code that ships with it" not in done.stderr
    assert stranger.code_ran


def go_on(app: AppTest) -> tuple[list, list]:
    return (
        [button for button in app.button if button.label == "Go on"],
        [box for box in app.checkbox if box.label.startswith("I trust")],
    )


def test_the_page_asks_by_name_and_forgets(stranger: Stranger, opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    resumed: list = []
    monkeypatch.setattr(jobs, "resume", lambda path, runs, given, within: resumed.append((path, set(given))))
    app = opened(stranger.home, "runs")
    (button,), (box,) = go_on(app)
    assert button.disabled
    assert "the code that ships with gpt2" in box.label.replace("\\", "") and str(stranger.model.name) in box.label
    box.check().run()
    (button,), _ = go_on(app)
    assert not button.disabled
    button.click().run()
    assert resumed == [(stranger.run, {stranger.asked})]
    (button,), (box,) = go_on(opened(stranger.home, "runs"))
    assert button.disabled and not box.value, "a new session asks again"


def test_a_linked_run_is_shown_to_be_read(stranger: Stranger, opened: Open, tmp_path: Path) -> None:
    mine = write_run(tmp_path / "mine", prompts=8, checkpoints=2, finish=False)
    (stranger.home / "link").symlink_to(mine)
    app = opened(stranger.home, "runs", run="mine")
    assert f"copy the folder {mine}" in said(app)
    assert not app.get("download_button") or "Zip" not in [b.proto.label for b in app.get("download_button")]
    (there,) = [button for button in app.button if button.key == "delete_not"]
    assert there.disabled
    app.button(key="resume_run").click().run()
    assert "lies outside the folders" in said(app)
    assert not any(job.run == mine for job in jobs.jobs(stranger.home))
