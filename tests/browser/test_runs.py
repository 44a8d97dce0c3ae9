"""Runs made, watched, stopped, gone on with, deleted, restored and imported in a real browser."""

from __future__ import annotations

import re
import time
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from playwright.sync_api import Page, expect

from dashboard.runs import jobs
from engine.runs.verify import verify
from tests.browser.conftest import Serve, Visit, Window
from tests.browser.hands import Shows, click, download, enter, gone, soon
from tests.browser.server import PATIENCE
from tests.synthetic_run import write_run
from tests.tiny_run import write_spec


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run, and the spec of another one."""
    folder = tmp_path_factory.mktemp("home")
    write_spec(folder).rename(folder / "tiny.yaml")
    write_run(folder / "alpha", prompts=12, checkpoints=2)
    write_run(folder / "beta", prompts=12, checkpoints=2)
    return folder


@pytest.fixture(scope="module")
def server(home: Path, serve: Serve) -> Iterator[str]:
    """In place of the common one: what is done here changes the folder."""
    with serve(home) as address:
        yield address


@pytest.fixture
def leave_nothing_running(home: Path) -> Iterator[None]:
    yield
    for job in jobs.jobs(home):
        if thread := jobs.cancel(job, grace=1):
            thread.join()


def fill(page: Page, label: str, text: str, shows: Shows) -> None:
    enter(page.get_by_role("textbox", name=label, exact=True).first, text, shows)


def held(home: Path, name: str) -> psutil.Process:
    """A job's process, stopped in the middle of its work, so that it does not end while it is looked at.

    Waits for the job. Call it in a thread before the job starts: on a busy machine the page may be slower than a job.
    """
    deadline = time.monotonic() + PATIENCE / 1000
    while (job := next((j for j in jobs.jobs(home) if j.name == name), None)) is None or not jobs.progress(job):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process = jobs.process_of(job)
    assert process is not None
    process.suspend()
    return process


@pytest.mark.usefixtures("leave_nothing_running")
def test_a_run_survives_a_reload_and_a_restart_and_goes_on_after_a_cancel(
    window: Window, serve: Serve, home: Path, request: pytest.FixtureRequest
) -> None:
    with serve(home) as address, ThreadPoolExecutor(1) as aside:
        page = window.open(address, "runs", section="new", **{"from": "spec tiny"})
        start = page.get_by_role("button", name="Start the run")
        expect(page.get_by_text("Valid: at most 72 examples")).to_be_visible()
        fill(page, "Name", "two words", page.get_by_text("use letters, digits"))
        expect(start).to_be_disabled()
        fill(page, "Name", "story", soon(expect(start).to_be_enabled))
        holding = aside.submit(held, home, "story")
        click(start, page.get_by_text(re.compile("story · (waiting|running)")))
        expect(page.get_by_text("story · running")).to_be_visible()
        process = holding.result()
        expect(page.get_by_text(re.compile(r"step \d of 6"))).to_be_visible()
        page.reload()
        expect(page.get_by_text("story · running")).to_be_visible()
    address = request.getfixturevalue("server")  # another server, which the tests below use, too
    page = window.open(address, "runs")
    expect(page.get_by_text("story · running")).to_be_visible()
    expect(page.get_by_role("progressbar")).to_be_visible()
    # "stopping" passes by: a process that does not end in time is killed, and this one is suspended.
    click(page.get_by_role("button", name="Cancel"), page.get_by_text(re.compile("story · (stopping|interrupted)")))
    with suppress(psutil.NoSuchProcess):
        process.resume()
    expect(page.get_by_text("story · interrupted")).to_be_visible()
    again = page.get_by_text(re.compile("story · (waiting|running|finished)"))
    click(page.get_by_role("button", name="Go on").first, again)
    expect(page.get_by_text("story · finished")).to_be_visible()
    assert verify(home / "story") == []
    page = window.open(address, "runs")  # a page that no longer polls: a poll may replace a link's request
    card = page.locator("[class*=st-key-job_]").filter(has_text="story")
    click(card.get_by_role("link", name="Open"), soon(expect(page).to_have_url, re.compile(r"/overview\?run=story")))


@pytest.mark.usefixtures("leave_nothing_running")
def test_a_run_that_fails_says_why(visit: Visit, home: Path) -> None:
    page = visit("runs", section="new", **{"from": "spec tiny"})
    start = page.get_by_role("button", name="Start the run")
    fill(page, "Name", "failing", soon(expect(start).to_be_enabled))
    path = page.get_by_role("textbox", name="Path of 1", exact=True)
    enter(path, "hub.invalid/<b>model</b>", soon(expect(path).to_have_value, "hub.invalid/<b>model</b>"))
    click(start, page.get_by_text(re.compile("failing · ")))
    expect(page.get_by_text("failing · failed")).to_be_visible()
    card = page.locator("[class*=st-key-job_]").filter(has_text="failing")
    expect(card.get_by_role("alert")).to_contain_text("<b>model</b>")
    click(card.get_by_text("Stages and log"), card.locator("code"))
    expect(card.locator("code")).to_contain_text("coupling:")
    click(card.get_by_role("button", name="Dismiss"), gone(page.get_by_text("failing · failed")))


def test_foreign_code_needs_a_tick_by_name(visit: Visit) -> None:
    page = visit("runs", section="new", **{"from": "spec tiny"})
    area = page.get_by_role("textbox", name="Spec as YAML")
    tick = page.get_by_text("I trust the code that ships with gpt2--step-0100 (second)")
    start = page.get_by_role("button", name="Start the run")
    spec = area.input_value().replace("path: second", "path: second\n  trust_remote_code: true")
    enter(area, spec, tick, key="Control+Enter")
    expect(start).to_be_disabled()
    click(tick, soon(expect(start).to_be_enabled))


def test_a_run_is_deleted_and_restored(visit: Visit, home: Path) -> None:
    def delete(page: Page) -> None:
        really = page.get_by_role("button", name="Move to the trash")
        click(page.get_by_role("button", name="Delete"), really)
        click(really, page.get_by_text("beta is in the trash"))

    page = visit("runs", run="beta")
    delete(page)
    assert not (home / "beta").exists()
    page = visit("runs", section="trash")
    click(page.get_by_role("button", name="Restore"), page.get_by_role("heading", name="beta"))
    assert verify(home / "beta") == []
    delete(page)
    page = visit("runs", section="trash")
    really = page.get_by_role("button", name="Empty it")
    click(page.get_by_role("button", name="Empty the trash"), really)
    click(really, page.get_by_text("The trash is empty"))
    assert not list((home / ".trash").iterdir())


def test_a_run_travels_as_a_zip(visit: Visit, home: Path, tmp_path: Path) -> None:
    page = visit("runs", run="alpha")
    saved = download(page.get_by_role("button", name="Zip", exact=True))
    file = tmp_path / saved.suggested_filename
    saved.save_as(file)
    assert "alpha/run.json" in zipfile.ZipFile(file).namelist()
    page = visit("runs", section="import")
    page.locator("input[type=file]").set_input_files(file)
    refused = page.get_by_text("there is a run 'alpha' already")
    click(page.get_by_role("button", name="Import", exact=True).last, refused)
    fill(page, "Name here", "gamma", gone(refused))
    click(page.get_by_role("button", name="Import", exact=True).last, page.get_by_role("heading", name="gamma"))
    assert verify(home / "gamma") == []
    bad = tmp_path / "bad.zip"
    with zipfile.ZipFile(bad, "w") as archive:
        archive.writestr("../<img src=x>.py", "print()")
    page = visit("runs", section="import")
    page.locator("input[type=file]").set_input_files(bad)
    click(page.get_by_role("button", name="Import", exact=True).last, page.get_by_role("alert"))
    expect(page.get_by_role("alert")).to_contain_text("<img src=x>.py")
    expect(page.get_by_role("alert")).to_contain_text("not a path inside a run")
