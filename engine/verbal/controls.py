"""Controls that explain without looking into the model: nothing that they score too is introspection.

`copy` repeats the present answer and says "unchanged". `contrary` says the other one and "changed". `consistency` takes
the model's own content and says "changed" where that differs from the present answer, which can be read off the output.
`text_only` is logistic regression on the words of the prompt, on the same labels; `output_text` also knows the answer
to x and how sure the model is of it, the target's in training and the current one when asked. Metadata are left out:
what is known of an example beside its text (whether a claim is true) the model is not told either. `null`, with its
band, is what the model said put in the place of what it said of other entities (`score.null`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from sklearn.linear_model import LogisticRegression

from engine.probes.text_controls import PromptFeatures
from engine.verbal.labels import Answers, Labels
from engine.verbal.score import Said

STRENGTH = 1.0
"""Of the classifiers' inverse penalty, scikit-learn's default; they are not tuned."""


def copy(now: Answers) -> Said:
    n = len(now.x)
    return Said(np.ones(n, bool), now.x, np.zeros(n, bool))


def contrary(now: Answers) -> Said:
    n = len(now.x)
    return Said(np.ones(n, bool), ~now.x, np.ones(n, bool))


def consistency(said: Said, now: Answers) -> Said:
    return Said(said.parsed, said.edited_is_a, said.edited_is_a != now.x)


class TextClassifier:
    """Predicts a label from the prompt; `fit` on the training examples' labels (noise and all)."""

    def __init__(
        self,
        prompts: Sequence[str],
        labels: Labels,
        f: np.ndarray | None = None,
    ):
        """prompts: of the labelled examples [m]; f [m]: f(x) at the target, for `output_text`."""
        self.features = PromptFeatures.fit(prompts)
        self.scale = None if f is None else float(np.std(f)) or 1.0
        self.kinds = 2 * labels.edited_is_a + labels.changed
        self.model: LogisticRegression | None = None
        if len(np.unique(self.kinds)) > 1:
            self.model = LogisticRegression(C=STRENGTH, max_iter=1000)
            self.model.fit(self._inputs(prompts, f), self.kinds)

    def say(self, prompts: Sequence[str], f: np.ndarray | None = None) -> Said:
        """What it says of other prompts [n]; f [n]: the current f(x)."""
        if self.model is None:  # one label for all: it has nothing else to say
            kinds = np.full(len(prompts), self.kinds[0])
        else:
            kinds = self.model.predict(self._inputs(prompts, f))
        return Said(np.ones(len(prompts), bool), kinds >= 2, kinds % 2 == 1)

    def _inputs(self, prompts: Sequence[str], f: np.ndarray | None) -> np.ndarray:
        x = self.features.transform(prompts)
        x = x if x.shape[1] else np.zeros((len(x), 1))
        if self.scale is None or f is None:
            return x
        return np.column_stack([x, f / self.scale, np.sign(f)])
