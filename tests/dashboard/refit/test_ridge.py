"""The live refit equals scikit-learn's ridge, and is quick enough for a slider."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import Ridge

from dashboard.reading.agreement import agreement, by_edit
from dashboard.refit import ridge
from engine.stats.noise import noise_matrix, shuffled_targets


def problem(n=300, m=120, d=24, seed=0):
    rng = np.random.default_rng(seed)
    x, x_test = rng.standard_normal((n, d)) + 1, rng.standard_normal((m, d)) + 1
    w = rng.standard_normal(d)
    y = x @ w + rng.standard_normal(n)
    effects = np.column_stack([x_test @ w + rng.standard_normal(m), x_test @ w])
    return x, x_test, y, effects


@pytest.mark.parametrize("n", [300, 15], ids=["primal", "dual"])
@pytest.mark.parametrize("kind", ["shuffle", "flip", "gaussian"])
def test_sweep_equals_a_loop_of_scikit_learn(kind, n):
    x, x_test, y, effects = problem(n=n)
    noise = noise_matrix(y, [kind], [0, 0.3, 0.8], seeds=3)
    made = ridge.factorise(x, x_test, effects)
    rows = ridge.sweep(made, noise, made.ridge.project_targets(noise.basis), 5.0)
    for j, row in rows.iterrows():
        predicted = Ridge(alpha=5.0).fit(x, noise.targets[:, j]).predict(x_test)
        assert row["self"] == pytest.approx(np.corrcoef(predicted, effects[:, 0])[0, 1], abs=1e-9)
        assert row["orig"] == pytest.approx(np.corrcoef(predicted, effects[:, 1])[0, 1], abs=1e-9)


@pytest.mark.parametrize("n", [300, 15], ids=["primal", "dual"])
def test_predictions_are_the_mean_over_seeds(n):
    x, x_test, y, effects = problem(n=n)
    noise = noise_matrix(y, ["shuffle"], [0, 0.5], seeds=4)
    expected = np.mean(
        [
            Ridge(alpha=2.0).fit(x, noise.targets[:, j]).predict(x_test)
            for j, label in enumerate(noise.labels)
            if label.level == 0.5
        ],
        axis=0,
    )
    made = ridge.factorise(x, x_test, effects)
    targets = made.ridge.project_targets(noise.basis)
    np.testing.assert_allclose(ridge.predictions(made, noise, targets, 2.0, 0.5), expected, atol=1e-9)


def test_curve_averages_seeds_and_keeps_their_range():
    rows = pd.DataFrame(
        {"noise": [0, 0.5, 0.5], "seed": [0, 0, 1], "noisy_clean": [1, 0.4, 0.6], "self": [0.9, 0.4, 0.6], "orig": 0.5}
    )
    mean = ridge.curve(rows)
    assert mean["self"].tolist() == pytest.approx([0.9, 0.5])
    assert (mean["self_low"][1], mean["self_high"][1], mean["seeds"][1]) == (0.4, 0.6, 2)


def test_null_is_centred_and_narrow():
    x, x_test, y, effects = problem(n=600)
    made = ridge.factorise(x, x_test, effects)
    low, high = ridge.null_band(made, made.ridge.project_targets(shuffled_targets(y, None, 200)), 1.0)
    assert low < 0 < high < 0.6 and abs(low + high) < 0.2


def test_training_rows_are_nested():
    small, large = ridge.training_rows(100, 20), ridge.training_rows(100, 60)
    assert set(small) < set(large) and len(ridge.training_rows(100, 1000)) == 100
    assert set(ridge.training_rows(100, 20, seed=1)) != set(small)


@pytest.mark.parametrize(("limit", "level"), [(0.5, 0.5), (0.95, 0.05), (-1, None), (2, 0.0)])
def test_the_breaking_level_is_interpolated(limit, level):
    found = ridge.falls_below(np.array([0, 0.5, 1.0]), np.array([1.0, 0.5, 0.0]), limit)
    assert found == (pytest.approx(level) if level is not None else None)


def rows(n=400, seed=0, follows="current"):
    rng = np.random.default_rng(seed)
    f = {name: rng.standard_normal(n) for name in ("f_current", "f_edited_current", "f_target", "f_edited_target")}
    frame = pd.DataFrame(f)
    for who in ("current", "target"):
        frame[f"effect_{who}"] = frame[f"f_edited_{who}"] - frame[f"f_{who}"]
    frame["explanation"] = frame[f"effect_{follows}"] + 0.3 * rng.standard_normal(n)
    frame["group"] = [f"g{i // 4}" for i in range(n)]
    frame["cue"] = frame["entity"] = None
    frame["edit"] = np.where(np.arange(n) % 2, "a", "b")
    return frame


@pytest.mark.parametrize(("follows", "sign"), [("current", 1), ("target", -1)])
def test_agreement_knows_whom_the_explanation_follows(follows, sign):
    found = agreement(rows(follows=follows), draws=100)
    assert found.testable and sign * found.gap.value > 0.5
    assert sign * found.counterfactual_gap.value > 0.5
    assert found.null[0] < 0 < found.null[1] < max(found.self.value, found.orig.value)
    assert found.gap.low < found.gap.value < found.gap.high
    assert (found.n, found.n_groups, found.few) == (400, 100, False)


def test_reading_the_output_is_coupling_but_no_counterfactual_knowledge():
    frame = rows()
    frame["explanation"] = -frame["f_current"]
    found = agreement(frame, draws=100)
    assert found.gap.low > 0.3 and abs(found.counterfactual_gap.value) < 0.1


def test_a_pair_that_cannot_be_told_apart_is_not_testable():
    frame = rows()
    for name in ("f", "f_edited", "effect"):
        frame[f"{name}_target"] = frame[f"{name}_current"]
    found = agreement(frame, draws=100)
    assert not found.testable and found.counterfactual_gap.value is None and found.gap.value == pytest.approx(0)


@pytest.mark.parametrize("n", [0, 1, 2, 5])
def test_tiny_slices_are_answered(n):
    found = agreement(rows().iloc[:n], draws=50)
    assert found.few and found.n == n


def test_each_kind_of_edit_stands_alone():
    assert {k: v.n for k, v in by_edit(rows(), draws=50).items()} == {"a": 200, "b": 200}
