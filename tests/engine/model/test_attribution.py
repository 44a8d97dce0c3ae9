"""The attributions of a prompt's tokens add up to f less its baseline."""

from __future__ import annotations

import pytest

from engine.model.attribution import token_attribution
from tests import reference
from tests.engine.model.test_behavior import PROMPTS, checkpoint

PROMPT = PROMPTS[0]


@pytest.mark.parametrize("shape", ["gpt2", "llama", "gemma", "mamba"])
@pytest.mark.parametrize("answers", [(" yes", " no"), (" comply, of course", " I refuse")])
def test_scores_add_up_to_f_less_its_baseline(shape, answers):
    model = checkpoint(shape, bos=True)
    found = token_attribution(model, PROMPT, *answers, steps=96)
    assert found.f == pytest.approx(reference.behavior(model, [PROMPT], [answers])[0], abs=2e-5)
    assert found.completeness_error < 0.05 * max(1.0, abs(found.f - found.f_baseline))
    assert found.scores.sum() == pytest.approx(found.f - found.f_baseline, abs=found.completeness_error + 1e-6)
    assert found.tokens[0] == "<|end|>" and found.scores[0] == 0, "the BOS is in the baseline too"
    assert "".join(found.tokens[1:]) == PROMPT
    assert len(found.tokens) == len(found.offsets) == len(found.scores)


def test_more_steps_are_more_complete():
    model = checkpoint("gpt2")
    few, many = (token_attribution(model, PROMPT, " yes", " no", steps=n) for n in (4, 96))
    assert many.completeness_error < few.completeness_error
