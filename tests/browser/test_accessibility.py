"""What axe-core finds on the pages, and help by a key."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page

from tests.browser.conftest import Visit
from tests.browser.hands import press
from tests.browser.server import PAGES, settled

STREAMLITS_OWN = ("list", "listitem")
"""Rules that Streamlit's navigation breaks: it puts frames between a list and its items."""


def nothing_serious(page: Page) -> None:
    """axe-core has no serious finding on the page."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="in the extra `test`").Axe()
    found = axe.run(page).response["violations"]
    serious = [v for v in found if v["impact"] in ("serious", "critical") and v["id"] not in STREAMLITS_OWN]
    assert not serious, [(v["id"], [(n["target"], n["failureSummary"]) for n in v["nodes"][:3]]) for v in serious]


@pytest.mark.parametrize("name", PAGES)
def test_nothing_serious_on_a_page_light_or_dark(visit: Visit, name: str) -> None:
    page = visit(name, run="alpha")
    nothing_serious(page)
    page.emulate_media(color_scheme="dark")
    page.evaluate("watched.stirred = true")
    settled(page)
    nothing_serious(page)


def test_help_is_reached_by_one_key_and_stands_outside_the_order_of_tab(visit: Visit) -> None:
    page = visit("trajectory", run="alpha")
    page.get_by_test_id("stSidebar").get_by_role("combobox", name="Split").focus()
    press(page, "?", page.get_by_test_id("stTooltipContent"))
    order = page.evaluate("[...document.querySelectorAll('button[aria-label^=\"Help for\"]')].map(e => e.tabIndex)")
    assert order and set(order) == {-1}
