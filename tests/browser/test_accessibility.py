"""What axe-core finds on the pages, how they fit their window in both themes, and help by a key."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Visit
from tests.browser.hands import fits, looks, press
from tests.browser.server import PAGES

STREAMLITS_OWN = ("list", "listitem")
"""Rules that Streamlit's navigation breaks: it puts frames between a list and its items."""
OF_COLOURS = {"resultTypes": ["violations"], "runOnly": ["color-contrast", "link-in-text-block"]}
"""The rules whose findings depend on the theme; the others look at the same elements once more."""


def nothing_serious(page: Page, **options: object) -> None:
    """axe-core has no serious finding on the page."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="in the extra `test`").Axe()
    found = axe.run(page, **options).response["violations"]
    serious = [v for v in found if v["impact"] in ("serious", "critical") and v["id"] not in STREAMLITS_OWN]
    assert not serious, [(v["id"], [(n["target"], n["failureSummary"]) for n in v["nodes"][:3]]) for v in serious]


def looks_right(page: Page, name: str, *, light: bool) -> None:
    """The page is in its theme, fits its window, and shows its picture."""
    background = page.get_by_test_id("stApp").evaluate("e => getComputedStyle(e).backgroundColor")
    assert light == (sum(int(n) for n in re.findall(r"\d+", background)[:3]) > 384)
    fits(page)
    if name == "overview":
        expect(page.get_by_role("figure", name="Line chart of Self")).to_be_visible()


@pytest.mark.parametrize("name", PAGES)
def test_a_page_fits_its_window_in_both_themes_with_nothing_serious(visit: Visit, name: str) -> None:
    page = visit(name, run="alpha")
    looks_right(page, name, light=True)
    nothing_serious(page)
    looks(page, 1280, "dark")
    looks_right(page, name, light=False)
    nothing_serious(page, options=OF_COLOURS)
    looks_right(visit(name, run="alpha", theme="dark", width=390), name, light=False)


def test_help_is_reached_by_one_key_and_stands_outside_the_order_of_tab(visit: Visit) -> None:
    page = visit("trajectory", run="alpha")
    page.get_by_test_id("stSidebar").get_by_role("combobox", name="Split").focus()
    press(page, "?", page.get_by_test_id("stTooltipContent"))
    order = page.evaluate("[...document.querySelectorAll('button[aria-label^=\"Help for\"]')].map(e => e.tabIndex)")
    assert order and set(order) == {-1}
