"""Scores of explanations in words: identities, chance levels, controls, intervals."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import f1_score

from engine.stats.correlation import Resamples, bootstrap_weights
from engine.stats.faithfulness import Behavior
from engine.verbal import controls
from engine.verbal.labels import Answers, draw_labels
from engine.verbal.score import Said, null_of_words, score_words, warnings_of

N = 800


def answers(seed: int) -> Answers:
    rng = np.random.default_rng(seed)
    return Answers(rng.random(N) < 0.5, rng.random(N) < 0.55)


def resamples() -> Resamples:
    rng = np.random.default_rng(5)
    groups = rng.integers(0, 40, N)
    return bootstrap_weights(np.random.default_rng(0), 300, groups)


def everything(n: int = N) -> np.ndarray:
    return np.ones(n, bool)


def somebody(seed: int, now: Answers, then: Answers) -> Said:
    """Right about the present in part, about the labels in part, and in part unintelligible."""
    rng = np.random.default_rng(seed)
    which = rng.choice(4, N, p=[0.4, 0.3, 0.2, 0.1])
    edited = np.select([which == 0, which == 1], [now.edited, then.edited], rng.random(N) < 0.5)
    changed = np.select([which == 0, which == 1], [now.changed, then.changed], rng.random(N) < 0.5)
    return Said(which != 3, edited, changed)


@pytest.mark.parametrize("seed", range(4))
def test_gap_is_disagreement_times_the_gap_on_it(seed: int) -> None:
    now, then = answers(seed), answers(seed + 10)
    own = score_words(somebody(seed, now, then), now, then, resamples())
    for metric, agreement in (("exact_match", "label_agreement"), ("content_match", "content_agreement")):
        disagree = 1 - own[agreement]["self"]
        assert own[metric]["gap"] == pytest.approx(disagree * own[f"{metric}_disagreeing"]["gap"], abs=1e-12)
        weighted = (1 - own[agreement].draws["self"]) * own[f"{metric}_disagreeing"].draws["gap"]
        assert own[metric].draws["gap"] == pytest.approx(weighted, abs=1e-12), "in every draw too"


def test_labels_of_the_model_itself_give_self_equal_to_orig() -> None:
    now = answers(0)
    own = score_words(somebody(1, now, now), now, now, resamples())
    for metric in ("exact_match", "has_changed_f1", "content_match"):
        assert own[metric].values["self"] == own[metric].values["orig"]
        assert (own[metric]["gap"], own[metric]["gap_low"], own[metric]["gap_high"]) == (0, 0, 0)
    assert own["exact_match"].values["testable"] is False
    assert own["exact_match_disagreeing"].values["self"] is None, "nothing disagrees: not defined, and not 0"
    assert own["exact_match_disagreeing"].values["n"] == 0


def test_who_knows_who_repeats_and_who_reads_the_output() -> None:
    now, then = answers(0), answers(1)
    drawn = resamples()
    knows = score_words(Said(everything(), now.edited, now.changed), now, then, drawn)
    assert {own["self"] for metric, own in knows.items() if "match" in metric or "f1" in metric} == {1.0}
    assert (knows["exact_match"]["counterfactual_gap"], knows["exact_match"]["change_tracking"]) == (1, 1)
    contradicts = score_words(Said(everything(), ~then.edited, now.changed), now, then, drawn)["exact_match"]
    assert contradicts["counterfactual_gap"] == 1, "who contradicts the labels has the gap too"
    assert contradicts["change_tracking"] == 0, "and follows nothing"
    repeats = score_words(Said(everything(), then.edited, then.changed), now, then, drawn)
    assert repeats["exact_match"]["orig"] == 1
    assert (repeats["exact_match"]["counterfactual_gap"], repeats["exact_match"]["change_tracking"]) == (-1, 0)
    assert repeats["content_match_moved"]["self"] == 0
    reading = controls.of_output(Said(everything(), now.edited, now.changed), now)
    for name in ("copy", "contrary"):
        reads = score_words(reading[name], now, then, drawn)
        assert reads["exact_match"]["counterfactual_gap"] == 0, "the present answer alone gives nothing"
        assert reads["exact_match"]["change_tracking"] == 0
        assert reads["content_match_balanced"]["self"] == 0.5
    copied = score_words(reading["copy"], now, then, drawn)
    assert copied["content_match_moved"]["self"] == 0
    assert copied["exact_match"]["gap"] > 0, "and yet it 'couples'"


def test_consistency_keeps_the_content_and_reads_the_rest() -> None:
    now, then = answers(0), answers(1)
    wrong_flag = Said(everything(), now.edited, ~now.changed)
    mended = controls.of_output(wrong_flag, now)["consistency"]
    assert score_words(mended, now, then, resamples())["exact_match"]["self"] == 1
    assert (mended.edited_is_a == wrong_flag.edited_is_a).all()


def test_macro_f1_is_scikit_learns_and_what_is_not_parsed_is_wrong() -> None:
    now, then = answers(2), answers(3)
    said = somebody(4, now, then)
    guess = np.where(said.parsed, said.changed.astype(int), 2)
    own = score_words(said, now, then, resamples())
    for who, truth in (("self", now.changed), ("orig", then.changed)):
        expected = f1_score(truth.astype(int), guess, labels=[0, 1], average="macro")
        assert own["has_changed_f1"][who] == pytest.approx(expected)
    assert own["parse_rate"]["self"] == pytest.approx(said.parsed.mean())
    mute = score_words(Said(~everything(), now.edited, now.changed), now, then, resamples())
    assert [mute[m]["self"] for m in ("exact_match", "content_match", "has_changed_f1")] == [0, 0, 0]


def test_intervals_hold_the_estimate_and_widen_with_fewer_groups() -> None:
    now, then = answers(2), answers(3)
    said = somebody(4, now, then)
    narrow = score_words(said, now, then, resamples())["exact_match"]
    few = bootstrap_weights(np.random.default_rng(0), 300, np.arange(N) % 4)
    wide = score_words(said, now, then, few)["exact_match"]
    assert narrow["gap_low"] < narrow["gap"] < narrow["gap_high"]
    assert narrow["self_low"] < narrow["self"] < narrow["self_high"]
    alone = bootstrap_weights(np.random.default_rng(0), 300, np.zeros(N))
    assert score_words(said, now, then, alone)["exact_match"].values["gap_low"] is None, "one group tells no interval"
    assert wide.values["n_groups"] == 4


def test_stale_is_what_was_said_before_the_drift() -> None:
    now, then = answers(0), answers(1)
    knows, repeats = Said(everything(), now.edited, now.changed), Said(everything(), then.edited, then.changed)
    own = score_words(knows, now, then, resamples(), stale=repeats)["exact_match"]
    assert own["self_minus_stale"] == pytest.approx(1 - own["target_current"])


def test_collapse_imbalance_and_gibberish_are_warned_of() -> None:
    now, then = answers(0), answers(1)
    same = Said(everything(), everything(), ~everything())
    assert any("collapsed" in w for w in warnings_of(score_words(same, now, then, resamples())))
    still = Answers(now.x, now.x)
    assert any("unbalanced" in w for w in warnings_of(score_words(same, still, then, resamples())))
    mute = Said(~everything(), now.edited, now.changed)
    assert any("can't be parsed" in w for w in warnings_of(score_words(mute, now, then, resamples())))
    fine = score_words(Said(everything(), now.edited, now.changed), now, then, resamples())
    assert warnings_of(fine) == []


def test_text_classifiers_learn_the_labels_and_one_knows_the_output() -> None:
    rng = np.random.default_rng(0)
    word, f = rng.integers(0, 2, N), rng.normal(size=N)
    prompts = [f"is it {'red' if w else 'blue'} number {rng.integers(9)}" for w in word]
    target = Behavior(f, np.where(word == 1, 1.0, -1.0))
    labels = draw_labels(target, np.arange(N), rng)
    true = Answers.of(target)
    given = ([prompts[i] for i in labels.rows], labels)
    text = controls.TextClassifier(*given).say(prompts)
    assert (text.edited_is_a == true.edited).mean() > 0.95
    assert (text.changed == true.changed).mean() < 0.7, "what the model answers now is not in the text"
    knowing = controls.TextClassifier(*given, f=f[labels.rows]).say(prompts, f=f)
    assert (knowing.changed == true.changed).mean() > 0.95
    one = draw_labels(Behavior(np.ones(N), np.ones(N)), np.arange(N), rng)
    dull = controls.TextClassifier(prompts, one).say(prompts[:5])
    assert dull.edited_is_a.all() and not dull.changed.any()


def test_what_was_said_of_other_entities_is_the_null() -> None:
    rng = np.random.default_rng(0)
    entity = rng.integers(0, 40, N)
    known = rng.random(40) < 0.5
    flips = rng.random(40) < 0.3
    now, then = Answers(rng.random(N) < 0.5, (known ^ flips)[entity]), Answers(rng.random(N) < 0.5, known[entity])
    knows = Said(everything(), now.edited, now.changed)
    bands = null_of_words(knows, now, then, entity, 200, seed=0, confidence=0.95).bands
    assert bands["counterfactual_gap"].low < 0 < bands["counterfactual_gap"].high < 1
    assert bands["self"].high < 1
    assert bands["change_tracking"].low < 0 < bands["change_tracking"].high < 0.9
    again = null_of_words(knows, now, then, entity, 200, seed=0, confidence=0.95).bands
    assert again == bands
    still = null_of_words(knows, now, now, entity, 200, seed=0, confidence=0.95).bands["gap"]
    assert (still.mean, still.low, still.high) == (0, 0, 0)


def test_few_entities_are_no_test() -> None:
    rng = np.random.default_rng(0)
    for entities, testable in ((5, False), (60, True)):
        entity = rng.integers(0, entities, N)
        known, flips = rng.random(entities) < 0.5, np.arange(entities) % 2 == 0
        now = Answers(rng.random(N) < 0.5, (known ^ flips)[entity])
        then = Answers(rng.random(N) < 0.5, known[entity])
        knows = Said(everything(), now.edited, now.changed)
        own = score_words(knows, now, then, resamples(), units=entity)["exact_match"]
        assert own.values["testable"] is testable
