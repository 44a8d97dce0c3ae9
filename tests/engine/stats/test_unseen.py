"""What explanations know of the unseen run: against plain loops, and on worlds where the answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from engine.records import Behavior
from engine.stats.bootstrap import bootstrap_weights
from engine.stats.unseen import LEAST_ROWS, Design, cross_fitted, regression, score_unseen, unseen_run
from engine.zoo.drawn import draw


@pytest.fixture(scope="module")
def world():
    return draw(np.random.default_rng(3), rows=400, cues=20, entities=40)


def test_residuals_are_those_of_a_plain_loop_over_folds():
    rng = np.random.default_rng(0)
    known, y, folds = rng.normal(size=(90, 2)), rng.normal(size=(90, 3)), np.arange(90) % 3
    z = (y - y.mean(axis=0)) / y.std(axis=0)
    expected = np.empty_like(z)
    for row in range(90):
        outside = folds != folds[row]
        fitted = regression(60, 0).fit(known[outside], z[outside])
        expected[row] = z[row] - fitted.predict(known[row : row + 1])[0]
    np.testing.assert_allclose(cross_fitted(y, known, folds), expected - expected.mean(axis=0), atol=1e-8)


def test_no_level_of_the_held_out_factor_is_split(world):
    design = world[2]
    folds = design.folds(np.random.default_rng(0))
    for entity in np.unique(design.entity):
        assert len(set(folds[design.entity == entity])) == 1
    assert np.ptp(np.bincount(folds)) < 100


def test_means_of_the_others_are_a_plain_loop(world):
    _, _, design = world
    values = np.random.default_rng(0).normal(size=len(design.cue))
    for column, factor in zip(design.others(values).T, (design.cue, design.entity), strict=True):
        for row in range(0, len(values), 37):
            same = (factor == factor[row]) & (np.arange(len(values)) != row)
            assert column[row] == pytest.approx(values[same].mean() if same.any() else values.mean())


def test_what_can_be_read_is_worth_nothing_and_the_unseen_run_is(world):
    current, target, design = world
    rng = np.random.default_rng(0)
    resamples = bootstrap_weights(rng, 300, design.groups, design.cue, design.entity)
    noise = rng.normal(size=len(current.f))
    said = np.stack([-current.f, target.effect + noise, current.f_edited + noise, np.ones(len(noise))], axis=1)
    stale = np.stack([-target.f, target.effect + noise, target.f_edited + noise, np.ones(len(noise))], axis=1)
    found = score_unseen(said, unseen_run(current, target, design), resamples, stale)
    assert found.left[0] < 0.05 and np.isnan(found.left[3])
    for name in ("unseen", "unseen_over_stale", "unseen_over_outputs"):
        output, reciter, oracle, constant = found.statistics[name].estimate
        low = np.quantile(found.statistics[name].draws[:, 2], 0.025)
        assert np.isnan([output, constant]).all() and abs(reciter) < 0.15 and low > 0, (name, oracle)


def test_scale_and_offset_of_explanations_do_not_matter(world):
    current, target, design = world
    e = current.f_edited + np.random.default_rng(0).normal(size=len(current.f))
    run = unseen_run(current, target, design)
    a, b = (score_unseen(x, run).statistics["unseen"].estimate[0] for x in (e, 30 * e - 7))
    assert a == pytest.approx(b, abs=1e-8)


def test_the_target_itself_is_not_testable(world):
    _, target, design = world
    run = unseen_run(target, target, design)
    assert run.own is None and "follows from this prompt's outputs" in run.why_not
    assert np.isnan(score_unseen(target.effect, run).statistics["unseen"].estimate).all()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"n": 3}, f"3 examples; at least {LEAST_ROWS}"),
        ({"n": 0}, f"0 examples; at least {LEAST_ROWS}"),
        ({"entities": 1}, "1 independent group; at least 5"),
        ({"constant": True}, "the same in every example"),
    ],
)
def test_bad_data_name_the_reason(change, reason):
    rng = np.random.default_rng(0)
    n = change.get("n", 60)
    current, target = (Behavior(rng.normal(size=n), rng.normal(size=n)) for _ in range(2))
    if change.get("constant"):
        current = Behavior(current.f, np.ones(n))
    groups = np.arange(n) % change.get("entities", 20)
    run = unseen_run(current, target, Design(groups))
    assert reason in run.why_not
    found = score_unseen(rng.normal(size=n), run, bootstrap_weights(rng, 10, groups), rng.normal(size=n))
    assert all(np.isnan(s.estimate).all() and s.draws.shape == (10, 1) for s in found.statistics.values())


def test_without_factors_only_the_claim_on_all_outputs_is_not_testable():
    rng = np.random.default_rng(0)
    current, target = (Behavior(rng.normal(size=200), rng.normal(size=200)) for _ in range(2))
    run = unseen_run(current, target, Design(np.arange(200)))
    assert run.own is not None and run.outputs is None and "no factors" in run.why_not_outputs
    one_cue = unseen_run(current, target, Design(np.arange(200), np.zeros(200), np.arange(200)))
    assert one_cue.outputs is None
