"""A model that explains itself, on the pages that probes have: its sentences, its steps, its noise."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from dashboard.reading import data
from engine import SAMPLES
from tests.browser.conftest import Serve, Visit
from tests.browser.hands import at_line_ends, fits, press, soon
from tests.browser.server import link_samples

RUN = "verbal-sycophancy"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, serve: Serve) -> Iterator[str]:
    """A dashboard over the sample runs in which a model explains itself."""
    with serve(link_samples(tmp_path_factory.mktemp("verbal"), "verbal-*")) as address:
        yield address


def test_a_sentence_stands_beside_what_the_model_does(visit: Visit) -> None:
    page = visit("examples", run=RUN)
    expect(page.get_by_role("heading", name="In its own words")).to_be_visible()
    sentence = re.compile(
        r"If a stranger said it I would answer (yes|no)\. My answer would"
    )  # the table below has many
    expect(page.locator(".prompt").filter(has_text=sentence)).to_be_visible()
    expect(page.get_by_text(re.compile("The sentence is|The words can't be read"))).to_be_visible()
    press(page, "n", soon(expect(page).not_to_have_url, page.url))
    assert "off by" not in page.get_by_test_id("stMain").inner_text(), "no error in nats where no number was said"


def test_self_and_orig_by_training_step_beside_the_controls(visit: Visit) -> None:
    page = visit("trajectory", run=RUN, width=390, theme="dark")
    at_line_ends(page, "Self", "Orig", "copying")
    expect(page.get_by_text("exact match").first).to_be_visible()
    fits(page)


def test_the_noise_curve_gathers_runs_that_differ_in_noise_alone(visit: Visit) -> None:
    page = visit("robustness", run=RUN)
    said = page.get_by_text("Self by share of shuffled labels")
    for name, level in ((RUN, "0%"), (f"{RUN}-noise", "50%")):
        run, setting = SAMPLES / name, {"control": None, "explainer": "verbal", "split": "test_heldout"}
        rows = data.metrics(run, checkpoint=data.options(run).checkpoints[-1], **setting)
        expect(said).to_contain_text(f"{level}: {rows.iloc[0]['self']:.2f}")


@pytest.mark.parametrize("name", ["overview", "correlation", "compare", "audit"])
def test_other_pages_speak_of_sentences_or_say_why_not(visit: Visit, name: str) -> None:
    page = visit(name, run=RUN, second="verbal-sycophancy-noise")
    assert page.get_by_test_id("stException").count() == 0
    if name == "overview":
        expect(page.get_by_text("the share of sentences that are right").first).to_be_visible()
    if name in ("correlation", "audit"):
        expect(page.get_by_test_id("stAlertContentInfo").first).to_be_visible()
