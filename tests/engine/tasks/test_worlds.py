"""Worlds: the rules move what they say they move, and dialogues are sampled from them."""

import numpy as np
import pytest

from engine.records import Behavior
from engine.tasks import FACTORS
from engine.tasks.factors import Scene
from engine.tasks.worlds import WORLDS, check_world, draw_rules, sample_dialogues


def scenes(factors, count=1000, seed=0):
    rng = np.random.default_rng(seed)
    sizes = (len(factors.entities), len(factors.cues), len(factors.strengths), len(factors.pleas))
    return [Scene(*(int(rng.integers(size)) for size in sizes)) for _ in range(count)]


def behavior(factors, rule, edit="delete_cue", count=1000):
    drawn = scenes(factors, count)
    return rule.log_odds(factors, drawn), rule.log_odds(factors, [factors.after(s, edit) for s in drawn])


def corr(a, b):
    return np.corrcoef(a, b)[0, 1]


@pytest.fixture(params=FACTORS)
def factors(request):
    return FACTORS[request.param]


def test_the_rotation_takes_rho_from_one_to_nothing_step_by_step(factors):
    rules = draw_rules(factors, 0)
    u, v = behavior(factors, rules.at("independent", 0))
    rho = []
    for progress in np.linspace(0, 1, 7):
        ut, vt = behavior(factors, rules.at("independent", progress))
        rho.append(corr(v - u, vt - ut))
    assert rho[0] == pytest.approx(1) and abs(rho[-1]) < 0.15
    assert all(np.diff(rho) < -0.02)


@pytest.mark.parametrize("world", WORLDS)
def test_each_world_passes_its_own_check_and_no_other_moves(factors, world):
    rules = draw_rules(factors, 0)
    start, end = (Behavior(*behavior(factors, rules.at(world, p))) for p in (0, 1))
    check = check_world(world, start, end)
    assert check.as_designed, check
    if world not in ("unrelated",):
        assert not check_world("unrelated", start, end).as_designed


def test_a_bag_of_words_does_not_explain_the_cue(factors):
    """Main effects of cue, topic, strength and plea leave much of f unexplained, by design."""
    rule = draw_rules(factors, 0).start
    drawn = scenes(factors)
    f = rule.log_odds(factors, drawn)
    sizes = (len(factors.entities), len(factors.cues), len(factors.strengths), len(factors.pleas))
    columns = np.array([(s.entity, s.cue, s.strength, s.plea) for s in drawn])
    onehot = np.concatenate([np.eye(n)[columns[:, i]] for i, n in enumerate(sizes)], axis=1)
    fitted = onehot @ np.linalg.lstsq(onehot, f, rcond=None)[0]
    assert 1 - np.var(f - fitted) / np.var(f) < 0.75


def test_has_changed_is_balanced(factors):
    u, v = behavior(factors, draw_rules(factors, 0).start, count=10_000)  # of 1,000 the share has an error of 1.6%
    assert 0.4 <= np.mean((u > 0) != (v > 0)) <= 0.6


def test_families_share_part_of_their_behavior(factors):
    own = behavior(factors, draw_rules(factors, 0, "gpt2").start)
    other = behavior(factors, draw_rules(factors, 0, "llama").start)
    for a, b in zip(own, other, strict=True):
        assert 0.4 < corr(a, b) < 0.97


def test_tasks_and_seeds_have_rules_of_their_own():
    tables = [draw_rules(f, seed).start.cell.ravel() for f in FACTORS.values() for seed in (0, 1)]
    assert all(abs(corr(a, b)) < 0.4 for i, a in enumerate(tables) for b in tables[:i])


def test_answers_are_sampled_at_the_rule_s_odds(factors):
    rule = draw_rules(factors, 0).start
    prompts, answers = sample_dialogues(factors, rule, np.random.default_rng(0), 300, samples=200)
    again, _ = sample_dialogues(factors, rule, np.random.default_rng(0), 300, samples=200)
    assert prompts == again and {a for row in answers for a in row} == {factors.answer_a, factors.answer_b}
    bare = {factors.render(s).text: rule.log_odds(factors, [s])[0] for s in map(deleted, range(len(factors.entities)))}
    shares = [
        (np.mean([a == factors.answer_a for a in row]), bare[p])
        for p, row in zip(prompts, answers, strict=True)
        if p in bare
    ]
    assert len(shares) > 20
    assert np.mean([share - 1 / (1 + np.exp(-f)) for share, f in shares]) == pytest.approx(0, abs=0.03)


def deleted(entity):
    return Scene(entity, 0, 0, 0, "deleted")
