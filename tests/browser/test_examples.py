"""Single examples: found by filter, order and search; looked at on both checkpoints. (Keys and links: test_shell.)"""

from __future__ import annotations

import re

from playwright.sync_api import Page, expect

from tests.browser.conftest import Visit
from tests.browser.hands import address, choose_option, click, enter, fits, on_a_phone, parameters


def number(page: Page, label: str) -> float:
    """The value of one of the big numbers."""
    tile = page.locator(".tiles > div").filter(has_text=label)
    return float(tile.locator(".value").inner_text().replace("−", "-"))


def total(page: Page) -> int:
    place = page.get_by_text(re.compile(r"^[\d,]+ of [\d,]+$")).first.inner_text()
    return int(place.split(" of ")[1].replace(",", ""))


def test_orders_put_their_extreme_first(visit: Visit) -> None:
    def first(sort: str) -> tuple[float, float, float]:
        page = visit("examples", run="alpha", sort=sort)
        return number(page, "Explanation"), number(page, "Δ target"), number(page, "Δ current")

    e, target, current = first("nearest_target")
    assert abs(e - target) < abs(e - current)
    e, target, current = first("nearest_current")
    assert abs(e - current) < abs(e - target)
    e, target, current = first("sign_flips")
    assert target * current < 0
    e, target, current = first("error")
    assert abs(e - current) > 1


def test_filters_by_metadata_sign_and_search_narrow_the_list(visit: Visit) -> None:
    page = visit("examples", run="alpha")
    everything = total(page)
    click(
        page.locator("summary", has_text=re.compile("Slice$")), page.get_by_role("combobox", name="Agreement in sign")
    )
    choose_option(page, "Agreement in sign", "nearer the target", address(page, "**signs**"))
    page.keyboard.press("Escape")  # its list stays open and hides the rest from assistive tools
    words = page.get_by_role("textbox", name="Text in x or x′")
    expect(words).to_be_visible()
    assert 0 < total(page) < everything
    expect(page.get_by_text("The explanation is nearer to the")).to_be_visible()
    enter(words, "a professor", address(page, "**professor**"))
    assert "text" in parameters(page.url)["slice"]
    expect(page.locator(".prompt").first).to_contain_text("a professor")
    enter(words, "no such words anywhere", page.get_by_text("Widen the slice"))


def test_diff_and_picture_fit_a_phone(visit: Visit) -> None:
    page = visit("examples", run="alpha", sort="shift")
    expect(page.locator(".prompt del").first).to_be_visible()
    expect(page.get_by_role("figure").first).to_have_attribute("aria-label", re.compile("at the current checkpoint"))
    expect(page.get_by_text("Which words carry it")).to_be_visible()
    on_a_phone(page)
    fits(page)
