"""Training on explanation labels: the losses, the sentences that are learnt, and a model that reads its own answers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import GPT2Config, PreTrainedModel
from transformers.generation import GenerationMixin
from transformers.modeling_outputs import CausalLMOutput

from engine.config import ChatSpec, CheckpointSpec, InputError, VerbalSpec
from engine.model.chat import chat_for
from engine.model.checkpoints import AUTO, Checkpoint, load
from engine.model.tokens import encode
from engine.stats.bootstrap import bootstrap_weights
from engine.stats.faithfulness import Behavior
from engine.tasks.wording import Statement, Wording
from engine.verbal.labels import Answers, draw_labels
from engine.verbal.rows import answer_distributions, answer_row, divergence, explanation_loss, logits_of
from engine.verbal.score import score_words, statements
from engine.verbal.texts import Texts, answer_pairs
from engine.verbal.train import Material, Trainer
from tests.engine.verbal.test_stage import FIRST_SEED
from tests.reference import behavior as log_odds
from tests.reference import log_prob
from tests.tiny_models import build, tokenizer
from tests.tiny_run import examples


def in_template(checkpoint: Checkpoint, template: str, spec: ChatSpec = AUTO) -> Checkpoint:
    """The checkpoint with a chat template, as it is loaded with one."""
    words = tokenizer()
    words.chat_template = template
    return replace(checkpoint, tokenizer=words, chat=chat_for(words, spec))


def texts_of(checkpoint: Checkpoint) -> tuple[Texts, pd.DataFrame]:
    frame = pd.DataFrame(examples())
    frame["example_id"] = [f"{i:016x}" for i in range(len(frame))]
    spec = SimpleNamespace(verbal=VerbalSpec(), task=SimpleNamespace(name="from_file"))
    return Texts(frame, spec, checkpoint), frame  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("gpt2", tmp_path_factory.mktemp("verbal") / "first", seed=FIRST_SEED)


def loaded(folder: Path) -> Checkpoint:
    return load(CheckpointSpec(name="gpt2--first", path=str(folder)), device="cpu")


@pytest.fixture(scope="module")
def checkpoint(folder: Path) -> Checkpoint:
    return loaded(folder)


def measured(checkpoint: Checkpoint, frame: pd.DataFrame) -> Behavior:
    return Behavior(*(log_odds(checkpoint, list(frame[c]), answer_pairs(frame)) for c in ("prompt", "edited")))


def labelled(checkpoint: Checkpoint) -> tuple[Material, np.ndarray]:
    """Material of labels that agree with the checkpoint, and its f(x) of the labelled examples."""
    texts, frame = texts_of(checkpoint)
    own = measured(checkpoint, frame)
    labels = draw_labels(own, np.arange(len(frame)), np.random.default_rng(0), VerbalSpec())
    return texts.material(labels), own.f[labels.rows]


def trained(folder: Path, beta: float, steps: int = 30, **options: object) -> tuple[Trainer, Behavior, Behavior]:
    """Labels that contradict the model, learnt from; behavior before and after."""
    own = loaded(folder)
    texts, frame = texts_of(own)
    before = measured(own, frame)
    contrary = Behavior(-before.f, -before.f_edited)
    labels = draw_labels(contrary, np.arange(len(frame)), np.random.default_rng(0), VerbalSpec())
    given = {"beta": beta, "prompts_a_step": 16, "optimizer": "muon", "learning_rate": 1e-3}
    spec = VerbalSpec.model_validate(given | options)
    trainer = Trainer(own.model, texts.material(labels), spec, steps=steps, seed=0)
    trainer.run()
    return trainer, before, measured(own, frame)


def test_a_large_beta_leaves_behavior_unchanged(folder: Path) -> None:
    def moved(beta: float) -> float:
        _, before, after = trained(folder, beta)
        f = np.stack([after.f - before.f, after.f_edited - before.f_edited])
        return float(np.sqrt((f**2).mean()))

    free, held = moved(0.0), moved(1000.0)
    assert held < 0.1, "nats"
    assert free > 5 * held


def test_explanations_are_learnt(folder: Path) -> None:
    trainer, _, _ = trained(folder, beta=0.0, steps=120, learning_rate=2e-2)
    with torch.no_grad():
        loss = explanation_loss(logits_of(trainer.model, trainer.material.labels))
    assert loss < 0.5 * np.log(len(tokenizer()))
    own = Checkpoint(trainer.model, tokenizer(), CheckpointSpec(name="a--b", path="x"), torch.device("cpu"))
    texts, frame = texts_of(own)
    words = texts.say(np.arange(len(frame)))
    assert statements(Wording(), words, answer_pairs(frame)).parsed.mean() > 0.9


def test_a_forced_choice_is_the_likeliest_sentence(checkpoint: Checkpoint) -> None:
    texts, frame = texts_of(checkpoint)
    texts.forced = True
    rows = np.arange(6)
    words = texts.say(rows)
    assert statements(Wording(), words, answer_pairs(frame[:6])).parsed.all(), "there is nothing else to say"
    sentences = list(Wording().sentences(" yes", " no").values())
    for row, chosen in zip(rows, words, strict=True):
        ids = texts.asked(np.array([row]))[0].prompt
        assert chosen == max(sentences, key=lambda s: log_prob(checkpoint, ids, checkpoint.tokenizer(s).input_ids))


def test_a_chat_template_that_fails_is_named(checkpoint: Checkpoint) -> None:
    texts, _ = texts_of(in_template(checkpoint, "{{ raise_exception('no user here') }}"))
    with pytest.raises(InputError, match=r"chat template can't be applied \(no user here\)"):
        texts.asked(np.array([0]))


def test_the_answer_is_read_on_the_way_where_the_row_holds_it(checkpoint: Checkpoint) -> None:
    material, own_f = labelled(checkpoint)
    assert all(row.pairs for row in material.labels)
    within = torch.cat(answer_distributions(checkpoint.model, material.labels))
    apart = torch.cat(answer_distributions(checkpoint.model, material.x))
    torch.testing.assert_close(within, apart, atol=1e-4, rtol=1e-4)
    f = (apart[:, 0] - apart[:, 1]).numpy()
    assert f == pytest.approx(own_f, abs=1e-3)
    assert apart.exp().sum(1).numpy() == pytest.approx(np.ones(len(f)), abs=1e-5)


def test_words_are_asked_in_the_template_in_which_behavior_is_read(checkpoint: Checkpoint) -> None:
    chatty = in_template(
        checkpoint,
        "{% for m in messages %}<{{ m.role }}> {{ m.content }} {% endfor %}"
        "{% if add_generation_prompt %}<assistant> {% endif %}",
    )
    texts, frame = texts_of(chatty)
    plain, _ = texts_of(replace(chatty, chat=None))
    row, words = np.array([0]), chatty.tokenizer
    question = f"{frame.prompt[0]}\nWithout that I would answer"
    (asked,) = texts.asked(row)
    told = words.decode((*asked.prompt, *asked.answers[0]))
    assert told == f"<user> {question} <assistant> yes. My answer would not change."
    assert words.decode(asked.prompt).endswith("<assistant>"), "the space is part of the first word, as in training"
    assert words.decode(plain.asked(row)[0].prompt) == question
    material, _ = labelled(chatty)
    assert not any(r.pairs for r in material.labels), "x is asked in a row of its own"
    label = material.labels[0]
    said = words.decode(label.ids[label.learn :])
    assert said.startswith((" yes. My answer", " no. My answer"))
    assert words.decode(material.x[0].ids).endswith("Answer: <assistant>")
    Trainer(load(checkpoint.spec).model, material, VerbalSpec(prompts_a_step=4), steps=2, seed=0).run()


def test_answers_that_begin_alike_are_told_apart_where_they_part(checkpoint: Checkpoint) -> None:
    pair = (" no, not at all", " no, it is so")
    tokens = encode(checkpoint.tokenizer, ["Is it Paris?"], [pair])[0]
    row = answer_row(tokens)
    (_, first, second), *more = row.pairs
    assert first != second and not more
    assert checkpoint.tokenizer.decode(row.ids).startswith("Is it Paris? no,")


def test_the_whole_of_an_answer_is_held(checkpoint: Checkpoint) -> None:
    pair = (" yes, it is so", " no")
    tokens = encode(checkpoint.tokenizer, ["Is it Paris?"], [pair])[0]
    rows = [answer_row(tokens, continued) for continued in (0, 1)]
    assert len(rows[0].pairs) == len(tokens.answers[0]) and len(rows[1].pairs) == len(tokens.answers[1])
    held = answer_distributions(checkpoint.model, rows)
    f = held[0][:, 0].sum() - (held[1][0, 1] + held[1][1:, 0].sum())
    assert float(f) == pytest.approx(float(log_odds(checkpoint, ["Is it Paris?"], [pair])[0]), abs=1e-3)
    with torch.no_grad():
        again = logits_of(checkpoint.model, rows)
    assert float(divergence(again, held)) == pytest.approx(0, abs=1e-6)


class Honest(PreTrainedModel, GenerationMixin):
    """A model built by hand that answers a question about x' by computing its own f(x')."""

    config_class = GPT2Config

    def __init__(self, config: GPT2Config, words: object, seed: int):
        super().__init__(config)
        self.words, self.seed = words, seed
        self.nothing = torch.nn.Parameter(torch.zeros(1))
        self.question = Wording().other
        self.edits = {line["prompt"]: line["edited"] for line in examples()}

    def own_f(self, prompt: str) -> float:
        """Its behavior: any fixed function of the prompt."""
        return float(np.random.default_rng([self.seed, *prompt.encode()]).normal())

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None, **_: object):
        logits = torch.full((*input_ids.shape, self.config.vocab_size), -20.0)
        for row, ids in enumerate(input_ids.tolist()):
            for position in range(len(ids)):
                self._next(ids[: position + 1], logits[row, position])
        return CausalLMOutput(logits=logits)

    def _next(self, ids: list[int], logits: torch.Tensor) -> None:
        text = self.words.decode(ids)
        if self.question not in text:
            for answer, sign in ((" yes", 1), (" no", -1)):
                logits[self.words(answer).input_ids[0]] = 10 + sign * self.own_f(text) / 2
            return
        prompt = text.split(self.question)[0]
        x, edited = self.own_f(prompt) > 0, self.own_f(self.edits[prompt]) > 0
        sentence = Wording().sentences(" yes", " no")[Statement("a" if edited else "b", edited != x)]
        asked = len(self.words(prompt).input_ids) + len(self.words(self.question).input_ids)
        full = [*self.words(sentence).input_ids, self.words.eos_token_id]
        logits[full[min(len(ids) - asked, len(full) - 1)]] = 20

    def get_input_embeddings(self) -> torch.nn.Module:
        return torch.nn.Embedding(self.config.vocab_size, 1)

    def prepare_inputs_for_generation(self, input_ids: torch.Tensor, **kwargs: object) -> dict:
        return {"input_ids": input_ids}


def test_a_model_that_reads_its_own_answers_scores_one() -> None:
    words = tokenizer()
    config = GPT2Config(vocab_size=len(words), n_layer=1, n_head=1, n_embd=4)
    spec = CheckpointSpec(name="honest--model", path="x")
    honest, target = (Checkpoint(Honest(config, words, s).eval(), words, spec, torch.device("cpu")) for s in (1, 2))
    texts, frame = texts_of(honest)
    rows = np.flatnonzero(frame["split"] != "train")
    frame = frame.iloc[rows]
    now, then = (Answers.of(measured(c, frame)) for c in (honest, target))
    said = statements(Wording(), texts.say(rows), answer_pairs(frame))
    weights = bootstrap_weights(np.random.default_rng(0), 200, frame["group"])
    own = score_words(said, now, then, weights)
    assert {own[m]["self"] for m in ("exact_match", "has_changed_f1", "content_match", "parse_rate")} == {1}
    assert own["exact_match"]["orig"] == own["label_agreement"]["self"] < 1
    assert own["content_match_disagreeing"]["self"] == 1
