"""The self-explaining model end to end: what it is trained on, what it says, that it goes on where it was stopped."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GPT2Config, PreTrainedModel
from transformers.generation import GenerationMixin
from transformers.modeling_outputs import CausalLMOutput

from engine import pipeline
from engine.config import (
    CheckpointSpec,
    InputError,
    RunSpec,
    SpecError,
    VerbalSpec,
    load_spec,
    parse_spec,
    resolve_paths,
)
from engine.model.checkpoints import Checkpoint, load
from engine.records import METRICS, VERBAL_CONTROLS
from engine.runs.observed import Observed
from engine.runs.report import report
from engine.runs.store import Run, verify
from engine.stats.correlation import bootstrap_weights
from engine.stats.faithfulness import Behavior
from engine.tasks.wording import Statement, Wording
from engine.training.adversary import HeldTexts
from engine.verbal.labels import Answers, draw_labels
from engine.verbal.rows import answer_distributions, answer_row, divergence, explanation_loss, logits_of
from engine.verbal.score import parse, score_words
from engine.verbal.texts import Texts, evaluated, labels_of
from engine.verbal.train import Trainer
from tests.reference import behavior as log_odds
from tests.tiny_models import build, tokenizer
from tests.tiny_run import examples, write_spec

STEPS = (4, 8)


FIRST_SEED = 17
"""Of random weights whose answer changes in about half of the examples."""


def verbal_spec(folder: Path, name: str = "tiny", **verbal: object) -> RunSpec:
    """The tiny run as a run of self-explanation, with dialogues that drift."""
    if not (folder / "first").exists():
        build("gpt2", folder / "first", seed=FIRST_SEED)
    pairs = [(line["prompt"], line["answer_a"]) for line in examples()]
    lines = [json.dumps({"prompt": p, "answer": a}) + "\n" for p, a in pairs]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "dialogues.jsonl").write_text("".join(lines))
    given = {"name": "gpt2--step-0000", "path": "first", "step": 0}
    trained = [{"name": f"gpt2--step-{s:04d}", "trained": True, "step": s} for s in STEPS]
    section = {"drift": {"dialogues": "dialogues.jsonl", "prompts_a_step": 4}, "prompts_a_step": 8} | verbal
    return load_spec(write_spec(folder, name, checkpoints=[given, *trained], verbal=section))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("verbal")


@pytest.fixture(scope="module")
def finished(base: Path) -> Path:
    out = base / "finished"
    pipeline.run(verbal_spec(base, controls=["small_lm"]), out)
    return out


def test_a_run_is_sound_and_has_the_known_columns(finished: Path) -> None:
    assert verify(finished) == []
    content = report(finished)
    assert set(content["rows"][0]) == set(METRICS.names) - {"control"}
    assert {r["explainer"] for r in content["rows"]} == {"verbal"}
    assert {r["condition"] for r in content["rows"]} == {"β 1, concurrent"}
    assert {r["control"] for r in content["controls"]} == set(VERBAL_CONTROLS) - {"other_model"}
    run = Run.open(finished)
    assert run.manifest["notes"]["verbal"]["labels"] > 20
    assert not [p for p in run.parts if p.startswith(("said/", "verbal/", "hidden/"))]


def test_the_target_agrees_with_itself(finished: Path) -> None:
    rows = [r for r in report(finished)["rows"] if r["checkpoint"] == "gpt2--step-0000"]
    assert {r["self"] for r in rows if r["metric"] == "label_agreement"} == {1.0}
    for row in rows:
        if row["metric"] in ("exact_match", "content_match", "has_changed_f1"):
            assert (row["self"], row["gap"]) == (row["orig"], 0)
            if row["metric"] == "exact_match":
                assert row["verdict_coupling"] == row["verdict_counterfactual"] == "not testable"


def test_every_explanation_is_kept_as_words_of_balanced_examples(finished: Path) -> None:
    run = Run.open(finished)
    table = run.read_table("explanations.parquet").to_pandas()
    observed = Observed(run, run.spec)
    rows = evaluated(observed)
    assert len(table) == len(rows) * (1 + len(STEPS))
    changed = Answers.of(observed.behavior(observed.target)).changed
    for split, own in observed.examples.iloc[rows].groupby("split"):
        every = observed.rows("delete_cue", str(split))
        natural, share = changed[every].mean(), changed[own.index.to_numpy()].mean()
        assert 0.4 <= share <= 0.6, split
        assert len(own) == len(every) or not 0.4 <= natural <= 0.6, "only what is too common is cut down"
    assert table["text"].str.startswith("Without that I would answer").all()
    assert table["explanation"].isna().all()


def test_trained_checkpoints_load_as_any_other(finished: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(finished / "checkpoints" / "gpt2--step-0008")
    first = AutoModelForCausalLM.from_pretrained(finished.parent / "first")
    words = AutoTokenizer.from_pretrained(finished / "checkpoints" / "gpt2--step-0008")
    assert words("yes").input_ids
    assert not torch.equal(model.get_input_embeddings().weight, first.get_input_embeddings().weight)


def test_what_was_stopped_goes_on_as_if_it_had_not_been(base: Path, finished: Path) -> None:
    spec, out = verbal_spec(base, controls=["small_lm"]), base / "stopped"
    for stop_at in (("explanation training", 6), ("explaining in words", 2)):

        def stop(stage: str, done: int, total: int, stop_at: tuple[str, int] = stop_at) -> None:
            if (stage, done) == stop_at:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            pipeline.run(spec, out, progress=stop)
        assert Run.open(out).state == "interrupted"
    pipeline.run(spec, out)
    one, other = Run.open(finished), Run.open(out)
    for part in ("metrics.parquet", "explanations.parquet", "behavior/gpt2--step-0008.parquet"):
        assert one.parts[part]["sha256"] == other.parts[part]["sha256"], part


def test_weights_need_not_be_kept_and_probes_may_stand_beside(base: Path) -> None:
    out = base / "both"
    pipeline.run(verbal_spec(base, "both", probes=True, keep_checkpoints=False, drift=None), out)
    assert verify(out) == []
    assert not (out / "checkpoints").exists()
    assert {r["explainer"] for r in report(out)["rows"]} == {"ridge", "verbal"}


def test_labels_first_then_drift(base: Path) -> None:
    out = base / "after"
    pipeline.run(verbal_spec(base, "after", schedule="labels_first", label_steps=4, noise=0.5, labels=12), out)
    rows = [r for r in report(out)["rows"] if r["metric"] == "exact_match"]
    assert {(r["condition"], r["regime"], r["noise_kind"], r["noise"]) for r in rows} == {
        ("β 1, drift after, 12 labels", "frozen", "shuffle", 0.5)
    }
    stale = {r["step"]: r["self_minus_stale"] for r in rows if r["split"] == "test_heldout"}
    assert stale[4] == 0, "what was said then is what it is compared with"
    assert all(v is not None for v in stale.values())


def test_an_adversary_holds_the_words_while_behavior_drifts(base: Path) -> None:
    steps = (4, 40)

    def held_spec(weight: float, name: str) -> RunSpec:
        drift = {"dialogues": "dialogues.jsonl", "prompts_a_step": 4, "hold_words": weight}
        spec = verbal_spec(base, name, schedule="labels_first", label_steps=4, learning_rate=1e-2, drift=drift)
        first, *trained = spec.checkpoints
        later = [c.model_copy(update={"step": s}) for c, s in zip(trained, steps, strict=True)]
        return spec.model_copy(update={"checkpoints": (first, *later)})

    def moved(weight: float, name: str) -> float:
        """How far log p a token of the labels went, root mean square, while behavior drifted."""
        run = pipeline.run(held_spec(weight, name), base / name)
        observed = Observed(run, run.spec)
        said = []
        for trained in run.spec.checkpoints[1:]:
            folder = run.path / "checkpoints" / trained.name
            own = load(CheckpointSpec(name="gpt2--own", path=str(folder)), device="cpu")
            rows = Texts(observed, own).material(labels_of(observed)).labels
            held = HeldTexts([row.ids[: row.learn] for row in rows], [row.ids[row.learn :] for row in rows])
            with torch.no_grad():
                said.append(held.says(own.model, range(len(rows))))
        return float((said[1] - said[0]).square().mean().sqrt())

    assert moved(10.0, "held") < 0.3 * moved(0.0, "free")
    rows = report(base / "held")["rows"]
    assert {r["condition"] for r in rows} == {"β 1, drift after, words held"}

    def stop(stage: str, done: int, total: int) -> None:
        if (stage, done) == ("explanation training", 20):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pipeline.run(held_spec(10.0, "held"), base / "held-again", progress=stop)
    pipeline.run(held_spec(10.0, "held"), base / "held-again")
    one, other = (Run.open(base / name).parts["metrics.parquet"]["sha256"] for name in ("held", "held-again"))
    assert one == other


def test_labels_of_another_family_and_a_low_rank_adapter(base: Path) -> None:
    pytest.importorskip("peft")
    build("llama", base / "other", seed=3)
    target = {"name": "llama--step-0000", "path": "other"}
    data = json.loads(verbal_spec(base, "cross", lora={"rank": 2}).model_dump_json())
    data |= {"target": target, "other_model": target | {"name": "llama--other"}}
    data["verbal"]["controls"] = ["other_model"]
    out = base / "cross"
    pipeline.run(resolve_paths(parse_spec(data, base / "spec.yaml"), base), out)
    assert verify(out) == []
    rows = report(out)["rows"]
    assert {r["condition"] for r in rows} == {"β 1, concurrent, labels of llama, LoRA rank 2"}
    assert {r["target"] for r in rows} == {"llama--step-0000"}
    first = AutoModelForCausalLM.from_pretrained(base / "first")
    merged = AutoModelForCausalLM.from_pretrained(out / "checkpoints" / "gpt2--step-0008")
    assert torch.equal(first.transformer.wte.weight, merged.transformer.wte.weight), "adapters leave embeddings alone"
    moved = merged.transformer.h[0].attn.c_attn.weight - first.transformer.h[0].attn.c_attn.weight
    assert 0 < torch.linalg.matrix_rank(moved, rtol=1e-3) <= 2


# -- the losses --------------------------------------------------------------------------------------


def texts_of(folder: Path, checkpoint: Checkpoint, chat: bool = True) -> tuple[Texts, pd.DataFrame]:
    frame = pd.DataFrame(examples())
    frame["example_id"] = [f"{i:016x}" for i in range(len(frame))]
    verbal = VerbalSpec(chat_template=chat)
    spec = SimpleNamespace(verbal=verbal, task=SimpleNamespace(name="from_file"))
    return Texts(SimpleNamespace(spec=spec, examples=frame), checkpoint), frame  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def checkpoint(base: Path) -> Checkpoint:
    if not (base / "first").exists():
        build("gpt2", base / "first", seed=FIRST_SEED)
    return load(CheckpointSpec(name="gpt2--first", path=str(base / "first")), device="cpu")


def measured(checkpoint: Checkpoint, frame: pd.DataFrame) -> Behavior:
    answers = list(zip(frame.answer_a, frame.answer_b, strict=True))
    return Behavior(*(log_odds(checkpoint, list(frame[c]), answers) for c in ("prompt", "edited")))


def trained(base: Path, beta: float, steps: int = 30, **options: object) -> tuple[Trainer, Behavior, Behavior]:
    """Labels that contradict the model, learnt from; behavior before and after."""
    own = load(CheckpointSpec(name="gpt2--first", path=str(base / "first")), device="cpu")
    texts, frame = texts_of(base, own)
    before = measured(own, frame)
    labels = draw_labels(Behavior(-before.f, -before.f_edited), np.arange(len(frame)), np.random.default_rng(0))
    spec = VerbalSpec.model_validate({"beta": beta, "prompts_a_step": 16, "learning_rate": 1e-3} | options)
    trainer = Trainer(own.model, texts.material(labels), spec, steps=steps, seed=0)
    trainer.run()
    return trainer, before, measured(own, frame)


def test_a_large_beta_leaves_behavior_unchanged(base: Path, checkpoint: Checkpoint) -> None:
    def moved(beta: float) -> float:
        _, before, after = trained(base, beta)
        f = np.stack([after.f - before.f, after.f_edited - before.f_edited])
        return float(np.sqrt((f**2).mean()))

    free, held = moved(0.0), moved(1000.0)
    assert held < 0.1, "nats"
    assert free > 5 * held


def test_explanations_are_learnt(base: Path, checkpoint: Checkpoint) -> None:
    trainer, _, _ = trained(base, beta=0.0, steps=120, learning_rate=2e-2)
    with torch.no_grad():
        loss = explanation_loss(logits_of(trainer.model, trainer.material.labels))
    assert loss < 0.5 * np.log(len(tokenizer()))
    own = Checkpoint(trainer.model, tokenizer(), CheckpointSpec(name="a--b", path="x"), torch.device("cpu"), "")
    texts, frame = texts_of(base, own)
    words = texts.say(np.arange(len(frame)))
    pairs = list(zip(frame.answer_a, frame.answer_b, strict=True))
    assert parse(Wording(), words, pairs).parsed.mean() > 0.9


def test_a_forced_choice_is_the_likeliest_sentence(base: Path, checkpoint: Checkpoint) -> None:
    texts, frame = texts_of(base, checkpoint)
    texts.forced = True
    rows = np.arange(6)
    words = texts.say(rows)
    pairs = list(zip(frame.answer_a[:6], frame.answer_b[:6], strict=True))
    assert parse(Wording(), words, pairs).parsed.all(), "there is nothing else to say"
    sentences = list(Wording().sentences(" yes", " no").values())
    for row, chosen in zip(rows, words, strict=True):
        ids = texts.asked(np.array([row]))[0]
        totals = []
        for sentence in sentences:
            tail = checkpoint.tokenizer(sentence).input_ids
            with torch.no_grad():
                logits = checkpoint.model(torch.tensor([[*ids, *tail]])).logits[0].log_softmax(-1)
            totals.append(sum(float(logits[len(ids) - 1 + i, t]) for i, t in enumerate(tail)))
        assert chosen == sentences[int(np.argmax(totals))]


def test_the_answer_is_read_on_the_way_where_the_row_holds_it(base: Path, checkpoint: Checkpoint) -> None:
    texts, frame = texts_of(base, checkpoint)
    labels = draw_labels(measured(checkpoint, frame), np.arange(len(frame)), np.random.default_rng(0))
    material = texts.material(labels)
    assert all(row.pairs for row in material.labels)
    within = torch.cat(answer_distributions(checkpoint.model, material.labels))
    apart = torch.cat(answer_distributions(checkpoint.model, material.x))
    torch.testing.assert_close(within, apart, atol=1e-4, rtol=1e-4)
    f = (apart[:, 0] - apart[:, 1]).numpy()
    assert f == pytest.approx(measured(checkpoint, frame).f[labels.rows], abs=1e-3)
    assert apart.exp().sum(1).numpy() == pytest.approx(np.ones(len(f)), abs=1e-5)


def test_a_chat_template_is_used_where_there_is_one(base: Path, checkpoint: Checkpoint) -> None:
    words = tokenizer()
    words.chat_template = "{% for m in messages %}<{{ m.role }}> {{ m.content }} {% endfor %}<assistant>"
    chatty = Checkpoint(checkpoint.model, words, checkpoint.spec, checkpoint.device, "")
    texts, frame = texts_of(base, chatty)
    plain, _ = texts_of(base, chatty, chat=False)
    row = np.array([0])
    said = words.decode(texts.asked(row)[0])
    assert said == f"<user> {frame.prompt[0]}\nWithout that I would answer <assistant>"
    assert words.decode(plain.asked(row)[0]) == f"{frame.prompt[0]}\nWithout that I would answer"
    labels = draw_labels(measured(checkpoint, frame), np.arange(len(frame)), np.random.default_rng(0))
    material = texts.material(labels)
    assert not any(r.pairs for r in material.labels), "x is asked in a row of its own"
    trainer = Trainer(load(checkpoint.spec).model, material, VerbalSpec(beta=1.0, prompts_a_step=4), steps=2, seed=0)
    trainer.run()


def test_answers_that_begin_alike_are_told_apart_where_they_part(checkpoint: Checkpoint) -> None:
    from engine.model.tokens import encode

    pair = (" no, not at all", " no, it is so")
    tokens = encode(checkpoint.tokenizer, ["Is it Paris?"], [pair])[0]
    row = answer_row(tokens)
    (_, first, second), *more = row.pairs
    assert first != second and not more
    assert checkpoint.tokenizer.decode(row.ids).startswith("Is it Paris? no,")


def test_the_whole_of_an_answer_is_held(checkpoint: Checkpoint) -> None:
    from engine.model.tokens import encode

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


# -- a model that reads its own answers --------------------------------------------------------------


class Honest(PreTrainedModel, GenerationMixin):
    """Hand-built: asked what it would do without the cue, it runs itself on x' and says what it reads there."""

    config_class = GPT2Config

    def __init__(self, config: GPT2Config, words: object, seed: int):
        super().__init__(config)
        self.words, self.seed = words, seed
        self.nothing = torch.nn.Parameter(torch.zeros(1))
        self.question = Wording().other

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
        first, *_, last = prompt.split(". ")[0], prompt.split(". ")[-1]
        edited = first.split("? ")[0] + "? " + last
        sentence = Wording().sentences(" yes", " no")[
            Statement("a" if self.own_f(edited) > 0 else "b", (self.own_f(edited) > 0) != (self.own_f(prompt) > 0))
        ]
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
    honest, target = (Checkpoint(Honest(config, words, s).eval(), words, spec, torch.device("cpu"), "") for s in (1, 2))
    texts, frame = texts_of(Path(), honest)
    rows = np.flatnonzero(frame["split"] != "train")
    frame = frame.iloc[rows]
    answers = list(zip(frame.answer_a, frame.answer_b, strict=True))
    now, then = (Answers.of(measured(c, frame)) for c in (honest, target))
    said = parse(Wording(), texts.say(rows), answers)
    weights = bootstrap_weights(np.random.default_rng(0), 200, frame["group"])
    own = score_words(said, now, then, weights)
    assert {m: own[m]["self"] for m in ("exact_match", "has_changed_f1", "content_match", "parse_rate")} == {
        "exact_match": 1, "has_changed_f1": 1, "content_match": 1, "parse_rate": 1,
    }  # fmt: skip
    assert own["exact_match"]["orig"] == own["label_agreement"]["self"] < 1
    assert own["content_match_disagreeing"]["self"] == 1


