"""Scores of explanations in words: identities, chance levels, controls, intervals."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import f1_score

from engine.config import VerbalSpec
from engine.stats.bootstrap import bootstrap_weights
from engine.stats.faithfulness import Behavior, Score
from engine.stats.unseen import Design
from engine.stats.verdicts import verdicts
from engine.verbal.controls import TextClassifier, of_output
from engine.verbal.labels import Answers, draw_labels
from engine.verbal.score import Said, Strata, null_of_words, score_words, strata, warnings_of

N = 800
EVERY = np.ones(N, bool)
GROUPS = np.random.default_rng(5).integers(0, 40, N)


def answers(seed: int) -> Answers:
    rng = np.random.default_rng(seed)
    return Answers(rng.random(N) < 0.5, rng.random(N) < 0.55)


NOW, THEN = answers(0), answers(1)


def states(answers: Answers) -> Said:
    """Sentences that state these answers."""
    return Said(EVERY, answers.edited, answers.changed)


def scored(
    said: Said,
    now: Answers = NOW,
    then: Answers = THEN,
    groups: np.ndarray = GROUPS,
    **options: np.ndarray | Said | Strata,
) -> dict[str, Score]:
    return score_words(said, now, then, bootstrap_weights(np.random.default_rng(0), 300, groups), **options)


def mixed(seed: int, now: Answers, then: Answers) -> Said:
    """Sentences of which some state the present, some the labels, and some can't be parsed."""
    rng = np.random.default_rng(seed)
    which = rng.choice(4, N, p=[0.4, 0.3, 0.2, 0.1])
    edited = np.select([which == 0, which == 1], [now.edited, then.edited], rng.random(N) < 0.5)
    changed = np.select([which == 0, which == 1], [now.changed, then.changed], rng.random(N) < 0.5)
    return Said(which != 3, edited, changed)


@pytest.mark.parametrize("seed", range(4))
def test_gap_is_disagreement_times_the_gap_on_it(seed: int) -> None:
    now, then = answers(seed), answers(seed + 10)
    own = scored(mixed(seed, now, then), now, then)
    for metric, agreement in (("exact_match", "label_agreement"), ("content_match", "content_agreement")):
        disagree = 1 - own[agreement]["self"]
        assert own[metric]["gap"] == pytest.approx(disagree * own[f"{metric}_disagreeing"]["gap"], abs=1e-12)
        weighted = (1 - own[agreement].draws["self"]) * own[f"{metric}_disagreeing"].draws["gap"]
        assert own[metric].draws["gap"] == pytest.approx(weighted, abs=1e-12), "in every draw too"


def test_labels_of_the_model_itself_give_self_equal_to_orig() -> None:
    own = scored(mixed(1, NOW, NOW), NOW, NOW)
    for metric in ("exact_match", "has_changed_f1", "content_match"):
        assert own[metric].values["self"] == own[metric].values["orig"]
        assert (own[metric]["gap"], own[metric]["gap_low"], own[metric]["gap_high"]) == (0, 0, 0)
    assert verdicts([[own["exact_match"]]], "coupling")[0][0].word == "not testable"
    assert "unseen" not in own["exact_match"].values
    assert own["exact_match"].values["why_not"].startswith("among like examples, 0 differ in the answer to x'")
    assert own["exact_match_disagreeing"].values["self"] is None, "nothing disagrees: undefined, and not 0"
    assert own["exact_match_disagreeing"].values["n"] == 0


def test_the_truth_the_labels_and_the_output_are_told_apart() -> None:
    knows = scored(states(NOW))
    assert {own["self"] for metric, own in knows.items() if "match" in metric or "f1" in metric} == {1.0}
    assert knows["exact_match"]["unseen"] == 1
    repeats = scored(states(THEN))
    assert (repeats["exact_match"]["orig"], repeats["exact_match"]["unseen"]) == (1, 0)
    assert repeats["content_match_moved"]["self"] == 0
    contradicts = scored(Said(EVERY, ~THEN.edited, NOW.changed))
    assert contradicts["exact_match"]["unseen"] == 0
    assert contradicts["content_match_disagreeing"]["gap"] == 1, "which opens a gap all the same"
    reading = of_output(states(NOW), NOW)
    reads = {name: scored(reading[name]) for name in ("copy", "contrary")}
    for own in reads.values():
        assert own["exact_match"]["unseen"] == 0, "the present answer alone gives nothing"
        assert own["content_match_balanced"]["self"] == 0.5
    assert reads["copy"]["content_match_moved"]["self"] == 0
    assert reads["copy"]["exact_match"]["gap"] > 0, "and yet it 'couples'"
    guesses = scored(Said(EVERY, np.random.default_rng(9).random(N) < 0.5, NOW.changed))["exact_match"]
    assert guesses["unseen_low"] < 0 < guesses["unseen_high"] and abs(guesses["unseen"]) < 0.1


