"""Runs made, watched, stopped, gone on with, deleted, restored and imported in a real browser."""

from __future__ import annotations

import re
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import psutil
import pytest
from playwright.sync_api import Browser, Page, expect

from dashboard import jobs
from engine.store import verify
from tests.browser.conftest import Visit, settled
from tests.browser.server import serving
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
def server(home: Path) -> Iterator[str]:
    """In place of the common one: what is done here changes the folder."""
    with serving(home) as address:
        yield address


@pytest.fixture
def leave_nothing_running(home: Path) -> Iterator[None]:
    yield
    for job in jobs.jobs(home):
        if thread := jobs.cancel(job, grace=1):
            thread.join()


def opened(browser: Browser, address: str, **parameters: str) -> Page:
    page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
    page.set_default_timeout(30_000)
    page.goto(f"{address}/runs?{urlencode(parameters)}")
    page.locator("[data-testid=stMain] h1").first.wait_for()
    return page


def fill(page: Page, label: str, text: str) -> None:
    page.get_by_role("textbox", name=label, exact=True).first.fill(text)
    page.keyboard.press("Enter")
    settled(page)


def held(home: Path, name: str) -> psutil.Process:
    """A job's process, stopped in the middle of its work, so that it does not end while it is looked at."""
    job = next(j for j in jobs.jobs(home) if j.name == name)
    deadline = time.monotonic() + 60
    while not jobs.progress(job):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process = jobs.process_of(job)
    assert process is not None
    process.suspend()
    return process


@pytest.mark.usefixtures("leave_nothing_running")
def test_a_run_survives_a_reload_and_a_restart_and_goes_on_after_a_cancel(browser: Browser, home: Path) -> None:
    with serving(home) as address:
        page = opened(browser, address, section="new", **{"from": "spec tiny"})
        start = page.get_by_role("button", name="Start the run")
        expect(page.get_by_text("Valid: at most 72 examples")).to_be_visible()
        fill(page, "Name", "two words")
        expect(page.get_by_text("use letters, digits").first).to_be_visible()
        expect(start).to_be_disabled()
        fill(page, "Name", "story")
        expect(start).to_be_enabled()
        start.click()
        expect(page.get_by_text("story · running")).to_be_visible(timeout=40_000)
        process = held(home, "story")
        expect(page.get_by_text(re.compile(r"step \d of 6"))).to_be_visible()
        page.reload()
        expect(page.get_by_text("story · running")).to_be_visible()
        page.context.close()
    with serving(home) as address:
        page = opened(browser, address)
        expect(page.get_by_text("story · running")).to_be_visible()
        expect(page.get_by_role("progressbar")).to_be_visible()
        page.get_by_role("button", name="Cancel").click()
        expect(page.get_by_text("story · stopping")).to_be_visible()
        process.resume()
        expect(page.get_by_text("story · interrupted")).to_be_visible(timeout=40_000)
        page.get_by_role("button", name="Go on").first.click()
        expect(page.get_by_text("story · finished")).to_be_visible(timeout=100_000)
        assert verify(home / "story") == []
        page.get_by_role("link", name="Open").click()
        expect(page).to_have_url(re.compile(r"/\?run=story"))
        expect(page.get_by_role("heading", name="Runs", level=1)).to_have_count(0)
        page.context.close()


@pytest.mark.usefixtures("leave_nothing_running")
def test_a_run_that_fails_says_why(visit: Visit, home: Path) -> None:
    page = visit("runs", section="new", **{"from": "spec tiny"})
    fill(page, "Name", "failing")
    page.get_by_role("textbox", name="Path", exact=True).nth(1).fill("hub.invalid/<b>model</b>")  # 0 is the task's
    page.keyboard.press("Enter")
    settled(page)
    page.get_by_role("button", name="Start the run").click()
    expect(page.get_by_text("failing · failed")).to_be_visible(timeout=60_000)
    card = page.locator("[class*=st-key-job_]").filter(has_text="failing")
    expect(card.get_by_role("alert")).to_contain_text("<b>model</b>")
    card.get_by_text("Stages and log").click()
    expect(card.locator("code")).to_contain_text("coupling:")
    card.get_by_role("button", name="Dismiss").click()
    expect(page.get_by_text("failing · failed")).to_have_count(0)


