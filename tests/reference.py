"""The reference for the batched engine: one row at a time, and one forward for each token of an answer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from engine.model.behavior import tokenised
from engine.model.checkpoints import Checkpoint


@torch.inference_mode()
def log_prob(checkpoint: Checkpoint, prompt: Sequence[int], answer: Sequence[int]) -> float:
    """log p(answer | prompt), a forward for every token of the answer."""
    total = 0.0
    for i, token in enumerate(answer):
        row = torch.tensor([[*prompt, *answer[:i]]], device=checkpoint.device)
        logits = checkpoint.model(input_ids=row, use_cache=False).logits[0, -1].double()
        total += float(logits.log_softmax(-1)[token])
    return total


def log_odds(checkpoint: Checkpoint, prompt: Sequence[int], answers: Sequence[Sequence[int]]) -> float:
    a, b = (log_prob(checkpoint, prompt, answer) for answer in answers)
    return a - b


def behavior(checkpoint: Checkpoint, prompts: Sequence[str], answers: Sequence[tuple[str, str]]) -> np.ndarray:
    """f [n] in nats of prompts with their two answers. Raises BehaviorError."""
    encoded = tokenised(checkpoint, prompts, answers, [f"prompt {i}" for i in range(len(prompts))])
    return np.array([log_odds(checkpoint, tokens.prompt, tokens.answers) for tokens in encoded])


@torch.inference_mode()
def all_hidden(checkpoint: Checkpoint, prompt: Sequence[int]) -> np.ndarray:
    """What transformers itself returns as hidden states [layers + 1, length, width]."""
    row = torch.tensor([list(prompt)])
    states = checkpoint.model(input_ids=row, use_cache=False, output_hidden_states=True).hidden_states
    if checkpoint.model.config.model_type == "mamba":  # leaves the embeddings out, has the last block twice
        states = (checkpoint.model.get_input_embeddings()(row), *states[:-2], states[-1])
    return torch.cat(states).numpy()


def hidden(checkpoint: Checkpoint, prompt: Sequence[int], positions: Sequence[int], layer: int) -> np.ndarray:
    """The mean over some positions [width]."""
    return all_hidden(checkpoint, prompt)[layer, list(positions)].mean(0)
