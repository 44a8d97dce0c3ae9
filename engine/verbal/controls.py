"""Controls that explain without reading the model's hidden states. A score that they reach too shows no introspection.

`copy` repeats the present answer and says "unchanged". `contrary` gives the other answer and says "changed".
`consistency` takes the model's own content and says "changed" where that differs from the present answer, which is
visible in the output. `text_only` is logistic regression on the words of the prompt, on the same labels. `output_text`
also reads f(x): the target's in training and the current one when asked. Neither reads metadata, because the model is
not told either what they say about an example (such as whether a claim is true). `null`, with its band, exchanges the
model's sentences between entities (`score.null_of_words`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression

from engine.probes.text_controls import PromptFeatures
from engine.verbal.labels import Answers, Labels
from engine.verbal.score import Said

STRENGTH = 1.0
"""Inverse penalty of the classifiers: scikit-learn's default, not tuned."""


def of_output(said: Said, now: Answers) -> dict[str, Said]:
    """`copy`, `contrary` and `consistency` of n examples, whose model's own sentences are `said`."""
    every = np.ones(len(now.x), bool)
    return {
        "copy": Said(every, now.x, ~every),
        "contrary": Said(every, ~now.x, every),
        "consistency": Said(said.parsed, said.edited_is_a, said.edited_is_a != now.x),
    }


class TextClassifier:
    """Predicts a label from the prompt; fitted to the training examples' labels, including their noise."""

    def __init__(self, prompts: Sequence[str], labels: Labels, f: np.ndarray | None = None):
        """prompts [m]: of the labelled examples; f [m]: f(x) at the target, for `output_text`."""
        self.features = PromptFeatures.fit(prompts)
        self.scale = 1.0 if f is None else float(np.std(f)) or 1.0
        kinds = 2 * labels.edited_is_a + labels.changed
        several = len(np.unique(kinds)) > 1
        self.model = LogisticRegression(C=STRENGTH, max_iter=1000) if several else DummyClassifier()
        self.model.fit(self._inputs(prompts, f), kinds)

    def say(self, prompts: Sequence[str], f: np.ndarray | None = None) -> Said:
        """Statements about other prompts [n]; f [n]: the current f(x), for `output_text`."""
        kinds = self.model.predict(self._inputs(prompts, f))
        return Said(np.ones(len(prompts), bool), kinds >= 2, kinds % 2 == 1)

    def _inputs(self, prompts: Sequence[str], f: np.ndarray | None) -> np.ndarray:
        x = self.features.transform(prompts)
        x = x if x.shape[1] else np.zeros((len(x), 1))
        return x if f is None else np.column_stack([x, f / self.scale, np.sign(f)])
