"""What explanations know of the unseen answer: against plain loops, and on worlds where the answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline

from engine.records import Behavior
from engine.stats.bootstrap import bootstrap_weights
from engine.stats.unseen import (
    LANDMARKS,
    LEAST_ROWS,
    PENALTIES,
    Design,
    Known,
    features,
    score_unseen,
    unseen_run,
)
from engine.zoo.drawn import draw


@pytest.fixture(scope="module")
def world():
    return draw(np.random.default_rng(3), rows=400, cues=20, entities=40)


def test_residuals_are_those_of_a_plain_loop_over_folds():
    rng = np.random.default_rng(0)
    known, y, folds = rng.normal(size=(90, 2)), rng.normal(size=(90, 3)), np.arange(90) % 3
    z = (y - y.mean(axis=0)) / y.std(axis=0)
    expected = np.empty_like(z)
    for column in range(3):
        for fold in range(3):
            outside, inside = folds != fold, folds == fold
            plain = make_pipeline(features(60, 0), RidgeCV(PENALTIES)).fit(known[outside], z[outside, column])
            expected[inside, column] = z[inside, column] - plain.predict(known[inside])
    np.testing.assert_allclose(Known(known, folds).residuals(y), expected - expected.mean(axis=0), atol=1e-8)


def test_calls_share_features_and_columns_do_not_change_each_other(monkeypatch):
    made = []
    monkeypatch.setattr("engine.stats.unseen.features", lambda *given: made.append(given) or features(*given))
    rng = np.random.default_rng(0)
    known, y = Known(rng.normal(size=(60, 2)), np.arange(60) % 3), rng.normal(size=(60, 4))
    together = known.residuals(y)
    alone = np.concatenate([known.residuals(y[:, [i]]) for i in range(4)], axis=1)
    np.testing.assert_allclose(together, alone, atol=1e-8)
    assert len(made) == 3, "one for each fold, whatever the number of calls"


def test_constant_columns_are_undefined_and_leave_the_others_alone():
    rng = np.random.default_rng(0)
    known, y = Known(rng.normal(size=(60, 2)), np.arange(60) % 3), rng.normal(size=(60, 2))
    y[:, 0] = 0.1
    residuals = known.residuals(y)
    assert np.isnan(residuals[:, 0]).all()
    np.testing.assert_allclose(residuals[:, 1:], known.residuals(y[:, 1:]), atol=1e-8)
    assert np.isnan(Known(known.values, np.zeros(60, int)).residuals(y)).all(), "one fold leaves nothing to fit on"


def test_the_kernel_has_no_more_landmarks_than_half_of_the_rows():
    rng = np.random.default_rng(0)
    for rows, landmarks in ((40, 20), (1000, LANDMARKS)):
        values = rng.normal(size=(rows, 2))
        assert features(rows, 0).fit_transform(values).shape == (rows, 2 + 2 + landmarks)


def test_no_level_of_the_held_out_factor_is_split(world):
    design = world[2]
    folds = design.folds_of(0)
    for entity in np.unique(design.entity):
        assert len(set(folds[design.entity == entity])) == 1
    assert np.ptp(np.bincount(folds)) < 100


def test_a_known_column_that_is_constant_is_left_out(world):
    """f(x) is the same in every example: f(x') is still freed from the labels."""
    current, target, design = world
    flat = Behavior(np.full(len(current.f), 1.5), current.f_edited)
    assert unseen_run(flat, target, design).own.known.values.shape[1] == 2
    nothing = Behavior(np.zeros(len(current.f)), np.zeros(len(current.f)))
    run = unseen_run(flat, nothing, design)
    assert np.mean(run.own.unseen**2) == pytest.approx(1, abs=0.1), "nothing is known, so all is left"


def test_over_stale_is_paired_and_nothing_over_itself(world):
    current, target, design = world
    rng = np.random.default_rng(0)
    resamples = design.resamples(rng, 200)
    e = current.f_edited + rng.normal(size=len(current.f))
    run = unseen_run(current, target, design)
    same = score_unseen(e, run, resamples, e).statistics["unseen_over_stale"]
    assert same.estimate[0] == 0 and not same.draws.any()
    silent = score_unseen(e, run, resamples, np.ones(len(e))).statistics
    np.testing.assert_array_equal(silent["unseen_over_stale"].draws, silent["unseen"].draws)


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
