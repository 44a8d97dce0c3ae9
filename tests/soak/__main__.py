"""A long random walk of many readers over all pages of one server: `python -m tests.soak [--minutes 10]`.

Readers come and go, choose pages, runs and settings at random (from a seed), move sliders and press keys. Meanwhile
runs are started, cancelled, gone on with and thrown away, as the page Runs does it. It fails where a job fails, a page
shows an exception, the server's log holds a traceback, anything but the server is asked for, or the server's memory
goes on growing: its largest size in the last quarter may not be above that of the second by more than a fifth and 50 MB
(the first quarter fills caches that are bounded).
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import time
import urllib.parse
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

from playwright.sync_api import Browser, Error, Page

from dashboard.runs import jobs, trash
from engine import SAMPLES
from engine.spec_files import load_spec
from tests.browser.chromium import launched
from tests.browser.server import PAGES, PATIENCE, link_samples, server_process, serving, settled, watch
from tests.synthetic_run import write_run

VISITS_A_READER = 25
"""Pages that one reader visits; then the window closes and another reader comes."""


def runs(folder: Path) -> list[str]:
    """Two hand-built runs and the sample runs, as links, in an empty folder."""
    write_run(folder / "alpha", prompts=400, checkpoints=4)
    write_run(folder / "hostile", prompts=60, checkpoints=2, hostile=True)
    return sorted(child.name for child in link_samples(folder).iterdir())


def reader(browser: Browser, dice: random.Random, address: str, trouble: list[str]) -> Page:
    """A new window of a random width and theme, watched for foreign requests and dialogs."""
    theme = dice.choice(("light", "dark"))
    size = {"width": dice.choice((390, 1280)), "height": 900}
    page = browser.new_context(viewport=size, color_scheme=theme).new_page()  # type: ignore[arg-type]
    page.set_default_timeout(PATIENCE)
    watch(page, lambda url: url.startswith((address, "data:", "blob:")), trouble)
    return page


KEYS = ("ArrowRight", "ArrowLeft", "PageDown", "Tab", "n", "p", "v", "x", "u", "d", "s")
"""Keys of pages: sliders and scrolling, next and previous example, the lesson's reveal, the audit's directions."""


def work(dice: random.Random, folder: Path, trouble: list[str]) -> str:
    """Start a run, or do the next thing with the one that there is; what was done."""
    latest = next(iter(jobs.jobs(folder)), None)
    state = jobs.state(latest) if latest else None
    if latest is None:
        spec = load_spec(SAMPLES / "specs" / "demo.yaml").model_copy(update={"name": "demo"})
        jobs.start(spec, folder)
        return "started"
    if state in ("queued", "running"):
        if dice.random() < 0.3:
            jobs.cancel(latest)
            return "cancelled"
        return "left alone"
    if state == "cancelling":
        return "left alone"
    if state == "failed":
        trouble.append(f"a job failed: {jobs.reason(latest)}")
    if state == "interrupted" and dice.random() < 0.5:
        jobs.resume(latest.run, folder)
        return "gone on with"
    jobs.forget(latest)
    if (latest.run / "run.json").is_file():
        trash.empty([trash.delete(latest.run, [folder])])
    return "thrown away"


def end_jobs(folder: Path) -> None:
    """Cancel what runs, and wait for its end."""
    for job in jobs.jobs(folder):
        if thread := jobs.cancel(job):
            thread.join()
        while jobs.alive(job):
            time.sleep(0.1)


def visit(page: Page, dice: random.Random, address: str, names: list[str]) -> str:
    """Visit one random page of a random run and make a few random moves on it; returns its address."""
    name, run = dice.choice(PAGES), dice.choice(names)
    where = f"{'' if name == 'overview' else name}?{urllib.parse.urlencode({'run': run})}"
    page.goto(f"{address}/{where}")
    settled(page)
    for _ in range(dice.randrange(3)):
        sliders = page.get_by_role("slider")
        if sliders.count() and dice.random() < 0.5:
            sliders.nth(dice.randrange(sliders.count())).focus()
        page.keyboard.press(dice.choice(KEYS))
        settled(page)
    if page.get_by_test_id("stException").count():
        raise AssertionError(f"{where}: {page.get_by_test_id('stException').first.inner_text()[:500]}")
    return where


def walk(minutes: float, readers: int, seed: int) -> list[str]:
    """A list of problems; empty if there are none."""
    dice, trouble, sizes = random.Random(seed), [], []
    with tempfile.TemporaryDirectory() as folder:
        names = runs(Path(folder))
        with serving(Path(folder)) as address, launched() as browser, ExitStack() as ending:
            ending.callback(end_jobs, Path(folder))
            done = Counter[str]()
            process = server_process()
            windows: list[tuple[Page, int]] = []
            began = said = time.monotonic()
            visits = 0
            while (now := time.monotonic()) - began < 60 * minutes:
                if len(windows) < readers:
                    windows.append((reader(browser, dice, address, trouble), 0))
                page, before = windows.pop(dice.randrange(len(windows)))
                try:
                    visit(page, dice, address, names)
                except (AssertionError, Error) as error:
                    trouble.append(str(error)[:700])
                done[work(dice, Path(folder), trouble)] += 1
                visits += 1
                if before + 1 < VISITS_A_READER:
                    windows.append((page, before + 1))
                else:
                    page.context.close()
                sizes.append(process.memory_info().rss / 1e6)
                if now - said > 60:
                    said = now
                    state = f"{visits:5d} visits, server {sizes[-1]:5.0f} MB, {len(trouble)} problems"
                    print(f"{(now - began) / 60:4.0f} min, {state}", flush=True)
    quarter = max(1, len(sizes) // 4)
    early, late = max(sizes[quarter : 2 * quarter], default=0), max(sizes[-quarter:])
    print(f"runs: {dict(done)}")
    print(f"{visits} visits; server at most {early:.0f} MB in the second quarter, {late:.0f} MB in the last")
    if late > 1.2 * early + 50:
        trouble.append(f"the server's memory grows: {early:.0f} MB, then {late:.0f} MB")
    return trouble


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=float(os.environ.get("SOAK_MINUTES", "10")))
    parser.add_argument("--readers", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    problems = walk(given.minutes, given.readers, given.seed)
    print("\n".join(problems) or "no problem")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
