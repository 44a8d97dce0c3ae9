"""A run of an earlier version opens with a sentence, and a button that scores it anew."""

from __future__ import annotations

import pytest

from engine.runs.store import Run
from tests.dashboard.app import Open, checked, said
from tests.engine.test_rescore import as_version_1
from tests.synthetic_run import write_run

SENTENCE = "An earlier version scored this run"


@pytest.mark.parametrize("page", ["overview", "trajectory", "correlation", "compare", "robustness"])
def test_a_run_of_version_1_opens(tmp_path, opened: Open, page: str):
    as_version_1(write_run(tmp_path / "old", prompts=120, checkpoints=2))
    assert SENTENCE in said(opened(tmp_path, page, run="old"))


def test_the_button_scores_it_anew(tmp_path, opened: Open):
    path = write_run(tmp_path / "old", prompts=120, checkpoints=2)
    as_version_1(path)
    app = opened(tmp_path, "overview", run="old")
    button = next(b for b in app.button if b.label == "Score it anew")
    checked(button.click().run(timeout=120))
    assert SENTENCE not in said(app) and Run.open(path).manifest["format_version"] == 2
    assert set(Run.open(path).read_table("metrics.parquet")["verdict_unseen"].to_pylist()) - {None}
