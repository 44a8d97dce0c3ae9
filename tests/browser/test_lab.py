"""Both checkpoints asked in a browser: the lab by controls alone and with unusual text, and token attribution."""

from __future__ import annotations

import os
import random
import re
import string
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from dashboard.reading.data import Setting
from tests.browser import hands
from tests.browser.conftest import Visit, settled
from tests.browser.hands import Shows, choose_option, click, enter, gone, soon, until
from tests.dashboard.app import examples
from tests.synthetic_run import write_run
from tests.tiny_models import build


@contextmanager
def run_with_models(
    runs: Path, made: Path, name: str, finish: Callable[[Path], object] = lambda _: None
) -> Iterator[Path]:
    """A run whose checkpoints are on disk, beside the others for a while.

    It is finished in the folder `made` and moved as a whole, so that no other test sees half of it, and moved back.
    """
    path = write_run(made / name, prompts=40, checkpoints=2, layers=(1, 2), width=32)
    for step in range(2):
        build("gpt2", path / "checkpoints" / f"step-{step}", seed=step)
    finish(path)
    os.replace(path, runs / name)
    yield runs / name
    os.replace(runs / name, path)


@pytest.fixture(scope="module")
def tiny(runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with run_with_models(runs, tmp_path_factory.mktemp("making"), "tiny") as path:
        yield path


def box(page: Page, label: str) -> Locator:
    return page.get_by_role("textbox", name=label)


def put(page: Page, label: str, text: str, shows: Shows) -> None:
    enter(box(page, label), text, shows, key="Enter" if label.startswith("Answer") else "Control+Enter")


def run(page: Page) -> None:
    done = page.get_by_text("Done", exact=True).or_(page.get_by_text("It could not be done"))
    begun = page.get_by_text("Asking both checkpoints").or_(done)
    click(page.get_by_role("button", name="Run on both checkpoints"), begun)
    expect(done.first).to_be_visible()  # the first time, the server imports torch and loads models


def test_from_an_example_to_the_numbers_of_both_checkpoints(visit: Visit, tiny: Path) -> None:
    row = examples(tiny, Setting("gpt2--step-0100", "ridge", "frozen"), split="test_heldout").iloc[2]
    page = visit("examples", run="tiny", example=row["example_id"])
    link = page.get_by_role("link", name="Open in the lab")
    click(page.get_by_role("button", name="Links"), link)
    click(link, page.get_by_role("heading", name="Lab", exact=True))
    page.wait_for_url("**example=**")
    assert hands.parameters(page.url) == {"run": "tiny", "checkpoint": "gpt2--step-0100", "example": row["example_id"]}
    expect(box(page, "Prompt x")).to_have_value(row["prompt"])
    expect(box(page, "Answer a")).to_have_value(row["answer_a"])
    marks, mark = page.locator("mark"), page.get_by_role("button", name="Mark", exact=True)
    click(page.locator("summary", has_text="by an edit of marked text"), mark)
    click(page.get_by_role("button", name="Clear all"), gone(marks))
    sentence = page.get_by_role("combobox", name="Sentence").first
    choose_option(page, "Sentence", "2. Question", soon(expect(sentence).to_have_value, re.compile(r"^2\. Question")))
    until(page, lambda: mark.press("Enter"), marks)
    expect(marks).to_contain_text("Question")
    choose_option(page, "Edit", "Delete the marked", page.locator("del"))
    expect(page.locator("del").first).to_contain_text("Question")
    expect(box(page, "Counterfactual x′")).not_to_have_value(re.compile("Question"))
    expect(page.get_by_text("no explainer was trained on it")).to_be_visible()
    run(page)
    expect(page.get_by_role("heading", name="What both checkpoints do")).to_be_visible()
    picture = page.get_by_role("figure").first
    expect(picture).to_contain_text("current, explained")
    expect(picture.locator("text", has_text="Δ ")).to_have_count(2)
    expect(page.get_by_text("What each sentence carries")).to_be_visible()
    for who in ("target", "current"):
        expect(page.get_by_label(f"Likeliest next tokens at the {who}").first).to_be_attached()
    table = Path(hands.download(page.get_by_role("button", name="CSV").last).path()).read_text()
    assert table.count(",Δ,") == 2 and table.count(",Explanation,") == 2

    put(page, "Prompt x", "Something else. Answer:", page.get_by_text("is gone from the prompt"))
    expect(page.get_by_text("The inputs have changed since")).to_be_visible()
    expect(picture).to_be_visible()


def test_x_and_its_edit_are_changed_in_place_and_passed_on_as_a_link(visit: Visit, tiny: Path) -> None:
    page = visit("lab", run="tiny")
    typed = "What does <b>my</b> friend say? Answer:"
    put(page, "Prompt x", typed, page.locator(".prompt").get_by_text("<b>my</b> friend"))
    insertion = page.locator("ins").filter(has_text="stranger")
    put(page, "Counterfactual x′", typed.replace("friend", "stranger"), insertion)
    expect(page.locator("del").filter(has_text="friend")).to_be_visible()
    run(page)
    expect(page.get_by_role("figure").first).to_be_visible()
    assert page.locator(".st-key-lab_stale").count() == 0
    put(page, "Counterfactual x′", typed.replace("my", "no"), page.locator(".st-key-lab_stale"))
    expect(page.locator(".st-key-lab_stale")).to_have_css("opacity", "0.45")
    link = page.url
    page = visit("overview", run="alpha")
    page.goto(link)
    settled(page)
    expect(box(page, "Prompt x")).to_have_value(typed)
    expect(box(page, "Counterfactual x′")).to_have_value(typed.replace("my", "no"))
    assert page.locator("b", has_text="my").count() == 0

    rng = random.Random(0)
    unpackable = "".join(rng.choices(string.ascii_letters, k=9_000))
    put(page, "Prompt x", unpackable, page.get_by_text("too long for a link"))
    assert "draft" not in hands.parameters(page.url)


def test_unusual_text_is_answered_in_words(visit: Visit, tiny: Path) -> None:
    page = visit("lab", run="tiny")
    button = page.get_by_role("button", name="Run on both checkpoints")
    put(page, "Prompt x", "", page.get_by_text("The prompt is empty"))
    expect(button).to_be_disabled()

    unusual = "<b>שלום</b> 🙂 \u202e مرحبا. <img src=https://canary.invalid/x.png> Answer:"
    put(page, "Prompt x", unusual, page.get_by_text("There is no counterfactual yet"))
    run(page)
    expect(page.get_by_role("heading", name="What would be said next")).to_be_visible()
    expect(page.get_by_text("<b>שלום</b>").last).to_be_visible()

    put(page, "Answer b", box(page, "Answer a").input_value(), page.get_by_text("are the same, so f is 0"))
    empty = page.get_by_text("Answer b is empty")
    put(page, "Answer b", "", empty)
    put(page, "Answer b", " no", gone(empty))

    put(page, "Prompt x", "word " * 20_000, page.get_by_test_id("stHtml").get_by_text("word word word"))
    run(page)
    expect(page.get_by_text("reads at most 128")).to_be_visible()
    expect(page.get_by_text("The inputs have changed since")).to_be_visible()


LINES = """all => all.map(e => {
  const style = getComputedStyle(e);
  return [e.className, style.borderTopStyle, style.borderBottomStyle, parseFloat(e.style.getPropertyValue('--share'))];
})"""


def test_token_attribution_stands_beside_effect_and_explanation(visit: Visit, tiny: Path) -> None:
    page = visit("examples", run=tiny.name, sort="shift")
    compute, heats = page.get_by_role("button", name="Compute on both checkpoints"), page.locator(".prompt.heat")
    click(page.locator("summary", has_text="Which words carry it"), compute)
    assert heats.count() == 0, "nothing is computed before it is asked for"
    click(compute, soon(expect(heats).to_have_count, 2))
    assert page.get_by_test_id("stAlert").count() == 0
    hands.fits(page)
    hands.on_a_phone(page)
    tokens = [token for heat in heats.all() for token in heat.locator("span").evaluate_all(LINES)]
    assert {"up", "down"} <= {token[0] for token in tokens}
    for sign, above, below, _ in tokens:  # a line above or below the token says the sign, beside the colour
        assert (above, below) == {"up": ("solid", "none"), "down": ("none", "solid")}.get(sign, ("none", "none"))
    assert max(token[3] for token in tokens) == 100
    expect(page.get_by_text("One scale for both checkpoints: the deepest shade is")).to_be_visible()
    for table in ("Attribution of every token", "Attribution, measured effect and explanation of every edit"):
        expect(page.get_by_role("region", name=table)).to_be_visible()
    hands.fits(page)
