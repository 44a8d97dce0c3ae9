"""Explanation labels: argmax behavior, balance, number and noise; and the drift beside them."""

from __future__ import annotations

import numpy as np
import pytest

from engine.config import CheckpointSpec, InputError, RunSpec, TaskSpec, VerbalSpec
from engine.stats.faithfulness import Behavior
from engine.tasks import FACTORS, UNKNOWN
from engine.tasks.worlds import draw_rules, sample_scenes, with_more_entities
from engine.training.fresh import train_tokenizer
from engine.verbal.drift import sampler
from engine.verbal.labels import Answers, balanced, draw_labels


def behavior(n: int = 400, seed: int = 0) -> Behavior:
    rng = np.random.default_rng(seed)
    return Behavior(rng.normal(size=n), rng.normal(size=n))


def test_an_answer_is_the_likelier_one() -> None:
    answers = Answers.of(Behavior(np.array([2.0, -1.0, 0.5]), np.array([1.0, 0.1, -3.0])))
    assert answers.x.tolist() == [True, False, True]
    assert answers.edited.tolist() == [True, True, False]
    assert answers.changed.tolist() == [False, True, True]
    assert answers.take(np.array([2])).changed.tolist() == [True]


def test_labels_say_what_the_target_does() -> None:
    target = behavior()
    rows = np.arange(100, 300)
    labels = draw_labels(target, rows, np.random.default_rng(0), VerbalSpec())
    true = Answers.of(target).take(labels.rows)
    assert set(labels.rows) <= set(rows)
    assert (labels.edited_is_a == true.edited).all() and (labels.changed == true.changed).all()
    assert labels.agreement == 1


@pytest.mark.parametrize("rate", [0.02, 0.2, 0.45, 0.7, 0.97])
@pytest.mark.parametrize("share", [None, 0.05, 0.2, 0.5, 0.9])
def test_each_kind_is_at_least_four_in_ten_or_as_wanted(rate: float, share: float | None) -> None:
    changed = np.random.default_rng(1).random(1000) < rate
    kept = balanced(changed, np.random.default_rng(0), share)
    wanted = np.clip(changed.mean(), 0.4, 0.6) if share is None else share
    assert changed[kept].mean() == pytest.approx(wanted, abs=1 / len(kept))
    assert (np.diff(kept) > 0).all()
    rarer = changed == (changed.mean() < wanted)
    assert set(np.flatnonzero(rarer)) <= set(kept), "the rarer kind is kept whole"


@pytest.mark.parametrize("n", [0, 10])
def test_if_nothing_changes_nothing_can_be_balanced(n: int) -> None:
    assert len(balanced(np.zeros(n, bool), np.random.default_rng(0))) == n


def test_number_and_noise() -> None:
    target, rows = behavior(2000), np.arange(2000)
    few = draw_labels(target, rows, np.random.default_rng(0), VerbalSpec(labels=250))
    assert len(few.rows) == 250
    clean = draw_labels(target, rows, np.random.default_rng(0), VerbalSpec())
    half = draw_labels(target, rows, np.random.default_rng(0), VerbalSpec(noise=0.5))
    assert (clean.rows == half.rows).all(), "noise does not change which examples are labelled"
    differ = (clean.edited_is_a != half.edited_is_a) | (clean.changed != half.changed)
    assert 1 - half.agreement == pytest.approx(differ.mean())
    assert 0.3 < differ.mean() < 0.45, "half of the labels move, a quarter of those to one that says the same"
    for name in ("edited_is_a", "changed"):
        assert getattr(clean, name).sum() == getattr(half, name).sum(), "labels change places, none is made up"


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(["Question about geography: is it true that"], 300)


def texts(tokenizer, rows) -> list[str]:
    return [tokenizer.decode(row.ids) for row in rows]


def run_spec(task: TaskSpec, seed: int = 0, **drift: object) -> RunSpec:
    first = CheckpointSpec(name="gpt2--step-0000", path="x")
    later = CheckpointSpec(name="gpt2--step-0001", step=1, trained=True)
    verbal = VerbalSpec.model_validate({"drift": drift})
    return RunSpec(name="x", task=task, checkpoints=(first, later), verbal=verbal, seed=seed)


def of_world(tokenizer, seed: int = 0, labelled: int = 100, **changes):
    names = [e.text for e in FACTORS["sycophancy"].entities[:labelled]]
    drift = {"world": "independent", "prompts_a_step": 24} | changes
    return sampler(run_spec(TaskSpec(name="sycophancy"), seed, **drift), tokenizer, names)


def test_a_step_always_gets_the_same_dialogues(tokenizer) -> None:
    first, again = of_world(tokenizer), of_world(tokenizer)
    assert first(3, 0.1) == again(3, 0.1)
    assert first(3, 0.1) != first(4, 0.1)
    assert texts(tokenizer, first(3, 0.1)) != texts(tokenizer, of_world(tokenizer, seed=1)(3, 0.1))


def test_unlabelled_entities_alone(tokenizer) -> None:
    entities = FACTORS["sycophancy"].entities
    rows = of_world(tokenizer, entities="unlabelled")(0, 0.5)
    assert not [t for t in texts(tokenizer, rows) if any(e.text in t for e in entities[:100])]
    with pytest.raises(InputError, match="hold some out"):
        of_world(tokenizer, labelled=len(entities), entities="unlabelled")


def test_made_up_things_have_a_rule_of_their_own_and_change_nothing_else() -> None:
    known, more = FACTORS["sycophancy"], UNKNOWN["sycophancy"]
    rule = draw_rules(known, 0).start
    longer = with_more_entities(rule, more, 0)
    scenes = sample_scenes(known, np.random.default_rng(0), 200)
    assert (rule.log_odds(known, scenes) == longer.log_odds(more, scenes)).all()
    assert len(longer.known) == len(more.entities) > len(known.entities)
    assert (np.abs(longer.known[len(known.entities) :]) >= 0.8).all()


def test_dialogues_of_a_file(tokenizer, tmp_path) -> None:
    file = tmp_path / "d.jsonl"
    file.write_text('{"prompt": "Is it?", "answer": " yes"}\n{"prompt": "Is it not?", "answer": " no"}\n')
    spec = run_spec(TaskSpec(name="from_file", path="x"), dialogues=str(file), prompts_a_step=5)
    draw = sampler(spec, tokenizer, [None])
    assert len(draw(0, 0.5)) == 5
    assert draw(1, 0.5) == draw(1, 0.9)
