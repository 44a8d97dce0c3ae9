"""How well explanations agree with the current model's effects and with the target's, and what they know of f(x').

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
from engine.stats.bootstrap import Resamples, bootstrap_pearson, interval
from engine.stats.correlation import as_columns, pearson, spearman, standardized
from engine.stats.unseen import UnseenRun, score_unseen


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
    unseen: UnseenRun | None = None,
    stale: np.ndarray | None = None,
    average: Sequence[int] | None = None,
    confidence: float = 0.95,
) -> list[Score]:
    """Score E [n, k] (or [n]) against the current and the target behavior.

    resamples: from `bootstrap_weights`; without it there are no intervals. unseen: f_t(x') of these examples, freed
    from what can be read (`unseen_run`); without it, what explanations know of it is not scored. stale [n, k]: the same
    explainers on the first checkpoint's hidden states. average [k]: columns with equal numbers are seeds of one
    explainer; their correlations and draws are averaged. Returns one Score per number, ascending; without `average`,
    one per column.
    """
    e = as_columns(explanations)
    estimates = _estimates(e, current, target, _optional(stale)) | _descriptive(e, current, target)
    draws = {} if resamples is None else _draws(e, current, target, _optional(stale), resamples)
    shared: dict = {"n": len(e), "metric": "pearson"}
    shared["n_groups"] = None if resamples is None else resamples.n_groups
    shared["target_current"] = _number(pearson(current.effect, target.effect)[0])
    if unseen is not None:
        found = score_unseen(e, unseen, resamples, _optional(stale))
        estimates |= {name: each.estimate for name, each in found.statistics.items()} | {"left": found.left}
        draws |= {name: each.draws for name, each in found.statistics.items() if resamples is not None}
        shared |= {"why_not": unseen.why_not, "why_not_outputs": unseen.why_not_outputs}
    settings = np.arange(e.shape[1]) if average is None else np.asarray(average)
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
    if "left" in estimates:
        left = estimates["left"][columns].min()
        says = "is the same in every example" if np.isnan(left) else "says nothing beyond what can be read"
        for name, why in (("unseen", "why_not"), ("unseen_over_outputs", "why_not_outputs")):
            if values[name] is None:
                values[why] = values[why] or f"the explanation {says}"
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


def _estimates(e: np.ndarray, current: Behavior, target: Behavior, stale: np.ndarray | None) -> dict[str, np.ndarray]:
    """Name in INTERVALS → estimates [k]; `stale` may be None."""
    own, orig = pearson(e, current.effect), pearson(e, target.effect)
    out = {
        "self": own,
        "orig": orig,
        "gap": own - orig,
        "direction": pearson(e, standardized(current.effect) - standardized(target.effect)),
    }
    if stale is not None:
        out["self_minus_stale"] = own - pearson(stale, current.effect)
    return out


def _draws(
    e: np.ndarray, current: Behavior, target: Behavior, stale: np.ndarray | None, resamples: Resamples
) -> dict[str, np.ndarray]:
    """As `_estimates`, in every bootstrap draw: [D, k]."""
    effects = np.stack([current.effect, target.effect], axis=1)
    own, orig = np.moveaxis(bootstrap_pearson(resamples, e, effects), 2, 0)
    rho = bootstrap_pearson(resamples, effects[:, :1], effects[:, 1:])[:, 0]
    apart = np.sqrt(2 * np.clip(1 - rho, 0, None))
    apart = np.where(apart > 1e-6, apart, np.nan)
    out = {
        "self": own,
        "orig": orig,
        "gap": own - orig,
        "direction": (own - orig) / apart,  # the identity gap = √(2(1−ρ)) · direction
    }
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
    """The null control at one checkpoint: explainers trained on shuffled targets."""

    statistics: dict[str, np.ndarray]
    """self, orig, gap, direction and unseen of each shuffle, [shuffles]."""
    bands: dict[str, Band]
    """By statistic."""

    @property
    def values(self) -> dict[str, float | int | str | None]:
        """Columns of a control row: the mean of each statistic, with its band as low and high."""
        out: dict[str, float | int | str | None] = {"seeds": len(self.statistics["self"])}
        for name, band in self.bands.items():
            out |= {name: _number(band.mean), f"{name}_low": _number(band.low), f"{name}_high": _number(band.high)}
        if out.get("unseen") is not None:
            out["why_not"] = None  # shuffles can be tested although the explainer beside them can't
        own = self.bands["self"]
        return out | {"null_mean": _number(own.mean), "null_low": _number(own.low), "null_high": _number(own.high)}

    def p(self, name: str, value: float) -> float | None:
        """One-sided permutation p: share of shuffles that reach the value, counting the value itself."""
        of_shuffles = self.statistics.get(name, np.empty(0))
        known = of_shuffles[~np.isnan(of_shuffles)]
        if np.isnan(value) or not len(known):
            return None
        return float((1 + (known >= value).sum()) / (1 + len(known)))


def null(
    explanations: np.ndarray,
    current: Behavior,
    target: Behavior,
    confidence: float = 0.95,
    unseen: UnseenRun | None = None,
) -> Null:
    """The statistics of explanations [n, m] of m shuffled targets (`noise.shuffled_targets`)."""
    e = as_columns(explanations)
    statistics = _estimates(e, current, target, None)
    if unseen is not None:
        statistics["unseen"] = score_unseen(e, unseen).statistics["unseen"].estimate
    return Null(statistics, {name: band_of(values, confidence) for name, values in statistics.items()})


def band_of(values: np.ndarray, confidence: float = 0.95) -> Band:
    """The band of one statistic over shuffles [m]; NaN where fewer than two are defined."""
    defined = values[~np.isnan(values)]
    if len(defined) < 2:
        return Band(np.nan, np.nan, np.nan, np.nan)
    low, high = interval(defined, confidence)
    error = defined.std(ddof=1) / np.sqrt(len(defined))
    return Band(float(defined.mean()), float(error), float(low), float(high))
