"""Keys, clicks, sliders and downloads. Each waits for its effect, and is done again where a redraw swallowed it."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from typing import Literal
from urllib.parse import parse_qs, urlparse

from playwright.sync_api import Download, Locator, Page, expect
from playwright.sync_api import TimeoutError as NotInTime

from tests.browser.server import PATIENCE, settled

TRIES = 4
LOOK = 8_000
"""Milliseconds without an effect after which an action on a page at rest is done again."""

Shows = Locator | Callable[[float], object]
"""An effect: a locator that becomes visible, or a function of milliseconds that raises unless it comes true in time."""


def until(page: Page, act: Callable[[], object], shows: Shows) -> None:
    """Act until the effect shows. Act again only where the page is at rest without it, so nothing is done twice."""
    for attempt in range(TRIES):
        settled(page)
        try:
            act()
        except NotInTime:
            if attempt == 0:
                raise
            break  # there is nothing left to act on: the page has heard, and is slow
        if seen(shows, LOOK):
            return settled(page)
        settled(page)
        if seen(shows, 1_000):
            return None
    look(shows, PATIENCE)  # says what is missing, if it is
    return settled(page)


def look(shows: Shows, milliseconds: float) -> None:
    if isinstance(shows, Locator):
        shows.first.wait_for(timeout=milliseconds)  # returns at once; `expect` looks again only after up to a second
    else:
        shows(milliseconds)


def seen(shows: Shows, milliseconds: float) -> bool:
    try:
        look(shows, milliseconds)
    except (AssertionError, NotInTime):
        return False
    return True


def address(page: Page, url: str) -> Shows:
    """The page's address matches this pattern."""
    return soon(page.wait_for_url, url)


def gone(what: Locator) -> Shows:
    return lambda milliseconds: what.first.wait_for(state="detached", timeout=milliseconds)


def soon(assertion: Callable[..., object], *expected: object) -> Shows:
    """An assertion as an effect: `soon(expect(box).to_have_value, "5")`."""
    return lambda milliseconds: assertion(*expected, timeout=milliseconds)


def parameters(url: str) -> dict[str, str]:
    """The query of an address."""
    return {name: values[-1] for name, values in parse_qs(urlparse(url).query).items()}


def on_a_phone(page: Page) -> None:
    """Make the window as narrow as a phone's and dark."""
    looks(page, 390, "dark")


def on_a_desk(page: Page) -> None:
    """Make the window as wide as a screen and light, as it is at first."""
    looks(page, 1280, "light")


def looks(page: Page, width: int, theme: Literal["light", "dark"]) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme=theme)
    page.evaluate("watched.stirred = true")  # the browser reports a new size only with its next frame
    settled(page)


def fits(page: Page) -> None:
    """The page does not scroll sideways, and shows no exception."""
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), "the page scrolls sideways"
    assert page.get_by_test_id("stMain").evaluate("e => e.scrollWidth <= e.clientWidth"), "the page scrolls sideways"
    assert page.get_by_test_id("stException").count() == 0


def at_line_ends(figures: Page | Locator, *names: str) -> None:
    """Lines of the figures have these names at their ends."""
    for name in names:
        exactly = figures.locator(".annotation-text").filter(has_text=re.compile(f"^{re.escape(name)}$"))
        expect(exactly.first).to_be_attached()


def in_legend(figures: Page | Locator, *names: str) -> None:
    """The figures' legends contain these names; figures are drawn after the page."""
    for name in names:
        exactly = figures.locator(".legendtext").filter(has_text=re.compile(f"^{re.escape(name)}$"))
        expect(exactly.first).to_be_attached()


def press(page: Page, key: str, shows: Shows) -> None:
    """Press a key wherever the focus is."""
    until(page, lambda: page.keyboard.press(key), shows)


def click(what: Locator, shows: Shows) -> None:
    until(what.page, what.click, shows)


def enter(box: Locator, text: str, shows: Shows, key: str = "Enter") -> None:
    """Write into a box and send it off."""

    def act() -> None:
        box.fill(text)
        box.press(key)

    until(box.page, act, shows)


def slide(slider: Locator, value: float) -> None:
    """Set a slider by its own keys. A redraw may swallow some or reset it, so it is read again until it stays."""
    page = slider.page
    for _ in range(10):
        settled(page)
        keys = round((value - float(slider.input_value())) / float(slider.get_attribute("step") or 1))
        if not keys:
            return
        asked = page.evaluate("watched.asked")
        for _ in range(abs(keys)):
            slider.press("ArrowRight" if keys > 0 else "ArrowLeft")
        with suppress(NotInTime):  # a slider sends its value late; a redraw may have swallowed all keys
            page.wait_for_function("asked => watched.asked > asked", arg=asked, timeout=LOOK)
    raise AssertionError(f"the slider stands at {slider.input_value()}, not at {value}")


def download(button: Locator, over: Locator | None = None) -> Download:
    """Click and return the saved file. over: hover there first, for a button that is visible only then."""
    page = button.page
    for _ in range(TRIES):
        settled(page)
        try:
            with page.expect_download(timeout=PATIENCE / TRIES) as waiting:
                if over is not None:
                    over.hover()
                button.click()
            return waiting.value
        except NotInTime as error:
            late = error
    raise late


def choose_option(page: Page, box: str, option: str, shows: Shows) -> None:
    """Choose from a select box; a list that a redraw closed while it opened is opened again."""

    def act() -> None:
        page.get_by_role("combobox", name=box).first.click()
        try:
            page.get_by_role("option", name=option).first.click(timeout=LOOK)
        except NotInTime:
            page.keyboard.press("Escape")

    until(page, act, shows)


def choose_row(table: Locator, shows: Shows, row: int = 0) -> None:
    """Tick a row of a table. A table is a canvas, so the row is found by its place."""

    def act() -> None:
        table.scroll_into_view_if_needed()
        # The list of cells for assistive tools is made once the table is in sight and has been drawn.
        table.locator(f"[id^=glide-cell-][id$='-{row}']").first.wait_for(state="attached")
        settled(table.page)
        box = table.bounding_box()
        table.page.mouse.click(box["x"] + 18, box["y"] + 52 + 35 * row)

    until(table.page, act, shows)


def choose_first_row(page: Page, shows: Shows) -> None:
    """Tick the first row of the table of examples."""
    choose_row(page.get_by_test_id("stDataFrame").last, shows)
