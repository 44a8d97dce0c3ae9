"""Patching maps in a browser: both side by side, their controls, how to make them, and one example on demand."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from engine.config import PatchingSpec
from engine.patching.stage import patch_run
from tests.browser.conftest import Visit, settled
from tests.browser.hands import address, click, fits, gone, on_a_phone, press
from tests.browser.test_lab import run_with_models


@pytest.fixture(scope="module")
def patched(runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A run with maps and with its checkpoints."""
    spec = PatchingSpec(examples=6, bootstrap=200, split="train", device="cpu")
    made = tmp_path_factory.mktemp("making")
    with run_with_models(runs, made, "patched", lambda path: patch_run(path, spec)) as path:
        yield path


def test_both_maps_stand_side_by_side_with_their_controls(visit: Visit, patched: Path) -> None:
    page = visit("mechanism", run="patched")
    figure = page.get_by_role("figure", name="Two heatmaps")
    expect(figure).to_be_visible()
    for title in ("Behavior f", "Explanation"):
        exactly = figure.locator(".annotation-text").filter(has_text=re.compile(f"^{title}$"))
        expect(exactly.first).to_be_attached()
    for place in ("before the edit", "edit, middle", "last token"):
        expect(figure.locator(".ytick text", has_text=place).first).to_be_attached()
    expect(figure.locator(".colorbar")).to_have_count(2)
    expect(page.get_by_text("Both maps correlate by")).to_be_visible()
    expect(page.get_by_role("figure", name="Both maps correlate by")).to_be_visible()
    click(page.get_by_role("button", name="Table, export").first, page.get_by_role("button", name="CSV"))
    press(page, "Escape", gone(page.get_by_test_id("stPopoverBody")))
    on_a_phone(page)
    fits(page)


def test_the_scale_is_kept_in_the_url(visit: Visit, patched: Path) -> None:
    page = visit("mechanism", run="patched")
    click(page.get_by_role("radio", name="nats, mean size"), address(page, "**scale=nats**"))
    page.reload()
    settled(page)
    expect(page.get_by_role("figure", name="nats, mean size")).to_be_visible()


def test_one_example_is_patched_on_demand(visit: Visit, patched: Path) -> None:
    page = visit("mechanism", run="patched", part="example")
    expect(page.get_by_role("figure", name="tokens of one example")).to_have_count(0)
    page.get_by_role("button", name="Patch this example").click()
    expect(page.get_by_role("figure", name="tokens of one example")).to_be_visible()
    settled(page)
    expect(page.get_by_text("From x to x′ f moves by")).to_be_visible()


def test_monitoring_has_its_curve_and_its_baseline(visit: Visit) -> None:
    page = visit("mechanism", run="alpha")
    expect(page.get_by_text("has no patching maps yet")).to_be_visible()
    click(page.get_by_role("radio", name="Monitoring without edits"), address(page, "**part=monitoring**"))
    figure = page.get_by_role("figure", name="Predicted against measured shift")
    expect(figure).to_be_visible()
    expect(page.get_by_text("pairs of slice and checkpoint moved by more than 0.5 nats")).to_be_visible()
    click(page.get_by_role("radio", name="0.25 nats"), address(page, "**event=0.25**"))
    expect(page.get_by_text("moved by more than 0.25 nats")).to_be_visible()
