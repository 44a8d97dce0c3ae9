"""Two runs side by side."""

from __future__ import annotations

from playwright.sync_api import expect

from tests.browser.conftest import Visit, settled


def test_a_second_run_is_chosen_on_the_page_and_stays_in_the_url(visit: Visit):
    page = visit("compare", run="alpha")
    page.get_by_role("button", name="bare").click()
    page.wait_for_url("**second=bare**")
    settled(page)
    expect(page.get_by_role("heading", name="Over the checkpoints")).to_be_visible()
    expect(page.get_by_label("Second run: current checkpoint").first).to_be_visible()


def test_shared_examples_are_paired(visit: Visit):
    page = visit("compare", run="alpha", second="alpha-twin", edit="delete_cue")
    expect(page.get_by_role("figure")).to_have_count(3)
    expect(page.get_by_text("paired bootstrap by group")).to_be_visible()
    expect(page.get_by_role("heading", name="Where the runs disagree most")).to_be_visible()


def test_paired_numbers_stand_side_by_side_with_intervals(visit: Visit):
    page = visit("compare", run="alpha", second="alpha-twin", edit="delete_cue", width=390, theme="dark")
    expect(page.get_by_role("figure", name="Paired differences")).to_be_visible()
    expect(page.get_by_text("is nearer to its own current model", exact=False)).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    for figure in page.get_by_role("figure").all():
        assert len(figure.get_attribute("aria-label")) > 30


def test_runs_without_shared_examples_are_told_so(visit: Visit):
    page = visit("compare", run="alpha", second="hostile")
    expect(page.get_by_text("share no explained examples")).to_be_visible()
    expect(page.get_by_role("heading", name="Over the checkpoints")).to_be_visible()
