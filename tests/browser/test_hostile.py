"""Hostile text in every field of a run and of an address is shown as text: nothing runs, nothing is fetched."""

from __future__ import annotations

import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from dashboard.selection.state import NAMES
from tests.browser.conftest import Serve, Visit, Window
from tests.browser.hands import download
from tests.browser.server import PAGES
from tests.hostile_run import ATTACK, FOLDER, LONG, write_hostile_run


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, serve: Serve) -> Iterator[str]:
    """Address of a dashboard over the hostile run and two broken ones like it."""
    folder = tmp_path_factory.mktemp("hostile")
    write_hostile_run(folder)
    with serve(folder) as address:
        yield address


@pytest.fixture
def look(visit: Visit, window: Window) -> Iterator[Visit]:
    """Open a page of the hostile dashboard; a foreign request, a dialog or an error of the page fails the test."""
    window.errors.clear()
    yield visit
    # Streamlit looks for its own server below a page's path first, which is a 404.
    ours = "Failed to load resource: the server responded with a status of 404"
    errors = [error for error in window.errors if not error.startswith(ours)]
    assert not errors, errors


def harmless(page: Page) -> None:
    """The attack made no element, and none of its marks hides or turns text."""
    assert page.evaluate("window.stolen") is None
    assert page.evaluate("getComputedStyle(document.body).display") != "none"
    made = (
        "img[src*=canary], img[onerror], a[href*='//canary'], a[href^=javascript], .katex, [data-testid=stMain] script"
    )
    assert page.locator(made).count() == 0, page.locator(made).first.evaluate("e => e.outerHTML")
    outside_code = page.locator("span:not(code span)").get_by_text("rainbowed", exact=True)
    assert outside_code.count() == 0, "a colour directive was obeyed"
    assert page.get_by_role("img", name="skull icon").count() == 0, "an icon directive was obeyed"
    text = page.locator("body").inner_text()
    assert not set(text) & set("\u202e\x07\x1b")
    assert "Traceback" not in text and page.get_by_test_id("stException").count() == 0


@pytest.mark.parametrize("name", PAGES)
def test_a_hostile_run_is_shown_as_text(look: Visit, name: str) -> None:
    page = look(name, run=FOLDER)
    harmless(page)


@pytest.mark.parametrize("name", PAGES)
def test_a_hostile_address_is_answered_in_words(look: Visit, name: str) -> None:
    own = ("step", "against", "colour", "examples", "prompt", "measure", "reviewer", "item", "seed", "view")
    page = look(name, **dict.fromkeys((*NAMES, *own), ATTACK))
    harmless(page)
    harmless(look(name, run=FOLDER, slice=f"name:{urllib.parse.quote(ATTACK)};text:{urllib.parse.quote(ATTACK)}"))


@pytest.mark.parametrize("broken", ["failed", "unreadable"])
@pytest.mark.parametrize("name", ["overview", "examples", "runs"])
def test_hostile_errors_are_shown_as_text(look: Visit, broken: str, name: str) -> None:
    page = look(name, run=broken)
    harmless(page)
    if name == "runs":
        expect(page.get_by_test_id("stMain")).to_contain_text("window.stolen" if broken == "failed" else "spec")


def test_a_prompt_of_a_megabyte_is_cut_and_can_be_had_whole(look: Visit) -> None:
    page = look("examples", run=FOLDER)
    harmless(page)
    expect(page.locator(".prompt").first).to_contain_text("more characters")
    assert len(page.locator(".prompt").first.inner_text()) < 50_000
    text = Path(download(page.get_by_role("button", name="Whole prompt x")).path()).read_text()
    assert len(text) > LONG and ATTACK in text


def test_words_of_a_verbal_explainer_are_shown_as_text(look: Visit) -> None:
    page = look("examples", run=FOLDER, explainer="verbal")
    harmless(page)
    expect(page.get_by_role("heading", name="In its own words")).to_be_visible()
    expect(page.locator(".prompt").nth(2)).to_contain_text("<script>window.stolen")
