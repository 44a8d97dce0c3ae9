"""Scores against plain formulas, and verdicts on explainers built by hand, whose answer is known."""

from __future__ import annotations

import warnings
from functools import cached_property

import numpy as np
import pytest
from scipy import stats

from engine.records import INTERVALS, METRICS, VERDICTS
from engine.stats.bootstrap import bootstrap_weights
from engine.stats.faithfulness import Behavior, Null, band_of, null, score, span_ranking
from engine.stats.unseen import Design, UnseenRun, unseen_run
from engine.stats.verdicts import verdicts

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
        self.design = Design(self.cue, self.cue, self.entity)

    @cached_property
    def unseen(self) -> list[UnseenRun]:
        return [unseen_run(b, self.target, self.design) for b in self.behaviors]

    def _part(self) -> np.ndarray:
        rng = self.rng
        return 0.5 * rng.normal(size=35)[self.cue] + 0.5 * rng.normal(size=35)[self.entity] + self.noise()

    def noise(self) -> np.ndarray:
        return self.rng.normal(size=self.n)

    def trajectory(self, explainer):
        """Scores over checkpoints of explainer(behavior) -> [n]."""
        first = explainer(self.target)
        return [
            score(explainer(b), b, self.target, self.resamples, unseen=unseen, stale=first)[0]
            for b, unseen in zip(self.behaviors, self.unseen, strict=True)
        ]


@pytest.fixture(scope="module")
def world() -> World:
    return World()


def said(world: World, explainer, claims: tuple[str, ...] = ("coupling", "unseen")) -> list[set[str]]:
    """For each claim, the verdicts after the first checkpoint."""
    trajectory, out = world.trajectory(explainer), []
    for claim in claims:
        (of_explainer,) = verdicts([trajectory], claim)
        assert of_explainer[0].word == "not testable"  # target = current
        out.append({v.word for v in of_explainer[1:]})
    return out


def test_reading_the_present_output_is_coupled_and_knows_nothing_unseen(world):
    assert said(world, lambda b: -b.f) == [{"shown"}, {"not testable"}]


def test_a_bent_noisy_read_out_of_the_output_never_knows_the_unseen(world):
    coupling, unseen = said(world, lambda b: -np.tanh(b.f) + 0.2 * world.noise())
    assert coupling == {"shown"} and "shown" not in unseen


def test_knowing_the_unseen_run_is_shown(world):
    claims = ("coupling", "unseen", "outputs")
    assert said(world, lambda b: b.effect + 0.5 * world.noise(), claims) == [{"shown"}] * 3
    assert said(world, lambda b: b.f_edited + 0.5 * world.noise())[1] == {"shown"}


def test_reciting_and_contradicting_the_labels_are_not_shown(world):
    recited = world.target.effect + 0.3 * world.noise()
    coupling, unseen = said(world, lambda b: recited)
    assert coupling == {"excluded"} and "shown" not in unseen
    coupling, unseen = said(world, lambda b: recited if b is world.target else -recited)
    assert "shown" not in coupling | unseen, "its gap is above 0, its Self is not"


def test_noise_shows_nothing(world):
    coupling, unseen = said(world, lambda b: world.noise())
    assert not (coupling | unseen) & {"shown", "reversed"}


def test_self_is_orig_at_the_target(world):
    (at,) = score(world.noise(), world.target, world.target, world.resamples, unseen=world.unseen[0])
    assert at["self"] == at["orig"] and at["gap"] == 0
    np.testing.assert_array_equal(at.draws["self"], at.draws["orig"])
    assert (at["gap_low"], at["gap_high"]) == (0, 0)
    assert at.values["unseen"] is None and "follows from this prompt's outputs" in at.values["why_not"]


def test_a_pair_that_cannot_be_told_apart_is_not_testable():
    """The world `rescale`: all behavior halved; correlation is blind to it, slope is not."""
    world = World(seed=2)
    halved = Behavior(world.target.f / 2, world.target.f_edited / 2)
    e = world.target.effect + 0.5 * world.noise()
    (at,) = score(e, halved, world.target, world.resamples)
    assert verdicts([[at]], "coupling")[0][0].word == "not testable"
    assert at["target_current"] == pytest.approx(1)
    (then,) = score(e, world.target, world.target, world.resamples)
    assert at["slope"] == pytest.approx(then["slope"] / 2)
    assert at["mse_orig_minus_mse_self"] < 0


def test_an_alike_unseen_run_leaves_coupling_testable():
    """The world `cue`: f(x) moves, f(x') does not."""
    world = World(seed=3)
    current = Behavior(world.behaviors[2].f, world.target.f_edited)
    (at,) = score(-current.f, current, world.target, world.resamples)
    assert verdicts([[at]], "coupling")[0][0].word == "shown"
    run = unseen_run(current, world.target, world.design)
    assert run.why_not == "f(x') follows from this prompt's outputs"


