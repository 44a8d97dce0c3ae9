"""Controls that read the prompt and the output but no hidden state.

`output` is −f_t(x), untrained. `text_only` is a ridge on the words of the prompt and on its metadata, one-hot with all
pairs. `output_text` adds f(x): it is fitted on the target's f_0(x) and applied to the current f_t(x). An explainer that
is no better than these shows no knowledge of the model's hidden states.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
from scipy import sparse
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.preprocessing import OneHotEncoder

from engine.probes.ridge import Folds, Ridge, cross_validated_correlation
from engine.stats.faithfulness import Behavior

PENALTIES = (0.1, 1.0, 10.0, 100.0, 1000.0)
MAX_WORDS = 2000
MIN_ROWS = 3
"""Words, metadata levels and pairs of levels that occur in fewer training rows are dropped."""
UNPENALISED = 100.0
"""Scale of f(x) among the features. It is large, so that the penalty hardly shrinks the weight of f(x)."""


def output(current: Behavior) -> np.ndarray:
    """−f_t(x), [n]: the explanation that follows from the current output alone."""
    return -np.asarray(current.f, dtype=np.float64)


@dataclass(frozen=True)
class PromptFeatures:
    """Words of the prompt (present or not), and metadata levels with all their pairs, one-hot."""

    words: CountVectorizer | None
    levels: OneHotEncoder | None
    kept: np.ndarray
    """Columns of the encoder that are used, bool."""
    columns: tuple[str, ...]

    @classmethod
    def fit(cls, prompts: Sequence[str], metadata: pd.DataFrame | None = None) -> PromptFeatures:
        """Fit to training prompts [n] and metadata (text columns, dropped if they have one level or too many)."""
        words = CountVectorizer(binary=True, min_df=min(MIN_ROWS, len(prompts)), max_features=MAX_WORDS)
        try:
            words.fit(prompts)
        except ValueError:  # no word occurs in MIN_ROWS prompts
            words = None
        frame = pd.DataFrame() if metadata is None else metadata
        columns = tuple(c for c in frame.columns if 1 < frame[c].nunique() <= max(2, len(frame) // MIN_ROWS))
        levels, kept = None, np.zeros(0, dtype=bool)
        if columns:
            levels = OneHotEncoder(handle_unknown="ignore")
            kept = np.asarray(levels.fit_transform(_pairs(frame, columns)).sum(axis=0)).ravel() >= MIN_ROWS
        return cls(words, levels, kept, columns)

    def transform(self, prompts: Sequence[str], metadata: pd.DataFrame | None = None) -> np.ndarray:
        """Features [n, p]."""
        parts = [sparse.csr_matrix((len(prompts), 0))]
        if self.words is not None:
            parts.append(self.words.transform(prompts))
        if self.levels is not None and metadata is not None:
            parts.append(self.levels.transform(_pairs(metadata, self.columns))[:, self.kept])
        return sparse.hstack(parts).toarray().astype(np.float64)


def _pairs(frame: pd.DataFrame, columns: Sequence[str]) -> np.ndarray:
    text = {c: frame[c].astype(object).where(frame[c].notna(), "").astype(str).to_numpy(dtype=object) for c in columns}
    both = [text[a] + "\x1f" + text[b] for a, b in combinations(columns, 2)]
    return np.stack([*text.values(), *both], axis=1)


@dataclass(frozen=True)
class TextControl:
    """Ridge on prompt features, with or without f(x), fitted at the target."""

    features: PromptFeatures
    ridge: Ridge
    targets: np.ndarray
    penalty: float
    f_mean: float = 0.0
    f_scale: float = 1.0

    @classmethod
    def fit(
        cls,
        prompts: Sequence[str],
        metadata: pd.DataFrame | None,
        targets: np.ndarray,
        folds: Folds,
        f: np.ndarray | None = None,
    ) -> TextControl:
        """targets [n] in nats; f [n]: f_0(x), for `output_text`. Cross-validation on `folds` chooses the penalty."""
        features = PromptFeatures.fit(prompts, metadata)
        scaling = () if f is None else (float(np.mean(f)), float(np.std(f)) or 1.0)
        x = _with_output(features.transform(prompts, metadata), f, *scaling)
        scores = cross_validated_correlation(x, targets, folds, PENALTIES)[:, 0]
        penalty = PENALTIES[int(np.argmax(np.nan_to_num(scores, nan=-2)))]
        return cls(features, Ridge.fit(x), np.asarray(targets, dtype=np.float64), penalty, *scaling)

    def predict(
        self, prompts: Sequence[str], metadata: pd.DataFrame | None = None, f: np.ndarray | None = None
    ) -> np.ndarray:
        """Explanations [n]; f [n]: the current f_t(x), for `output_text`."""
        x = _with_output(self.features.transform(prompts, metadata), f, self.f_mean, self.f_scale)
        return self.ridge.predict(self.targets, [self.penalty], x)[0, :, 0]


def _with_output(x: np.ndarray, f: np.ndarray | None, mean: float = 0.0, scale: float = 1.0) -> np.ndarray:
    if f is None:
        return x if x.shape[1] else np.zeros((len(x), 1))
    return np.column_stack([x, UNPENALISED * (np.asarray(f, dtype=np.float64) - mean) / scale])
