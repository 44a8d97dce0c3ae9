"""Navigation, the URL and keyboard in a real browser."""

import re

from playwright.sync_api import Page, expect

from tests.browser.conftest import Visit, settled
from tests.browser.hands import address, choose_option, choose_row, click, gone, parameters, press, soon


def step(page: Page, key: str, place: int) -> None:
    """Press a key that leads to that place in the order."""
    press(page, key, page.get_by_text(re.compile(rf"^{place:,} of \d+")))


def test_the_url_follows_the_selection_across_pages_and_a_reload(visit: Visit) -> None:
    page = visit("examples", run="alpha")
    choose_option(page, "Current checkpoint", "step-0100", address(page, "**checkpoint=gpt2--step-0100**"))
    assert parameters(page.url)["checkpoint"] == "gpt2--step-0100"
    page.reload()
    settled(page)
    box = page.get_by_test_id("stSidebar").get_by_role("combobox", name="Current checkpoint")
    expect(box).to_have_value("gpt2--step-0100 · step 100")
    pages = page.locator(".st-key-pages")
    click(pages.get_by_text("Runs", exact=True).last, page.get_by_role("heading", name="Runs", level=1))
    click(pages.get_by_text("Examples"), page.get_by_role("heading", name="Examples", level=1))
    page.wait_for_url("**checkpoint=gpt2--step-0100**")
    assert parameters(page.url)["checkpoint"] == "gpt2--step-0100"


def test_a_link_of_the_sidebar_opens_the_same_run_in_another_tab(visit: Visit) -> None:
    page = visit("overview", run="alpha-twin")
    link = page.locator(".st-key-pages").get_by_role("link", name="Examples")
    expect(link).to_have_attribute("href", re.compile("^examples[?].*run=alpha-twin"))
    expect(page.locator(".st-key-pages [aria-current=page]")).to_have_text(re.compile("Overview"))
    page.goto(page.evaluate("e => e.href", link.element_handle()))
    settled(page)
    expect(page.get_by_test_id("stSidebar").get_by_role("combobox", name="Run")).to_have_value("alpha-twin")


def test_each_step_back_undoes_one_step(visit: Visit) -> None:
    page = visit("trajectory", run="alpha")
    parts, pages = page.get_by_role("radiogroup", name="Part of this page"), page.locator(".st-key-pages")
    second = parts.get_by_role("radio").nth(1)
    click(second, soon(expect(second).to_be_checked))
    click(pages.get_by_role("link", name="Examples"), page.get_by_role("heading", name="Examples", level=1))
    page.wait_for_url("**/examples?**")
    settled(page)
    page.go_back()
    expect(page.get_by_role("heading", name="Trajectory", level=1)).to_be_visible()
    expect(second).to_be_checked()
    settled(page)
    page.go_back()
    expect(parts.get_by_role("radio").first).to_be_checked()
    assert "part" not in parameters(page.url)
    click(pages.get_by_role("link", name="Examples"), page.get_by_role("heading", name="Examples", level=1))
    expect(pages.get_by_role("link", name="Trajectory")).not_to_have_attribute("href", re.compile("part="))


def test_keys_step_through_examples(visit: Visit) -> None:
    page = visit("examples", run="alpha", sort="error")
    step(page, "n", 2)
    second = parameters(page.url)["example"]
    step(page, "n", 3)
    step(page, "p", 2)
    assert parameters(page.url)["example"] == second


def test_a_permalink_opens_the_same_example(visit: Visit) -> None:
    def permalink(page: Page) -> dict[str, str]:
        link = page.get_by_test_id("stPopoverBody").locator("code")
        click(page.get_by_role("button", name="Links"), link)
        return parameters(link.inner_text())

    page = visit("examples", run="alpha", sort="shift")
    first = permalink(page)
    assert first["hash"] and first["example"], "the first example is named, too"
    press(page, "Escape", gone(page.get_by_test_id("stPopoverBody")))
    step(page, "n", 2)
    prompt = page.locator(".prompt").first.inner_text()
    given = permalink(page)
    assert given["hash"] == first["hash"] and given["example"] != first["example"]
    other = visit("examples", **given)
    assert other.locator(".prompt").first.inner_text() == prompt
    assert other.get_by_text("other data").count() == 0
    stale = visit("examples", **(given | {"hash": "0" * 12}))
    expect(stale.get_by_text("other data")).to_be_visible()


def test_deletions_are_marked_by_more_than_colour(visit: Visit) -> None:
    page = visit("examples", run="alpha", edit="delete_cue")
    assert "line-through" in page.locator(".prompt del").first.evaluate("e => getComputedStyle(e).textDecorationLine")
    page = visit("examples", run="alpha", edit="replace_speaker")
    assert "underline" in page.locator(".prompt ins").first.evaluate("e => getComputedStyle(e).textDecorationLine")


def test_an_unfinished_run_is_explained(visit: Visit) -> None:
    page = visit("", run="stopped")
    expect(page.get_by_text("no metrics.parquet yet")).to_be_visible()
    assert page.get_by_test_id("stException").count() == 0


def test_a_run_chosen_from_the_list_is_the_one_on_every_page(visit: Visit) -> None:
    page = visit("runs")
    choose_row(page.get_by_test_id("stDataFrame").first, address(page, "**run=bare**"), row=2)
    expect(page.get_by_role("heading", name="bare")).to_be_visible()
    click(page.get_by_role("link", name="Trajectory"), page.get_by_role("heading", name="Trajectory"))
    expect(page).to_have_url(re.compile("/trajectory[?].*run=bare"))


def test_open_leads_from_the_list_to_the_run(visit: Visit) -> None:
    page = visit("runs", run="bare")
    click(page.get_by_role("link", name="Open", exact=True), page.get_by_role("heading", name="What this run shows"))
    expect(page).to_have_url(re.compile("/overview[?].*run=bare"))


def test_the_empty_address_leads_to_the_overview(visit: Visit) -> None:
    page = visit("overview", run="alpha")
    page.goto(page.url.replace("/overview?", "/?"))
    expect(page).to_have_url(re.compile("/overview[?].*run=alpha"))
    settled(page)
    expect(page.get_by_text("Are the explanations good?")).to_be_visible()
