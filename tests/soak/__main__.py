"""A long random walk of several readers over all pages of one server: `python -m tests.soak [--minutes 60]`.

Readers come and go, choose pages, runs and settings at random (from a seed), move sliders and press keys. It fails
where a page shows an exception, the server's log holds a traceback, anything but the server is asked for, or the
server's memory goes on growing: its largest size in the last quarter may not be above that of the second by more
than a fifth and 50 MB (the first quarter fills caches that are bounded).
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import time
import urllib.parse
from pathlib import Path

import psutil
from playwright.sync_api import Browser, Error, Page, sync_playwright

from tests.browser.chromium import FLAGS, find
from tests.browser.server import ROOT, link_samples, serving, settled
from tests.synthetic_run import write_run

PAGES = sorted(page.stem for page in (ROOT / "pages").glob("*.py"))
VISITS_A_READER = 25
"""Then the browser's window closes and another reader comes."""


def runs(folder: Path) -> list[str]:
    """Two hand-built runs and the sample runs, as links, in an empty folder."""
    write_run(folder / "alpha", prompts=400, checkpoints=4)
    write_run(folder / "hostile", prompts=60, checkpoints=2, hostile=True)
    return sorted(child.name for child in link_samples(folder).iterdir())


def server_process() -> psutil.Process:
    return next(p for p in psutil.Process().children() if "streamlit" in p.cmdline())


def reader(browser: Browser, dice: random.Random, address: str, trouble: list[str]) -> Page:
    """A new window of a random width and theme, watched for foreign requests and dialogs."""
    theme = dice.choice(("light", "dark"))
    size = {"width": dice.choice((390, 1280)), "height": 900}
    page = browser.new_context(viewport=size, color_scheme=theme).new_page()  # type: ignore[arg-type]
    page.set_default_timeout(120_000)
    page.on("request", lambda r: None if r.url.startswith((address, "data:", "blob:")) else trouble.append(r.url))
    page.on("dialog", lambda d: (trouble.append(f"dialog: {d.message}"), d.dismiss()))
    return page


KEYS = ("ArrowRight", "ArrowLeft", "PageDown", "Tab", "n", "p", "v", "x", "u", "d", "s")
"""That pages hear: sliders and scrolling, examples on and back, the lesson's reveal, the audit's directions."""


def visit(page: Page, dice: random.Random, address: str, names: list[str]) -> str:
    """One random page of a random run, and a few random moves on it; returns what was visited."""
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
    """What went wrong; empty if nothing did."""
    dice, trouble, sizes = random.Random(seed), [], []
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        names = runs(Path(folder))
        browser = playwright.chromium.launch(executable_path=find(), args=list(FLAGS))
        with serving(Path(folder)) as address:
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
                visits += 1
                if before + 1 < VISITS_A_READER:
                    windows.append((page, before + 1))
                else:
                    page.context.close()
                sizes.append(process.memory_info().rss / 1e6)
                if now - said > 60:
                    said = now
                    print(f"{(now - began) / 60:4.0f} min, {visits:5d} visits, server {sizes[-1]:5.0f} MB, "
                          f"{len(trouble)} problems", flush=True)  # fmt: skip
        browser.close()
    quarter = max(1, len(sizes) // 4)
    early, late = max(sizes[quarter : 2 * quarter], default=0), max(sizes[-quarter:])
    print(f"{visits} visits; server at most {early:.0f} MB in the second quarter, {late:.0f} MB in the last")
    if late > 1.2 * early + 50:
        trouble.append(f"the server's memory grows: {early:.0f} MB, then {late:.0f} MB")
    return trouble


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=float(os.environ.get("SOAK_MINUTES", "60")))
    parser.add_argument("--readers", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    if find() is None:
        sys.exit("no Chromium: run python -m tests.browser.chromium")
    problems = walk(given.minutes, given.readers, given.seed)
    print("\n".join(problems) or "no problem")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
