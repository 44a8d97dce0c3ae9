"""What is on the screen, saved: pictures of figures, and the numbers behind them."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from playwright.sync_api import Download, Page

from dashboard.reading import data
from tests.browser.conftest import Visit
from tests.browser.hands import checked, click, download

BUTTON = '.modebar-btn[data-title^="Download plot"]'


def saved_picture(page: Page, plot: int = 0) -> Download:
    """What the camera of a figure saves."""
    figure = page.get_by_test_id("stPlotlyChart").nth(plot)
    figure.locator(".main-svg").first.wait_for()
    return download(figure.locator(BUTTON), over=figure)


@pytest.mark.parametrize(("name", "opener"), [("correlation", None), ("trajectory", "The same as a table")])
def test_the_camera_saves_png_and_svg(visit: Visit, runs: Path, name: str, opener: str | None) -> None:
    page = visit(name, run="alpha")
    png = saved_picture(page)
    assert png.suggested_filename.endswith(".png")
    assert data.content_hash(runs / "alpha") in png.suggested_filename
    assert Path(png.path()).read_bytes().startswith(b"\x89PNG")
    radio = page.get_by_role("radio", name="SVG").first
    if opener:
        click(page.locator("summary", has_text=opener).first, radio)
    click(radio, checked(radio))
    svg = saved_picture(page)
    assert svg.suggested_filename.endswith(".svg")
    text = Path(svg.path()).read_text()
    assert (text.startswith("<svg") and ">Self<" in text) or "identity" in text
    assert data.content_hash(runs / "alpha") in text, "a picture says in itself what it is of"


@pytest.mark.parametrize("name", ["trajectory", "correlation", "compare", "robustness", "overview"])
def test_tables_are_saved_as_csv_and_parquet(visit: Visit, name: str) -> None:
    page = visit("" if name == "overview" else name, run="alpha", second="alpha-twin")
    buttons = page.get_by_test_id("stDownloadButton")
    summary = page.locator("summary", has_text="The same as a table")
    if summary.count():
        click(summary.first, buttons)
    frames = []
    for label, read in (("CSV", pd.read_csv), ("Parquet", pd.read_parquet)):
        frames.append(read(download(buttons.filter(has_text=label).get_by_role("button").first).path()))
    assert len(frames[0]) == len(frames[1]) > 0
    assert list(frames[0].columns) == list(frames[1].columns)
