"""16 mlp explainers trained at once, beside a loop of scikit-learn's MLPRegressor.

Same data, width, batch size, learning rate, weight decay and number of Adam steps; 16 noisy copies of the
targets. Random numbers differ, so the answers are compared as accuracy: R² on the clean test targets.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import r2_score
from sklearn.neural_network import MLPRegressor
from sklearn.preprocessing import StandardScaler

from engine.probes.neural import NeuralExplainers
from tests.benchmarks.side_by_side import side_by_side

PROBES, ROWS, DIMENSIONS, WIDTH, BATCH, EPOCHS, RATE, DECAY = 16, 2048, 256, 64, 256, 30, 3e-3, 1e-2
STEPS = EPOCHS * ROWS // BATCH
PEER = {
    "hidden_layer_sizes": (WIDTH,),
    "batch_size": BATCH,
    "learning_rate_init": RATE,
    "alpha": DECAY * BATCH / 2,  # it divides alpha by the rows of a batch, and halves the error
    "max_iter": EPOCHS,
    "tol": 0.0,
    "n_iter_no_change": EPOCHS,
}


def problem() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """X [n, d], Y [n, 16], X_test, clean y_test."""
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(16, DIMENSIONS)) / 4
    hidden, hidden_test = rng.normal(size=(ROWS, 16)), rng.normal(size=(ROWS, 16))
    weights = rng.normal(size=16)

    def states(h: np.ndarray) -> np.ndarray:
        return (h @ mixing + 0.1 * rng.normal(size=(len(h), DIMENSIONS))).astype(np.float32)

    def effect(h: np.ndarray) -> np.ndarray:
        return h @ weights + 2 * np.abs(h[:, 0])

    y = effect(hidden)[:, None] + 0.5 * rng.normal(size=(ROWS, PROBES))
    return states(hidden), y, states(hidden_test), effect(hidden_test)


def rows() -> list[dict[str, Any]]:
    """Measured rows of the benchmark table."""
    x, y, x_test, y_test = problem()

    def ours(repetition: int) -> np.ndarray:
        options = {"weight_decays": DECAY, "width": WIDTH, "learning_rate": RATE, "batch": BATCH, "seed": repetition}
        return NeuralExplainers("mlp", DIMENSIONS, PROBES, **options).train(x, y, STEPS).predict(x_test)

    def loop(repetition: int) -> np.ndarray:
        scaler = StandardScaler().fit(x)
        z, z_test = scaler.transform(x), scaler.transform(x_test)
        out = []
        for j in range(PROBES):
            peer = MLPRegressor(random_state=1000 * repetition + j, **PEER)
            mean, scale = y[:, j].mean(), y[:, j].std()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)
                peer.fit(z, ((y[:, j] - mean) / scale).astype(np.float32))
            out.append(peer.predict(z_test) * scale + mean)
        return np.stack(out, axis=1)

    accuracies: list[list[float]] = []

    def accuracy_apart(a: np.ndarray, b: np.ndarray) -> float:
        accuracies.append([float(np.mean([r2_score(y_test, e) for e in predictions.T])) for predictions in (a, b)])
        return abs(accuracies[-1][0] - accuracies[-1][1])

    name = f"{PROBES} mlp explainers: loop of scikit-learn MLPRegressor"
    row = side_by_side(name, ours, loop, goal=2, tolerance=0.01, difference=accuracy_apart, repetitions=5)
    own, theirs = np.mean(accuracies, axis=0)
    note = (
        f"{ROWS} × {DIMENSIONS}, width {WIDTH}, {STEPS} Adam steps of {BATCH}; float32 both; "
        f"mean test R² {own:.4f} ours, {theirs:.4f} theirs; the difference is that of R²"
    )
    return [row | {"note": note}]
