"""Pages on a run that holds explanations in words, alone or beside probes: nothing breaks, one metric is shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from dashboard.reading import data
from engine import SAMPLES, pipeline
from tests.dashboard.app import PAGES, Open, said
from tests.engine.verbal.test_stage import verbal_spec


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("verbal-pages")
    for name, changes in {
        "alone": {},
        "beside": {"probes": True},
        "noisy": {"noise": 0.5, "schedule": "labels_first", "label_steps": 4},
    }.items():
        pipeline.make_run(verbal_spec(folder / "models", name, **changes), folder / "runs" / name)
    return folder / "runs"


SPEAKS = ("overview", "examples", "trajectory", "robustness", "compare")
"""Pages on which sentences take the place of numbers."""


@pytest.mark.parametrize(
    ("name", "page"),
    [*(("alone", page) for page in PAGES), *((name, page) for name in ("beside", "noisy") for page in SPEAKS)],
)
def test_a_page_is_drawn_without_an_error(runs: Path, opened: Open, page: str, name: str) -> None:
    app = opened(runs, page, run=name, second="beside")
    assert "Traceback" not in said(app)


def test_one_metric_stands_for_words_unless_another_is_asked_for(runs: Path) -> None:
    path = runs / "alone"
    rows = data.metrics(path, control=None, split="test_heldout")
    assert set(rows.metric) == {"exact_match"}
    assert len(rows) == 3
    assert len(data.metrics(path, control=None, split="test_heldout", metric="parse_rate")) == 3
    both = data.metrics(runs / "beside", control=None)
    assert set(both.explainer) == {"ridge", "verbal"}
    assert set(both.metric[both.explainer == "ridge"]) == {"pearson"}


def test_the_sentence_of_an_example_can_be_read(runs: Path) -> None:
    options = data.options(runs / "alone")
    assert options.varied == {"β 1, concurrent": {"verbal": ("online",)}}
    setting = data.Setting("gpt2--step-0008", "verbal", "online", condition="β 1, concurrent")
    found = data.explanations(runs / "alone", setting, split="test_heldout")
    assert len(found)
    assert found.text.astype(str).str.startswith("Without that I would answer").all()


def test_the_lab_is_answered_in_words(runs: Path, opened: Open) -> None:
    app = opened(runs, "lab", run="alone")
    app.button(key="lab_run").click().run(timeout=200)
    assert not app.exception and not app.error
    text = said(app)
    assert "In its own words" in text and "Without that I would answer" in text
    assert "no explanation of new prompts" not in text
    app.text_area(key="lab_written").set_value("").run()
    app.button(key="lab_run").click().run(timeout=200)
    assert "Without that I would answer" in said(app) and "In its own words" not in said(app)


def test_without_its_weights_the_lab_shows_the_words_that_were_recorded(opened: Open) -> None:
    app = opened(SAMPLES, "lab", run="verbal-sycophancy")
    assert app.button(key="lab_run").disabled
    assert "In its own words" in said(app)
