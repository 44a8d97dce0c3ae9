"""Every figure says of which run it is: in itself, in the name of a picture saved of it, and in words below it."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from dashboard.reading import data
from tests.browser.conftest import Visit
from tests.browser.hands import choose_first_row, press, until

FIGURES = """() => [...document.querySelectorAll('.js-plotly-plot')].map(e => ({
  name: e._context?.toImageButtonOptions?.filename, camera: e._context?.displayModeBar !== false,
  wall: !!e.closest('.stApp').querySelector('.st-key-lesson_navigation'), words: e.textContent }))"""


def drawn(page: Page) -> list[dict]:
    """The figures on the page that can be saved, once they are drawn."""
    charts = page.get_by_test_id("stPlotlyChart")
    charts.first.wait_for()
    expect(page.locator(".js-plotly-plot .main-svg").first).to_be_attached()
    expect(page.locator(".js-plotly-plot")).to_have_count(charts.count())
    return [figure for figure in page.evaluate(FIGURES) if figure["camera"]]


def stamped(page: Page, run: Path) -> None:
    figures, content = drawn(page), data.content_hash(run)
    assert figures
    for figure in figures:
        assert content in figure["name"], figure["name"]
        if not figure["wall"]:  # the lesson's figures are for a wall: their names say it
            assert content in figure["words"], figure["name"]
    expect(page.get_by_text(f"content {content}").first).to_be_visible()


@pytest.mark.parametrize(
    "name", ["overview", "examples", "correlation", "trajectory", "compare", "robustness", "mechanism"]
)
def test_every_figure_of_a_page_carries_the_runs_content_hash(visit: Visit, runs: Path, name: str) -> None:
    page = visit("" if name == "overview" else name, run="alpha", second="alpha-twin")
    stamped(page, runs / "alpha")


@pytest.mark.parametrize("step", ["1", "4"])
def test_the_lessons_figures_have_it_in_the_name_of_a_saved_picture(visit: Visit, runs: Path, step: str) -> None:
    page = visit("learn", story_run="alpha", step=step)
    press(page, "v", page.locator(".reveal"))
    stamped(page, runs / "alpha")


def test_the_card_of_one_example_says_where_its_numbers_come_from(visit: Visit, runs: Path) -> None:
    page = visit("robustness", run="alpha")
    slider = page.get_by_role("slider", name="Level of noise")
    until(page, lambda: slider.press("ArrowRight"), page.get_by_text("changed sign: level 50% → 60%"))
    choose_first_row(page, page.get_by_text("Error of the explanation"))
    expect(page.get_by_test_id("stPlotlyChart")).to_have_count(2)
    stamped(page, runs / "alpha")
    words = page.get_by_text(f"content {data.content_hash(runs / 'alpha')}")
    expect(words.filter(has_text="example ")).to_be_visible()
