"""Prompts that begin alike (a chat template, few-shot examples): the beginning computed once, beside three other ways.

The model is that of `counterfactuals`. Each prompt has one edit in the last quarter of what follows the head. All sides
score the same next token after the same rows; the answers are log-probabilities in nats. llama.cpp reads the same
weights in fp32 from a GGUF file, and keeps the keys and values of the row before: it computes what a row does not share
with that one, which the order of rows makes the most of.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import numpy as np
import torch

from engine.model import counterfactuals as engine_counterfactuals
from engine.model.batching import common_prefix, shared_plan
from engine.model.counterfactuals import score_texts
from tests.benchmarks.counterfactuals import (
    ANSWER,
    FILLER,
    FIRST_WORD,
    TOLERANCE,
    VOCABULARY,
    checkpoint,
    last_log_probs,
    model,
    texts,
)
from tests.benchmarks.side_by_side import NOT_TIMED, THREADS, attempt, fastest, row, side_by_side
from tests.llama_gguf import write_gguf

CASES = {"a head of 30 tokens": (30, 75, 64), "1,000 tokens of few-shot examples": (1000, 1100, 32)}
"""Name → tokens of the head, tokens of a whole prompt, prompts."""
GOALS = {"a head of 30 tokens": None, "1,000 tokens of few-shot examples": 5.0}
"""Of wall time beside batched naive."""
GOAL_LLAMA_CPP = 1.5


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
    scored = score_texts(checkpoint(), [every[i : i + 2] for i in range(0, len(every), 2)], path="shared")
    return scored.log_probs[:, 0], scored.report


def pairs_only(rows: np.ndarray) -> tuple[np.ndarray, Any]:
    """The same, where only a prompt and its own edited text share their beginning."""
    with patch.object(engine_counterfactuals, "shared_plan", partial(shared_plan, across=False)):
        return ours(rows)


def batched(rows: np.ndarray, size: int) -> np.ndarray:
    """Full rows in batches: log p of the answer [rows]."""
    return np.concatenate([last_log_probs(some) for some in torch.tensor(rows).split(size)])


def nodes(rows: np.ndarray) -> int:
    """Nodes of the tree of all rows: the fewest tokens that any way computes."""
    ordered = sorted(rows.tolist())
    shared = sum(common_prefix(one, other) for one, other in zip(ordered[1:], ordered[:-1], strict=True))
    return rows.size - shared


def rows() -> list[dict[str, Any]]:
    """Measured rows of the benchmark table."""
    out = []
    for name, shape in CASES.items():
        given = problem(*shape)
        limit = given.size / nodes(given)
        (log_probs, report), before = ours(given), pairs_only(given)[1]
        apart = float(np.abs(log_probs - batched(given, 8)).max())
        about = {"limit": limit, "note": "padding counted", "unit": "tokens", **NOT_TIMED}
        counts = [report.tokens], [given.size]
        out.append(row(f"tokens computed, {name}, against naive", *counts, 0.9 * limit, apart, TOLERANCE, **about))

        mine = lambda _, g=given: ours(g)[0]  # noqa: E731
        options = {"tolerance": TOLERANCE, "repetitions": 5}
        size = fastest((1, 2, 4, 8, 16), lambda s, g=given: batched(g[:16], s), repetitions=2)
        naive = f"wall time, {name}: batched naive, best batch size ({size})"
        theirs = lambda _, g=given, s=size: batched(g, s)  # noqa: E731
        out.append(side_by_side(naive, mine, theirs, goal=GOALS[name], limit=limit, **options))

        pairs = f"wall time, {name}: only x and its own x′ share"
        theirs = lambda _, g=given: pairs_only(g)[0]  # noqa: E731
        out.append(side_by_side(pairs, mine, theirs, goal=None, limit=before.tokens / nodes(given), **options))

        peer = f"wall time, {name}: llama.cpp, fp32, which keeps the row before"
        out.append(attempt(peer, GOAL_LLAMA_CPP, partial(llama_cpp_row, peer, given)))
    return out


def llama_cpp_row(name: str, given: np.ndarray) -> dict[str, Any]:
    """llama.cpp on the same weights and rows. Raises ImportError where it is not installed."""
    with llama_cpp(given.shape[1]) as llama:
        options = {"goal": GOAL_LLAMA_CPP, "tolerance": TOLERANCE, "repetitions": 5}
        return side_by_side(name, lambda _: ours(given)[0], lambda _: kept(llama, given), **options)


def kept(llama: Any, rows: np.ndarray) -> np.ndarray:
    """log p of the answer [rows], each row from the tokens on that it does not share with the row before."""
    found = []
    llama.reset()
    for i, tokens in enumerate(rows.tolist()):
        shared = common_prefix(rows[i - 1], rows[i]) if i else 0
        llama.n_tokens = min(shared, len(tokens) - 1)  # `eval` drops what the cache holds beyond them
        llama.eval(tokens[llama.n_tokens :])
        logits = torch.from_numpy(np.copy(llama_logits(llama)))
        found.append(float(logits.double().log_softmax(-1)[ANSWER]))
    return np.array(found)


def llama_logits(llama: Any) -> np.ndarray:
    """Logits after the last token that was read [vocabulary]."""
    import llama_cpp

    return np.ctypeslib.as_array(llama_cpp.llama_get_logits_ith(llama.ctx, -1), (VOCABULARY,))


@contextmanager
def llama_cpp(length: int) -> Iterator[Any]:
    """The model in llama.cpp with room for a row: weights, keys and values in fp32, threads as on the other side."""
    from llama_cpp import GGML_TYPE_F32, Llama

    with TemporaryDirectory() as folder:
        file = write_gguf(model(), Path(folder) / "model.gguf", add_words)
        sizes = {"n_ctx": length, "n_batch": length, "n_ubatch": length}
        exact = {"type_k": GGML_TYPE_F32, "type_v": GGML_TYPE_F32}
        llama = Llama(str(file), **sizes, **exact, n_threads=THREADS, n_threads_batch=THREADS, verbose=False)
        try:
            yield llama
        finally:
            llama.close()


def add_words(writer: Any) -> None:
    """A tokenizer that nobody asks: rows are given as token ids."""
    writer.add_tokenizer_model("none")
