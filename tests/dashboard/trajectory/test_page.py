"""The page Trajectory: where coupling is lost; runs in words have the measured lines, and no claims beyond them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from dashboard.reading import data
from tests.browser.server import link_samples
from tests.dashboard.app import Open, html, said
from tests.synthetic_run import write_run


@pytest.mark.parametrize("run", ["verbal-sycophancy", "verbal-sycophancy-noise"])
def test_a_run_in_words_has_lines_and_no_setting_that_was_chosen(tmp_path: Path, opened: Open, run: str) -> None:
    link_samples(tmp_path, "verbal-sycophancy*")
    app = opened(tmp_path, "trajectory", run=run)
    (first,) = app.get("plotly_chart")
    assert {"Self", "Orig", "gap"} <= {trace.get("name") for trace in json.loads(first.proto.spec)["data"]}
    assert "cross-validation" not in html(app)
    app = opened(tmp_path, "trajectory", run=run, part="single")
    moves = json.loads(app.get("plotly_chart")[-1].proto.spec)["data"]
    assert "explanation" not in {trace.get("name") for trace in moves}
    assert "cross-validation" not in html(app)


def test_the_checkpoint_at_which_coupling_is_lost_is_marked(tmp_path: Path, opened: Open) -> None:
    path = write_run(tmp_path / "lost", prompts=800, checkpoints=3)
    app = opened(tmp_path, "trajectory", run="lost")
    setting = data.Setting("gpt2--step-0200", "ridge", "frozen")
    rows = data.setting_metrics(path, setting, chosen=True, split="test_heldout", noise_kind="none")
    rho = f"{rows.target_current.iloc[0]:.2f}".replace("-", "−")
    assert "is lost at step 200, where target–current" in said(app)
    figure = app.get("plotly_chart")[0].proto.spec
    assert re.search(rf"coupling lost, (\\u03c1|ρ) = {rho}", figure)
