"""What may be said of explainers over checkpoints: three claims, each with a verdict and its power.

A claim rests on statistics that must all lie above 0 at a checkpoint (an intersection–union test):

- `coupling`, "coupled": the gap, Self − Orig, and Self (contradicting the labels has a gap above 0 too);
- `unseen`, "knows the unseen answer beyond this output": `unseen` and `unseen_over_stale`;
- `outputs`, "knows it beyond all outputs": those two and `unseen_over_outputs`.

A band covers all checkpoints of a trajectory at once (max-|t|). One trajectory is primary, named before the run: its
claims on the unseen answer are tested at the full level, one after the other. All other tests of a claim share the
level by Holm's step-down.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from engine.records import CLAIMS
from engine.stats.bootstrap import interval, simultaneous
from engine.stats.faithfulness import Score

EFFECT = 0.2
"""The true size at which power is stated, unless another is asked for."""
POWER = 0.8
"""The power at which the smallest detectable effect is stated."""


@dataclass(frozen=True)
class Verdict:
    """What may be said of one claim at one checkpoint."""

    word: str
    """One of records.VERDICTS."""
    bands: dict[str, tuple[float, float]]
    """The simultaneous band of each statistic of the claim."""
    power: float
    """Chance of "shown" where every statistic of the claim truly is `effect`; NaN where it is not testable."""
    detectable: float
    """Smallest true effect of all statistics that is shown with a chance of `POWER`; NaN where it is not testable."""

    def columns(self, claim: str, over: Sequence[str]) -> dict[str, float | str | None]:
        """The claim's columns of records.METRICS. over: the controls that the explainer exceeds."""
        return {
            f"verdict_{claim}": self.word,
            f"power_{claim}": self.power,
            f"detectable_{claim}": self.detectable,
            f"over_{claim}": ",".join(over) or None,
        }


Trajectory = Sequence[Score]
"""The scores of one explainer at each checkpoint, with draws."""


def verdicts(
    trajectories: Sequence[Trajectory],
    claim: str,
    *,
    primary: int | None = None,
    confidence: float = 0.95,
    absent_within: float = 0.03,
    effect: float = EFFECT,
) -> list[list[Verdict]]:
    """Verdicts on one claim for each trajectory and checkpoint.

    primary: the trajectory that is tested at the full level; the others share it. absent_within: a band that ends at or
    below this excludes the claim, as not all of its statistics are larger. effect: the true size at which power is
    stated.
    """
    levels = _levels(trajectories, CLAIMS[claim], primary, confidence)
    out = []
    for trajectory, level in zip(trajectories, levels, strict=True):
        tests = {name: _test(trajectory, name, level) for name in CLAIMS[claim]}
        out.append([_verdict(at, t, tests, absent_within, effect) for t, at in enumerate(trajectory)])
    return out


@dataclass(frozen=True)
class _Test:
    """One statistic of one trajectory, over T checkpoints."""

    low: np.ndarray
    high: np.ndarray
    p: np.ndarray
    needed: np.ndarray
    """True value from which a draw's estimate would lie above its band's critical distance, [draws, T]."""


def _test(trajectory: Trajectory, name: str, confidence: float) -> _Test:
    estimates = np.array([at[name] for at in trajectory])
    size = max((len(d) for at in trajectory for d in at.draws.values()), default=1)
    nothing = np.full(size, np.nan)
    draws = np.stack([at.draws.get(name, nothing) for at in trajectory], axis=1)
    low, high, p = simultaneous(estimates, draws, confidence)
    known = np.isfinite(draws).any(axis=0)
    centre = np.full(len(estimates), np.nan)
    centre[known] = np.nanmean(draws[:, known], axis=0)
    return _Test(low, high, p, (high - estimates) - (draws - centre))


def _levels(
    trajectories: Sequence[Trajectory], names: Sequence[str], primary: int | None, confidence: float
) -> list[float]:
    """The confidence of each trajectory's bands.

    Holm's step-down: the i-th most significant of m trajectories (i from 0) gets 1 − (1 − confidence) / (m − i); after
    the first that fails, the rest keep its level and fail too.
    """
    p = []
    for trajectory in trajectories:
        at_checkpoints = np.stack([_test(trajectory, name, confidence).p for name in names]).max(axis=0)
        p.append(np.nan if np.isnan(at_checkpoints).all() else np.nanmin(at_checkpoints))
    order = [int(i) for i in np.argsort(p, kind="stable") if not np.isnan(p[i]) and i != primary]
    level = [confidence] * len(trajectories)
    stopped_at = None
    for rank, i in enumerate(order):
        level[i] = stopped_at or 1 - (1 - confidence) / (len(order) - rank)
        if stopped_at is None and p[i] >= 1 - level[i]:
            stopped_at = level[i]
    return level


def _verdict(at: Score, t: int, tests: dict[str, _Test], absent_within: float, effect: float) -> Verdict:
    bands = {name: (float(test.low[t]), float(test.high[t])) for name, test in tests.items()}
    word = _word(at, bands, absent_within)
    needed = np.max([test.needed[:, t] for test in tests.values()], axis=0)  # the draws are paired
    needed = needed[~np.isnan(needed)]
    if word == "not testable" or not len(needed):
        return Verdict(word, bands, np.nan, np.nan)
    return Verdict(word, bands, float((needed < effect).mean()), float(np.quantile(needed, POWER)))


def _word(at: Score, bands: dict[str, tuple[float, float]], absent_within: float) -> str:
    if any(np.isnan(at[name]) for name in bands) or ("gap" in bands and not _told_apart(at, absent_within)):
        return "not testable"
    low, high = np.array(list(bands.values())).T
    if np.isnan(low).any() or np.isnan(high).any():
        return "not shown"
    if (low > 0).all():
        return "shown"
    if (high < 0).all():
        return "reversed"
    if (high <= absent_within).any():
        return "excluded"
    return "not shown"


def _told_apart(at: Score, absent_within: float) -> bool:
    """Whether a gap of more than `absent_within` is possible: |gap| ≤ √(2(1−ρ))."""
    rho = at["target_current"]
    return bool(np.sqrt(2 * max(0.0, 1 - rho)) > absent_within) if np.isfinite(rho) else False


def exceeded(at: Score, rivals: Mapping[str, Score], claim: str, confidence: float = 0.95) -> list[str]:
    """The rivals that an explainer exceeds in every statistic of a claim, by paired intervals at one checkpoint.

    A rival whose statistic is not defined, because it says nothing beyond what is known, counts as 0.
    """
    names = CLAIMS[claim]
    return sorted(who for who, rival in rivals.items() if all(_exceeds(at, rival, name, confidence) for name in names))


def _exceeds(at: Score, rival: Score, statistic: str, confidence: float) -> bool:
    mine, theirs = at.draws.get(statistic), rival.draws.get(statistic)
    if mine is None or np.isnan(at[statistic]):
        return False
    low, _ = interval(mine - (0.0 if theirs is None else np.nan_to_num(theirs)), confidence)
    return bool(low > 0)