def test_values_are_the_plain_formulas(world):
    b, target = world.behaviors[2], world.target
    e = b.effect + target.effect + world.noise()
    stale, run = world.noise(), world.unseen[2]
    (at,) = score(e, b, target, world.resamples, stale=stale, unseen=run)
    r = lambda x, y: stats.pearsonr(x, y)[0]  # noqa: E731
    left = {x is e: run.own.free(x).residuals[:, 0] for x in (e, stale)}
    unseen = {mine: r(of, run.own.unseen[:, 0]) for mine, of in left.items()}
    beyond = run.outputs.free(e).residuals[:, 0]
    expected = {
        "self": r(e, b.effect),
        "orig": r(e, target.effect),
        "gap": r(e, b.effect) - r(e, target.effect),
        "unseen": unseen[True],
        "unseen_over_stale": unseen[True] - unseen[False],
        "unseen_over_outputs": r(beyond, run.outputs.unseen[:, 0]),
        "left": (left[True] ** 2).mean(),
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


def test_draws_are_paired(world):
    """The difference of two explainers has a narrower interval than unpaired draws would give."""
    b = world.behaviors[2]
    common = b.effect + world.noise()
    first, second = (score(common + 0.1 * world.noise(), b, world.target, world.resamples)[0] for _ in range(2))
    difference = first.draws["self"] - second.draws["self"]
    assert difference.std() < 0.5 * np.hypot(first.draws["self"].std(), second.draws["self"].std())
    np.testing.assert_allclose(first.draws["gap"], first.draws["self"] - first.draws["orig"])


def test_constant_explanations_are_null_with_a_reason(world):
    b = world.behaviors[1]
    stale = np.zeros(world.n)
    (at,) = score(np.full(world.n, 0.1), b, world.target, world.resamples, stale=stale, unseen=world.unseen[1])
    names = ("self", "gap", "unseen", "unseen_over_stale", "unseen_over_outputs", "direction", "self_minus_stale")
    for name in (*names, "slope", "spearman", "left"):
        assert at.values[name] is None, name
    assert at.values["self_low"] is None
    assert at.values["why_not"] == at.values["why_not_outputs"] == "the explanation is the same in every example"
    for claim in ("coupling", "unseen", "outputs"):
        assert verdicts([[at]], claim)[0][0].word == "not testable"
    (at,) = score(-b.f, b, world.target, unseen=world.unseen[1])
    assert at["left"] < 0.05 and "says nothing beyond" in at.values["why_not"]


@pytest.mark.parametrize("n", [0, 1, 2, 3, 5])
def test_tiny_slices_give_null(n):
    rng = np.random.default_rng(0)
    b, target = (Behavior(rng.normal(size=n), rng.normal(size=n)) for _ in range(2))
    resamples = bootstrap_weights(rng, 20, np.arange(n))
    run = unseen_run(b, target, Design(np.arange(n)))
    (at,) = score(rng.normal(size=n), b, target, resamples, stale=rng.normal(size=n), unseen=run)
    assert at["n"] == n and at.values["unseen"] is None and "at least 30" in at.values["why_not"]
    assert all(v is None or np.isfinite(v) for v in at.values.values() if not isinstance(v, str))


def test_without_resamples_there_are_no_intervals(world):
    (at,) = score(world.noise(), world.behaviors[1], world.target)
    assert "self_low" not in at.values and not at.draws
    ((verdict,),) = verdicts([[at]], "coupling")
    assert verdict.word == "not shown" and np.isnan(verdict.power)


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


def test_the_null_knows_nothing_of_the_unseen_run(world):
    b = world.behaviors[2]
    of_null = null(world.rng.normal(size=(world.n, 60)), b, world.target, unseen=world.unseen[2])
    band = of_null.bands["unseen"]
    assert band.low < 0 < band.high < 0.15
    (oracle,) = score(b.f_edited + world.noise(), b, world.target, unseen=world.unseen[2])
    assert of_null.p("unseen", oracle["unseen"]) == pytest.approx(1 / 61)
    assert of_null.values["why_not"] is None


def test_the_permutation_p_counts_ties_and_the_value_itself():
    statistics = {"self": np.array([0.1, 0.2, 0.2, 0.3, np.nan])}
    of_null = Null(statistics, {"self": band_of(statistics["self"])})
    assert of_null.p("self", 0.2) == (1 + 3) / (1 + 4)
    assert of_null.p("self", 0.31) == 1 / 5
    assert of_null.p("self", np.nan) is None and of_null.p("unseen", 0.1) is None


def test_holm_asks_more_of_many_trajectories(world):
    """A weak effect that is shown by itself need not be shown as one of many."""
    mixes = np.linspace(0.02, 0.3, 15)
    b = world.behaviors[-1]
    weak = [[score(m * b.effect + world.noise(), b, world.target, world.resamples)[0]] for m in mixes]
    alone = [verdicts([t], "coupling")[0][-1] for t in weak]
    together = [v[-1] for v in verdicts(weak, "coupling")]
    shown_alone, shown_together = ([v.word == "shown" for v in each] for each in (alone, together))
    assert 0 < sum(shown_together) <= sum(shown_alone)
    assert all(a or not b for a, b in zip(shown_alone, shown_together, strict=True))
    for a, b in zip(alone, together, strict=True):
        assert b.bands["gap"][0] <= a.bands["gap"][0] + 1e-12 and b.bands["gap"][1] >= a.bands["gap"][1] - 1e-12
        assert b.word in VERDICTS