def test_an_oracle_that_errs_at_times_is_near_one() -> None:
    wrong = np.random.default_rng(9).random(N) < 0.05
    own = scored(Said(EVERY, NOW.edited ^ wrong, NOW.changed))["exact_match"]
    assert own["unseen"] == pytest.approx(0.9, abs=0.05) and own["unseen_low"] > 0.8
    own = scored(Said(~wrong, NOW.edited, NOW.changed))["exact_match"]
    assert own["unseen"] == pytest.approx(0.95, abs=0.04), "what is not parsed does not say a"


def sure_labels() -> tuple[np.ndarray, Answers, Answers]:
    """|f_0(x')| [N], present answers and labels: a label of which the model was sure has moved less often."""
    rng = np.random.default_rng(4)
    sure = rng.exponential(size=N)
    moved = rng.random(N) < 0.6 * np.exp(-sure)
    return sure, Answers(NOW.x, THEN.edited ^ moved), THEN


def test_how_sure_the_label_was_is_not_knowledge_of_the_unseen_run() -> None:
    """Repeats labels of which the model was sure and contradicts the others: correct more often than not."""
    sure, now, then = sure_labels()
    doubts = Said(EVERY, then.edited ^ (sure < 0.4), now.changed)
    coarse, fine = (scored(doubts, now, then, among=among)["exact_match"] for among in (None, strata(now, then, sure)))
    assert coarse["unseen"] > 0.25
    assert abs(fine["unseen"]) < 0.12 and fine["unseen_low"] < 0


def test_unseen_is_the_risk_difference_of_mantel_and_haenszel() -> None:
    said, sure = mixed(3, NOW, THEN), np.random.default_rng(0).exponential(size=N)
    among = strata(NOW, THEN, sure)
    says_a = said.parsed & said.edited_is_a
    top = bottom = 0.0
    for code in np.unique(among.own):
        a, b = ((among.own == code) & side for side in (NOW.edited, ~NOW.edited))
        weight = a.sum() * b.sum() / (a | b).sum()
        top += weight * (says_a[a].mean() - says_a[b].mean())
        bottom += weight
    own = scored(said, among=among)["exact_match"]
    assert own["unseen"] == pytest.approx(top / bottom)


def test_over_stale_is_paired_with_what_reads_the_text_alone() -> None:
    text = mixed(3, NOW, THEN)
    own, alone, same = (
        scored(said, text_only=text)["exact_match"] for said in (mixed(4, NOW, THEN), states(NOW), text)
    )
    other = scored(text)["exact_match"]
    assert own["unseen_over_stale"] == pytest.approx(own["unseen"] - other["unseen"])
    assert own.draws["unseen_over_stale"] == pytest.approx(own.draws["unseen"] - other.draws["unseen"])
    assert alone["unseen_over_stale"] == pytest.approx(1 - other["unseen"])
    assert same["unseen_over_stale"] == 0 and not same.draws["unseen_over_stale"].any()
    assert "unseen_over_stale" not in other.draws


def test_reading_the_entitys_other_answers_is_not_beyond_all_outputs() -> None:
    rng = np.random.default_rng(0)
    entity = np.arange(N) % 80
    leans = np.linspace(0.02, 0.98, 80)[entity]
    now = Answers(rng.random(N) < leans, rng.random(N) < leans)
    others = Design(GROUPS, rng.integers(0, 9, N), entity).others(now.x.astype(float))[:, 1]
    among = strata(now, THEN, np.zeros(N), others)
    own = scored(Said(EVERY, others > 0.5, now.changed), now, among=among)["exact_match"]
    assert own["unseen"] > 0.3
    assert own["unseen_over_outputs"] < own["unseen"] / 2
    assert scored(states(now), now, among=among)["exact_match"]["unseen_over_outputs"] == 1


def test_consistency_keeps_the_content_and_reads_the_rest() -> None:
    wrong_flag = Said(EVERY, NOW.edited, ~NOW.changed)
    mended = of_output(wrong_flag, NOW)["consistency"]
    assert scored(mended)["exact_match"]["self"] == 1
    assert (mended.edited_is_a == wrong_flag.edited_is_a).all()


def test_macro_f1_is_that_of_scikit_learn_and_an_unparsed_sentence_is_wrong() -> None:
    said = mixed(4, NOW, THEN)
    guess = np.where(said.parsed, said.changed.astype(int), 2)
    own = scored(said)
    for who, truth in (("self", NOW.changed), ("orig", THEN.changed)):
        expected = f1_score(truth.astype(int), guess, labels=[0, 1], average="macro")
        assert own["has_changed_f1"][who] == pytest.approx(expected)
    assert own["parse_rate"]["self"] == pytest.approx(said.parsed.mean())
    mute = scored(Said(~EVERY, NOW.edited, NOW.changed))
    assert [mute[m]["self"] for m in ("exact_match", "content_match", "has_changed_f1")] == [0, 0, 0]


def test_intervals_contain_the_estimate_and_need_groups() -> None:
    own, few, alone = (
        scored(mixed(4, NOW, THEN), groups=groups)["exact_match"] for groups in (GROUPS, np.arange(N) % 4, np.zeros(N))
    )
    assert own["gap_low"] < own["gap"] < own["gap_high"]
    assert own["self_low"] < own["self"] < own["self_high"]
    assert few.values["n_groups"] == 4
    assert alone.values["gap_low"] is None, "one group gives no interval"


