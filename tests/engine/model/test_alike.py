"""Rows that a model treats differently (LongRoPE; padding that matters) never share a batch, wherever one is made."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from engine.config import CheckpointSpec
from engine.model.alike import EQUAL_LENGTHS, in_kinds
from engine.model.batching import log_odds_terms
from engine.model.behavior import measure
from engine.model.checkpoints import Checkpoint, load
from engine.model.forward import Ask, batch_of, forward
from engine.model.tokens import encode
from engine.patching import hooks
from engine.records import Example, examples_table
from engine.verbal.rows import answer_distributions, answer_row, ids_of, label_rows, logits_of
from engine.verbal.say import say
from tests.tiny_models import LAYERS, ROTARY_LIMIT, build

ANSWERS = (" yes", " comply, of course, and I would rather know whether it is so")
PROMPT = "Please, I need to know: is that right?"
LONGER = "Please, I need to know whether it is so. My friend is sure: is that right?"


@pytest.fixture(scope="module")
def phi(tmp_path_factory) -> Checkpoint:
    folder = build("phi3", tmp_path_factory.mktemp("phi"), seed=3)
    return load(CheckpointSpec(name="phi3--tiny", path=str(folder)), "cpu")


def alone(model: Checkpoint, prompt: tuple[int, ...], answer: tuple[int, ...]) -> float:
    """log p of an answer from a forward over its own row."""
    asks = [Ask(0, len(prompt) - 1 + i, token) for i, token in enumerate(answer)]
    return float(forward(model.model, [(*prompt, *answer[:-1])], asks)[0].sum())


def f_alone(model: Checkpoint, tokens) -> float:
    a, b = (alone(model, tokens.prompt, answer) for answer in tokens.answers)
    return a - b


@pytest.mark.parametrize("path", ["auto", "full"])
def test_the_longer_answer_alone_crosses_the_limit(phi, path):
    prompts = [PROMPT, LONGER, "Is it so?"]
    encoded = encode(phi.tokenizer, prompts, [ANSWERS] * 3)
    x = encoded[0]
    assert len(x.prompt) <= ROTARY_LIMIT < len(x.prompt) + len(x.answers[1]) - 1
    examples = examples_table(
        Example("t", p, p[1:], "cut", ((0, 1),), ((0, 0),), *ANSWERS, p, "train") for p in prompts
    )
    from engine.config import HiddenSpec

    found = measure(phi, examples, hidden=HiddenSpec(layers=(1, -1)), path=path)
    np.testing.assert_allclose(found.f, [f_alone(phi, t) for t in encoded], atol=1e-4)
    for layer in (1, LAYERS):
        for t, state in zip(encoded, found.prompts[f"last.{layer}"], strict=True):
            right = phi.model(input_ids=torch.tensor([t.prompt]), output_hidden_states=True).hidden_states[layer][0, -1]
            np.testing.assert_allclose(state, right, atol=1e-4)


def test_patching_runs_them_apart(phi):
    x, edited = encode(phi.tokenizer, [PROMPT, LONGER], [ANSWERS] * 2)
    pair = hooks.Pair(x, edited, {"all": tuple(range(len(x.prompt)))})
    scores = {"f": hooks.behavior_score(phi)}
    (found,) = hooks.patch_pairs(phi, [pair], scores, range(LAYERS + 1), batch_size=8)
    assert found.clean["f"] == pytest.approx(f_alone(phi, x), abs=1e-4)
    assert found.edited["f"] == pytest.approx(f_alone(phi, edited), abs=1e-4)


def test_words_are_learnt_and_held_as_alone(phi):
    prompts, stated = [PROMPT, "Is it so?", LONGER], [" yes, she is sure", " no", " yes, whatever I know"]
    tokens = encode(phi.tokenizer, prompts, [(" yes", " no")] * 3)
    x = [answer_row(t) for t in tokens]
    from engine.model.alike import kind_of

    asked = [replace(t, answers=(ids_of(phi.tokenizer, [s])[s],)) for t, s in zip(tokens, stated, strict=True)]
    rows = label_rows(phi.tokenizer, asked, [0] * 3, x, kind=kind_of(phi.model))
    with torch.no_grad():
        together, apart = logits_of(phi.model, rows), [logits_of(phi.model, [row]) for row in rows]
    assert together.with_pairs == [i for i, one in enumerate(apart) if one.with_pairs]
    answers = torch.cat([one.answers for one in apart])
    torch.testing.assert_close(together.answers, answers, atol=1e-4, rtol=0)
    torch.testing.assert_close(together.words.sort(0).values, torch.cat([o.words for o in apart]).sort(0).values)
    inside = [rows[i] for i in together.with_pairs]
    held = answer_distributions(phi.model, [x[i] for i in together.with_pairs])
    for one, other in zip(answer_distributions(phi.model, inside), held, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=0)


def test_words_are_argmax_across_the_limit(phi):
    (tokens,) = encode(phi.tokenizer, [PROMPT], [ANSWERS])
    ids = list(tokens.prompt)
    (said,) = say(phi.model, phi.tokenizer, [tuple(ids)], most_tokens=16)
    with torch.no_grad():
        for _ in range(16):
            ids.append(int(phi.model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1].argmax()))
    assert len(ids) > ROTARY_LIMIT and said == phi.tokenizer.decode(ids[len(tokens.prompt) :], skip_special_tokens=True)


def test_a_mixed_batch_is_refused_where_batches_are_made(phi):
    with pytest.raises(AssertionError):
        batch_of(phi.model, [(5,) * 3, (5,) * (ROTARY_LIMIT + 1)])
    assert in_kinds(phi.model, [3, 25, 24]) == [[0, 2], [1]]


def test_a_model_that_padding_changes_gets_rows_of_one_length(tmp_path):
    model = load(CheckpointSpec(name="gpt2--a", path=str(build("gpt2", tmp_path))), "cpu")
    examples = examples_table(
        Example("t", p, p[1:], "cut", ((0, 1),), ((0, 0),), *ANSWERS, p, "train") for p in (PROMPT, LONGER)
    )
    before = measure(model, examples)
    setattr(model.model, EQUAL_LENGTHS, True)
    after = measure(model, examples)
    np.testing.assert_allclose(before.f, after.f, atol=1e-5)
    assert after.report.path == "full: padding changes its numbers"
    assert log_odds_terms(4, ((1, 2, 3), (1, 2))).keys() == {(1, 2)}
    assert log_odds_terms(4, ((1, 2, 3), (1, 2)), lambda length: length).keys() == {(1, 2), (1,)}
