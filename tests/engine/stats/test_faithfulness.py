"""Scores against plain formulas, and verdicts on explainers built by hand, whose answer is known."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from scipy import stats

from engine.records import INTERVALS, METRICS, VERDICTS
from engine.stats.bootstrap import bootstrap_weights
from engine.stats.correlation import partial, spline_basis
from engine.stats.faithfulness import Behavior, null, score, span_ranking, verdicts

STEPS = 4


@pytest.fixture(autouse=True)
def _no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


class World:
    """The world `independent`: f(x) and f(x') both drift, each by itself, with cue and entity effects."""

    def __init__(self, seed: int = 0, cues: int = 35, entities: int = 35, drift: float = 1.0) -> None:
        rng = np.random.default_rng(seed)
        self.cue, self.entity = (a.ravel() for a in np.meshgrid(np.arange(cues), np.arange(entities)))
        self.n, self.rng = len(self.cue), rng
        ends = [self._part() for _ in range(4)]
        shares = drift * np.linspace(0, 1, STEPS)
        f = [np.sqrt(1 - s**2) * ends[0] + s * ends[1] for s in shares]
        f_edited = [np.sqrt(1 - s**2) * ends[2] + s * ends[3] for s in shares]
        self.behaviors = [Behavior(a, b) for a, b in zip(f, f_edited, strict=True)]
        self.target = self.behaviors[0]
        self.resamples = bootstrap_weights(np.random.default_rng(1), 300, self.cue, self.cue, self.entity)

    def _part(self) -> np.ndarray:
        rng = self.rng
        return 0.5 * rng.normal(size=35)[self.cue] + 0.5 * rng.normal(size=35)[self.entity] + self.noise()

    def noise(self) -> np.ndarray:
        return self.rng.normal(size=self.n)

    def trajectory(self, explainer, at_start=True):
        """Scores over checkpoints of explainer(behavior) -> [n]."""
        first = explainer(self.target)
        return [
            score(
                explainer(b),
                b,
                self.target,
                self.resamples,
                stale=first,
                at_start=first if at_start else None,
            )[0]
            for b in self.behaviors
        ]

    def nulls(self):
        return [null(self.rng.normal(size=(self.n, 200)), b, self.target) for b in self.behaviors]


@pytest.fixture(scope="module")
def world() -> World:
    return World()


def said(world: World, explainer) -> tuple[set[str], set[str]]:
    """The verdicts after the first checkpoint: (coupling, counterfactual)."""
    (of_explainer,) = verdicts([world.trajectory(explainer)], [world.nulls()])
    first = of_explainer[0]
    assert (first.coupling, first.counterfactual) == ("not testable", "not testable")  # target = current
    return {v.coupling for v in of_explainer[1:]}, {v.counterfactual for v in of_explainer[1:]}


def test_reading_the_present_output_is_coupled_and_knows_nothing_unseen(world):
    assert said(world, lambda b: -b.f) == ({"holds"}, {"absent"})


def test_a_bent_noisy_read_out_of_the_output_never_knows_the_unseen(world):
    coupling, counterfactual = said(world, lambda b: -np.tanh(b.f) + 0.2 * world.noise())
    assert coupling == {"holds"} and not counterfactual & {"holds", "reverses"}


def test_knowing_the_unseen_run_holds(world):
    assert said(world, lambda b: b.effect + 0.5 * world.noise()) == ({"holds"}, {"holds"})
    assert said(world, lambda b: b.f_edited + 0.5 * world.noise())[1] == {"holds"}


def test_reciting_the_targets_reverses(world):
    recited = world.target.effect + 0.3 * world.noise()
    assert said(world, lambda b: recited) == ({"reverses"}, {"reverses"})


def test_noise_shows_nothing(world):
    coupling, counterfactual = said(world, lambda b: world.noise())
    assert not (coupling | counterfactual) & {"holds", "reverses"}


def test_a_pair_that_cannot_be_told_apart_is_not_testable():
    """The world `rescale`: all behavior halved; correlation is blind to it, slope is not."""
    world = World(seed=2)
    halved = Behavior(world.target.f / 2, world.target.f_edited / 2)
    e = world.target.effect + 0.5 * world.noise()
    (at,) = score(e, halved, world.target, world.resamples)
    ((verdict,),) = verdicts([[at]])
    assert (verdict.coupling, verdict.counterfactual) == ("not testable", "not testable")
    assert at.values["testable"] is False and at["target_current"] == pytest.approx(1)
    (then,) = score(e, world.target, world.target, world.resamples)
    assert at["slope"] == pytest.approx(then["slope"] / 2)
    assert at["mse_orig_minus_mse_self"] < 0


def test_an_alike_unseen_run_leaves_coupling_testable():
    """The world `cue`: f(x) moves, f(x') does not."""
    world = World(seed=3)
    current = Behavior(world.behaviors[2].f, world.target.f_edited)
    (at,) = score(-current.f, current, world.target, world.resamples)
    ((verdict,),) = verdicts([[at]])
    assert (verdict.coupling, verdict.counterfactual) == ("holds", "not testable")


def test_values_are_the_plain_formulas(world):
    b, target = world.behaviors[2], world.target
    e = b.effect + target.effect + world.noise()
    start, stale = e + world.noise(), world.noise()
    (at,) = score(e, b, target, world.resamples, stale=stale, at_start=start)
    r = lambda x, y: stats.pearsonr(x, y)[0]  # noqa: E731
    z = spline_basis(b.f, target.f)
    expected = {
        "self": r(e, b.effect),
        "orig": r(e, target.effect),
        "gap": r(e, b.effect) - r(e, target.effect),
        "counterfactual_gap": (partial(e, b.f_edited, z) - partial(e, target.f_edited, z)).item(),
        "change_tracking": partial(e - start, b.effect - target.effect, z).item(),
        "direction": r(e, stats.zscore(b.effect) - stats.zscore(target.effect)),
        "self_minus_stale": r(e, b.effect) - r(stale, b.effect),
        "target_current": r(b.effect, target.effect),
        "slope": stats.linregress(e, b.effect).slope,
        "mean_effect_error": (e - b.effect).mean(),
        "mse_orig_minus_mse_self": ((e - target.effect) ** 2).mean() - ((e - b.effect) ** 2).mean(),
        "spearman": stats.spearmanr(e, b.effect)[0],
        "sign_agreement": (np.sign(e) == np.sign(b.effect)).mean(),
        "n": world.n,
        "n_groups": 35,
        "seeds": 1,
    }
    for name, value in expected.items():
        assert at[name] == pytest.approx(value), name
    for name in INTERVALS:
        assert at[f"{name}_low"] < at[name] < at[f"{name}_high"], name
    assert set(at.values) <= set(METRICS.names)
    assert set(at.draws) == set(INTERVALS)


def test_gap_is_direction_times_what_the_distance_allows(world):
    e = world.rng.normal(size=(world.n, 5)) + world.behaviors[3].effect[:, None]
    for b in world.behaviors[1:]:
        for at in score(e, b, world.target, world.resamples):
            cap = np.sqrt(2 * (1 - at["target_current"]))
            assert at["gap"] == pytest.approx(cap * at["direction"], abs=1e-12)


def test_seeds_are_averaged_with_their_draws(world):
    b = world.behaviors[1]
    e = b.effect[:, None] + world.rng.normal(size=(world.n, 4))
    alone = score(e, b, world.target, world.resamples)
    first, second = score(e, b, world.target, world.resamples, average=[0, 0, 0, 1])
    assert first["seeds"] == 3 and second["seeds"] == 1
    assert first["self"] == pytest.approx(np.mean([at["self"] for at in alone[:3]]))
    np.testing.assert_allclose(first.draws["gap"], np.mean([at.draws["gap"] for at in alone[:3]], axis=0))
    assert second.values == alone[3].values


def test_constant_explanations_are_null_not_an_error(world):
    b = world.behaviors[1]
    (at,) = score(np.full(world.n, 0.1), b, world.target, world.resamples, stale=np.zeros(world.n))
    for name in ("self", "gap", "counterfactual_gap", "direction", "self_minus_stale", "slope", "spearman"):
        assert at.values[name] is None, name
    assert at.values["self_low"] is None
    ((verdict,),) = verdicts([[at]])
    assert verdict.coupling == verdict.counterfactual == "not testable"


@pytest.mark.parametrize("n", [0, 1, 2, 5])
def test_tiny_slices_give_null(n):
    rng = np.random.default_rng(0)
    b, target = (Behavior(rng.normal(size=n), rng.normal(size=n)) for _ in range(2))
    resamples = bootstrap_weights(rng, 20, np.arange(n))
    (at,) = score(rng.normal(size=n), b, target, resamples, at_start=rng.normal(size=n))
    assert at["n"] == n and at.values["counterfactual_gap"] is None
    assert all(v is None or np.isfinite(v) for v in at.values.values() if not isinstance(v, str))


def test_without_resamples_there_are_no_intervals(world):
    (at,) = score(world.noise(), world.behaviors[1], world.target)
    assert "self_low" not in at.values and not at.draws
    ((verdict,),) = verdicts([[at]])
    assert verdict.coupling == verdict.counterfactual == "inconclusive"


def test_span_ranking_is_kendalls_tau_within_prompts():
    rng = np.random.default_rng(0)
    prompts = np.repeat(np.arange(12), [1, 2, 3, 4] * 3)
    order = rng.permutation(len(prompts))
    e, effect = rng.normal(size=(len(prompts), 2)), rng.normal(size=len(prompts))
    expected = [
        np.mean([stats.kendalltau(e[prompts == p, j], effect[prompts == p])[0] for p in range(12) if p % 4])
        for j in range(2)
    ]
    np.testing.assert_allclose(span_ranking(e[order], effect[order], prompts[order]), expected)
    assert np.isnan(span_ranking(e, effect, np.arange(len(prompts)))).all()


def test_null_bands_hold_the_shuffled_and_not_the_true(world):
    b = world.behaviors[2]
    e = world.rng.normal(size=(world.n, 200))
    of_null = null(e, b, world.target)
    r = np.array([stats.pearsonr(column, b.effect)[0] for column in e.T])
    band = of_null.bands["self"]
    assert (band.mean, band.low, band.high) == pytest.approx((r.mean(), *np.quantile(r, [0.025, 0.975])))
    assert band.standard_error == pytest.approx(stats.sem(r))
    assert set(of_null.values) <= set(METRICS.names)
    (at,) = score(b.effect + world.noise(), b, world.target)
    assert at["self"] > band.high


def test_holm_asks_more_of_many_trajectories(world):
    """A weak effect that holds by itself need not hold as one of many."""
    mixes = np.linspace(0.02, 0.3, 15)
    weak = [world.trajectory(lambda b, m=m: m * b.effect + world.noise(), at_start=False) for m in mixes]
    alone = [verdicts([t])[0][-1] for t in weak]
    together = [v[-1] for v in verdicts(weak)]
    holds_alone = [v.coupling == "holds" for v in alone]
    holds_together = [v.coupling == "holds" for v in together]
    assert sum(holds_together) <= sum(holds_alone)
    assert all(a or not b for a, b in zip(holds_alone, holds_together, strict=True))
    for a, b in zip(alone, together, strict=True):
        assert b.gap_band[0] <= a.gap_band[0] + 1e-12 and b.gap_band[1] >= a.gap_band[1] - 1e-12
        assert {b.coupling, b.counterfactual} <= set(VERDICTS)
