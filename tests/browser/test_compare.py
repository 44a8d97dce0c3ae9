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
