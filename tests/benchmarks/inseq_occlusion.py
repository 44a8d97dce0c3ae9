"""inseq's occlusion on our model and prompt: every token of the prompt replaced in turn by the unknown token."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from engine.checkpoints import Checkpoint
from engine.counterfactuals import run
from engine.planning import Text


def prepare(model: Any, words: Any, prompt: str, answer: str) -> tuple[Callable[[], np.ndarray], int]:
    """A call that returns |log p(x) − log p(x')| [length] of the answer as inseq computes it, and its filler token."""
    import inseq

    explained = inseq.load_model(model, "occlusion", tokenizer=words)

    def occlusion() -> np.ndarray:
        found = explained.attribute(
            prompt,
            generated_texts=f"{prompt} {answer}",
            attributed_fn="probability",
            logprob=True,
            show_progress=False,
            pretty_progress=False,
        )
        scores = found.sequence_attributions[0].target_attributions.double().numpy()
        return scores[:-1, -1]  # the last row is the answer's own

    return occlusion, int(words.unk_token_id)


def ours_everywhere(checkpoint: Checkpoint, prompt: np.ndarray, filler: int, answer: int, batch: int) -> np.ndarray:
    """The same [length] by shared prefixes."""
    rows = np.repeat(prompt[None], 1 + len(prompt), 0)
    rows[np.arange(1, len(rows)), np.arange(len(prompt))] = filler
    group = [Text(tuple(row), ((answer,), (answer + 1,))) for row in rows.tolist()]
    log_probs = run(checkpoint, [group], batch_size=batch, path="shared").log_probs[:, 0]
    return np.abs(log_probs[0] - log_probs[1:])
