"""The page of the lesson, step by step, on the sample runs."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from dashboard.selection import on_screen
from tests.dashboard.app import ROOT, Open, checked, html
from tests.synthetic_run import write_run

SAMPLES = ROOT / "sample_runs"


def said(app: AppTest) -> str:
    return html(checked(app))


def reveal(app: AppTest) -> AppTest:
    return next(b for b in app.button if b.label == "Reveal").click().run()


@pytest.mark.parametrize("step", range(1, 9))
def test_every_step_hides_its_answer_and_reveals_it_with_numbers(opened: Open, step: int) -> None:
    app = opened(SAMPLES, "learn", step=str(step))
    assert 'class="reveal' not in said(app)
    after = said(reveal(app))
    assert 'class="reveal' in after
    if 1 < step < 8:
        assert "[" in after and "groups" in after  # an interval and what it comes from
    assert app.title[0].value.startswith(f"{step}. ")
    assert app.query_params["step"] == str(step)
    assert not app.markdown  # a page script shows every string that stands alone


def test_the_last_step_has_the_unseen_run_among_its_controls(opened: Open, tmp_path: Path) -> None:
    write_run(tmp_path / "alpha")
    app = opened(tmp_path, "learn", step="8")
    after = said(reveal(app))
    assert "Do they know more than the outputs tell?" in after and "not shown (power" in after.lower()
    assert "Step 7: " in after and "groups" in after
    titles = [chart.proto.spec for chart in app.get("plotly_chart")]
    assert sum("unseen over stale, partial r" in title for title in titles) == 1


def test_the_honest_explainer_is_named_only_when_asked_for(opened: Open) -> None:
    app = opened(SAMPLES, "learn", step="7", task="sycophancy")
    assert '<table class="zoo">' in said(app) and "contradicting:" not in said(app)
    next(b for b in app.button if b.label == "A").click().run()
    after = said(reveal(app))
    assert "is the honest one" in after and "contradicting: says the opposite" in after and "Predicted: “A”" in after


def test_the_null_says_how_far_the_effect_moved_above_the_figure_that_shows_it(opened: Open) -> None:
    app = opened(SAMPLES, "learn", step="5")
    table = next(t.value for t in app.dataframe if "moved, nats" in t.value).set_index("quantity")["moved, nats"]
    moved = f"{table['Δ, the effect']:.2f} against {table['f(x)']:.2f} nats"
    assert f"hardly moves: by {moved}" in said(app) and "stands still" not in said(app)


def test_the_sixth_step_has_one_name_and_its_run_goes_with_the_task(opened: Open) -> None:
    app = opened(SAMPLES, "learn", step="6", task="sycophancy")
    assert "known positive" in app.title[0].value
    run = app.selectbox(key="option_lookalike_run")
    assert (run.label, run.value) == ("Run of the known positive", "sycophancy-cue")
    assert "run sycophancy-cue" in said(app)
    assert "look-alike" not in said(reveal(app))


@pytest.mark.parametrize(("step", "run"), [("5", "sycophancy-shared"), ("6", "sycophancy-cue")])
def test_of_many_examples_a_sample_is_measured_and_said_to_be(
    opened: Open, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, step: str, run: str
) -> None:
    monkeypatch.setattr(on_screen, "MEASURED", 30)
    shutil.copytree(SAMPLES / run, tmp_path / run)  # what was measured elsewhere is remembered by its folder
    assert "n = 30, a seeded sample of" in said(reveal(opened(tmp_path, "learn", step=step)))


def test_predictions_are_kept_on_the_way_and_wiped_on_demand(opened: Open) -> None:
    app = opened(SAMPLES, "learn", step="4")
    next(b for b in app.button if b.label == "The model as it is now").click().run()
    app.button(key="forward").click().run()
    assert app.query_params["step"] == "5"
    app.button(key="back").click().run()
    assert "Predicted: “The model as it is now”" in said(reveal(app))
    app.button(key="wipe_step").click().run()
    assert "Predicted" not in said(app)


def test_a_hand_is_counted(opened: Open) -> None:
    app = opened(SAMPLES, "learn", step="5")
    app.number_input[0].set_value(12).run()
    app.number_input[1].set_value(4).run()
    assert "of 16 hands" in said(reveal(app))


def test_a_missing_run_is_named_in_words(opened: Open, tmp_path: Path) -> None:
    shutil.copytree(SAMPLES / "refusal", tmp_path / "only")
    for step, needed in (("5", "world “shared”"), ("6", "world “cue”")):
        assert needed in opened(tmp_path, "learn", step=step).info[0].value
    assert "Step 2" in said(reveal(opened(tmp_path, "learn", step="8")))


@pytest.mark.parametrize("step", ["0", "9", "<script>", "1.5", ""])
def test_a_step_that_is_not_there_is_answered_in_words(opened: Open, step: str) -> None:
    app = opened(SAMPLES, "learn", step=step)
    assert app.title[0].value.startswith("1. ")
    assert "there is no step" in app.warning[0].value


def test_a_run_that_does_not_fit_its_role_is_said_not_to(opened: Open) -> None:
    app = opened(SAMPLES, "learn", step="5", task="refusal", null_run="refusal-cue")
    assert "does not do what this step needs" in app.warning[0].value
    assert "should hardly move; here it moved" in said(app)
