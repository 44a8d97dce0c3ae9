"""The teacher's lesson: walked with the keyboard, predicted, revealed, linked to, and read without a mouse."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Serve, Visit, settled
from tests.browser.hands import address, click, enter, on_a_desk, on_a_phone, press, slide, soon
from tests.browser.server import link_samples

STEPS = 8
LARGE = 18
"""Pixels: the smallest type of a figure on a wall."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, serve: Serve) -> Iterator[str]:
    """A dashboard over the sample runs: the lesson needs their worlds."""
    with serve(link_samples(tmp_path_factory.mktemp("lesson"))) as address:
        yield address


def on_step(page: Page, step: int) -> None:
    page.wait_for_url(f"**step={step}**")
    expect(page.locator("h1").first).to_contain_text(f"{step}. ")
    settled(page)


def nothing_overflows(page: Page) -> None:
    """No element extends beyond the window."""
    wide = page.evaluate(
        "[...document.querySelectorAll('[data-testid=stMain] :not(input)')].filter("
        "e => e.getBoundingClientRect().right >"
        " window.innerWidth + 1 && getComputedStyle(e).overflowX === 'visible' && !e.closest('svg'))"
        ".map(e => e.outerHTML.slice(0, 120))"
    )
    assert not wide, wide[:3]


def test_the_lesson_is_walked_by_keyboard_on_a_wall_and_on_a_phone(visit: Visit):
    page = visit("learn")
    for step in range(1, STEPS + 1):
        on_step(page, step)
        expect(page.locator(".reveal")).to_have_count(0)
        press(page, "v", page.locator(".reveal"))
        nothing_overflows(page)
        (on_a_phone if step % 2 else on_a_desk)(page)
        nothing_overflows(page)
        if step < STEPS:
            press(page, "ArrowRight", address(page, f"**step={step + 1}**"))
    press(page, "ArrowLeft", address(page, f"**step={STEPS - 1}**"))
    on_step(page, STEPS - 1)
    expect(page.locator(".reveal").first).to_be_visible()  # what was revealed stays so


def test_a_prediction_and_a_show_of_hands_survive_the_way_and_are_wiped(visit: Visit):
    page = visit("learn", step="4", task="sycophancy")
    answer = page.get_by_role("button", name="The labels, made before")
    click(answer, answer.and_(page.get_by_test_id("stBaseButton-primary")))
    press(page, "ArrowRight", address(page, "**step=5**"))  # the focus is on the answer just chosen
    on_step(page, 5)
    hands = page.get_by_label("Hands for “It moves”")
    click(page.locator("summary", has_text="Show of hands"), hands)
    enter(hands, "21", soon(expect(hands).to_have_value, "21"))
    click(page.get_by_role("button", name="Reveal"), page.get_by_text("21 of 21 hands"))
    click(page.get_by_role("button", name="Back"), address(page, "**step=4**"))
    on_step(page, 4)
    press(page, "v", page.get_by_text("Predicted: “The labels, made before”"))
    click(page.get_by_role("button", name="Start over"), address(page, "**step=1**"))
    on_step(page, 1)
    page.goto(page.url.replace("step=1", "step=4"))
    settled(page)
    expect(page.get_by_text("Predicted:")).to_have_count(0)


def test_a_deep_link_opens_step_6_and_figures_need_no_hover(visit: Visit):
    page = visit("learn", step="6", task="refusal")
    on_step(page, 6)
    expect(page.get_by_role("figure")).to_have_count(1)
    slide(page.get_by_role("slider").first, 0.4)  # the slider's own keys, not the lesson's
    on_step(page, 6)
    click(page.get_by_role("button", name="Reveal"), page.get_by_text("Predicted 0.40; measured r of −f(x) ="))
    expect(page.get_by_role("figure")).to_have_count(3)
    for needed in ("f(x)", "f(x′)", "Δ", "the explanation", "−f(x) alone", "predicted 0.40", "["):
        expect(page.locator(".annotation-text", has_text=needed).first).to_be_attached()
    sizes = page.evaluate(
        "[...document.querySelectorAll('.main-svg text')].filter(t => t.textContent)"
        ".map(t => parseFloat(getComputedStyle(t).fontSize))"
    )
    assert sizes and min(sizes) >= LARGE
    body = page.evaluate(
        "[...document.querySelectorAll('[data-testid=stMain] .stHtml p:not([style])')]"
        ".map(p => parseFloat(getComputedStyle(p).fontSize))"
    )
    assert body and min(body) >= LARGE
    assert page.locator(".hoverlayer").first.text_content() == ""


def test_the_selection_is_carried_to_other_pages_and_the_lesson_goes_on(visit: Visit):
    page = visit("learn", step="5", task="refusal")
    press(page, "v", page.locator(".reveal"))
    click(page.get_by_role("link", name="Its points"), address(page, "**/correlation**"))
    page.wait_for_url("**run=refusal-shared**")
    click(page.get_by_role("link", name="Learn"), address(page, "**/learn**"))
    click(page.get_by_role("button", name="Page 5"), address(page, "**step=5**"))
    on_step(page, 5)
    expect(page.locator(".reveal").first).to_be_visible()


def test_another_example_and_its_link(visit: Visit):
    page = visit("learn", step="1")
    wall = page.locator(".wall")
    first = wall.inner_text()
    press(page, "x", address(page, "**example=**"))
    second = wall.inner_text()
    assert first != second
    page.reload()
    settled(page)
    expect(wall).to_have_text(second, use_inner_text=True)
