"""The words of the field, defined once: the same text wherever a page explains one."""

from __future__ import annotations

import math

from dashboard.text import escaped

MEANING = {
    "f": "Behavior: how the model leans between two answers, log p(answer a) − log p(answer b), in nats. "
    "2 nats is e² ≈ 7 to 1.",
    "nats": "The unit of f and Δ, a step on the scale of odds. At 0 both answers are as likely; at 1 the first is 2.7 "
    "times as likely as the other, at 2 it is 7 times, at 3 it is 20 times.",
    "r": "A correlation: how far two columns of numbers rise and fall together. 1: in step; 0: unrelated; −1: one "
    "falls where the other rises.",
    "Δ": "The effect of an edit: f after the edit − f before it, in nats.",
    "target": "The checkpoint on which the labels were measured. The labels stay as they are.",
    "label": "The Δ that was measured once, on the target. The explainer was trained to predict such labels.",
    "explanation": "The Δ that the explainer predicts. It reads the model's hidden states on the unedited prompt only.",
    "hidden states": "The numbers that the model computes, layer by layer, while it reads a text.",
    "Self": "How well the explanations agree with the effects of the model as it is now. 1: in step; 0: unrelated.",
    "Orig": "How well the explanations agree with the old labels. 1: in step; 0: unrelated.",
    "gap": "Self − Orig. Above 0: the explanations are nearer to the model as it is now than to the old labels.",
    "unseen": "How much the explanations tell of f(x′), the answer to the edited prompt, which the explainer never "
    "sees, beyond what the model's outputs on the unedited prompt already tell. 0: nothing; 1: everything.",
}
CONTROLS = {
    "output": "A rule that only turns the model's present answer around, −f(x). It was not trained and knows no edit.",
    "output_text": "A regression on the words of the prompt and on f(x), trained on the same labels.",
    "text_only": "A regression on the words of the prompt alone, trained on the same labels. It knows no model.",
    "stale": "The same explainer, reading the hidden states of the old checkpoint: it cannot follow the model.",
    "other_model": "The same explainer, trained on the hidden states of another model.",
    "ceiling": "The same explainer, trained on the effects of the model as it is now: roughly what can be reached.",
    "difference": "An explainer that reads the edited prompt too.",
    "null": "Explainers trained on shuffled labels: what chance alone reaches, in 95 of 100 cases.",
    "copy": "Says that the answer stays as it is at present.",
    "contrary": "Says that the answer turns into the opposite of the present one.",
    "consistency": "The model's own answer to the edited prompt, read as a sentence about itself.",
    "small_lm": "A small language model, trained on the same labels. It knows nothing of this model.",
}
"""What each control of an explainer is. They have other ways to the same numbers."""
SPOKEN = {
    "output_text": "A classifier of the words of the prompt and of the present answer, trained on the same labels.",
    "text_only": "A classifier of the words of the prompt alone, trained on the same labels. It knows no model.",
    "stale": "What the model said before it drifted.",
    "other_model": "Another language model, trained on the same labels.",
}
"""Of a model that explains itself in words, where they differ."""
MOST_ODDS = 1000


def term(word: str, shown: str | None = None) -> str:
    """HTML of a word with its meaning on hover and on focus. Raises KeyError for a word that is not defined."""
    return explained(MEANING[word], shown or word)


def explained(meaning: str, shown: str) -> str:
    """HTML of a few words with a meaning on hover and on focus."""
    return f'<abbr title="{escaped(meaning)}" tabindex="0">{escaped(shown)}</abbr>'


def odds(nats: float) -> str:
    """`7 to 1`: the odds of the likelier of two answers, from the size of f."""
    ratio = math.exp(min(abs(nats), 50.0))
    if ratio > MOST_ODDS:
        return f"more than {MOST_ODDS:,} to 1"
    return f"{ratio:.0f} to 1" if ratio >= 10 else f"{ratio:.1f} to 1".replace(".0 ", " ")
