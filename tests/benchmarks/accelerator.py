"""On one CUDA device: a 1B-parameter Llama shape with random weights, `python -m tests.benchmarks accelerator`.

Matrix rate reached against that of a large matrix product, edits per second of full rows and of shared prefixes,
captum beside them, and peak memory, in bf16 and fp32. Without a CUDA device the rows are failed rows.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from engine.config import CheckpointSpec
from engine.model.batching import Text
from engine.model.checkpoints import Checkpoint
from engine.model.counterfactuals import score_texts
from tests.benchmarks.side_by_side import failed, row

VOCABULARY, LENGTH, EDITS, PROMPTS, BATCH = 32_000, 512, 16, 16, 32
ANSWER, OTHER, FILLER, FIRST_WORD = 2, 3, 1, 10
PLACES = {"uniform": 0.0, "last quarter": 0.75}
GOALS = {"uniform": 1.5, "last quarter": 4.0}
RATE_GOAL, CAPTUM_GOAL = 0.5, 2.3
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
SHAPE = {"hidden_size": 2048, "num_hidden_layers": 22, "num_attention_heads": 32, "intermediate_size": 5632}
DTYPES = {"bf16": (torch.bfloat16, 0.5), "fp32": (torch.float32, 1e-3)}
"""With what f may differ between full rows and shared prefixes, in nats."""


def llama(dtype: torch.dtype) -> LlamaForCausalLM:
    """About 1.1B parameters, the shape of TinyLlama."""
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        num_key_value_heads=4,
        max_position_embeddings=2048,
        **SHAPE,
    )
    torch.manual_seed(0)
    with torch.device(DEVICE):
        return LlamaForCausalLM(config).to(dtype).eval().requires_grad_(False)


def seconds(work: Callable[[], Any], repetitions: int = 3) -> tuple[list[float], Any]:
    """Seconds of each repetition after one to warm up, and what the work returned."""
    answer = work()
    times = []
    for _ in range(repetitions):
        wait()
        started = time.perf_counter()
        answer = work()
        wait()
        times.append(time.perf_counter() - started)
    return times, answer


def wait() -> None:
    if DEVICE == "cuda":
        torch.cuda.synchronize()


def with_peak(work: Callable[[], Any]) -> tuple[list[float], Any, float]:
    """As `seconds`, with the peak of the device's memory in GiB."""
    if DEVICE != "cuda":
        return *seconds(work), float("nan")
    torch.cuda.reset_peak_memory_stats()
    times, answer = seconds(work)
    return times, answer, torch.cuda.max_memory_allocated() / 2**30


def matrix_rate(dtype: torch.dtype, size: int = 8192) -> float:
    """Floating-point operations a second of one large matrix product."""
    a = torch.randn(size, size, device=DEVICE, dtype=dtype)
    times, _ = seconds(lambda: a @ a, repetitions=10)
    return 2 * size**3 / min(times)


def groups(first: float) -> list[list[Text]]:
    """Prompts with single-token edits at places drawn from [first · length, length)."""
    rng = np.random.default_rng(0)
    drawn = []
    for _ in range(PROMPTS):
        prompt = rng.integers(FIRST_WORD, VOCABULARY, LENGTH)
        rows = np.repeat(prompt[None], 1 + EDITS, 0)
        rows[np.arange(1, 1 + EDITS), rng.choice(np.arange(int(first * LENGTH), LENGTH), EDITS, replace=False)] = FILLER
        drawn.append([Text(tuple(r), ((ANSWER,), (OTHER,))) for r in rows.tolist()])
    return drawn


def captum(model: LlamaForCausalLM, given: list[list[Text]]) -> np.ndarray:
    """FeatureAblation over the same edits, all rows of a prompt at once, full logits: f(x) − f(x') [prompts, edits]."""
    from captum.attr import FeatureAblation

    out = []
    for group in given:
        rows = torch.tensor([text.prompt for text in group], device=DEVICE)

        def score(kept: torch.Tensor, rows: torch.Tensor = rows) -> torch.Tensor:
            edited = torch.where(kept > 0, 0, torch.arange(1, EDITS + 1, device=DEVICE)).amax(1)
            logits = model(input_ids=rows[edited], use_cache=False).logits[:, -1].float()
            return logits[:, ANSWER] - logits[:, OTHER]

        with torch.inference_mode():
            kept = torch.ones(1, EDITS, device=DEVICE)
            out.append(FeatureAblation(score).attribute(kept, baselines=0.0, perturbations_per_eval=EDITS)[0])
    return torch.stack(out).double().cpu().numpy()


def effects(log_probs: np.ndarray) -> np.ndarray:
    """f(x) − f(x') [prompts, edits] of log p [texts, 2], each prompt's original first."""
    f = (log_probs[:, 0] - log_probs[:, 1]).reshape(-1, 1 + EDITS)
    return f[:, :1] - f[:, 1:]


def measured(name: str, dtype: torch.dtype, tolerance: float) -> list[dict[str, Any]]:
    model = llama(dtype)
    checkpoint = Checkpoint(model, None, CheckpointSpec(name="llama--1b", path="-"), torch.device(DEVICE))
    multiplied = sum(p.numel() for p in model.parameters()) - model.get_input_embeddings().weight.numel()
    head = model.get_output_embeddings().weight.numel()
    out = []
    for places, first in PLACES.items():
        given = groups(first)
        full_seconds, full, full_peak = with_peak(
            lambda g=given: score_texts(checkpoint, g, batch_size=BATCH, path="full")
        )
        own_seconds, own, own_peak = with_peak(
            lambda g=given: score_texts(checkpoint, g, batch_size=BATCH, path="shared")
        )
        f = [scored.log_probs[:, 0] - scored.log_probs[:, 1] for scored in (own, full)]
        apart = float(np.abs(f[0] - f[1]).max())
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
    note = "ours: full rows; theirs: a large matrix product"
    reached = row(f"{name}: matrix rate reached", [peak], [rate], RATE_GOAL, 0.0, 0.0, note=note)
    return reached | {
        "ours": rate,
        "theirs": peak,
        "unit": "operations a second",
        "max_difference": None,
        "tolerance": None,
    }


def captum_row(
    name: str, model: Any, given: list[list[Text]], own_seconds: list[float], log_probs: np.ndarray, tolerance: float
) -> dict[str, Any]:
    """Effects by captum, timed beside ours and compared with them: each the difference of two f."""
    what = f"{name}: captum FeatureAblation"
    try:
        peer_seconds, found = seconds(lambda: captum(model, given), repetitions=2)
        apart = float(np.abs(effects(log_probs) - found).max())
        note = "the difference is that of effects"
        return row(what, own_seconds[: len(peer_seconds)], peer_seconds, CAPTUM_GOAL, apart, tolerance, note=note)
    except Exception as error:
        return failed(what, CAPTUM_GOAL, repr(error))


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
