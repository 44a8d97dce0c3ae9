"""Ensembles trained at once: right answers, independent replicates, seeds, warm starts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge as PeerRidge
from torch import nn

from engine.probes.neural import Ensemble, NeuralExplainers

KINDS = ("linear", "mlp")


def data(n: int = 300, d: int = 5, seed: int = 0):
    rng = np.random.default_rng(seed)
    x = rng.normal(3.0, 2.0, (n, d))
    y = np.stack([x @ rng.normal(size=d) + 7, np.abs(x[:, 0] - 3) * 4, rng.normal(size=n) * 0.1], axis=1)
    return x, y


def test_linear_converges_to_ridge():
    """Full batches: (1/n)·‖error‖² + (decay/2)·‖w‖² on standardised data is ridge with α = n·decay/2."""
    x, y = data()
    decay = 0.2
    ours = NeuralExplainers("linear", 5, 3, weight_decays=decay, batch=300, learning_rate=0.02).train(x, y, 1500)
    z = (x - x.mean(0)) / x.std(0)
    target = (y - y.mean(0)) / y.std(0)
    peer = PeerRidge(alpha=300 * decay / 2).fit(z, target)
    np.testing.assert_allclose(ours.predict(x), peer.predict(z) * y.std(0) + y.mean(0), atol=2e-3 * np.abs(y).max())


def test_mlp_learns_what_linear_cannot():
    x, y = data(1000)
    fits = {kind: NeuralExplainers(kind, 5, 3, learning_rate=0.01).train(x, y, 400).predict(x) for kind in KINDS}
    r = {kind: np.corrcoef(e[:, 1], y[:, 1])[0, 1] for kind, e in fits.items()}
    assert r["mlp"] > 0.95 and r["linear"] < 0.5
    assert np.corrcoef(fits["mlp"][:, 0], y[:, 0])[0, 1] > 0.99


def test_an_ensemble_is_its_replicates_one_by_one():
    """Forward and gradient equal those of separate torch modules with the same weights."""
    net = Ensemble("mlp", 4, 3, 8, torch.Generator().manual_seed(0))
    x, y = torch.randn(16, 4), torch.randn(16, 3)
    ((net(x) - y) ** 2).mean(0).sum().backward()
    for r in range(3):
        one = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))
        with torch.no_grad():
            one[0].weight.copy_(net.first[:, r * 8 : (r + 1) * 8].T)
            one[0].bias.copy_(net.first_bias[r * 8 : (r + 1) * 8])
            one[2].weight.copy_(net.second[r : r + 1])
            one[2].bias.copy_(net.second_bias[r : r + 1])
        torch.testing.assert_close(net(x)[:, r], one(x)[:, 0])
        nn.functional.mse_loss(one(x)[:, 0], y[:, r]).backward()
        torch.testing.assert_close(net.first.grad[:, r * 8 : (r + 1) * 8].T, one[0].weight.grad)
        torch.testing.assert_close(net.second.grad[r : r + 1], one[2].weight.grad)


@pytest.mark.parametrize("kind", KINDS)
def test_replicates_do_not_touch_each_other(kind):
    x, y = data()
    other = y.copy()
    other[:, 1:] = np.random.default_rng(5).normal(size=(300, 2))
    fits = [NeuralExplainers(kind, 5, 3, weight_decays=[0, 0.1, 0.2], width=8).train(x, t, 30) for t in (y, other)]
    np.testing.assert_allclose(fits[0].predict(x)[:, 0], fits[1].predict(x)[:, 0], rtol=1e-5)
    assert not np.allclose(fits[0].predict(x)[:, 1], fits[1].predict(x)[:, 1])


@pytest.mark.parametrize("kind", KINDS)
def test_rows_left_out_have_no_influence(kind):
    x, y = data()
    rows = np.ones((300, 3), dtype=bool)
    rows[:100, 0] = False
    spoiled = y.copy()
    spoiled[:100, 0] = 1e4
    fits = [NeuralExplainers(kind, 5, 3, width=8).train(x, t, 30, rows).predict(x) for t in (y, spoiled)]
    np.testing.assert_allclose(fits[0], fits[1], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_seeds_repeat_and_differ_and_leave_the_global_generator_alone(kind):
    x, y = data()
    before = torch.random.get_rng_state()
    fits = [NeuralExplainers(kind, 5, 3, seed=s).train(x, y, 5).predict(x) for s in (0, 0, 1)]
    np.testing.assert_array_equal(fits[0], fits[1])
    assert not np.allclose(fits[0], fits[2])
    assert torch.equal(before, torch.random.get_rng_state())


def test_a_warm_start_goes_on():
    x, y = data()
    split = NeuralExplainers("mlp", 5, 3, batch=300).train(x, y, 10).train(x, y, 10)
    whole = NeuralExplainers("mlp", 5, 3, batch=300).train(x, y, 20)
    np.testing.assert_allclose(split.predict(x), whole.predict(x), rtol=1e-4, atol=1e-4)
    scale = split.ensemble.input_mean.clone()
    split.train(x + 10, y, 1)
    assert torch.equal(scale, split.ensemble.input_mean)


def test_weight_decay_shrinks_its_own_replicate():
    x, y = data()
    y = np.repeat(y[:, :1], 2, axis=1)
    e = NeuralExplainers("linear", 5, 2, weight_decays=[0.0, 5.0], learning_rate=0.02).train(x, y, 400).predict(x)
    assert e[:, 1].std() < 0.5 * e[:, 0].std()


def test_constant_inputs_and_targets_are_survived():
    e = NeuralExplainers("mlp", 2, 1).train(np.ones((20, 2)), np.full(20, 3.0), 20).predict(np.ones((4, 2)))
    np.testing.assert_allclose(e, 3.0, atol=0.5)


def test_a_wrong_shape_is_refused():
    with pytest.raises(ValueError, match="targets have shape"):
        NeuralExplainers("linear", 2, 2).train(np.ones((20, 2)), np.ones(20), 1)
