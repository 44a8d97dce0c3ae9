"""Figures and tables are saved as they stand on the screen, and each figure says which run it shows."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest
from playwright.sync_api import Download, Page, expect

from dashboard.reading import data
from tests.browser.conftest import Visit
from tests.browser.hands import choose_first_row, click, download, gone, press, soon, until

BUTTON = '.modebar-btn[data-title^="Download plot"]'
FIGURES = """() => [...document.querySelectorAll('.js-plotly-plot')].map(e => ({
  name: e._context?.toImageButtonOptions?.filename, camera: e._context?.displayModeBar !== false,
  wall: !!e.closest('.stApp').querySelector('.st-key-lesson_navigation'), words: e.textContent }))"""


def saved_picture(page: Page) -> Download:
    """The picture that the camera of the first figure saves."""
    figure = page.get_by_test_id("stPlotlyChart").first
    figure.locator(".main-svg").first.wait_for()
    return download(figure.locator(BUTTON), over=figure)


@pytest.mark.parametrize(("name", "opener"), [("correlation", None), ("trajectory", "Table, export")])
def test_the_camera_saves_png_and_svg(visit: Visit, runs: Path, name: str, opener: str | None) -> None:
    page = visit(name, run="alpha")
    png = saved_picture(page)
    assert png.suggested_filename.endswith(".png")
    assert data.content_hash(runs / "alpha") in png.suggested_filename
    assert Path(png.path()).read_bytes().startswith(b"\x89PNG")
    radio = page.get_by_role("radio", name="SVG").first
    if opener:
        click(page.get_by_role("button", name=opener).first, radio)
    click(radio, soon(expect(radio).to_be_checked))
    if opener:
        press(page, "Escape", gone(page.get_by_test_id("stPopoverBody")))
    svg = saved_picture(page)
    assert svg.suggested_filename.endswith(".svg")
    text = Path(svg.path()).read_text()
    assert (text.startswith("<svg") and ">Self<" in text) or "identity" in text
    assert data.content_hash(runs / "alpha") in text, "the picture itself says which run it shows"


def stamped(page: Page, run: Path) -> None:
    """Each figure that can be saved has the run's content hash: in its file's name, in itself, and in words below."""
    plots, content = page.get_by_test_id("stPlotlyChart"), data.content_hash(run)
    plots.first.wait_for()
    expect(page.locator(".js-plotly-plot .main-svg").first).to_be_attached()
    expect(page.locator(".js-plotly-plot")).to_have_count(plots.count())
    figures = [figure for figure in page.evaluate(FIGURES) if figure["camera"]]
    assert figures
    for figure in figures:
        assert content in figure["name"], figure["name"]
        if not figure["wall"]:  # the lesson's figures are for a wall: only their names say it
            assert content in figure["words"], figure["name"]
    words = page.get_by_test_id("stPopoverBody").get_by_text(f"content {content}")
    click(page.get_by_role("button", name="Source").first, words)
    press(page, "Escape", gone(page.get_by_test_id("stPopoverBody")))


@pytest.mark.parametrize(
    "name", ["overview", "examples", "correlation", "trajectory", "compare", "robustness", "mechanism"]
)
def test_every_figure_says_its_run_and_its_table_is_saved(visit: Visit, runs: Path, name: str) -> None:
    part = {"part": "monitoring"} if name == "mechanism" else {}  # this run has no maps
    page = visit(name, run="alpha", second="alpha-twin", **part)
    stamped(page, runs / "alpha")
    buttons = page.get_by_test_id("stDownloadButton")
    table = page.get_by_role("button", name="Table, export")
    if name == "correlation":
        click(page.locator("summary", has_text="Table and export"), buttons)
    elif table.count():
        click(table.first, buttons)
    frames = []
    for label, read in (("CSV", pd.read_csv), ("Parquet", pd.read_parquet)):
        frames.append(read(download(buttons.filter(has_text=label).get_by_role("button").first).path()))
    assert len(frames[0]) == len(frames[1]) > 0
    assert list(frames[0].columns) == list(frames[1].columns)
    if name == "examples":
        place = page.get_by_text(re.compile(r"^1 of [\d,]+$")).inner_text()
        assert len(frames[0]) == int(place.split(" of ")[1].replace(",", "")), "all examples that fit"


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
    words = page.get_by_test_id("stPopoverBody").get_by_text(f"content {data.content_hash(runs / 'alpha')}")
    click(page.get_by_role("button", name="Source").last, words.filter(has_text="example "))
