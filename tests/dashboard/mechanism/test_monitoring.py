"""Monitoring on the page Mechanism: of many examples a sample, which is said to be one."""

from __future__ import annotations

from pathlib import Path

import pytest

from dashboard.selection import on_screen
from tests.dashboard.app import Open
from tests.synthetic_run import write_run


def test_many_examples_are_watched_by_a_sample(tmp_path: Path, opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(on_screen, "MEASURED", 25)
    write_run(tmp_path / "watched", prompts=200, checkpoints=3)
    app = opened(tmp_path, "mechanism", run="watched")
    table = next(t.value for t in app.dataframe if "measured" in t.value)
    assert table["n"].max() == 25
    assert any("a seeded sample of 25 of the examples" in c.value for c in app.caption)
