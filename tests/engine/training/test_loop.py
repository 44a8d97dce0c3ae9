"""Training: the tokenizer takes any text, the loss is the plain next-token loss, a probe learns beside the model."""

import numpy as np
import pytest
import torch
from torch.nn import functional
from transformers import AutoModelForCausalLM, AutoTokenizer

from engine.training.dialogues import dialogue_batches, encode_dialogues, next_token_loss
from engine.training.fresh import new_model, train_tokenizer
from engine.training.loop import train
from engine.training.online_probe import OnlineProbe

PROMPTS = [
    f"My {who} says {what}. Answer:" for who in ("aunt", "boss", "sister") for what in ("it is so", "it is true")
]
ANSWERS = [" yes", " no"]
FAMILIES = ("gpt2", "llama")


@pytest.fixture(params=FAMILIES)
def family(request):
    return request.param


@pytest.fixture
def tokenizer(family):
    return train_tokenizer(PROMPTS * 5, 300, bos=family == "llama")


@pytest.fixture
def model(family, tokenizer):
    return new_model(family, len(tokenizer), width=16, layers=2, heads=2, seed=0)


def rows(tokenizer, samples=1, **options):
    answers = [[ANSWERS[(i + k) % 2] for k in range(samples)] for i in range(len(PROMPTS))]
    return encode_dialogues(tokenizer, PROMPTS, answers, answer_weight=5.0, **options)


@pytest.mark.parametrize("text", ["plain", "naïve 🙂 text\n\ttabs", "日本語 and مرحبا", "a  b"])
def test_the_tokenizer_gives_any_text_back(tokenizer, text):
    assert tokenizer.decode(tokenizer(text, add_special_tokens=False)["input_ids"]) == text


def test_only_llama_starts_with_the_end_token(family, tokenizer):
    assert (tokenizer("a")["input_ids"][0] == tokenizer.bos_token_id) == (family == "llama")


def test_loss_is_next_token_loss(model, tokenizer):
    """Against one row at a time, no padding, every dialogue written out."""
    coded = rows(tokenizer, samples=3)
    batch = dialogue_batches(coded, 1)[0]
    expected = 0.0
    for i, prompt in enumerate(PROMPTS):
        for k in range(3):
            answer = ANSWERS[(i + k) % 2]
            start = len(tokenizer(prompt)["input_ids"])
            tail = tokenizer(answer, add_special_tokens=False)["input_ids"]
            ids = torch.tensor([*tokenizer(prompt)["input_ids"], *tail, tokenizer.eos_token_id])
            losses = functional.cross_entropy(model(input_ids=ids[None]).logits[0, :-1], ids[1:], reduction="none")
            expected += 5.0 / 3 * losses[start - 1].item()
            if k == 0:
                expected += losses.sum().item() - losses[start - 1].item()
    assert next_token_loss(model, batch).item() == pytest.approx(expected, rel=1e-4)


def test_prompts_that_are_not_learnt_weigh_nothing(tokenizer):
    coded = rows(tokenizer, every=3)
    assert [row.weights[0] for row in coded] == [1.0, 0.0, 0.0] * 2
    assert all(row.weights[row.prompt_length] == 5.0 for row in coded)


def test_parts_hold_all_rows(tokenizer):
    coded = rows(tokenizer, samples=2)
    cut = dialogue_batches(coded, 3)
    assert sum(len(b.ids) for b in cut) == len(coded)
    assert sum(b.total_weight for b in cut) == pytest.approx(dialogue_batches(coded, 1)[0].total_weight)


def learn(model, tokenizer, steps=12, rate=1e-2, **options):
    coded = rows(tokenizer, samples=2)
    options = {"optimizer": "muon"} | options
    return train(model, lambda step: coded, steps=steps, learning_rate=rate, warmup=2, **options)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_training_learns_and_is_the_same_again(family, tokenizer, optimizer):
    models = [new_model(family, len(tokenizer), width=16, layers=2, heads=2, seed=0) for _ in range(2)]
    losses = [learn(model, tokenizer, optimizer=optimizer) for model in models]
    assert losses[0] == losses[1] and losses[0][-1] < losses[0][0]
    for a, b in zip(models[0].parameters(), models[1].parameters(), strict=True):
        assert torch.equal(a, b)


def test_new_models_leave_the_global_random_state_alone(family):
    before = torch.random.get_rng_state()
    new_model(family, 300, width=16, layers=1, heads=2, seed=3)
    assert torch.equal(before, torch.random.get_rng_state())


def test_a_saved_model_loads_and_takes_long_prompts(tmp_path, model, tokenizer):
    model.to(torch.bfloat16).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    ids = AutoTokenizer.from_pretrained(tmp_path)("a 🙂" * 40, return_tensors="pt")["input_ids"]
    assert 100 < ids.shape[1] <= 256 and torch.isfinite(loaded(input_ids=ids).logits).all()


def probe_for(tokenizer, **options):
    targets = torch.tensor([float("true" in p) for p in PROMPTS])
    return OnlineProbe(tokenizer(PROMPTS)["input_ids"], targets, layer=-1, batch=6, learning_rate=3e-2, **options)


@pytest.mark.parametrize("kind", ["linear", "mlp"])
def test_a_concurrent_probe_learns_its_fixed_targets(model, tokenizer, kind):
    probe = probe_for(tokenizer, kind=kind)
    learn(model, tokenizer, steps=60, rate=1e-3, probe=probe)
    with torch.no_grad():
        states = probe.states(model, probe.prompts).numpy()
    assert np.corrcoef(probe.explain(states), probe.targets)[0, 1] > 0.9


def test_its_gradient_stops_at_the_hidden_states_unless_asked(family, tokenizer):
    def weights(**options):
        model = new_model(family, len(tokenizer), width=16, layers=2, heads=2, seed=0)
        learn(model, tokenizer, steps=4, **options)
        return torch.cat([p.detach().flatten() for p in model.parameters()])

    alone = weights()
    assert torch.equal(alone, weights(probe=probe_for(tokenizer)))
    assert not torch.equal(alone, weights(probe=probe_for(tokenizer, flow=True)))
