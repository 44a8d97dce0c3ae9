"""Numbers and single examples over the checkpoints."""

from __future__ import annotations

from playwright.sync_api import Page, expect

from tests.browser.conftest import Visit, settled


def legends(page: Page) -> list[str]:
    """Of the first figure (SVG texts), once it is drawn."""
    texts = page.get_by_role("figure").first.locator(".legendtext")
    texts.first.wait_for()
    return texts.all_text_contents()


def test_lines_heatmap_and_examples_are_drawn_with_words_beside_them(visit: Visit):
    page = visit("trajectory", run="alpha")
    expect(page.get_by_role("figure")).to_have_count(5)
    assert {"Self", "Orig", "gap", "counterfactual gap", "target–current ρ"} <= set(legends(page))
    expect(page.get_by_text("Coupling").first).to_be_visible()
    for figure in page.get_by_role("figure").all():
        assert len(figure.get_attribute("aria-label")) > 40


def test_controls_and_regimes_on_demand(visit: Visit):
    page = visit("trajectory", run="alpha")
    assert not any("stale" in name for name in legends(page))
    page.get_by_role("button", name="stale hidden states").click()
    settled(page)
    assert any("stale" in name for name in legends(page))
    page.get_by_text("All regimes").click()
    settled(page)
    assert "Self, refit" in legends(page)
    assert "regimes=all" in page.url and "controls=output%2Cstale" in page.url
    page.reload()
    settled(page)
    assert "Self, refit" in legends(page)


def test_examples_are_picked_and_stay_in_the_url(visit: Visit):
    page = visit("trajectory", run="alpha")
    picker = page.get_by_label("Examples").first
    picker.scroll_into_view_if_needed()
    page.get_by_role("button", name="Remove").first.or_(page.locator('[data-baseweb="tag"] svg').first).first.click()
    settled(page)
    assert "examples=" in page.url


def test_a_run_of_hostile_text_is_drawn_as_text(visit: Visit):
    page = visit("trajectory", run="hostile")
    assert page.evaluate("window.stolen") is None
    expect(page.get_by_role("figure")).to_have_count(5)
