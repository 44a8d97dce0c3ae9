"""On one CUDA device: a 1B-parameter Llama shape with random weights, `python -m tests.benchmarks accelerator`.

The matrix rate reached against that of a large matrix product; edits per second of full rows and of shared prefixes;
captum beside them; and peak memory, in bf16 and fp32. Without a CUDA device the rows are failed rows.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from engine.config import CheckpointSpec
from engine.model.checkpoints import Checkpoint
from engine.model.counterfactuals import score_texts
from tests.benchmarks import counterfactuals
from tests.benchmarks.counterfactuals import ANSWER, GOALS, OTHER, PLACES, Problem, captum_ablation
from tests.benchmarks.side_by_side import attempt, failed, row

VOCABULARY, LENGTH, EDITS, PROMPTS, BATCH = 32_000, 512, 16, 16, 32
RATE_GOAL, CAPTUM_GOAL = 0.5, 2.3
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
SHAPE = {"hidden_size": 2048, "num_hidden_layers": 22, "num_attention_heads": 32, "intermediate_size": 5632}
DTYPES = {"bf16": (torch.bfloat16, 0.5), "fp32": (torch.float32, 1e-3)}
"""Name → type, and the largest |Δf| in nats between full rows and shared prefixes."""


def llama(dtype: torch.dtype) -> LlamaForCausalLM:
    """About 1.1B parameters, the shape of TinyLlama."""
    config = LlamaConfig(vocab_size=VOCABULARY, **SHAPE, num_key_value_heads=4, max_position_embeddings=2048)
    torch.manual_seed(0)
    with torch.device(DEVICE):
        return LlamaForCausalLM(config).to(dtype).eval().requires_grad_(False)


def timed(work: Callable[[], Any], repetitions: int = 3) -> tuple[list[float], Any, float]:
    """Seconds of each repetition after one to warm up, the result, and the device's peak memory in GiB."""
    on_gpu = DEVICE == "cuda"
    wait = torch.cuda.synchronize if on_gpu else lambda: None
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    answer = work()
    times = []
    for _ in range(repetitions):
        wait()
        started = time.perf_counter()
        answer = work()
        wait()
        times.append(time.perf_counter() - started)
    return times, answer, torch.cuda.max_memory_allocated() / 2**30 if on_gpu else float("nan")


def matrix_rate(dtype: torch.dtype, size: int = 8192) -> float:
    """Floating-point operations a second of one large matrix product."""
    a = torch.randn(size, size, device=DEVICE, dtype=dtype)
    return 2 * size**3 / min(timed(lambda: a @ a, repetitions=10)[0])


def problem(places: str) -> Problem:
    return counterfactuals.problem(places, PROMPTS, LENGTH, EDITS, VOCABULARY)


def scored(checkpoint: Checkpoint, given: Problem, path: Any) -> Any:
    """The engine's log-probabilities [texts, 2] and report, each prompt's original first."""
    groups = [counterfactuals.texts(counterfactuals.rows_of(*g)) for g in given]
    return score_texts(checkpoint, groups, batch_size=BATCH, path=path)


def log_odds(log_probs: np.ndarray | torch.Tensor) -> Any:
    return log_probs[:, 0] - log_probs[:, 1]


def measured(name: str, dtype: torch.dtype, tolerance: float) -> list[dict[str, Any]]:
    model = llama(dtype)
    checkpoint = Checkpoint(model, None, CheckpointSpec(name="llama--1b", path="-"), torch.device(DEVICE))
    multiplied = sum(p.numel() for p in model.parameters()) - model.get_input_embeddings().weight.numel()
    head = model.get_output_embeddings().weight.numel()
    out = []
    for places in PLACES:
        given = problem(places)
        full_seconds, full, full_peak = timed(lambda g=given: scored(checkpoint, g, "full"))
        own_seconds, own, own_peak = timed(lambda g=given: scored(checkpoint, g, "shared"))
        apart = float(np.abs(log_odds(own.log_probs) - log_odds(full.log_probs)).max())
        total = PROMPTS * EDITS
        note = (
            f"{total / min(own_seconds):.0f} against {total / min(full_seconds):.0f} edits a second; peak memory "
            f"{own_peak:.1f} against {full_peak:.1f} GiB"
        )
        what = f"{name}, {places} edits: full rows"
        out.append(row(what, own_seconds, full_seconds, GOALS[places], apart, tolerance, note=note))
        if places == "uniform":
            # Two operations a weight and token; the output head only where it is asked.
            work = 2 * (multiplied - head) * full.report.tokens + 2 * head * full.report.rows
            out.append(rate_row(name, work / min(full_seconds), matrix_rate(dtype)))
            out.append(captum_row(name, model, given, own_seconds, own.log_probs, 2 * tolerance))
    return out


def rate_row(name: str, rate: float, peak: float) -> dict[str, Any]:
    """Two rates, the higher the better, and no answers that could be compared."""
    columns = {"ours": rate, "theirs": peak, "unit": "operations a second"}
    note = "ours: full rows; theirs: a large matrix product"
    return row(f"{name}: matrix rate reached", [peak], [rate], RATE_GOAL, note=note, **columns)


def captum_row(
    name: str, model: Any, given: Problem, own_seconds: list[float], log_probs: np.ndarray, tolerance: float
) -> dict[str, Any]:
    """Effects by captum, timed beside ours and compared with them: each the difference of two f."""
    what = f"{name}: captum FeatureAblation"

    def score(logits: torch.Tensor) -> torch.Tensor:
        return log_odds(logits.float()[:, [ANSWER, OTHER]])

    def measure() -> dict[str, Any]:
        peer_seconds, found, _ = timed(lambda: captum_ablation(model, given, EDITS, score), repetitions=2)
        apart = float(np.abs(counterfactuals.effects(log_odds(log_probs).reshape(len(given), -1)) - found).max())
        own, note = own_seconds[: len(peer_seconds)], "the difference is that of effects"
        return row(what, own, peer_seconds, CAPTUM_GOAL, apart, tolerance, note=note)

    return attempt(what, CAPTUM_GOAL, measure)


def absent(name: str) -> list[dict[str, Any]]:
    """The same rows where there is nothing to measure on."""
    goals = {f"{name}, {places} edits: full rows": goal for places, goal in GOALS.items()}
    goals |= {f"{name}: matrix rate reached": RATE_GOAL, f"{name}: captum FeatureAblation": CAPTUM_GOAL}
    return [failed(what, goal, "no CUDA device here") for what, goal in goals.items()]


def rows() -> list[dict[str, Any]]:
    """Measured rows; failed ones where there is no CUDA device."""
    if DEVICE != "cuda":
        return [r for name in DTYPES for r in absent(name)]
    found = [r for name, (dtype, tolerance) in DTYPES.items() for r in measured(name, dtype, tolerance)]
    return [r | {"note": f"{torch.cuda.get_device_name()}; {r['note']}"} for r in found]
