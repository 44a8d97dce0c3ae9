"""A short sample of each attack; `python -m tests.hardening` makes the many."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.hardening.attacks import ATTACKS
from tests.hardening.commands import ended, wrong

FEW = {"damage": 2, "flips": 40, "specs": 30, "files": 12, "checkpoints": 5, "addresses": 4}
"""Cases of each; kills are in `engine/test_pipeline.py` and `engine/runs/test_store.py`."""


@pytest.mark.parametrize("what", FEW)
def test_a_sample_holds(tmp_path: Path, what: str) -> None:
    found = list(ATTACKS[what].tried(tmp_path, FEW[what], 1))
    assert len(found) >= FEW[what] and not any(found), "\n".join(filter(None, found))


def test_what_does_not_hold_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ended("verify", str(tmp_path / "none"))[0] == 2
    monkeypatch.setattr("engine.spec_files.parse_yaml", lambda *_: 1 / 0)
    (tmp_path / "a.yaml").write_text("name: x")
    assert "ZeroDivisionError" in wrong("run", str(tmp_path / "a.yaml"))
