"""How much each token of one prompt contributes to its behavior f. For single examples, not for sweeps.

Method: integrated gradients over the embedding layer (Sundararajan, Taly and Yan 2017), by captum. The baseline
replaces every token except leading special ones by the tokenizer's padding or end token. Cost: `steps` forwards and
backwards for each row. captum's LLMAttribution is not used: its `use_cached_outputs=True` is silently wrong under
transformers 5.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from captum.attr import LayerIntegratedGradients
from torch import Tensor

from engine.model.alike import kind_of
from engine.model.batching import log_odds_terms
from engine.model.behavior import tokenised
from engine.model.checkpoints import Checkpoint
from engine.records import Span

STEPS_AT_ONCE = 16


@dataclass(frozen=True)
class TokenAttribution:
    """The contribution of each token of the prompt to f, in nats, relative to the baseline."""

    tokens: tuple[str, ...]
    offsets: tuple[Span, ...]
    """Characters of the prompt; (0, 0) for a special token outside the text."""
    scores: np.ndarray
    """float64 [tokens]"""
    completeness_error: float
    """|sum of scores − (f(prompt) − f(baseline))|, the error of integration in finitely many steps."""
    f: float
    f_baseline: float


def token_attribution(
    checkpoint: Checkpoint, prompt: str, answer_a: str, answer_b: str, *, steps: int = 64
) -> TokenAttribution:
    """Integrated gradients of f over the embeddings of the prompt's tokens. Raises BehaviorError."""
    (encoded,) = tokenised(checkpoint, [prompt], [(answer_a, answer_b)], ["this prompt"])
    n = len(encoded.prompt)
    specials = [i for i, (start, end) in enumerate(encoded.offsets) if start == end] if encoded.offsets else [0]
    tokenizer = checkpoint.tokenizer
    filler = next((token for token in (tokenizer.pad_token_id, tokenizer.eos_token_id) if token is not None), 0)
    scores = np.zeros(n)
    f = f_baseline = 0.0
    # f is a sum over rows (one, if both answers are single tokens), and so are integrated gradients.
    for tail, terms in log_odds_terms(n, encoded.answers, kind_of(checkpoint.model)).items():
        row = torch.tensor([[*encoded.prompt, *tail]], device=checkpoint.device)
        baseline = row.clone()
        baseline[0, :n] = filler
        baseline[0, specials] = row[0, specials]

        def part(ids: Tensor, terms: list[tuple[int, int, float]] = terms) -> Tensor:
            log_probs = checkpoint.model(input_ids=ids, use_cache=False).logits.float().log_softmax(-1)
            return sum((sign * log_probs[:, at, token] for at, token, sign in terms), torch.zeros(1).to(ids.device))

        with torch.enable_grad():
            method = LayerIntegratedGradients(part, checkpoint.model.get_input_embeddings())
            found = method.attribute(row, baselines=baseline, n_steps=steps, internal_batch_size=STEPS_AT_ONCE)
        scores += found[0, :n].sum(-1).double().cpu().numpy()
        with torch.no_grad():
            f, f_baseline = f + float(part(row)), f_baseline + float(part(baseline))
    ids = list(encoded.prompt)
    names = [tokenizer.decode([i]) for i in ids] if checkpoint.chat else tokenizer.convert_ids_to_tokens(ids)
    shown = [prompt[s:e] if e > s else name for (s, e), name in zip(encoded.offsets, names, strict=True)] or names
    error = abs(float(scores.sum()) - (f - f_baseline))
    return TokenAttribution(tuple(shown), encoded.offsets, scores, error, f, f_baseline)
