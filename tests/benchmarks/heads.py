"""Prompts that begin alike (a chat template, few-shot examples): the beginning computed once, beside full rows.

The model is that of `counterfactuals`. Each prompt has one edit near its end. All sides score the same next token after
the same rows; the answers are log-probabilities in nats.
"""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

import numpy as np
import torch

from engine.model import batching
from engine.model.batching import common_prefix
from engine.model.counterfactuals import score_texts
from tests.benchmarks.counterfactuals import (
    BATCH,
    FILLER,
    FIRST_WORD,
    TOLERANCE,
    VOCABULARY,
    checkpoint,
    last_log_probs,
    texts,
)
from tests.benchmarks.side_by_side import NOT_TIMED, fastest, row, side_by_side

CASES = {"a head of 30 tokens": (30, 75, 64), "1,000 tokens of few-shot examples": (1000, 1100, 32)}
"""Name → tokens of the head, tokens of a whole prompt, prompts."""
GOALS = {"a head of 30 tokens": None, "1,000 tokens of few-shot examples": 5.0}


def problem(head: int, length: int, prompts: int) -> np.ndarray:
    """Random rows [2 · prompts, length]: each prompt, and the same with one token replaced by a filler."""
    rng = np.random.default_rng(0)
    rows = rng.integers(FIRST_WORD, VOCABULARY, (prompts, length))
    rows[:, :head] = rows[0, :head]
    edited = rows.copy()
    edited[np.arange(prompts), rng.integers(length - (length - head) // 4, length, prompts)] = FILLER
    return np.stack([rows, edited], 1).reshape(-1, length)


def ours(rows: np.ndarray) -> tuple[np.ndarray, Any]:
    """log p of the answer [rows], and the engine's report of its work."""
    every = texts(rows)
    scored = score_texts(checkpoint(), [every[i : i + 2] for i in range(0, len(every), 2)], batch_size=BATCH)
    return scored.log_probs[:, 0], scored.report


def pairs_only(rows: np.ndarray) -> np.ndarray:
    """The same, where only a prompt and its own edited text share their beginning."""
    with patch.object(batching, "shared_beginnings", lambda *_: {}):
        return ours(rows)[0]


def batched(rows: np.ndarray, size: int) -> np.ndarray:
    """Full rows in batches: log p of the answer [rows]."""
    return np.concatenate([last_log_probs(some) for some in torch.tensor(rows).split(size)])


def nodes(rows: np.ndarray) -> int:
    """Nodes of the tree of all rows: the fewest tokens that any way computes."""
    ordered = sorted(map(tuple, rows.tolist()))
    return len(ordered[0]) + sum(
        len(row) - common_prefix(row, before) for row, before in zip(ordered[1:], ordered[:-1], strict=True)
    )


def rows() -> list[dict[str, Any]]:
    """Measured rows of the benchmark table."""
    out = []
    for name, (head, length, prompts) in CASES.items():
        given = problem(head, length, prompts)
        log_probs, report = ours(given)
        limit = given.size / nodes(given)
        apart = float(np.abs(log_probs - batched(given, 8)).max())
        about = {"limit": limit, "note": "padding counted", "unit": "tokens", **NOT_TIMED}
        counts = [report.tokens], [given.size]
        out.append(row(f"tokens computed, {name}, against naive", *counts, 0.9 * limit, apart, TOLERANCE, **about))
        size = fastest((1, 4, 8, 16), lambda s, g=given: batched(g[:16], s), repetitions=2)
        options = {"tolerance": TOLERANCE, "limit": limit, "repetitions": 5}
        sides = (lambda _, g=given: ours(g)[0]), (lambda _, g=given, s=size: batched(g, s))
        out.append(
            side_by_side(
                f"wall time, {name}: batched naive, best batch size ({size})", *sides, goal=GOALS[name], **options
            )
        )
        sides = (lambda _, g=given: ours(g)[0]), (lambda _, g=given: pairs_only(g))
        out.append(
            side_by_side(
                f"wall time, {name}: only x and its own x′ share", *sides, goal=None, **options | {"limit": None}
            )
        )
    return out
