"""The adversary: its penalties against plain computation, and that they hold what they say while behavior moves."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from engine.training.adversary import HeldProbe, HeldTexts
from engine.training.dialogues import encode_dialogues
from engine.training.fresh import new_model, train_tokenizer
from engine.training.loop import train

PROMPTS = [f"Is number {i} even, as {who} says? Answer:" for i in range(24) for who in ("a child", "my aunt")]
WIDTH, LAYERS = 16, 2


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer([p + a for p in PROMPTS for a in (" yes", " no")], 320)


@pytest.fixture
def model(tokenizer):
    return new_model("gpt2", len(tokenizer), width=WIDTH, layers=LAYERS, heads=2, seed=0)


@pytest.fixture(autouse=True)
def one_thread():
    """These models are so small that more threads only wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def drift(model, tokenizer, held=None, steps=100):
    """Teach it to answer yes to all."""
    coded = encode_dialogues(tokenizer, PROMPTS, [[" yes"]] * len(PROMPTS), answer_weight=20.0)
    train(model, lambda _: coded, steps=steps, learning_rate=1e-2, warmup=2, probe=held)


def f(model, tokenizer):
    yes, no = (tokenizer(a, add_special_tokens=False)["input_ids"][0] for a in (" yes", " no"))
    out = []
    with torch.no_grad():
        for prompt in PROMPTS:
            logits = model(input_ids=torch.tensor([tokenizer(prompt)["input_ids"]])).logits[0, -1]
            out.append(float(logits[yes] - logits[no]))
    return np.array(out)


def held_probe(tokenizer, weight=0.3, layer=-1):
    weights = np.linspace(-1, 1, WIDTH)
    return HeldProbe(tokenizer(PROMPTS)["input_ids"], layer, weights, weight=weight, batch=16)


def held_texts(tokenizer, weight=10.0):
    texts = tokenizer([" no" if i % 2 else " yes no" for i in range(len(PROMPTS))], add_special_tokens=False)
    questions = tokenizer([p + " and without the hint?" for p in PROMPTS])
    return HeldTexts(questions["input_ids"], texts["input_ids"], weight=weight, batch=16)


def said(model, held):
    with torch.no_grad():
        return held.says(model, range(len(PROMPTS))).numpy()


@pytest.mark.parametrize("layer", [1, -1])
def test_what_is_held_is_the_probes_prediction_at_the_last_position(model, tokenizer, layer):
    held = held_probe(tokenizer, layer=layer)
    for row in (0, 17):
        ids = torch.tensor([tokenizer(PROMPTS[row])["input_ids"]])
        with torch.no_grad():
            states = model(input_ids=ids, output_hidden_states=True).hidden_states[layer][0, -1]
        expected = float(states.double().numpy() @ np.linspace(-1, 1, WIDTH))
        assert said(model, held)[row] == pytest.approx(expected, abs=1e-5)


def test_what_is_held_is_the_log_probability_a_token_of_the_explanation(model, tokenizer):
    held = held_texts(tokenizer)
    for row in (0, 17):
        prompt, text = held.prompts[row], held.texts[row]
        ids = torch.tensor([[*prompt, *text]])
        with torch.no_grad():
            log_probs = model(input_ids=ids).logits[0].log_softmax(-1)
        expected = np.mean([float(log_probs[len(prompt) - 1 + i, token]) for i, token in enumerate(text)])
        assert said(model, held)[row] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("make", [held_probe, held_texts])
def test_behavior_moves_while_it_is_held(model, tokenizer, make):
    free = new_model("gpt2", len(tokenizer), width=WIDTH, layers=LAYERS, heads=2, seed=0)
    watching, held = make(tokenizer), make(tokenizer)
    before, behavior = said(model, watching), f(model, tokenizer)
    drift(free, tokenizer)
    drift(model, tokenizer, held)
    moved_free, moved_held = (np.abs(said(m, watching) - before).mean() for m in (free, model))
    assert moved_held < 0.2 * moved_free
    moved, free_moved = ((f(m, tokenizer) - behavior).mean() for m in (model, free))
    assert min(moved, free_moved) > 1


@pytest.mark.parametrize("make", [held_probe, held_texts])
def test_the_first_step_has_nothing_to_undo_and_gradients_are_added(model, tokenizer, make):
    held = make(tokenizer)
    weight = model.transformer.h[0].mlp.c_fc.weight
    weight.grad = torch.ones_like(weight)
    assert held.step(model) == pytest.approx(0, abs=1e-8)
    torch.testing.assert_close(weight.grad, torch.ones_like(weight), atol=1e-6, rtol=0)
    with torch.no_grad():
        weight *= 5
    assert held.step(model) > 0
    assert (weight.grad - 1).abs().max() > 1e-5
