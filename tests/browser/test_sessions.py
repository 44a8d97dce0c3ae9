"""Ten readers at once on one server: everybody sees their own page, and nobody an error."""

from __future__ import annotations

import urllib.parse

from playwright.sync_api import expect

from tests.browser.conftest import Window, settled

READERS = (
    ("", "What this run shows"), ("examples", "Examples"), ("correlation", "Correlation"), ("trajectory", "Trajectory"),
    ("robustness", "Robustness"), ("compare", "Compare"), ("runs", "Runs"), ("examples", "Examples"),
    ("correlation", "Correlation"), ("", "What this run shows"),
)  # fmt: skip
RUNS = ("alpha", "alpha-twin", "bare")


def test_ten_sessions_at_once(window: Window, server: str) -> None:
    pages = [window.context.new_page() for _ in READERS]  # a session is a page's connection, not its window
    try:
        for at, (page, (name, _)) in enumerate(zip(pages, READERS, strict=True)):
            query = urllib.parse.urlencode({"run": RUNS[at % len(RUNS)]})
            page.goto(f"{server}/{name}?{query}", wait_until="commit")  # the next one does not wait for this one
        for at, (page, (_, title)) in enumerate(zip(pages, READERS, strict=True)):
            settled(page)
            expect(page.get_by_role("heading", name=title, level=1)).to_be_visible()
            assert page.get_by_test_id("stException").count() == 0
            assert urllib.parse.parse_qs(urllib.parse.urlparse(page.url).query)["run"] == [RUNS[at % len(RUNS)]]
    finally:
        for page in pages:
            page.close()