def test_stale_is_what_was_said_before_the_drift() -> None:
    own = scored(states(NOW), stale=states(THEN))["exact_match"]
    assert own["self_minus_stale"] == pytest.approx(1 - own["target_current"])


def test_collapse_imbalance_and_gibberish_are_warned_of() -> None:
    same = Said(EVERY, EVERY, ~EVERY)
    mute = Said(~EVERY, NOW.edited, NOW.changed)
    warned = {
        "collapsed": scored(same),
        "unbalanced": scored(same, now=Answers(NOW.x, NOW.x)),
        "can't be parsed": scored(mute),
    }
    for words, own in warned.items():
        assert any(words in warning for warning in warnings_of(own))
    assert warnings_of(scored(states(NOW))) == []


def test_text_classifiers_learn_the_labels_and_one_knows_the_output() -> None:
    rng = np.random.default_rng(0)
    word, f = rng.integers(0, 2, N), rng.normal(size=N)
    prompts = [f"is it {'red' if w else 'blue'} number {rng.integers(9)}" for w in word]
    target = Behavior(f, np.where(word == 1, 1.0, -1.0))
    labels = draw_labels(target, np.arange(N), rng, VerbalSpec())
    true = Answers.of(target)
    given = ([prompts[i] for i in labels.rows], labels)
    text = TextClassifier(*given).say(prompts)
    assert (text.edited_is_a == true.edited).mean() > 0.95
    assert (text.changed == true.changed).mean() < 0.7, "the model's present answer is not in the text"
    knowing = TextClassifier(*given, f=f[labels.rows]).say(prompts, f=f)
    assert (knowing.changed == true.changed).mean() > 0.95
    one = draw_labels(Behavior(np.ones(N), np.ones(N)), np.arange(N), rng, VerbalSpec())
    dull = TextClassifier(prompts, one).say(prompts[:5])
    assert dull.edited_is_a.all() and not dull.changed.any()


def test_sentences_about_other_entities_are_the_null() -> None:
    rng = np.random.default_rng(0)
    entity = rng.integers(0, 40, N)
    known, flips = rng.random(40) < 0.5, rng.random(40) < 0.3
    now, then = Answers(NOW.x, (known ^ flips)[entity]), Answers(THEN.x, known[entity])
    options = {"units": entity, "shuffles": 200, "seed": 0, "confidence": 0.95}
    of_null = null_of_words(states(now), now, then, **options)
    bands = of_null.bands
    assert bands["self"].high < 1
    assert bands["unseen"].low < 0 < bands["unseen"].high < 0.9
    assert of_null.p("unseen", 1.0) == pytest.approx(1 / 201)
    assert null_of_words(states(now), now, then, **options).bands == bands
    assert np.isnan(null_of_words(states(now), now, now, **options).bands["unseen"].mean), "no answer has moved"
    still = null_of_words(states(now), now, now, **options).bands["gap"]
    assert (still.mean, still.low, still.high) == (0, 0, 0)


@pytest.mark.parametrize(("entities", "testable"), [(5, False), (60, True)])
def test_few_entities_are_no_test(entities: int, testable: bool) -> None:
    rng = np.random.default_rng(0)
    entity = rng.integers(0, entities, N)
    known, flips = rng.random(entities) < 0.5, np.arange(entities) % 2 == 0
    now, then = Answers(NOW.x, (known ^ flips)[entity]), Answers(THEN.x, known[entity])
    own = scored(states(now), now, then, units=entity)["exact_match"].values
    assert (own.get("unseen") is not None) is testable
    assert (own["why_not"] is None) is testable
    assert testable or "at least 8 are needed" in own["why_not"]


@pytest.mark.parametrize(
    ("n", "entities", "alike", "reason"),
    [
        (3, 3, False, "differ in the answer to x'; at least 20"),
        (N, 1, False, "moved for 1 entities; at least 8"),
        (N, 60, True, "0 differ in the answer to x'; at least 20"),
    ],
)
def test_bad_data_are_not_testable_with_a_reason(n: int, entities: int, alike: bool, reason: str) -> None:
    now, then = NOW.take(np.arange(n)), THEN.take(np.arange(n))
    if alike:  # every answer to x' is a
        now = Answers(now.x, np.ones(n, bool))
    said = Said(EVERY[:n], now.edited, now.changed)
    entity = np.arange(n) % entities
    resamples = bootstrap_weights(np.random.default_rng(0), 50, entity)
    own = score_words(said, now, then, resamples, units=entity, text_only=said)["exact_match"]
    assert reason in own.values["why_not"] and reason in own.values["why_not_outputs"]
    for claim in ("unseen", "outputs"):
        assert verdicts([[own]], claim)[0][0].word == "not testable"


def test_without_entities_only_the_claim_on_all_outputs_is_not_testable() -> None:
    own = scored(states(NOW), text_only=states(THEN))["exact_match"]
    assert own.values["why_not"] is None and own.values["why_not_outputs"] == "the data have no entities"
    assert verdicts([[own]], "unseen")[0][0].word == "shown"
    assert verdicts([[own]], "outputs")[0][0].word == "not testable"
