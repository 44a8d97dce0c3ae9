"""Pages in Chromium on the sample runs: how long from an action until the page is at rest. Peers are the goals.

By its address: the document, Streamlit's own program, the page's script, and all that is drawn, in a new tab of a
browser that has been here before. By a click: from another page, in the sidebar. The first page of a fresh server is
opened in a browser that has not. A page is at rest when nothing has changed for 80 ms, which are not counted.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from playwright.sync_api import BrowserContext, Page

from tests.benchmarks.side_by_side import row
from tests.browser.chromium import with_profile
from tests.browser.server import PAGES, PATIENCE, WATCH, link_samples, serving

TIMES = 10
RUN = "sycophancy"
GOALS = {"address": 2.0, "click": 0.8, "next": 0.4, "slider": 0.25, "first": 4.0, "shift": 0.1, "heat": 2.0}
"""Seconds; of `shift` a sum of layout shifts."""
FIRST, STORING = 3, 4_000
"""Visits that fill the caches of server and browser; after each, milliseconds in which the browser stores programs."""
QUIET = 80
"""Milliseconds without a change after which a page is at rest. They are not counted."""

LOOK = """() => {
  window.shifts = window.shifts ?? 0;
  if (window.looked) return;
  window.looked = true;
  new PerformanceObserver(list => {
    for (const entry of list.getEntries()) if (!entry.hadRecentInput) window.shifts += entry.value;
  }).observe({ type: 'layout-shift', buffered: true });
}"""
"""Adds up layout shifts as the browser's own measure of them does, without those that a key or a click causes."""

QUIET_SINCE = f"""() => {{
  const w = window.watched, now = performance.now();
  const rests = document.querySelector('[data-testid=stMain] h1')
    && document.querySelector('[data-testid=stApp]')?.dataset.testScriptState === 'notRunning'
    && !document.querySelector('[data-stale=true], [data-testid^=stSkeleton], [data-testid=stAppSkeleton]')
    && document.fonts.status === 'loaded' && !w.unanswered;
  return rests && now - w.at > {QUIET} ? w.at : 0;
}}"""
"""The time of the last change of a page that is at rest; 0 of one that is not."""


def timed(page: Page, act: Callable[[], object]) -> float:
    """Seconds from an action until the last change that it makes."""
    page.wait_for_function(QUIET_SINCE, polling=20, timeout=PATIENCE)
    started = page.evaluate("window.watched.at = performance.now()")
    asked = page.evaluate("window.watched.asked")
    act()
    page.wait_for_function("asked => window.watched.asked > asked", arg=asked, polling=20, timeout=PATIENCE)
    return (page.wait_for_function(QUIET_SINCE, polling=20, timeout=PATIENCE).json_value() - started) / 1000


def opened(page: Page, address: str) -> tuple[float, float]:
    """Seconds until a page is at rest, counted by the browser from the start of the navigation; its layout shifts."""
    page.goto(address)
    seconds = page.wait_for_function(QUIET_SINCE, polling=20, timeout=PATIENCE).json_value() / 1000
    return seconds, page.evaluate("window.shifts")


@contextmanager
def window() -> Iterator[BrowserContext]:
    """A browser as its owner first opens it: nothing is in its cache, and it keeps what it reads."""
    with with_profile(viewport={"width": 1280, "height": 900}) as context:
        context.set_default_timeout(PATIENCE)
        context.add_init_script(f"({WATCH})(); ({LOOK})()")
        yield context


def measured(times: int = TIMES) -> dict[str, list[float]]:
    """Name of a row → its numbers."""
    found: dict[str, list[float]] = {}

    def note(name: str, number: float) -> None:
        found.setdefault(name, []).append(number)

    with tempfile.TemporaryDirectory() as folder:
        link_samples(Path(folder), RUN)
        link_samples(Path(folder), "refusal")
        for _ in range(min(times, 3)):
            with serving(Path(folder)) as address, window() as fresh:
                note("first page of a fresh server", opened(fresh.new_page(), f"{address}/?run={RUN}")[0])
        with serving(Path(folder)) as address, window() as known:
            for name in PAGES:
                where = f"{address}/{'' if name == 'overview' else name}?run={RUN}"
                for number in range(times + FIRST):
                    page = known.new_page()
                    seconds, shift = opened(page, where)
                    if number < FIRST:
                        page.wait_for_timeout(STORING)
                    page.close()
                    if number >= FIRST:
                        note(f"{name}, by its address", seconds)
                        note(f"{name}, layout shift", shift)
                print(f"{name}: {statistics.median(found[f'{name}, by its address']):.2f} s", file=sys.stderr)
            page = known.new_page()
            opened(page, f"{address}/?run={RUN}")
            for _ in range(times):
                for name in (n for n in PAGES if n != "overview"):
                    link = page.locator(".st-key-pages").get_by_role("link", name=name.title(), exact=True)
                    note(f"{name}, by a click", timed(page, link.click))
            for name, seconds in moves(known, address, times):
                note(name, seconds)
    return found


def moves(known: BrowserContext, address: str, times: int) -> Iterator[tuple[str, float]]:
    """Moves on a page: the next example by its key, the heat over its tokens (the first of them loads both models), and
    a step of the noise slider."""
    page = known.new_page()
    opened(page, f"{address}/examples?run={RUN}")
    for _ in range(times):
        yield "next example", timed(page, lambda: page.keyboard.press("n"))
    page.locator("summary", has_text="Which words carry it").click()
    compute = page.get_by_role("button", name="Compute on both checkpoints")
    for _ in range(times):
        timed(page, lambda: page.keyboard.press("n"))
        yield "token heat of an example", timed(page, compute.click)
    opened(page, f"{address}/robustness?run={RUN}")
    slider = page.get_by_test_id("stSlider").first
    at, track = slider.get_by_role("slider").first.bounding_box(), slider.bounding_box()
    for number in range(times):  # by the mouse: a slider waits for the next key before it sends one
        x, y = track["x"] + track["width"] * (0.1 + 0.08 * (number * 7 % 10)), at["y"] + at["height"] / 2
        yield "a slider, from release to redraw", timed(page, partial(page.mouse.click, x, y))


def goal_of(name: str) -> float:
    kinds = {
        "heat": "heat",
        "by its address": "address",
        "by a click": "click",
        "layout shift": "shift",
        "slider": "slider",
    }
    return GOALS[next((kind for words, kind in kinds.items() if words in name), name.split()[0])]


def rows() -> list[dict[str, Any]]:
    """Measured rows of the benchmark table: ours beside the goal."""
    started = time.perf_counter()
    found = measured()
    print(f"{time.perf_counter() - started:.0f} s", file=sys.stderr)
    out = []
    for name, numbers in found.items():
        unit = {"unit": "", "threads": None} if "shift" in name else {}
        least = [max(number, 1e-6) for number in numbers]
        out.append(row(name, least, [goal_of(name)] * len(least), 1.0, note="theirs: the goal", **unit))
    return out
