"""Numbers and single examples over the checkpoints."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import expect

from dashboard.reading import data, moves
from tests.browser.conftest import Visit, settled
from tests.browser.hands import address, at_line_ends, click


def test_lines_heatmap_and_examples_are_drawn_with_words_beside_them(visit: Visit):
    page = visit("trajectory", run="alpha")
    expect(page.get_by_role("figure")).to_have_count(1)  # what stands in other tabs is not computed
    at_line_ends(page.get_by_role("figure").first, "Self", "Orig", "gap", "unseen", "ρ")
    expect(page.get_by_text("Coupling").first).to_be_visible()
    click(page.get_by_role("radio", name="Layers"), address(page, "**part=layers**"))
    page.reload()
    settled(page)
    heatmap = page.get_by_role("figure", name="Heatmap of gap for every layer and checkpoint")
    expect(heatmap.locator("g.ytick")).to_have_text(["layer 2", "layer 4"])
    assert len(heatmap.get_attribute("aria-label")) > 40
    click(page.get_by_role("radio", name="Which features matter"), address(page, "**part=features**"))
    expect(page.get_by_role("figure", name="Within-prompt rank agreement")).to_be_visible()
    said = page.get_by_role("figure", name="edits of one prompt").get_attribute("aria-label")
    assert "gpt2--step-0000: τ" in said and "gpt2--step-0300: τ" in said


def test_controls_and_regimes_on_demand(visit: Visit):
    page = visit("trajectory", run="alpha")
    first = page.get_by_role("figure").first
    at_line_ends(first, "Self")
    stale = first.locator(".annotation-text", has_text="stale")
    expect(stale).to_have_count(0)
    click(page.get_by_role("button", name="stale hidden states"), stale)
    refit = page.locator(".annotation-text", has_text="Self, refit").first
    click(page.get_by_text("All regimes"), address(page, "**regimes=all**"))
    refit.wait_for()
    assert "regimes=all" in page.url and "controls=output%2Cstale" in page.url
    page.reload()
    settled(page)
    refit.wait_for()


def test_examples_are_picked_and_stay_in_the_url(visit: Visit, runs: Path):
    page = visit("trajectory", run="alpha", part="single")
    setting = data.Setting("gpt2--step-0300", "ridge", "frozen")
    titles = moves.candidates(runs / "alpha", setting, "test_heldout", None)["title"].tolist()
    panels = page.get_by_role("figure", name="explanations of 3 examples").locator(".annotation-text")
    for title in titles[:3]:
        expect(panels.filter(has_text=title[:50])).to_have_count(1)
    picker = page.get_by_label("Examples").first
    picker.scroll_into_view_if_needed()
    remove = page.get_by_role("button", name="Remove").first.or_(page.locator('[data-baseweb="tag"] svg').first).first
    click(remove, address(page, "**examples=**"))
    panels = page.get_by_role("figure", name="explanations of 2 examples").locator(".annotation-text")
    expect(panels.filter(has_text="moved")).to_have_count(2)


def test_an_explainer_is_watched_while_it_trains(visit: Visit):
    page = visit("trajectory", run="alpha", train="mlp", part="training")
    expect(page.get_by_text("Does faithfulness rise while an explainer trains?")).to_be_visible()
    click(page.get_by_role("button", name="Train it again and watch"), page.get_by_text("of its steps"))
    figure = page.get_by_role("figure", name="by its own training step")
    expect(figure).to_be_visible()
    source = page.get_by_role("button", name="Source").first
    click(source, page.get_by_text("refitted here: mlp"))
    page.reload()  # what was trained is kept
    settled(page)
    expect(page.get_by_role("figure", name="by its own training step")).to_be_visible()
