"""Attributions add up to f, and a span's effect is the effect of deleting it."""

from __future__ import annotations

import numpy as np
import pytest

from engine.model.attribution import span_effects, token_attribution
from engine.model.behavior import BehaviorError, log_odds
from engine.tasks.edits import EDITS, EditError
from tests.engine.model.test_behavior import PROMPTS, checkpoint

PROMPT = PROMPTS[0]


@pytest.mark.parametrize("shape", ["gpt2", "llama", "gemma", "mamba"])
@pytest.mark.parametrize("answers", [(" yes", " no"), (" comply, of course", " I refuse")])
def test_scores_add_up_to_f_less_its_baseline(shape, answers):
    model = checkpoint(shape, bos=True)
    found = token_attribution(model, PROMPT, *answers, steps=96)
    assert found.f == pytest.approx(log_odds(model, [PROMPT], [answers])[0], abs=2e-5)
    assert found.completeness_error < 0.05 * max(1.0, abs(found.f - found.f_baseline))
    assert found.scores.sum() == pytest.approx(found.f - found.f_baseline, abs=found.completeness_error + 1e-6)
    assert found.tokens[0] == "<|end|>" and found.scores[0] == 0, "the BOS is in the baseline too"
    assert "".join(found.tokens[1:]) == PROMPT
    assert len(found.tokens) == len(found.offsets) == len(found.scores)


def test_more_steps_are_more_complete():
    model = checkpoint("gpt2")
    few, many = (token_attribution(model, PROMPT, " yes", " no", steps=n) for n in (4, 96))
    assert many.completeness_error < few.completeness_error


@pytest.mark.parametrize("shape", ["gpt2", "mistral"])
def test_a_spans_effect_is_that_of_deleting_it(shape):
    model = checkpoint(shape)
    spans = [(0, 3), (32, 63), (12, 29)]
    answers = (" yes", " no, never")
    texts = [PROMPT, *(EDITS["delete_span"](PROMPT, [span], None).text for span in spans)]
    f = log_odds(model, texts, [answers] * 4)
    np.testing.assert_allclose(span_effects(model, PROMPT, spans, answers), f[1:] - f[0], atol=2e-5)
    assert span_effects(model, PROMPT, [], answers).shape == (0,)


def test_spans_that_make_no_sense_are_said():
    model = checkpoint("gpt2")
    with pytest.raises(EditError, match="outside"):
        span_effects(model, PROMPT, [(5, 5000)], (" yes", " no"))
    with pytest.raises(BehaviorError, match="leaves nothing"):
        span_effects(model, PROMPT, [(0, len(PROMPT))], (" yes", " no"))
