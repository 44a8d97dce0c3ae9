"""Frozen, online and refit explainers on hidden states that drift."""

from __future__ import annotations

import sys
from typing import get_args

import numpy as np
import pytest
from sklearn.linear_model import Ridge as PeerRidge

from engine.config import ExplainerKind, ExplainerSpec
from engine.probes.kinds import EXPLAINERS
from engine.probes.regimes import best, ceiling, cross_validate, explain
from engine.probes.ridge import grouped_folds

SPEC = ExplainerSpec(steps=60, online_steps=10, width=8, batch=64, weight_decays=(1e-3, 10.0))
PAIRS = [(kind, regime) for kind, explainer in EXPLAINERS.items() for regime in explainer.regimes]


def world(checkpoints: int = 3, n: int = 200, d: int = 6):
    """Hidden states [n, d] whose directions turn from checkpoint to checkpoint."""
    rng = np.random.default_rng(0)
    base, base_eval = rng.normal(size=(n, d)), rng.normal(size=(50, d))
    turns = [np.eye(d) + 0.3 * t * rng.normal(size=(d, d)) for t in range(checkpoints)]
    y = np.stack([base @ rng.normal(size=d), base[:, 0] + 2], axis=1)
    return [(base @ turn, base_eval @ turn) for turn in turns], y


@pytest.mark.parametrize(("kind", "regime"), PAIRS)
def test_every_kind_and_regime(kind, regime):
    hidden, y = world()
    out = explain(kind, regime, hidden, y, penalty=0.01, spec=SPEC)
    assert [e.shape for e in out] == [(50, 2)] * 3
    assert all(np.isfinite(e).all() for e in out)
    again = explain(kind, regime, iter(hidden), y, penalty=0.01, spec=SPEC)
    np.testing.assert_array_equal(out, again)


@pytest.mark.parametrize("kind", EXPLAINERS)
def test_all_regimes_agree_at_the_first_checkpoint_and_part_later(kind):
    hidden, y = world()
    outs = [explain(kind, regime, hidden, y, penalty=0.01, spec=SPEC) for regime in EXPLAINERS[kind].regimes]
    for other in outs[1:]:
        np.testing.assert_array_equal(outs[0][0], other[0])
        assert not np.allclose(outs[0][2], other[2])


@pytest.mark.parametrize("kind", EXPLAINERS)
def test_frozen_reads_only_the_first_training_inputs(kind):
    hidden, y = world()
    later_untrained = [hidden[0], *((None, x_eval) for _, x_eval in hidden[1:])]
    both = (explain(kind, "frozen", given, y, penalty=1.0, spec=SPEC) for given in (hidden, later_untrained))
    np.testing.assert_array_equal(*both)
    with pytest.raises(ValueError, match="X_train"):
        explain(kind, "refit", later_untrained, y, penalty=1.0, spec=SPEC)


def test_ridge_is_scikit_learns_in_both_regimes():
    hidden, y = world()
    first = PeerRidge(alpha=2.0).fit(hidden[0][0], y)
    outs = (explain("ridge", regime, hidden, y, penalty=2.0, spec=SPEC) for regime in ("frozen", "refit"))
    for frozen, refit, (x_train, x_eval) in zip(*outs, hidden, strict=True):
        np.testing.assert_allclose(frozen, first.predict(x_eval), atol=1e-8)
        np.testing.assert_allclose(refit, PeerRidge(alpha=2.0).fit(x_train, y).predict(x_eval), atol=1e-8)


@pytest.mark.parametrize("kind", ["linear", "mlp"])
def test_online_with_many_steps_forgets_where_it_came_from(kind):
    """It follows the turned hidden states better than the frozen explainer does."""
    hidden, y = world(n=400)
    _, truth = world(n=400)
    train_as_eval = [(x, x) for x, _ in hidden]
    spec = SPEC.model_copy(update={"steps": 300, "online_steps": 300, "learning_rate": 0.01})
    frozen = explain(kind, "frozen", train_as_eval, y, penalty=0.0, spec=spec)[-1]
    online = explain(kind, "online", train_as_eval, y, penalty=0.0, spec=spec)[-1]
    assert np.corrcoef(online[:, 0], truth[:, 0])[0, 1] > np.corrcoef(frozen[:, 0], truth[:, 0])[0, 1] + 0.01


@pytest.mark.parametrize("kind", EXPLAINERS)
def test_cross_validation_prefers_the_setting_that_learns(kind):
    hidden, y = world()
    folds = grouped_folds(np.arange(200) % 20, folds=4)
    spec = SPEC.model_copy(update={"penalties": (1.0, 1e6), "steps": 150})
    scores = cross_validate(kind, hidden[0][0], y[:, 0], folds, spec)
    assert tuple(scores) == (spec.weight_decays if kind in ("linear", "mlp") else spec.penalties)
    assert best(scores) == min(scores)
    assert scores[best(scores)] > 0.8


def test_best_prefers_the_larger_of_equals_and_any_number_to_none():
    assert best({0.1: 0.5, 1.0: 0.5, 10.0: float("nan")}) == 1.0
    assert best({0.1: float("nan"), 1.0: float("nan")}) == 1.0


def test_ceiling_refits_on_the_current_effects():
    hidden, y = world()
    effects = [y[:, 0] * t for t in range(1, 4)]
    for t, (e, (x_train, x_eval)) in enumerate(zip(ceiling(hidden, effects, 1.0), hidden, strict=True)):
        np.testing.assert_allclose(e, PeerRidge(alpha=1.0).fit(x_train, effects[t]).predict(x_eval), atol=1e-8)


def test_unknown_regime_is_refused():
    with pytest.raises(ValueError, match="no regime"):
        explain("ridge", "online", [], np.zeros(3), penalty=1.0, spec=SPEC)


def test_the_registry_holds_every_kind_a_spec_may_name():
    assert tuple(EXPLAINERS) == get_args(ExplainerKind)


def test_ridge_needs_no_torch():
    import subprocess

    modules = "engine.probes.regimes, engine.probes.kinds, engine.stats.faithfulness, engine.probes.text_controls"
    code = f"import sys, {modules}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
