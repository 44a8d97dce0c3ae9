"""How well explanations agree with the current model's effects, with the target's, and with the unseen f(x').

Arrays in, `Score`s out; their `values` are columns of records.METRICS. Explanations E [n, k] are k explainers (or
noise levels, or seeds) on the same n examples. All of them and all checkpoints share the bootstrap weights, so every
comparison is paired. Effects are in nats.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from engine.records import Behavior
from engine.stats.bootstrap import Resamples, bootstrap_partial, bootstrap_pearson, interval, simultaneous
from engine.stats.correlation import as_columns, partial, pearson, spearman, spline_basis, standardized, verdict

TESTABLE_BELOW = 0.95
"""Largest pcorr(f_t(x'), f_0(x') given Z) at which the counterfactual gap is testable; above it, the unseen runs of
the two models cannot be told apart."""


@dataclass(frozen=True)
class Score:
    """One explainer at one checkpoint, averaged over its seeds."""

    values: dict[str, float | int | bool | str | None]
    """Columns of records.METRICS; undefined values are None."""
    draws: dict[str, np.ndarray] = field(default_factory=dict)
    """Name in records.INTERVALS → bootstrap draws [D], for simultaneous bands."""

    def __getitem__(self, name: str) -> float:
        """A value as a number, NaN for None."""
        value = self.values.get(name)
        return np.nan if value is None else float(value)


def score(
    explanations: np.ndarray,
    current: Behavior,
    target: Behavior,
    resamples: Resamples | None = None,
    *,
    stale: np.ndarray | None = None,
    at_start: np.ndarray | None = None,
    start: Behavior | None = None,
    average: Sequence[int] | None = None,
    confidence: float = 0.95,
) -> list[Score]:
    """Score E [n, k] (or [n]) against the current and the target behavior.

    resamples: from `bootstrap_weights`; without it there are no intervals. stale [n, k]: the same explainers on
    the first checkpoint's hidden states. at_start [n, k] and `start` (default: the target): explanations and
    behavior at the first checkpoint, for change tracking. average [k]: columns with equal numbers are seeds of one
    explainer; their correlations and draws are averaged. Returns one Score per number, ascending; without
    `average`, one per column.
    """
    e = as_columns(explanations)
    start = start or target
    z = spline_basis(current.f, target.f)
    estimates = _estimates(e, current, target, z, _optional(stale), _optional(at_start), start)
    estimates |= _descriptive(e, current, target)
    draws = {}
    if resamples is not None:
        draws = _draws(e, current, target, z, _optional(stale), _optional(at_start), start, resamples)
    settings = np.arange(e.shape[1]) if average is None else np.asarray(average)
    shared = {
        "n": len(e),
        "n_groups": None if resamples is None else resamples.n_groups,
        "metric": "pearson",
        "testable": bool(_alike(current, target, z) <= TESTABLE_BELOW),
        "target_current": _number(pearson(current.effect, target.effect)[0]),
    }
    return [
        _score(estimates, draws, np.flatnonzero(settings == setting), shared, confidence)
        for setting in np.unique(settings)
    ]


def _score(estimates: dict, draws: dict, columns: np.ndarray, shared: dict, confidence: float) -> Score:
    values: dict = dict(shared) | {"seeds": len(columns)}
    own: dict[str, np.ndarray] = {}
    for name, of_columns in estimates.items():
        values[name] = _number(of_columns[columns].mean())
    for name, all_draws in draws.items():
        own[name] = all_draws[:, columns].mean(axis=1)
        low, high = interval(own[name], confidence)
        values |= {f"{name}_low": _number(low), f"{name}_high": _number(high)}
    return Score(values, own)


_DESCRIPTIVE = (
    "slope",
    "mean_effect_error",
    "mse_orig_minus_mse_self",
    "spearman",
    "sign_agreement",
)


def _optional(a: np.ndarray | None) -> np.ndarray | None:
    return None if a is None else as_columns(a)


def _number(value: float | np.ndarray) -> float | None:
    return float(value) if np.isfinite(value) else None


def _alike(current: Behavior, target: Behavior, z: np.ndarray) -> float:
    """pcorr(f_t(x'), f_0(x') given Z); 1 where Z explains one of them fully."""
    value = partial(current.f_edited, target.f_edited, z)[0, 0]
    return 1.0 if np.isnan(value) else float(value)


def _estimates(
    e: np.ndarray,
    current: Behavior,
    target: Behavior,
    z: np.ndarray,
    stale: np.ndarray | None,
    at_start: np.ndarray | None,
    start: Behavior,
) -> dict[str, np.ndarray]:
    """Name in INTERVALS → estimates [k]; `stale` and `at_start` may be None."""
    own, orig = pearson(e, current.effect), pearson(e, target.effect)
    unseen = partial(e, np.stack([current.f_edited, target.f_edited], axis=1), z)
    out = {
        "self": own,
        "orig": orig,
        "gap": own - orig,
        "counterfactual_gap": unseen[:, 0] - unseen[:, 1],
        "direction": pearson(e, standardized(current.effect) - standardized(target.effect)),
    }
    if at_start is not None:
        out["change_tracking"] = partial(e - at_start, current.effect - start.effect, z)[:, 0]
    if stale is not None:
        out["self_minus_stale"] = own - pearson(stale, current.effect)
    return out


def _draws(
    e: np.ndarray,
    current: Behavior,
    target: Behavior,
    z: np.ndarray,
    stale: np.ndarray | None,
    at_start: np.ndarray | None,
    start: Behavior,
    resamples: Resamples,
) -> dict[str, np.ndarray]:
    """As `_estimates`, in every bootstrap draw: [D, k]."""
    effects = np.stack([current.effect, target.effect], axis=1)
    own, orig = np.moveaxis(bootstrap_pearson(resamples, e, effects), 2, 0)
    rho = bootstrap_pearson(resamples, effects[:, :1], effects[:, 1:])[:, 0]
    known, unknown = [e], [current.f_edited, target.f_edited]
    if at_start is not None:  # with the rest: one regression on Z a draw serves both
        known, unknown = [e, e - at_start], [*unknown, current.effect - start.effect]
    given_z = bootstrap_partial(resamples, np.concatenate(known, axis=1), np.stack(unknown, axis=1), z)
    k = e.shape[1]
    apart = np.sqrt(2 * np.clip(1 - rho, 0, None))
    apart = np.where(apart > 1e-6, apart, np.nan)
    out = {
        "self": own,
        "orig": orig,
        "gap": own - orig,
        "counterfactual_gap": given_z[:, :k, 0] - given_z[:, :k, 1],
        "direction": (own - orig) / apart,  # the identity gap = √(2(1−ρ)) · direction
    }
    if at_start is not None:
        out["change_tracking"] = given_z[:, k:, 2]
    if stale is not None:
        out["self_minus_stale"] = own - bootstrap_pearson(resamples, stale, current.effect)[..., 0]
    return out


def _descriptive(e: np.ndarray, current: Behavior, target: Behavior) -> dict[str, np.ndarray]:
    """Measures of scale and offset, which correlation ignores, and two that outliers hardly change; [k] each."""
    now, then = current.effect[:, None], target.effect[:, None]
    if len(e) == 0:
        return {name: np.full(e.shape[1], np.nan) for name in _DESCRIPTIVE}
    centred = e - e.mean(axis=0)
    square = (centred**2).sum(axis=0)
    covariance = (centred * (now - now.mean())).sum(axis=0)
    constant = np.isnan(standardized(e)).any(axis=0)
    return {
        # Δ_t ≈ intercept + slope · e; 1: calibrated, below 1: the explanation overstates
        "slope": np.where(constant, np.nan, covariance / np.where(constant, 1.0, square)),
        "mean_effect_error": (e - now).mean(axis=0),
        "mse_orig_minus_mse_self": ((e - then) ** 2).mean(axis=0) - ((e - now) ** 2).mean(axis=0),
        "spearman": spearman(e, now),
        "sign_agreement": (np.sign(e) == np.sign(now)).mean(axis=0),
    }


def span_ranking(e: np.ndarray, effect: np.ndarray, prompts: Iterable) -> np.ndarray:
    """Kendall's τ-a between E [n, k] and the effect [n] within a prompt's rows, mean over prompts: [k].

    High where explanations rank the edits of a prompt by their effect. NaN if no prompt has two rows.
    """
    e = as_columns(e)
    codes = pd.factorize(np.asarray(prompts, dtype=object), use_na_sentinel=False)[0]
    order = np.argsort(codes, kind="stable")
    codes, e, effect = codes[order], e[order], np.asarray(effect, dtype=np.float64)[order]
    size = np.bincount(codes) if len(codes) else np.zeros(0, dtype=int)
    if size.max(initial=0) < 2:
        return np.full(e.shape[1], np.nan)
    total = np.zeros((len(size), e.shape[1]))
    for step in range(1, size.max()):  # all pairs of rows `step` apart in one prompt
        first = np.flatnonzero(codes[step:] == codes[:-step])
        agree = np.sign(e[first + step] - e[first]) * np.sign(effect[first + step] - effect[first])[:, None]
        np.add.at(total, codes[first], agree)
    several = size >= 2
    pairs = size[several] * (size[several] - 1) / 2
    return (total[several] / pairs[:, None]).mean(axis=0)


@dataclass(frozen=True)
class Band:
    """One statistic over explainers trained on shuffled targets."""

    mean: float
    standard_error: float
    low: float
    high: float


@dataclass(frozen=True)
class Null:
    """The null control at one checkpoint: bands of self, orig, gap, direction and counterfactual_gap."""

    bands: dict[str, Band]
    shuffles: int

    @property
    def values(self) -> dict[str, float | int | None]:
        """Columns of a control row: the mean of each statistic, with its band as low and high."""
        out: dict[str, float | int | None] = {"seeds": self.shuffles}
        for name, band in self.bands.items():
            out |= {name: _number(band.mean), f"{name}_low": _number(band.low), f"{name}_high": _number(band.high)}
        own = self.bands["self"]
        return out | {"null_mean": _number(own.mean), "null_low": _number(own.low), "null_high": _number(own.high)}


def null(explanations: np.ndarray, current: Behavior, target: Behavior, confidence: float = 0.95) -> Null:
    """Bands from explanations [n, m] of m shuffled targets (`noise.shuffled_targets`)."""
    e = as_columns(explanations)
    estimates = _estimates(e, current, target, spline_basis(current.f, target.f), None, None, target)
    bands = {}
    for name, values in estimates.items():
        defined = values[~np.isnan(values)]
        low, high = interval(values, confidence)
        if len(defined) > 1:
            error = defined.std(ddof=1) / np.sqrt(len(defined))
            bands[name] = Band(float(defined.mean()), float(error), float(low), float(high))
        else:
            bands[name] = Band(np.nan, np.nan, np.nan, np.nan)
    return Null(bands, e.shape[1])


@dataclass(frozen=True)
class Verdict:
    """The verdicts at one checkpoint of a trajectory, and the simultaneous bands behind them."""

    coupling: str
    counterfactual: str
    gap_band: tuple[float, float]
    counterfactual_gap_band: tuple[float, float]


def verdicts(
    trajectories: Sequence[Sequence[Score]],
    nulls: Sequence[Sequence[Null | None]] | None = None,
    *,
    confidence: float = 0.95,
    absent_within: float = 0.03,
) -> list[list[Verdict]]:
    """Verdicts for trajectories (probes under a regime), each a sequence of Scores over checkpoints.

    A band covers all checkpoints of its trajectory at once (max-|t|). Over trajectories, Holm's step-down sets the
    confidence: the i-th most significant of m (i from 0) gets 1 − (1 − confidence) / (m − i); after the first one
    that fails, the rest keep its level and fail too.
    """
    out: list[list[Verdict]] = [[] for _ in trajectories]
    gap_bands = _holm_bands(trajectories, "gap", confidence)
    unseen_bands = _holm_bands(trajectories, "counterfactual_gap", confidence)
    for i, trajectory in enumerate(trajectories):
        for t, at in enumerate(trajectory):
            null_at = nulls[i][t] if nulls is not None else None

            def say(name: str, band: tuple[float, float], testable: bool, at=at, null_at=null_at) -> str:
                of_null = null_at.bands[name] if null_at else None
                null_low, null_high = (of_null.low, of_null.high) if of_null else (None, None)
                return verdict(*band, at[name], null_low, null_high, absent_within, testable)

            gap_band, unseen_band = gap_bands[i][t], unseen_bands[i][t]
            coupling = say("gap", gap_band, _told_apart(at, absent_within))
            counterfactual = say("counterfactual_gap", unseen_band, at.values["testable"] is True)
            out[i].append(Verdict(coupling, counterfactual, gap_band, unseen_band))
    return out


def _told_apart(at: Score, absent_within: float) -> bool:
    """Whether a gap of more than `absent_within` is possible: |gap| ≤ √(2(1−ρ))."""
    rho = at["target_current"]
    return bool(np.sqrt(2 * max(0.0, 1 - rho)) > absent_within) if np.isfinite(rho) else False


def _holm_bands(
    trajectories: Sequence[Sequence[Score]], name: str, confidence: float
) -> list[list[tuple[float, float]]]:
    """(low, high) for each trajectory and checkpoint, at the confidence from Holm's step-down."""
    estimates = [np.array([at[name] for at in trajectory]) for trajectory in trajectories]
    size = max((len(d) for trajectory in trajectories for at in trajectory for d in at.draws.values()), default=1)
    nothing = np.full(size, np.nan)
    draws = [np.stack([at.draws.get(name, nothing) for at in trajectory], axis=1) for trajectory in trajectories]
    p = []
    for e, d in zip(estimates, draws, strict=True):
        of_checkpoints = simultaneous(e, d, confidence)[2]
        p.append(np.nan if np.isnan(of_checkpoints).all() else np.nanmin(of_checkpoints))
    order = [int(i) for i in np.argsort(p, kind="stable") if not np.isnan(p[i])]
    level = dict.fromkeys(range(len(p)), confidence)
    stopped_at = None
    for rank, i in enumerate(order):
        level[i] = stopped_at or 1 - (1 - confidence) / (len(order) - rank)
        if stopped_at is None and p[i] >= 1 - level[i]:
            stopped_at = level[i]
    out = []
    for i, (e, d) in enumerate(zip(estimates, draws, strict=True)):
        low, high, _ = simultaneous(e, d, level[i])
        out.append(list(zip(low.tolist(), high.tolist(), strict=True)))
    return out
