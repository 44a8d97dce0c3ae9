"""The shared factorisation against scikit-learn's Ridge, RidgeCV and refits from scratch."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import Ridge as PeerRidge
from sklearn.linear_model import RidgeCV

from engine.config import ExplainerSpec
from engine.probes.regimes import cross_validate
from engine.probes.ridge import Ridge, cross_validated_correlation, cross_validated_predictions, grouped_folds
from engine.stats.correlation import pearson
from engine.stats.noise import NOISE, noise_matrix

PENALTIES = (0.01, 1.0, 100.0)
SHAPES = [(60, 10), (10, 60), (30, 30), (40, 1)]


def data(n: int, d: int, k: int = 3, seed: int = 0):
    rng = np.random.default_rng(seed)
    x = rng.normal(1.0, 2.0, (n, d))
    y = x @ rng.normal(size=(d, k)) + rng.normal(size=(n, k)) + 5
    return x, y, rng.normal(1.0, 2.0, (20, d))


@pytest.mark.parametrize(("n", "d"), SHAPES)
def test_predictions_are_scikit_learns(n, d):
    x, y, x_test = data(n, d)
    ridge = Ridge.fit(x)
    assert ridge.dual == (n < d)
    ours = ridge.predict(y, PENALTIES, x_test)
    assert ours.shape == (3, 20, 3) and ours.dtype == np.float64
    for penalty, predicted in zip(PENALTIES, ours, strict=True):
        peer = PeerRidge(alpha=penalty).fit(x, y)
        np.testing.assert_allclose(predicted, peer.predict(x_test), rtol=1e-7, atol=1e-7)
        weights, intercepts = ridge.coefficients(y, penalty)
        np.testing.assert_allclose(weights, peer.coef_.T, atol=1e-7)
        np.testing.assert_allclose(intercepts, peer.intercept_, atol=1e-7)


def test_noise_is_mixed_after_prediction():
    x, y, x_test = data(80, 6, 1)
    noise, ridge = noise_matrix(y[:, 0], NOISE, (0.0, 0.3, 0.7), seeds=2), Ridge.fit(x)
    direct = ridge.predict(noise.targets, PENALTIES, x_test)
    np.testing.assert_allclose(ridge.predict(noise.basis, PENALTIES, x_test) @ noise.mix, direct, atol=1e-10)


@pytest.mark.parametrize(("n", "d"), SHAPES)
@pytest.mark.parametrize("mixed", [False, True])
def test_correlations_are_those_of_the_predictions(n, d, mixed):
    x, y, x_test = data(n, d)
    truths = np.random.default_rng(1).normal(3.0, 1.0, (20, 2))
    y[:, 2] = 0.1  # a constant target: nothing to correlate
    mix = np.array([[1.0, 0.5], [0.0, -2.0], [0.0, 1.0]]) if mixed else None
    ridge = Ridge.fit(x)
    targets = ridge.project_targets(y)
    targets = targets if mix is None else targets.mixed(mix)
    ours = ridge.correlations_of(targets, PENALTIES, ridge.moments(x_test, truths))
    predicted = Ridge.fit(x).predict(y if mix is None else y @ mix, PENALTIES, x_test)
    expected = [[pearson(e, t) for t in truths.T] for e in predicted]
    np.testing.assert_allclose(ours, np.moveaxis(expected, 1, 2), atol=1e-10)
    assert np.isnan(ours[:, 2]).all() if mix is None else np.isfinite(ours).all()


@pytest.mark.parametrize(("n", "d"), SHAPES)
def test_leaving_one_out_is_ridge_cvs(n, d):
    x, y, _ = data(n, d)
    alone = Ridge.fit(x).leave_groups_out(y, PENALTIES, np.arange(n))
    ours = ((y - alone) ** 2).mean(axis=1)
    peer = RidgeCV(alphas=PENALTIES, store_cv_results=True, alpha_per_target=True).fit(x, y)
    np.testing.assert_allclose(ours, peer.cv_results_.mean(axis=0).T, rtol=1e-5)
    np.testing.assert_allclose(np.array(PENALTIES)[ours.argmin(axis=0)], peer.alpha_)


@pytest.mark.parametrize(("n", "d"), SHAPES)
def test_leaving_groups_out_is_refitting_without_them(n, d):
    x, y, _ = data(n, d)
    groups = np.arange(n) % 4
    ours = Ridge.fit(x).leave_groups_out(y, PENALTIES, groups)
    for penalty, predicted in zip(PENALTIES, ours, strict=True):
        for group in range(4):
            peer = PeerRidge(alpha=penalty).fit(x[groups != group], y[groups != group])
            np.testing.assert_allclose(predicted[groups == group], peer.predict(x[groups == group]), atol=1e-6)


def test_one_way_folds_hold_out_whole_groups():
    groups = np.random.default_rng(0).integers(0, 23, 200)
    folds = grouped_folds(groups, folds=5, seed=1)
    assert len(folds) == 5
    np.testing.assert_array_equal(np.sort(np.concatenate([test for _, test in folds])), np.arange(200))
    for train, test in folds:
        assert not set(groups[train]) & set(groups[test])
        assert 20 <= len(test) <= 60
    again = grouped_folds(groups, folds=5, seed=1)
    assert all(np.array_equal(a[1], b[1]) for a, b in zip(folds, again, strict=True))


def test_two_way_folds_train_on_neither_factor_of_the_tested_rows():
    rng = np.random.default_rng(0)
    cue = np.array([f"c{i}" for i in rng.integers(0, 12, 400)], dtype=object)
    entity = np.array([f"e{i}" for i in rng.integers(0, 15, 400)], dtype=object)
    folds = grouped_folds(np.zeros(400), cue, entity, folds=3)
    assert len(folds) == 9
    np.testing.assert_array_equal(np.sort(np.concatenate([test for _, test in folds])), np.arange(400))
    for train, test in folds:
        assert len(train) and not set(cue[train]) & set(cue[test]) and not set(entity[train]) & set(entity[test])


def test_folds_where_factors_are_missing_or_few():
    groups = np.arange(10) % 3
    assert len(grouped_folds(groups, np.array([None] * 10), np.arange(10), folds=5)) == 3
    assert len(grouped_folds(groups, np.arange(10) % 2, np.arange(10) // 5, folds=5)) == 4
    with pytest.raises(ValueError, match="two groups"):
        grouped_folds(np.zeros(10))


def test_cross_validation_on_one_way_folds_is_that_of_refits_from_one_factorisation(monkeypatch):
    x, y, _ = data(90, 8)
    folds = grouped_folds(np.arange(90) % 12, folds=4)
    refits = np.concatenate([Ridge.fit(x[a]).predict(y[a], PENALTIES, x[b]) for a, b in folds], axis=1)
    fits, real = [], Ridge.fit
    monkeypatch.setattr(Ridge, "fit", lambda x: fits.append(len(x)) or real(x))
    ours, rows = cross_validated_predictions(x, y, folds, PENALTIES)
    assert fits == [90]
    np.testing.assert_array_equal(rows, np.concatenate([test for _, test in folds]))
    np.testing.assert_allclose(ours, refits, atol=1e-8)
    expected = [[np.corrcoef(a, b)[0, 1] for a, b in zip(p.T, y[rows].T, strict=True)] for p in refits]
    np.testing.assert_allclose(cross_validated_correlation(x, y, folds, PENALTIES), expected, atol=1e-8)


def test_leave_one_out_is_offered_and_is_that_of_refits():
    x, y, _ = data(40, 5, k=1)
    scores = cross_validate("ridge", x, y[:, 0], None, ExplainerSpec(penalties=PENALTIES))
    for penalty, score in scores.items():
        alone = [
            PeerRidge(alpha=penalty).fit(np.delete(x, i, 0), np.delete(y[:, 0], i)).predict(x[[i]])[0]
            for i in range(40)
        ]
        assert score == pytest.approx(np.corrcoef(alone, y[:, 0])[0, 1], abs=1e-8)
    with pytest.raises(ValueError, match=r"needs kinds: \[ridge\]"):
        ExplainerSpec(kinds=("ridge", "mlp"), cross_validation="leave_one_out")


def test_bad_input_is_refused():
    x, y, x_test = data(10, 3)
    with pytest.raises(ValueError, match="two training rows"):
        Ridge.fit(x[:1])
    with pytest.raises(ValueError, match="NaN"):
        Ridge.fit(np.full((5, 2), np.nan))
    with pytest.raises(ValueError, match="above zero"):
        Ridge.fit(x).predict(y, [0.0], x_test)


def test_constant_inputs_predict_the_mean():
    predicted = Ridge.fit(np.ones((10, 3))).predict(np.arange(10.0), [1.0], np.ones((4, 3)))
    np.testing.assert_allclose(predicted, 4.5)
