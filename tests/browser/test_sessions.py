"""Ten readers at once on one server: each sees their own page, and none an error."""

from __future__ import annotations

from playwright.sync_api import expect

from tests.browser.conftest import Window, settled
from tests.browser.hands import parameters

READERS = "overview examples correlation trajectory robustness compare runs examples correlation overview".split()
RUNS = ("alpha", "alpha-twin", "bare")


def test_ten_sessions_at_once(window: Window, server: str) -> None:
    readers = [(name, RUNS[at % len(RUNS)]) for at, name in enumerate(READERS)]
    pages = [window.context.new_page() for _ in readers]  # a session is a page's connection, not its window
    try:
        for page, (name, run) in zip(pages, readers, strict=True):
            page.goto(f"{server}/{name}?run={run}", wait_until="commit")  # the next one does not wait for this one
        for page, (name, run) in zip(pages, readers, strict=True):
            page.bring_to_front()  # the browser draws few frames of a page that is behind others
            settled(page)
            title = "What this run shows" if name == "overview" else name.capitalize()
            expect(page.get_by_role("heading", name=title, level=1)).to_be_visible()
            assert page.get_by_test_id("stException").count() == 0
            assert parameters(page.url)["run"] == run
    finally:
        for page in pages:
            page.close()
