"""Trajectory of runs that explain themselves in words: lines of what was measured, and no claims beyond it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.browser.server import link_samples
from tests.dashboard.app import Open, html


@pytest.mark.parametrize("run", ["verbal-sycophancy", "verbal-sycophancy-noise"])
def test_a_run_in_words_has_lines_and_no_setting_that_was_chosen(tmp_path: Path, opened: Open, run: str) -> None:
    link_samples(tmp_path, "verbal-sycophancy*")
    app = opened(tmp_path, "trajectory", run=run)
    assert not app.exception, app.exception[0].stack_trace
    first, moves = (json.loads(app.get("plotly_chart")[i].proto.spec)["data"] for i in (0, -1))
    assert {"Self", "Orig", "gap"} <= {trace.get("name") for trace in first}
    assert "explanation" not in {trace.get("name") for trace in moves}
    assert "cross-validation" not in html(app)
