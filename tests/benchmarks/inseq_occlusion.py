"""inseq's occlusion on our model: windows of the prompt replaced in turn by the unknown token.

inseq offers windows that slide over the whole prompt, so the same work on both sides is one edit a window. It goes
through all windows again for every token that is scored. f of two answers of one token each is one number at one
step, so there a step function of our own gives it in one pass. Longer answers part, and inseq scores what was
generated only: it runs once an answer. Ours scores the tokens of all answers in one row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from engine.model.batching import Text
from engine.model.checkpoints import Checkpoint
from engine.model.counterfactuals import score_texts


def in_one_pass(answers: Sequence[Sequence[Any]]) -> bool:
    """Whether f of these answers is a number of one step: two, of one token each."""
    return [len(answer) for answer in answers] == [1, 1]


def prepare(model: Any, words: Any, prompt: str, answers: Sequence[Sequence[str]], window: int) -> Callable:
    """A call that returns |log p(x) − log p(x')| [windows, all answers' tokens], each token given those before it; or
    |f(x) − f(x')| [windows, 1] where that takes one pass.
    """
    import inseq

    explained = inseq.load_model(model, "occlusion", tokenizer=words)
    shape = (window, model.config.hidden_size)

    def scores(answer: Sequence[str], **attributed: Any) -> np.ndarray:
        found = explained.attribute(
            prompt,
            generated_texts=" ".join((prompt, *answer)),
            show_progress=False,
            pretty_progress=False,
            sliding_window_shapes=shape,
            strides=shape,
            **attributed,
        )
        scores = found.sequence_attributions[0].target_attributions.double().numpy()
        return scores[: len(prompt.split()) : window]

    if not in_one_pass(answers):
        return lambda: np.concatenate(
            [scores(answer, attributed_fn="probability", logprob=True) for answer in answers], axis=1
        )
    one, other = (words.convert_tokens_to_ids(answer[0]) for answer in answers)

    def log_odds(args: Any) -> torch.Tensor:
        log_probs = args.attribution_model.output2logits(args.forward_output).log_softmax(-1)
        return log_probs[:, one] - log_probs[:, other]

    return lambda: scores(answers[0], attributed_fn=log_odds)


def ours_everywhere(
    checkpoint: Checkpoint, prompt: np.ndarray, filler: int, answers: Sequence[Sequence[int]], window: int, batch: int
) -> np.ndarray:
    """The same by shared prefixes."""
    windows = len(prompt) // window
    rows = np.repeat(prompt[None], 1 + windows, 0)
    for i in range(windows):
        rows[1 + i, i * window : (i + 1) * window] = filler
    # Beginnings of an answer: log p of each less that of the one before is its last token's.
    beginnings = tuple(tuple(answer[: i + 1]) for answer in answers for i in range(len(answer)))
    group = [Text(tuple(row), beginnings) for row in rows.tolist()]
    log_probs = score_texts(checkpoint, [group], batch_size=batch, path="shared").log_probs
    parts = np.split(log_probs, np.cumsum([len(answer) for answer in answers])[:-1], axis=1)
    of_token = np.concatenate([np.diff(part, axis=1, prepend=0.0) for part in parts], axis=1)
    effects = of_token[0] - of_token[1:]
    return np.abs(effects[:, :1] - effects[:, 1:]) if in_one_pass(answers) else np.abs(effects)