def test_yaml_is_checked_where_it_is_written(visit: Visit) -> None:
    page = visit("runs", section="new", **{"from": "run alpha", "as": "yaml"})
    area = page.get_by_role("textbox", name="Spec as YAML")
    expect(area).to_have_value(re.compile("name: alpha-2"))
    for text, said in (
        ("name: [", "line 1"),
        ("name: x\ncolour: red", "colour: no such option"),
        ("<script>alert(1)</script>", "a mapping"),
    ):
        area.fill(text)
        page.keyboard.press("Control+Enter")
        expect(page.get_by_text(said).first).to_be_visible()
        expect(page.get_by_role("button", name="Start the run")).to_be_disabled()


def test_foreign_code_needs_a_tick_by_name(visit: Visit, home: Path) -> None:
    page = visit("runs", section="new", **{"from": "spec tiny", "as": "yaml"})
    area = page.get_by_role("textbox", name="Spec as YAML")
    area.fill(area.input_value().replace("path: second", "path: second\n  trust_remote_code: true"))
    page.keyboard.press("Control+Enter")
    tick = page.get_by_text("I trust the code that ships with gpt2--step-0100 (second)")
    expect(tick).to_be_visible()
    expect(page.get_by_role("button", name="Start the run")).to_be_disabled()
    tick.click()
    expect(page.get_by_role("button", name="Start the run")).to_be_enabled()


def test_a_run_is_deleted_and_restored(visit: Visit, home: Path) -> None:
    page = visit("runs", run="beta")
    page.get_by_role("button", name="Delete").click()
    page.get_by_role("button", name="Move to the trash").click()
    expect(page.get_by_text("beta is in the trash")).to_be_visible()
    assert not (home / "beta").exists()
    page = visit("runs", section="trash")
    page.get_by_role("button", name="Restore").click()
    expect(page.get_by_role("heading", name="beta")).to_be_visible()
    assert verify(home / "beta") == []
    page.get_by_role("button", name="Delete").click()
    page.get_by_role("button", name="Move to the trash").click()
    expect(page.get_by_text("beta is in the trash")).to_be_visible()
    page = visit("runs", section="trash")
    page.get_by_role("button", name="Empty the trash").click()
    page.get_by_role("button", name="Empty it").click()
    expect(page.get_by_text("The trash is empty").first).to_be_visible()
    assert not list((home / ".trash").iterdir())


def test_a_run_travels_as_a_zip(visit: Visit, home: Path, tmp_path: Path) -> None:
    page = visit("runs", run="alpha")
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Zip", exact=True).click()
    file = tmp_path / waiting.value.suggested_filename
    waiting.value.save_as(file)
    assert "alpha/run.json" in zipfile.ZipFile(file).namelist()
    page = visit("runs", section="import")
    page.locator("input[type=file]").set_input_files(file)
    page.get_by_role("button", name="Import", exact=True).last.click()
    expect(page.get_by_text("there is a run 'alpha' already")).to_be_visible()
    fill(page, "Name here", "gamma")
    page.get_by_role("button", name="Import", exact=True).last.click()
    expect(page.get_by_role("heading", name="gamma")).to_be_visible()
    assert verify(home / "gamma") == []
    bad = tmp_path / "bad.zip"
    with zipfile.ZipFile(bad, "w") as archive:
        archive.writestr("../<img src=x>.py", "print()")
    page = visit("runs", section="import")
    page.locator("input[type=file]").set_input_files(bad)
    page.get_by_role("button", name="Import", exact=True).last.click()
    expect(page.get_by_role("alert")).to_contain_text("<img src=x>.py")
    expect(page.get_by_role("alert")).to_contain_text("no path inside a run")
