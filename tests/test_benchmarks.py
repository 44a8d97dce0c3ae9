"""What the benchmarks say of themselves when they break. Nothing is measured here."""

from __future__ import annotations

import json
import sys
from types import ModuleType

import pytest

from tests.benchmarks import __main__ as benchmarks
from tests.benchmarks import memory
from tests.benchmarks.side_by_side import row


def module(name: str, rows) -> ModuleType:
    made = ModuleType(name)
    made.rows = rows
    return made


def breaking() -> list:
    raise RuntimeError("no Chromium here")


@pytest.fixture
def three(monkeypatch):
    """A benchmark that works, one that breaks, one that can't even be imported."""
    monkeypatch.setitem(sys.modules, "bench_good", module("bench_good", lambda: [row("good", [1.0], [2.0], 1, 0, 0)]))
    monkeypatch.setitem(sys.modules, "bench_bad", module("bench_bad", breaking))
    names = {"bad": "bench_bad", "absent": "no_such_module", "good": "bench_good"}
    monkeypatch.setattr(benchmarks, "BENCHMARKS", names)


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_a_benchmark_that_breaks_is_a_failed_row_beside_the_others(three, form, capsys):
    assert benchmarks.main(["all", *form]) == 1
    said = capsys.readouterr().out
    assert "failed: RuntimeError: no Chromium here" in said
    assert "failed: ModuleNotFoundError: No module named 'no_such_module'" in said
    if form:
        rows = {r["name"]: r for r in json.loads(said)["rows"]}
        assert [r["met"] for r in rows.values()] == [False, False, True]
        assert rows["good"]["ratio"] == 2
    else:
        assert "| good | 1 s | 2 s | 2 (2 … 2)" in said


def test_goals_that_are_met_are_exit_code_0(three):
    assert benchmarks.main(["good"]) == 0


def test_a_process_that_dies_says_so(monkeypatch):
    monkeypatch.setattr(memory.sys, "executable", "false")
    with pytest.raises(RuntimeError, match="10,000 examples: exit code 1"):
        memory.rows()
