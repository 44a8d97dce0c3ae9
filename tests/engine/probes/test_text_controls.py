"""Controls that read the prompt and the output only."""

from __future__ import annotations

import numpy as np
import pandas as pd

from engine.probes.ridge import grouped_folds
from engine.probes.text_controls import PromptFeatures, TextControl

WHO, WHAT = ("teacher", "nurse", "farmer", "pilot"), ("rivers", "metals", "stars", "birds")


def prompts(n: int = 240):
    """Effects are an interaction of who and what, which single words can't explain, and f(x)."""
    rng = np.random.default_rng(0)
    who, what = rng.integers(0, 4, n), rng.integers(0, 4, n)
    text = [f"The {WHO[a]} asks about {WHAT[b]}." for a, b in zip(who, what, strict=True)]
    metadata = pd.DataFrame({"who": [WHO[a] for a in who], "what": [WHAT[b] for b in what], "id": np.arange(n)})
    f = rng.normal(size=n)
    interaction = rng.normal(size=(4, 4))
    interaction -= interaction.mean(axis=0)
    interaction -= interaction.mean(axis=1, keepdims=True)
    return text, metadata.astype(str), f, interaction[who, what], grouped_folds(np.arange(n))


def correlation(a, b) -> float:
    return float(np.corrcoef(a, b)[0, 1])


def test_saturated_metadata_explains_interactions_that_words_do_not():
    text, metadata, _, effect, folds = prompts()
    with_metadata = TextControl.fit(text, metadata, effect, folds)
    assert correlation(with_metadata.predict(text, metadata), effect) > 0.98
    words_only = TextControl.fit(text, None, effect, folds)
    assert abs(correlation(words_only.predict(text), effect)) < 0.5


def test_output_text_reads_the_output_it_is_given():
    text, metadata, f, effect, folds = prompts()
    control = TextControl.fit(text, metadata, effect - 2 * f, folds, f)
    assert correlation(control.predict(text, metadata, f), effect - 2 * f) > 0.98
    moved = f + np.random.default_rng(1).normal(size=len(f))
    assert correlation(control.predict(text, metadata, moved), effect - 2 * moved) > 0.98


def test_unseen_words_and_levels_are_ignored():
    text, metadata, _, effect, folds = prompts()
    control = TextControl.fit(text, metadata, effect, folds)
    strange = pd.DataFrame({"who": ["zebra", None], "what": [None, "birds"], "id": ["x", "y"]})
    assert np.isfinite(control.predict(["wholly novel", ""], strange)).all()


def test_columns_that_name_the_row_are_left_out():
    text, metadata, *_ = prompts()
    features = PromptFeatures.fit(text, metadata.assign(same="one"))
    assert features.columns == ("who", "what")
    assert features.transform(text, metadata).shape[1] <= len("The asks about".split()) + 8 + 8 + 16


def test_prompts_without_words_give_the_mean():
    control = TextControl.fit(["?", "!", "?", "!"], None, np.arange(4.0), grouped_folds(np.arange(4), folds=2))
    np.testing.assert_allclose(control.predict(["?"]), 1.5)
