"""Which tokens and spans of one prompt carry its behavior f, by captum. For single examples, not for sweeps.

Tokens: integrated gradients over the embedding layer (Sundararajan, Taly and Yan 2017), from a baseline in which every
token but the leading special ones is the tokenizer's padding or end token. Cost: `steps` forwards and backwards a row.
Spans: feature ablation, where to ablate a span is to delete it from the text. Cost: one forward a span.
captum's LLMAttribution is not used: its `use_cached_outputs=True` is silently wrong under transformers 5.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from captum.attr import FeatureAblation, LayerIntegratedGradients
from torch import Tensor

from engine.model.batching import Text, row_tails
from engine.model.behavior import BehaviorError, tokenised
from engine.model.checkpoints import Checkpoint
from engine.model.counterfactuals import run
from engine.records import Span
from engine.tasks.edits import EDITS

STEPS_AT_ONCE = 16


@dataclass(frozen=True)
class TokenAttribution:
    """Scores of the prompt's tokens, in nats: by how much each raises f, against the baseline."""

    tokens: tuple[str, ...]
    offsets: tuple[Span, ...]
    """Characters of the prompt; (0, 0) for a token that is not in the text."""
    scores: np.ndarray
    """float64 [tokens]"""
    completeness_error: float
    """|sum of scores − (f(prompt) − f(baseline))|, which integration in finitely many steps leaves."""
    f: float
    f_baseline: float


def token_attribution(
    checkpoint: Checkpoint, prompt: str, answer_a: str, answer_b: str, *, steps: int = 64
) -> TokenAttribution:
    """Integrated gradients of f over the embeddings of the prompt's tokens. Raises BehaviorError."""
    (encoded,) = tokenised(checkpoint, [prompt], [(answer_a, answer_b)], ["this prompt"])
    n = len(encoded.prompt)
    specials = [i for i, (start, end) in enumerate(encoded.offsets) if start == end] if encoded.offsets else [0]
    filler = next(
        (t for t in (checkpoint.tokenizer.pad_token_id, checkpoint.tokenizer.eos_token_id) if t is not None), 0
    )
    scores = np.zeros(n)
    f = f_baseline = 0.0
    text = Text(encoded.prompt, encoded.answers)
    # f is a sum over rows (one, if both answers are single tokens), and so are integrated gradients.
    for tail in row_tails(text):
        signs = _signed_asks(text, tail)
        row = torch.tensor([[*encoded.prompt, *tail]], device=checkpoint.device)
        baseline = row.clone()
        baseline[0, :n] = filler
        baseline[0, specials] = row[0, specials]

        def part(ids: Tensor, signs: Sequence[tuple[int, int, float]] = signs) -> Tensor:
            log_probs = checkpoint.model(input_ids=ids, use_cache=False).logits.float().log_softmax(-1)
            return sum((sign * log_probs[:, at, token] for at, token, sign in signs), torch.zeros(1).to(ids.device))

        with torch.enable_grad():
            method = LayerIntegratedGradients(part, checkpoint.model.get_input_embeddings())
            found = method.attribute(row, baselines=baseline, n_steps=steps, internal_batch_size=STEPS_AT_ONCE)
        scores += found[0, :n].sum(-1).double().cpu().numpy()
        with torch.no_grad():
            f, f_baseline = f + float(part(row)), f_baseline + float(part(baseline))
    names = checkpoint.tokenizer.convert_ids_to_tokens(list(encoded.prompt))
    shown = [prompt[s:e] if e > s else name for (s, e), name in zip(encoded.offsets, names, strict=True)] or names
    error = abs(float(scores.sum()) - (f - f_baseline))
    return TokenAttribution(tuple(shown), encoded.offsets, scores, error, f, f_baseline)


def span_effects(checkpoint: Checkpoint, prompt: str, spans: Sequence[Span], answers: tuple[str, str]) -> np.ndarray:
    """Δ in nats [spans]: f with a span deleted, less f of the prompt. Raises BehaviorError, and EditError for spans
    that are empty, outside the prompt, or leave nothing of it."""
    if not spans:
        return np.zeros(0)

    def without(kept: Sequence[float]) -> str:
        gone = [span for span, keep in zip(spans, kept, strict=True) if not keep]
        text = EDITS["delete_span"](prompt, gone, None).text if gone else prompt
        if not text.strip():
            raise BehaviorError(f"deleting characters {gone} leaves nothing of the prompt: mark less")
        return text

    def f(masks: Tensor) -> Tensor:
        texts = [prompt, *(without(mask) for mask in masks.tolist())]
        encoded = tokenised(checkpoint, texts, [answers] * len(texts), [f"span {i}" for i in range(len(texts))])
        scored = run(checkpoint, [[Text(t.prompt, t.answers) for t in encoded]], batch_size=STEPS_AT_ONCE)
        return torch.tensor(scored.log_probs[1:, 0] - scored.log_probs[1:, 1])

    everything = torch.ones(1, len(spans), dtype=torch.float64)
    drop = FeatureAblation(f).attribute(everything, baselines=0.0, perturbations_per_eval=len(spans))
    return -drop[0].numpy()


def _signed_asks(text: Text, tail: tuple[int, ...]) -> list[tuple[int, int, float]]:
    """(position, token, sign) of what the row of this tail contributes to f."""
    before = len(text.prompt) - 1
    tails = row_tails(text)
    asks = []
    for answer, sign in zip(text.answers, (1.0, -1.0), strict=True):
        if next(t for t in tails if t[: len(answer) - 1] == answer[:-1]) == tail:
            asks += [(before + i, token, sign) for i, token in enumerate(answer)]
    return asks
