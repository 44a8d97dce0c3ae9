"""The lab in a browser: from an example to both checkpoints' numbers, by controls alone; unusual text gets words."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlparse

import pytest
from playwright.sync_api import Page, expect

from dashboard.data import Setting
from dashboard.examples import examples_page
from tests.browser.conftest import Visit, settled
from tests.browser.server import choose_option
from tests.synthetic_run import write_run
from tests.tiny_models import build


@pytest.fixture(scope="module")
def tiny(runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A run beside the others whose checkpoints are on disk; put there at once, so that no other test sees half."""
    path = write_run(tmp_path_factory.mktemp("making") / "tiny", prompts=40, checkpoints=2, layers=(1, 2), width=32)
    for step in range(2):
        build("gpt2", path / "checkpoints" / f"step-{step}", seed=step)
    os.replace(path, runs / "tiny")
    yield runs / "tiny"
    os.replace(runs / "tiny", path)  # the other tests' lists of runs stay as they were


def box(page: Page, label: str) -> str:
    return page.get_by_role("textbox", name=label).input_value()


def put(page: Page, label: str, text: str) -> None:
    field = page.get_by_role("textbox", name=label)
    field.fill(text)
    field.press("Control+Enter" if label == "Prompt x" else "Enter")
    settled(page)


def run(page: Page) -> None:
    page.get_by_role("button", name="Run on both checkpoints").click()
    done = page.get_by_text("Done", exact=True).or_(page.get_by_text("It could not be done"))
    expect(done.first).to_be_visible(timeout=120_000)  # the server imports torch and loads models the first time
    settled(page)


def test_from_an_example_to_the_numbers_of_both_checkpoints(visit: Visit, tiny: Path) -> None:
    row = examples_page(tiny, Setting("gpt2--step-0100", "ridge", "frozen"), split="test_heldout").rows.iloc[2]
    page = visit("examples", run="tiny", example=row["example_id"])
    page.get_by_role("link", name="Open in the lab").click()
    expect(page.get_by_role("heading", name="Lab", exact=True)).to_be_visible()
    settled(page)
    here = {k: v[0] for k, v in parse_qs(urlparse(page.url).query).items()}
    assert here == {"run": "tiny", "checkpoint": "gpt2--step-0100", "example": row["example_id"]}
    assert box(page, "Prompt x") == row["prompt"]
    assert box(page, "Answer a") == row["answer_a"]
    expect(page.locator("mark")).to_have_count(1)

    page.get_by_role("button", name="Clear all").click()  # of the marks
    settled(page)
    choose_option(page, "Sentence", "2. Question")
    page.get_by_role("button", name="Mark", exact=True).press("Enter")
    expect(page.locator("mark")).to_contain_text("Question")
    choose_option(page, "Edit", "Delete the marked")
    expect(page.locator("del").first).to_contain_text("Question")
    expect(page.get_by_text("nobody trained an explainer on it")).to_be_visible()
    run(page)
    expect(page.get_by_role("heading", name="What both checkpoints do")).to_be_visible()
    picture = page.get_by_role("figure").first
    expect(picture).to_contain_text("current, explained")
    assert picture.locator("text", has_text="Δ ").count() == 2
    expect(page.get_by_text("What each sentence carries")).to_be_visible()
    for who in ("target", "current"):
        expect(page.get_by_label(f"Likeliest next tokens at the {who}").first).to_be_attached()
    with page.expect_download() as download:
        page.get_by_role("button", name="CSV").last.click()
    table = Path(download.value.path()).read_text()
    assert table.count(",Δ,") == 2 and table.count(",Explanation,") == 2

    put(page, "Prompt x", "Something else. Answer:")
    expect(page.get_by_text("is gone from the prompt")).to_be_visible()
    expect(page.get_by_text("The inputs have changed since")).to_be_visible()
    expect(picture).to_be_visible()


def test_unusual_text_is_answered_in_words(visit: Visit, tiny: Path) -> None:
    page = visit("lab", run="tiny")
    button = page.get_by_role("button", name="Run on both checkpoints")
    put(page, "Prompt x", "")
    expect(page.get_by_text("The prompt is empty")).to_be_visible()
    expect(button).to_be_disabled()

    put(page, "Prompt x", "<b>שלום</b> 🙂 \u202e مرحبا. <img src=https://canary.invalid/x.png> Answer:")
    expect(page.get_by_text("There is no counterfactual yet")).to_be_visible()
    run(page)
    expect(page.get_by_role("heading", name="What would be said next")).to_be_visible()
    expect(page.get_by_text("<b>שלום</b>").last).to_be_visible()

    put(page, "Answer b", box(page, "Answer a"))
    expect(page.get_by_text("are the same, so f is 0")).to_be_visible()
    put(page, "Answer b", "")
    expect(page.get_by_text("Answer b is empty")).to_be_visible()
    put(page, "Answer b", " no")

    put(page, "Prompt x", "word " * 20_000)
    run(page)
    expect(page.get_by_text("reads at most 128")).to_be_visible()
    expect(page.get_by_text("The inputs have changed since")).to_be_visible()


def test_a_run_without_its_checkpoints_says_how_to_mend_it(visit: Visit) -> None:
    page = visit("lab", run="alpha")
    expect(page.get_by_text("is not on this disk").first).to_be_visible()
    assert page.locator('[data-testid="stException"]').count() == 0
