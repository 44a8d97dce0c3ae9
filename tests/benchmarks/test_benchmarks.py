"""The benchmarks' rows where a peer is missing or a benchmark breaks. Nothing is measured here."""

from __future__ import annotations

import json
import sys
from types import ModuleType
from unittest.mock import Mock

import numpy as np
import pytest
import torch

from dashboard.refit import cached
from engine.config import CheckpointSpec
from engine.model.checkpoints import Checkpoint
from engine.model.counterfactuals import score_texts
from tests.benchmarks import __main__ as benchmarks
from tests.benchmarks import accelerator, counterfactuals, heads, inseq_occlusion, memory, slider
from tests.benchmarks.side_by_side import row


def module(**members) -> ModuleType:
    made = ModuleType("made")
    vars(made).update(members)
    return made


def breaking() -> list:
    raise RuntimeError("no Chromium here")


@pytest.fixture
def three(monkeypatch):
    """A benchmark that works, one that breaks, one that can't even be imported."""
    works = module(rows=lambda: [row("good", [1.0], [2.0], 1)])
    monkeypatch.setitem(sys.modules, "tests.benchmarks.good", works)
    monkeypatch.setitem(sys.modules, "tests.benchmarks.bad", module(rows=breaking))
    monkeypatch.setattr(benchmarks, "BENCHMARKS", ["bad", "absent", "good"])


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_a_benchmark_that_breaks_is_a_failed_row_beside_the_others(three, form, capsys):
    assert benchmarks.main(["all", *form]) == 1
    said = capsys.readouterr().out
    assert "failed: RuntimeError: no Chromium here" in said
    assert "failed: ModuleNotFoundError: No module named 'tests.benchmarks.absent'" in said
    if form:
        rows = json.loads(said)["rows"]
        assert [r["met"] for r in rows] == [False, False, True]
        assert rows[2]["ratio"] == 2
        assert len({tuple(r) for r in rows}) == 1, "all rows have the same columns"
    else:
        assert "| good | 1 s | 2 s | 2 (2 … 2)" in said
    assert benchmarks.main(["good"]) == 0, "goals that are met are exit code 0"


def test_a_process_that_dies_says_so(monkeypatch):
    monkeypatch.setattr(memory.sys, "executable", "false")
    with pytest.raises(RuntimeError, match="10,000 examples: exit code 1"):
        memory.rows()


@pytest.fixture
def tiny_llama(monkeypatch) -> Checkpoint:
    """The accelerator's model and edits, small enough for any machine."""
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
    sizes = {"SHAPE": shape, "VOCABULARY": 64, "LENGTH": 16, "EDITS": 4, "PROMPTS": 2, "DEVICE": "cpu"}
    for name, value in sizes.items():
        monkeypatch.setattr(accelerator, name, value)
    with torch.random.fork_rng():
        model = accelerator.llama(torch.float32)
    return Checkpoint(model, None, CheckpointSpec(name="llama--tiny", path="-"), torch.device("cpu"))


def test_captum_on_the_accelerator_is_compared_with_ours(tiny_llama, monkeypatch):
    given = accelerator.problem("uniform")
    log_probs = accelerator.scored(tiny_llama, given, "shared").log_probs
    agreeing = accelerator.captum_row("fp32", tiny_llama.model, given, [9.0, 9.0], log_probs, 1e-5)
    assert 0 < agreeing["max_difference"] <= 1e-5
    monkeypatch.setattr(accelerator, "captum_ablation", lambda *_: np.ones((2, 4)))
    assert not accelerator.captum_row("fp32", tiny_llama.model, given, [1e-9, 1e-9], log_probs, 1e-5)["met"]


def test_without_an_accelerator_all_its_rows_are_failed_rows(monkeypatch):
    monkeypatch.setattr(accelerator, "DEVICE", "cpu")
    rows = accelerator.rows()
    assert len({row["name"] for row in rows}) == 8
    assert not any(row["met"] for row in rows)
    assert accelerator.rate_row("fp32", 6e12, 1e13)["max_difference"] is None


