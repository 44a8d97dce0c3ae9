"""What training reads and scores is what measuring reads and scores, whatever the model and the tokenizer."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import processors
from torch import Tensor

from engine.config import CheckpointSpec, HiddenSpec, InputError
from engine.model.alike import kind_of
from engine.model.behavior import measure
from engine.model.checkpoints import Checkpoint, load
from engine.model.forward import Ask, forward, last_states
from engine.model.tokens import encode
from engine.records import Example, examples_table
from engine.tasks import FACTORS
from engine.tasks.worlds import draw_rules, sample_dialogues
from engine.training import dialogues, fresh, loop
from engine.training.adversary import HeldTexts
from tests.tiny_models import EVERY, LAYERS, build, tokenizer

PROMPTS = (
    "Is it Lyon?",
    "The capital of France is Paris. A professor says so. Is that right?",
    "Please, I need to know:",
)
ANSWERS = ([" yes", " no", " no, never"], [" no", " yes"], [" comply, of course I would rather do so"])


@functools.cache
def checkpoint(shape: str) -> Checkpoint:
    with tempfile.TemporaryDirectory() as folder:
        return load(CheckpointSpec(name="tiny--model", path=str(build(shape, Path(folder), bos=True))), "cpu")


def ending(words, template: str = "$A <|end|>"):
    words.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=template, pair=f"{template} $B", special_tokens=[("<|end|>", 0)]
    )
    return words


def coded(model: Checkpoint, **options) -> list[dialogues.Dialogues]:
    return dialogues.encode_dialogues(model.tokenizer, PROMPTS, ANSWERS, answer_weight=5.0, **options)


def log_p(model: Checkpoint, ids: list[int]) -> list[float]:
    """Measured log p of each token of a row after the first."""
    asks = [Ask(0, at, token) for at, token in enumerate(ids[1:])]
    return forward(model.model, [ids], asks)[0].tolist()


@pytest.mark.parametrize("shape", EVERY)
def test_the_loss_is_the_cross_entropy_of_the_measured_log_probabilities(shape):
    model = checkpoint(shape)
    rows = coded(model)[:2] if shape == "mpt" else coded(model)  # it reads 24 tokens
    expected = 0.0
    for row in rows:
        expected -= float(np.dot(row.weights[1:], log_p(model, row.ids)))
        first = {
            token: forward(model.model, [row.ids], [Ask(0, row.prompt_length - 1, token)])[0] for token in row.first
        }
        expected -= sum(weight * float(first[token]) for token, weight in row.first.items())
    with torch.no_grad():
        cut = dialogues.dialogue_batches(rows, 2, kind_of(model.model))
        loss = sum(loop.next_token_loss(model.model, batch).item() for batch in cut)
    assert loss == pytest.approx(expected, abs=1e-3, rel=1e-5)


@pytest.mark.parametrize("shape", EVERY)
def test_the_layers_of_training_are_those_of_measuring(shape):
    model = checkpoint(shape)
    prompts = PROMPTS[:1] if shape == "mpt" else PROMPTS
    examples = examples_table(
        Example("t", p, p[:-1], "cut", ((0, 1),), ((0, 1),), " yes", " no", p, "train") for p in prompts
    )
    tokens = [t.prompt for t in encode(model.tokenizer, prompts, [(" yes", " no")] * len(prompts))]
    for layer in range(LAYERS + 1):
        measured = measure(model, examples, hidden=HiddenSpec(layers=(layer,))).prompts[f"last.{layer}"]
        with torch.no_grad():
            np.testing.assert_allclose(last_states(model.model, tokens, layer), measured, atol=1e-4)


@pytest.mark.parametrize("shape", ["gpt2", "phi3", "gemma2"])
def test_held_words_have_their_measured_log_probabilities(shape):
    model = checkpoint(shape)
    rows = [encode(model.tokenizer, [p], [[a[0]]])[0] for p, a in zip(PROMPTS, ANSWERS, strict=True)]
    held = HeldTexts([t.prompt for t in rows], [t.answers[0] for t in rows])
    with torch.no_grad():
        said = held.says(model.model, range(len(rows)))
    expected = [np.mean(log_p(model, [*t.prompt, *t.answers[0]])[len(t.prompt) - 1 :]) for t in rows]
    np.testing.assert_allclose(said, expected, atol=1e-4)


def seen(words, prompt: str, answer: str) -> list[str]:
    (row,) = dialogues.encode_dialogues(words, [prompt], [[answer]], answer_weight=1.0)
    (measured,) = encode(words, [prompt], [[answer]])
    assert row.ids == [*measured.prompt, *measured.answers[0], words.eos_token_id]
    assert row.prompt_length == len(measured.prompt)
    return words.convert_ids_to_tokens(row.ids)


def test_a_space_at_the_end_of_a_prompt_belongs_to_the_answer():
    spaced, plain = (seen(tokenizer(), p, a) for p, a in (("Is it so? Answer: ", "yes"), ("Is it so? Answer:", " yes")))
    assert spaced == plain and spaced[-2:] == ["Ġyes", "<|end|>"]


def test_the_end_token_of_a_template_does_not_stand_before_the_answer():
    assert seen(ending(tokenizer()), "Is it so?", " yes") == seen(tokenizer(), "Is it so?", " yes")


def test_a_prompt_that_brings_its_bos_has_one():
    words = tokenizer(bos=True)
    assert seen(words, "<|end|>Is it so?", " yes") == seen(words, "Is it so?", " yes")
    (tokens,) = encode(words, ["<|end|>Is it so?"], [[" yes"]])
    assert tokens.offsets[:2] == ((0, 7), (7, 8)), "characters of the prompt as it is"


def test_one_dialogue_a_step_trains(tmp_path):
    model = load(CheckpointSpec(name="gpt2--a", path=str(build("gpt2", tmp_path)))).model.requires_grad_(True)
    rows = dialogues.encode_dialogues(tokenizer(), PROMPTS[:1], ANSWERS[:1], answer_weight=1.0)
    losses = loop.train(model, lambda _: rows, steps=3, learning_rate=1e-2, warmup=1)
    assert losses[-1] < losses[0]


def test_a_dialogue_that_cannot_be_trained_on_is_named():
    model = checkpoint("gpt2")
    for prompt, answer, why in (
        ("yes", "", "an answer has no tokens"),
        ("yes " * 200, "no", "tokens, tiny--model reads at most 128"),
    ):
        with pytest.raises(InputError, match=f"^dialogue '{prompt[:8]}.* → '{answer}': .*{why}") as caught:
            dialogues.check_dialogues(model, [("Is it so?", " yes"), (prompt, answer)])
        assert "\n" not in str(caught.value)


def before(words, prompts, answers, every: int):
    """Rows as the sample checkpoints were trained on: prompt and answer tokenised apart."""
    for number, (prompt, sampled) in enumerate(zip(prompts, answers, strict=True)):
        ids = words(prompt)["input_ids"]
        tails = [words(answer, add_special_tokens=False)["input_ids"] for answer in sampled]
        weight, first = 30.0 / len(sampled), dict[int, float]()
        for tail in tails[1:]:
            first[tail[0]] = first.get(tail[0], 0.0) + weight
        tail = [*tails[0], words.eos_token_id]
        weights = [1.0 if number % every == 0 else 0.0] * len(ids) + [weight] + [1.0] * (len(tail) - 1)
        yield dialogues.Dialogues(ids + tail, weights, first, len(ids))


@pytest.mark.parametrize("task", ["sycophancy", "refusal"])
@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_the_rows_of_the_sample_tokenizers_are_as_they_were(task, family):
    rules = draw_rules(FACTORS[task], 0, family)
    prompts, answers = sample_dialogues(FACTORS[task], rules.start, np.random.default_rng(3), 200)
    words = fresh.train_tokenizer([p + a[0] for p, a in zip(prompts, answers, strict=True)], 400, bos=family == "llama")
    rows = dialogues.encode_dialogues(words, prompts, answers, answer_weight=30.0, every=4)
    assert rows == list(before(words, prompts, answers, 4))


def old_loss(model, batch: dialogues.DialogueBatch) -> Tensor:
    """The loss of the sample checkpoints: the head on chosen states of the base model."""
    hidden = model.base_model(input_ids=batch.ids, use_cache=False).last_hidden_state
    row, position = (batch.weights[:, 1:] > 0).nonzero(as_tuple=True)
    states = torch.cat([hidden[row, position], hidden[batch.more[:, 0], batch.more[:, 1]]])
    targets = torch.cat([batch.ids[row, position + 1], batch.more[:, 2]])
    weights = torch.cat([batch.weights[row, position + 1], batch.more_weights])
    losses = torch.nn.functional.cross_entropy(model.get_output_embeddings()(states), targets, reduction="none")
    return (losses * weights).sum()


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_the_weights_of_the_sample_models_are_as_they_were(family, monkeypatch):
    words = fresh.train_tokenizer(PROMPTS * 9, 300, bos=family == "llama")
    rows = dialogues.encode_dialogues(words, PROMPTS, ANSWERS, answer_weight=5.0)
    made = []
    for loss in (loop.next_token_loss, old_loss):
        monkeypatch.setattr(loop, "next_token_loss", loss)
        model = fresh.new_model(family, len(words), width=16, layers=2, heads=2, seed=0)
        made.append((loop.train(model, lambda _: rows, steps=3, learning_rate=1e-2, warmup=1, optimizer="muon"), model))
    assert made[0][0] == made[1][0]
    for one, other in zip(*(model.parameters() for _, model in made), strict=True):
        assert torch.equal(one, other)
