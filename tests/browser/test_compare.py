"""Two runs side by side."""

from __future__ import annotations

import re

from playwright.sync_api import Page, expect

from tests.browser.conftest import Visit
from tests.browser.hands import address, click, fits, on_a_phone

ESTIMATE = r"([+−]?\d\.\d\d) \[[+−]?\d\.\d\d, [+−]?\d\.\d\d\]"


def cell(page: Page, table: int, column: int, row: int) -> str:
    """What a cell of a table on the page says, counted from 0; with boxes to tick these are the first column."""
    drawn = page.locator('[data-testid="stDataFrame"]').nth(table)
    drawn.scroll_into_view_if_needed()
    found = drawn.locator(f"#glide-cell-{column}-{row}")
    found.wait_for(state="attached")
    return found.text_content() or ""


def test_a_second_run_is_chosen_on_the_page_and_stays_in_the_url(visit: Visit):
    page = visit("compare", run="alpha")
    click(page.get_by_role("button", name="bare"), address(page, "**second=bare**"))
    expect(page.get_by_role("heading", name="Over the checkpoints")).to_be_visible()
    expect(page.get_by_label("Second run: current checkpoint").first).to_be_visible()


def test_paired_numbers_stand_side_by_side_with_intervals(visit: Visit):
    page = visit("compare", run="alpha", second="alpha-twin", edit="delete_cue")
    expect(page.get_by_role("figure")).to_have_count(3)
    expect(page.get_by_text("paired bootstrap by group")).to_be_visible()
    expect(page.get_by_role("heading", name="Where the runs disagree most")).to_be_visible()
    assert cell(page, 0, 0, 0) == "Self"
    ends = [re.fullmatch(ESTIMATE, cell(page, 0, column, 0)) for column in (1, 2, 3)]
    assert all(ends), "a value and its interval in each run, and of their difference"
    first, second, apart = (float(found[1].replace("−", "-")) for found in ends if found)
    assert abs(first - second - apart) < 0.011
    one, other, apart = (float(cell(page, -1, column, 0)) for column in (3, 4, 5))
    assert apart > 0 and abs(abs(one - other) - apart) < 0.002
    on_a_phone(page)
    expect(page.get_by_role("figure", name="Paired differences")).to_be_visible()
    expect(page.get_by_text("is nearer to its own current model", exact=False)).to_be_visible()
    fits(page)
    for figure in page.get_by_role("figure").all():
        expect(figure).to_have_attribute("aria-label", re.compile(".{31}", re.DOTALL))
