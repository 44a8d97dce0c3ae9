"""What is chosen on one page goes along to the next."""

from __future__ import annotations

import re

from playwright.sync_api import expect

from tests.browser.conftest import Visit
from tests.browser.hands import address, choose_row, click


def address_of(name: str, run: str) -> re.Pattern:
    return re.compile(rf"/{name}\?(.*&)?run={run}(&|$)")


def test_a_run_chosen_from_the_list_is_the_one_on_every_page(visit: Visit):
    page = visit("runs")
    choose_row(page.get_by_test_id("stDataFrame").first, address(page, "**run=bare**"), row=2)
    expect(page.get_by_role("heading", name="bare")).to_be_visible()
    click(page.get_by_role("link", name="Trajectory"), page.get_by_role("heading", name="Trajectory"))
    expect(page).to_have_url(address_of("trajectory", "bare"))


def test_open_leads_from_the_list_to_the_run(visit: Visit):
    page = visit("runs", run="bare")
    click(page.get_by_role("link", name="Open", exact=True), page.get_by_role("heading", name="What this run shows"))
    expect(page).to_have_url(address_of("", "bare"))
