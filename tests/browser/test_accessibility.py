"""What axe-core finds on the pages, how they fit their window in both themes, and help by a key."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Visit
from tests.browser.hands import address, choose_option, click, fits, looks, press
from tests.browser.server import PAGES, settled

STREAMLITS_OWN = ("list", "listitem")
"""Rules that Streamlit's navigation breaks: it puts frames between a list and its items."""
RING = "e => getComputedStyle(e.matches('input') ? e.closest('label') : e).outlineStyle"
AXIS_TEXT = """() => {
  const light = colour => {
    const [r, g, b] = colour.match(/[\\d.]+/g).slice(0, 3).map(n => n / 255);
    const linear = c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
    return 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b) + 0.05;
  };
  const page = light(getComputedStyle(document.querySelector('[data-testid=stApp]')).backgroundColor);
  const axes = ['.xtick text', '.ytick text', '.xtitle', '.ytitle'].map(one => '.js-plotly-plot ' + one).join(', ');
  return [...document.querySelectorAll(axes)].map(text => {
    const style = getComputedStyle(text), own = light(style.fill);
    const ratio = Math.max(own, page) / Math.min(own, page);
    return {text: text.textContent, size: parseFloat(style.fontSize), ratio, opacity: Number(style.fillOpacity)};
  });
}"""
"""Size in pixels of every axis text, and its contrast with the page (WCAG's ratio)."""
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
    axes = page.evaluate(AXIS_TEXT)
    assert [axis for axis in axes if axis["size"] < 12 or axis["ratio"] < 4.5 or axis["opacity"] < 1] == []
    if name in ("overview", "trajectory"):
        assert len(axes) > 5
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


def test_the_focus_has_a_ring_that_nothing_selected_has(visit: Visit) -> None:
    page = visit("trajectory", run="alpha")
    page.keyboard.press("Tab")
    links, parts = page.locator(".st-key-pages a"), page.get_by_role("radiogroup", name="Part of this page")
    selected = parts.get_by_role("radio", checked=True)
    for focused in (links.nth(1), page.get_by_role("button", name="Source").first, selected):
        assert focused.evaluate(RING) == "none"
        focused.focus()
        assert focused.evaluate(RING) == "solid"


def test_the_run_is_reached_at_twice_the_size(visit: Visit) -> None:
    page = visit("overview", run="alpha")
    page.set_viewport_size({"width": 640, "height": 450})
    settled(page)
    opener = page.get_by_test_id("stExpandSidebarButton")
    box = page.get_by_test_id("stSidebar").get_by_role("combobox", name="Run")
    if opener.is_visible():
        click(opener, box)
    box.scroll_into_view_if_needed()
    expect(box).to_be_in_viewport()
    choose_option(page, "Run", "alpha-twin", address(page, "**run=alpha-twin**"))


def test_no_two_fields_of_a_page_have_one_name(visit: Visit) -> None:
    page = visit("runs", section="new", run="alpha", **{"from": "run alpha"})
    expect(page.get_by_role("textbox", name="Path of 2")).to_be_visible()
    names = page.get_by_test_id("stMain").get_by_role("textbox").evaluate_all("all => all.map(e => e.ariaLabel)")
    assert len(names) > 8 and len(set(names)) == len(names)
