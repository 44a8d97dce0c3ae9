"""Verdicts on explainers built by hand, whose answer is known; power against how often "shown" is said."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from engine.records import CLAIMS, VERDICTS
from engine.stats.faithfulness import Score
from engine.stats.verdicts import POWER, exceeded, verdicts


def scores(rng, true, error=0.05, draws=2000, **values) -> list[Score]:
    """Scores at each checkpoint whose statistics lie around `true` [T], with bootstrap draws of the same spread."""
    out = []
    for effect in true:
        names = ("gap", "self", "unseen", "unseen_over_stale", "unseen_over_outputs")
        own = {name: effect + error * rng.normal() for name in names} | {"target_current": 0.0} | values
        of_draws = {name: own[name] + error * rng.normal(size=draws) for name in names if own[name] is not None}
        out.append(Score(own, of_draws))
    return out


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.mark.parametrize("claim", CLAIMS)
def test_words(rng, claim):
    (found,) = verdicts([scores(rng, [0.5, 0.0, -0.5])], claim)
    assert [v.word for v in found] == ["shown", "not shown", "reversed"]
    at = Score(
        {n: 0.0 for n in CLAIMS[claim]} | {"target_current": 0.0},
        {n: 0.01 * rng.normal(size=500) for n in CLAIMS[claim]},
    )
    assert verdicts([[at]], claim)[0][0].word == "excluded"
    assert {v.word for v in found} <= set(VERDICTS)


def test_a_claim_needs_each_of_its_statistics(rng):
    one = scores(rng, [0.5])[0]
    for claim, names in CLAIMS.items():
        for name in names:
            low = Score(one.values | {name: 0.0}, one.draws | {name: one.draws[name] - one[name]})
            assert verdicts([[low]], claim)[0][0].word == "not shown", (claim, name)


def test_not_testable(rng):
    for claim, names in CLAIMS.items():
        missing = scores(rng, [0.5], **{names[-1]: None})
        assert verdicts([missing], claim)[0][0].word == "not testable"
    assert verdicts([scores(rng, [0.5], target_current=1.0)], "coupling")[0][0].word == "not testable"
    without = [Score(scores(rng, [0.5])[0].values)]
    assert verdicts([without], "unseen")[0][0].word == "not shown"


def test_the_primary_keeps_the_full_level_and_the_others_share_it(rng):
    family = [scores(rng, [0.17] * 3) for _ in range(6)]
    alone, shared = verdicts(family[:1], "unseen")[0][0], verdicts(family, "unseen")[0][0]
    primary = verdicts(family, "unseen", primary=0)[0][0]
    assert primary == alone
    width = lambda v: np.ptp(v.bands["unseen"])  # noqa: E731
    assert width(shared) >= width(alone)


def test_false_shown_is_rare_and_power_is_what_is_stated(rng):
    """400 draws each: a true effect of 0, and the effect of both statistics that is shown in 80% of the cases."""
    error = 0.05
    found = [verdicts([scores(rng, [0.0], error)], "coupling")[0][0] for _ in range(400)]
    assert np.mean([v.word == "shown" for v in found]) <= 0.025
    stated = np.mean([v.detectable for v in found])
    assert stated == pytest.approx((1.96 + stats.norm.ppf(POWER**0.5)) * error, rel=0.03), "independent statistics"
    again = [verdicts([scores(rng, [stated], error)], "coupling", effect=stated)[0][0] for _ in range(400)]
    assert np.mean([v.word == "shown" for v in again]) == pytest.approx(POWER, abs=0.06)
    assert np.mean([v.power for v in again]) == pytest.approx(POWER, abs=0.02)


def test_power_of_statistics_that_move_together_is_that_of_one(rng):
    at = scores(rng, [0.1])[0]
    together = Score(at.values, {name: at.draws["gap"] for name in at.draws})
    (verdict,) = verdicts([[together]], "coupling", effect=0.15)[0]
    assert verdict.detectable == pytest.approx((1.96 + stats.norm.ppf(POWER)) * 0.05, rel=0.05)
    assert verdict.power == pytest.approx(stats.norm.cdf(0.15 / 0.05 - 1.96), abs=0.03)


def test_what_is_not_testable_has_no_power(rng):
    for missing in CLAIMS["outputs"]:
        (verdict,) = verdicts([scores(rng, [0.5], **{missing: None})], "outputs")[0]
        assert verdict.word == "not testable" and np.isnan([verdict.power, verdict.detectable]).all()


def test_exceeding_is_paired(rng):
    """A small difference is seen where both move together, and not where they don't."""
    shared, size = rng.normal(size=2000), 0.3
    own = Score({"gap": size, "self": size}, {n: size + 0.2 * shared for n in ("gap", "self")})
    paired = Score({"gap": 0.2, "self": 0.2}, {n: 0.2 + 0.2 * shared + 0.02 * rng.normal(size=2000) for n in own.draws})
    alone = Score(paired.values, {n: 0.2 + 0.2 * rng.normal(size=2000) for n in own.draws})
    assert exceeded(own, {"paired": paired, "alone": alone}, "coupling") == ["paired"]


def test_a_rival_that_is_not_defined_counts_as_zero(rng):
    high, low = scores(rng, [0.5, 0.02])
    silent = {
        "no value": Score({}),
        "no draws": Score({"unseen": None, "unseen_over_stale": None}, {"unseen": np.full(2000, np.nan)}),
    }
    assert exceeded(high, silent, "unseen") == sorted(silent)
    assert exceeded(low, silent, "unseen") == []
    assert exceeded(Score({}), silent, "unseen") == [], "who is not testable exceeds nobody"


def test_ten_thousand_draws_fix_the_critical_value(rng):
    """Between seeds, the critical value of max-|t| over 8 checkpoints moves by no more than 0.02 (one sd)."""
    critical = []
    for _ in range(12):
        draws = rng.normal(size=(10_000, 8))
        at = [Score({"gap": 0.0, "self": 0.0, "target_current": 0.0}, {"gap": d, "self": d}) for d in draws.T]
        band = verdicts([at], "coupling")[0][0].bands["gap"]
        critical.append(np.ptp(band) / 2 / draws[:, 0].std())
    assert np.std(critical) < 0.03
    exact = stats.norm.ppf((1 + 0.95 ** (1 / 8)) / 2)
    assert np.mean(critical) == pytest.approx(exact, abs=0.02)
