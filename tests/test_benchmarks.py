"""What the benchmarks say of themselves when they break. Nothing is measured here."""

from __future__ import annotations

import json
import sys
from types import ModuleType

import numpy as np
import pytest
import torch

from dashboard import live
from engine.checkpoints import Checkpoint
from engine.config import CheckpointSpec
from engine.counterfactuals import run
from tests.benchmarks import __main__ as benchmarks
from tests.benchmarks import accelerator, memory, slider
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


@pytest.fixture
def tiny_llama(monkeypatch):
    """The accelerator's model and edits, small enough for any machine."""
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
    for name, value in {"SHAPE": shape, "VOCABULARY": 64, "LENGTH": 16, "EDITS": 4, "PROMPTS": 2}.items():
        monkeypatch.setattr(accelerator, name, value)
    monkeypatch.setattr(accelerator, "DEVICE", "cpu")
    with torch.random.fork_rng():
        return accelerator.llama(torch.float32)


def test_captum_on_the_accelerator_is_compared_with_ours(tiny_llama, monkeypatch):
    checkpoint = Checkpoint(tiny_llama, None, CheckpointSpec(name="llama--tiny", path="-"), torch.device("cpu"), "")
    given = accelerator.groups(0.0)
    log_probs = run(checkpoint, given, batch_size=4, path="shared").log_probs
    assert np.abs(accelerator.effects(log_probs)).max() > 1e-3
    agreeing = accelerator.captum_row("fp32", tiny_llama, given, [9.0, 9.0], log_probs, 1e-5)
    assert 0 < agreeing["max_difference"] <= 1e-5
    monkeypatch.setattr(accelerator, "captum", lambda *_: np.ones((2, 4)))
    assert not accelerator.captum_row("fp32", tiny_llama, given, [1e-9, 1e-9], log_probs, 1e-5)["met"]


def test_without_an_accelerator_all_its_rows_are_failed_rows(monkeypatch):
    monkeypatch.setattr(accelerator, "DEVICE", "cpu")
    rows = accelerator.rows()
    assert len({row["name"] for row in rows}) == 8
    assert not any(row["met"] for row in rows)
    assert accelerator.rate_row("fp32", 6e12, 1e13)["max_difference"] is None


def test_sliders_go_on_to_fresh_settings_and_say_what_is_exempt():
    assert slider.TRAVEL["Level of noise"] == ("ArrowRight", len(live.LEVELS) - 1)
    moves = [dict.fromkeys((*slider.PARTS, "whole"), 80.0)] * 6
    exempt, held = (slider._row(name, moves) for name in ("Training examples", "Ridge penalty"))
    assert "exempt from the goal: the training rows change" in exempt["note"]
    assert exempt["goal"] is None
    assert "exempt" not in held["note"]
    assert held["goal"] == 1
    assert "median of 6" in held["note"]
    assert not held["met"], "80 ms are over the goal"
