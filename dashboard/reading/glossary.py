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
    "target": "The checkpoint whose effects were the labels of the explainer. The labels stay as they are.",
    "explanation": "What the explainer says that Δ is. It has read the model's hidden states on the unedited prompt.",
    "Self": "How well explanations agree with the effects of the model as it is now.",
    "Orig": "How well explanations agree with the effects of the target, their labels.",
    "gap": "Self − Orig. Above 0: explanations are nearer to the model as it is now than to their labels.",
    "unseen": "What explanations tell of f(x′), the run on the edited prompt that the explainer never sees, beyond the "
    "outputs that anybody can read.",
}
MOST_ODDS = 1000


def term(word: str, shown: str | None = None) -> str:
    """HTML of a word with its meaning on hover and on focus. Raises KeyError for a word that is not defined."""
    return f'<abbr title="{escaped(MEANING[word])}" tabindex="0">{escaped(shown or word)}</abbr>'


def odds(nats: float) -> str:
    """`7 to 1`: the odds of the likelier of two answers, from the size of f."""
    ratio = math.exp(min(abs(nats), 50.0))
    if ratio > MOST_ODDS:
        return f"more than {MOST_ODDS:,} to 1"
    return f"{ratio:.0f} to 1" if ratio >= 10 else f"{ratio:.1f} to 1".replace(".0 ", " ")