# -- bad input ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"drift": {}}, "either a world or a file"),
        ({"drift": {"world": "cue", "dialogues": "d.jsonl"}}, "either a world or a file"),
        ({"drift": {"world": "cue"}}, "only the built-in tasks"),
        ({"drift": None, "schedule": "labels_first"}, "needs a drift"),
        ({"schedule": "labels_first", "label_steps": 5}, "must stand at that step"),
        ({"controls": ["other_model"]}, "needs other_model"),
        ({"noise": 1.5}, "less than or equal to 1"),
        ({"labels": 1}, "greater than or equal to 2"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(base: Path, changes: dict, said: str) -> None:
    with pytest.raises(SpecError, match=said) as told:
        verbal_spec(base, "bad", **changes)
    assert "\n" not in str(told.value)


def test_only_what_trains_has_trained_checkpoints(base: Path) -> None:
    data = json.loads(verbal_spec(base).model_dump_json())
    with pytest.raises(SpecError, match="marked `trained: true`"):
        parse_spec(data | {"verbal": None}, Path("s"))
    with pytest.raises(SpecError, match=r"use verbal\.drift"):
        parse_spec(data | {"post_training": {"dialogues": "x"}}, Path("s"))


@pytest.mark.parametrize(
    ("verbal", "said"),
    [
        ({"edits": ["delete_hat"]}, "no example has the edit 'delete_hat'"),
        ({"drift": {"dialogues": "absent.jsonl"}}, "can't be read"),
        ({"lora": {"modules": ["no_such_layer"]}}, "verbal.lora.modules"),
    ],
)
def test_what_can_not_be_run_says_why(base: Path, verbal: dict, said: str) -> None:
    out = base / "failed"
    shutil.rmtree(out, ignore_errors=True)
    with pytest.raises(InputError, match=said):
        pipeline.run(verbal_spec(base, "failed", **verbal), out)
    assert Run.open(out).state == "failed"
