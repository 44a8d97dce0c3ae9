"""The live refit equals scikit-learn's ridge."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import Ridge

from dashboard.refit import live_ridge
from engine.stats.noise import noise_matrix, shuffled_targets


def problem(n: int = 300, m: int = 120, d: int = 24) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """X, X of the test rows, targets, and effects of both models."""
    rng = np.random.default_rng(0)
    x, x_test = rng.standard_normal((n, d)) + 1, rng.standard_normal((m, d)) + 1
    w = rng.standard_normal(d)
    y = x @ w + rng.standard_normal(n)
    return x, x_test, y, np.column_stack([x_test @ w + rng.standard_normal(m), x_test @ w])


@pytest.mark.parametrize("n", [300, 15], ids=["primal", "dual"])
@pytest.mark.parametrize("kind", ["shuffle", "flip", "gaussian"])
def test_a_refit_equals_a_loop_of_scikit_learn(kind: str, n: int) -> None:
    x, x_test, y, effects = problem(n=n)
    noise = noise_matrix(y, [kind], [0, 0.3, 0.8], seeds=3)
    made = live_ridge.factorise(x, x_test, effects)
    targets = made.ridge.project_targets(noise.basis)
    said = Ridge(alpha=5.0).fit(x, noise.targets).predict(x_test)
    rows = live_ridge.sweep(made, noise, targets, 5.0)
    for k, name in enumerate(("self", "orig")):
        expected = [np.corrcoef(column, effects[:, k])[0, 1] for column in said.T]
        np.testing.assert_allclose(rows[name], expected, atol=1e-9)
    mean = said[:, rows["noise"] == 0.3].mean(axis=1)
    np.testing.assert_allclose(live_ridge.predictions(made, noise, targets, 5.0, 0.3), mean, atol=1e-9)


def test_curve_averages_seeds_and_keeps_their_range() -> None:
    rows = pd.DataFrame(
        {"noise": [0, 0.5, 0.5], "seed": [0, 0, 1], "noisy_clean": [1, 0.4, 0.6], "self": [0.9, 0.4, 0.6], "orig": 0.5}
    )
    mean = live_ridge.curve(rows)
    assert mean["self"].tolist() == pytest.approx([0.9, 0.5])
    assert (mean["self_low"][1], mean["self_high"][1], mean["seeds"][1]) == (0.4, 0.6, 2)


def test_null_is_centred_and_narrow() -> None:
    x, x_test, y, effects = problem(n=600)
    made = live_ridge.factorise(x, x_test, effects)
    low, high = live_ridge.null_band(made, made.ridge.project_targets(shuffled_targets(y, None, 200)), 1.0)
    assert low < 0 < high < 0.6 and abs(low + high) < 0.2


def test_training_rows_are_nested() -> None:
    small, large = live_ridge.training_rows(100, 20), live_ridge.training_rows(100, 60)
    assert set(small) < set(large) and len(live_ridge.training_rows(100, 1000)) == 100


@pytest.mark.parametrize(("limit", "level"), [(0.5, 0.5), (0.95, 0.05), (-1, None), (2, 0.0)])
def test_the_breaking_level_is_interpolated(limit: float, level: float | None) -> None:
    found = live_ridge.falls_below(np.array([0, 0.5, 1.0]), np.array([1.0, 0.5, 0.0]), limit)
    assert found == (None if level is None else pytest.approx(level))