def test_sliders_go_on_to_fresh_settings_and_say_what_is_exempt():
    assert slider.TRAVEL["Level of noise"] == ("ArrowRight", len(cached.LEVELS) - 1)
    moves = [dict.fromkeys((*slider.PARTS, "whole"), 80.0)] * 6
    exempt, held = (slider._row(name, moves) for name in ("Training examples", "Ridge penalty"))
    assert "exempt from the goal: the training rows change" in exempt["note"] and exempt["goal"] is None
    assert "median of 6" in held["note"] and "exempt" not in held["note"]
    assert held["goal"] == 1 and not held["met"], "80 ms are over the goal"


@pytest.mark.parametrize(
    ("answers", "passes", "columns"),
    [([["w1"], ["w2"]], 1, 1), ([["w1", "w3"], ["w2", "w4"]], 2, 4), ([["w1"]], 1, 1)],
)
def test_inseq_scores_f_in_one_pass_where_it_can(answers, passes, columns, monkeypatch):
    """From log p [a, b] = [log 0.75, log 0.25] its step function makes log 3."""
    calls = []

    def attribute(prompt, generated_texts, attributed_fn, **more):
        calls.append(attributed_fn)
        width = len(generated_texts.split()) - len(prompt.split())
        return Mock(sequence_attributions=[Mock(target_attributions=torch.ones(9, width))])

    monkeypatch.setitem(sys.modules, "inseq", module(load_model=lambda *_, **__: Mock(attribute=attribute)))
    words = Mock(convert_tokens_to_ids=lambda word: int(word[1:]) - 1)
    model = Mock(config=Mock(hidden_size=4))
    found = inseq_occlusion.prepare(model, words, "w5 w6 w7 w8", answers, 1)()
    assert found.shape == (4, columns)
    assert len(calls) == passes
    if len(answers) == 2 and passes == 1:
        args = Mock()
        args.attribution_model.output2logits.return_value = torch.tensor([[0.75, 0.25]]).log()
        assert calls[0](args).tolist() == pytest.approx([np.log(3)])
    else:
        assert set(calls) == {"probability"}


def test_the_rows_of_inseq_say_how_often_it_runs(monkeypatch):
    monkeypatch.setitem(sys.modules, "inseq", None)
    cases = ((16, 1, 2, 1), (16, 1, 2, 2), (16, 8, 1, 1))
    names = [counterfactuals.inseq_row(*case)["name"] for case in cases]
    hows = ("f of two answers of a token, in one pass", "f of two answers of 2 tokens, which it runs once an answer")
    for name, how in zip(names, (*hows, "one answer of a token, alone"), strict=True):
        assert how in name


def test_ours_beside_inseq_are_effects_of_f_where_that_takes_one_pass(tiny_llama):
    prompt = np.arange(10, 26)
    one = inseq_occlusion.ours_everywhere(tiny_llama, prompt, 1, [[2]], 4, 8)
    both = inseq_occlusion.ours_everywhere(tiny_llama, prompt, 1, [[2], [3]], 4, 8)
    rows = np.repeat(prompt[None], 5, 0)
    for i in range(4):
        rows[1 + i, 4 * i : 4 * i + 4] = 1
    f = accelerator.log_odds(
        score_texts(tiny_llama, [counterfactuals.texts(rows)], batch_size=8, path="full").log_probs
    )
    np.testing.assert_allclose(both[:, 0], np.abs(f[0] - f[1:]), atol=1e-5)
    assert both.shape == one.shape == (4, 1)


def test_all_ways_to_compute_a_head_agree_and_a_missing_llama_cpp_is_a_failed_row(monkeypatch):
    given = heads.problem(head=20, length=30, prompts=3)
    assert heads.nodes(given) == len({tuple(row[:n]) for row in given.tolist() for n in range(1, 31)})
    (log_probs, report), (apart, before) = heads.ours(given), heads.pairs_only(given)
    np.testing.assert_allclose(log_probs, heads.batched(given, 4), atol=heads.TOLERANCE)
    np.testing.assert_allclose(apart, log_probs, atol=heads.TOLERANCE)
    assert heads.nodes(given) <= report.tokens < before.tokens < given.size
    monkeypatch.setitem(sys.modules, "llama_cpp", None)
    monkeypatch.setattr(heads, "CASES", {"a head": (20, 30, 3)})
    monkeypatch.setattr(heads, "GOALS", {"a head": None})
    *measured, peer = heads.rows()
    assert len(measured) == 3 and all(row["repetitions"] for row in measured)
    assert not peer["met"] and "llama_cpp" in peer["note"]
