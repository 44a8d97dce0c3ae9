"""Sliders, a live refit, and what it flipped."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Visit, settled
from tests.browser.hands import at_line_ends, choose_first_row, until


def test_moving_the_level_refits_and_lists_what_flipped(visit: Visit):
    page = visit("robustness", run="alpha")
    expect(page.locator(".refit")).to_be_attached()
    at_line_ends(page, "Self stored", "Orig stored", "Self", "Orig")
    expect(page.get_by_text("Move a slider")).to_be_visible()
    slider = page.get_by_role("slider", name="Level of noise")
    until(page, lambda: slider.press("ArrowRight"), page.get_by_text("changed sign: level 50% → 60%"))
    page.wait_for_url("**level=60%25**")
    expect(page.get_by_text("At 60%: Self")).to_be_visible()
    choose_first_row(page, page.get_by_text("Error of the explanation"))
    page.reload()
    settled(page)
    expect(page.get_by_text("At 60%: Self")).to_be_visible()


@pytest.mark.parametrize("kind", ["shuffle", "flip", "gaussian"])
def test_every_kind_of_noise_is_drawn_against_what_it_did_to_the_labels(visit: Visit, kind: str):
    page = visit("robustness", run="alpha", kind=kind, x="noisy_clean")
    expect(page.get_by_role("figure")).to_have_count(1)
    expect(page.get_by_text("correlation of noisy with clean targets").first).to_be_visible()


def test_without_hidden_states_the_precomputed_curve_stands_alone(visit: Visit):
    page = visit("robustness", run="bare")
    expect(page.get_by_text("keeps no hidden states")).to_be_visible()
    expect(page.get_by_role("figure")).to_have_count(1)
    at_line_ends(page, "Self")
    expect(page.locator(".annotation-text", has_text="stored")).to_have_count(0)


def test_every_setting_has_its_control_and_the_break_is_marked(visit: Visit):
    page = visit("robustness", run="alpha", kind="flip")
    expect(page.get_by_text("breaks it").or_(page.get_by_text("Already without noise")).first).to_be_visible()
    for name in ("Level of noise", "Layer", "Ridge penalty", "Training examples", "Seeds of the noise"):
        expect(page.get_by_role("slider", name=name)).to_be_visible()
    for kind in ("Shuffle", "Flip", "Gaussian"):
        expect(page.get_by_role("radio", name=kind)).to_be_visible()
    at_line_ends(page, "null")
    expect(page.locator(".annotation-text").filter(has_text=re.compile("^ceiling")).first).to_be_attached()
    expect(page.locator(".annotation-text", has_text="enters the null at")).to_be_visible()
    slider = page.get_by_role("slider", name="Training examples")
    until(page, lambda: slider.press("ArrowLeft"), page.get_by_text("changed sign: training examples"))
