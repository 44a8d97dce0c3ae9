"""inseq's occlusion on our model: windows of the prompt replaced in turn by the unknown token.

inseq offers windows that slide over the whole prompt, so the same work on both sides is one edit a window. It runs
all windows again for every answer and every token of it; ours scores the tokens of all answers in one row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from engine.checkpoints import Checkpoint
from engine.counterfactuals import run
from engine.planning import Text


def prepare(model: Any, words: Any, prompt: str, answers: Sequence[Sequence[str]], window: int) -> Callable:
    """A call that returns |log p(x) − log p(x')| [windows, all answers' tokens], each token given those before it."""
    import inseq

    explained = inseq.load_model(model, "occlusion", tokenizer=words)
    shape = (window, model.config.hidden_size)

    def scores(answer: Sequence[str]) -> np.ndarray:
        found = explained.attribute(
            prompt,
            generated_texts=" ".join((prompt, *answer)),
            attributed_fn="probability",
            logprob=True,
            show_progress=False,
            pretty_progress=False,
            sliding_window_shapes=shape,
            strides=shape,
        )
        scores = found.sequence_attributions[0].target_attributions.double().numpy()
        return scores[: len(prompt.split()) : window]

    return lambda: np.concatenate([scores(answer) for answer in answers], axis=1)


def ours_everywhere(
    checkpoint: Checkpoint, prompt: np.ndarray, filler: int, answers: Sequence[Sequence[int]], window: int, batch: int
) -> np.ndarray:
    """The same [windows, all answers' tokens] by shared prefixes."""
    windows = len(prompt) // window
    rows = np.repeat(prompt[None], 1 + windows, 0)
    for i in range(windows):
        rows[1 + i, i * window : (i + 1) * window] = filler
    # Beginnings of an answer: log p of each less that of the one before is its last token's.
    beginnings = tuple(tuple(answer[: i + 1]) for answer in answers for i in range(len(answer)))
    group = [Text(tuple(row), beginnings) for row in rows.tolist()]
    log_probs = run(checkpoint, [group], batch_size=batch, path="shared").log_probs
    parts = np.split(log_probs, np.cumsum([len(answer) for answer in answers])[:-1], axis=1)
    of_token = np.concatenate([np.diff(part, axis=1, prepend=0.0) for part in parts], axis=1)
    return np.abs(of_token[0] - of_token[1:])
