"""What explanations know of f_t(x'), the answer that the explainer never sees, beyond what the outputs tell.

Three statistics, for explanations e_t [n] at checkpoint t. `known` is Z = (f_t(x), f_0(x), f_0(x')):

- `unseen`: correlation of e_t with f_t(x') given Z;
- `unseen_over_stale`: that, minus the same of the explainer's reading of the target's hidden states;
- `unseen_over_outputs`: `unseen`, where Z also holds the mean f(x) of the other prompts of the same entity and of
  the same cue, at t and at 0.

Both sides are freed from Z by a cross-fitted regression with interactions, and the residuals are correlated: the
generalised covariance measure (Shah and Peters 2020, "The hardness of conditional independence testing and the
generalised covariance measure", Annals of Statistics 48). It is orthogonal, so a bootstrap may reweigh fixed residuals.
A reader of the present output leaks through additive splines and through trees; the zoo (`engine.zoo`) tries it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from sklearn.base import TransformerMixin
from sklearn.kernel_approximation import Nystroem
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import QuantileTransformer, StandardScaler

from engine.records import Behavior
from engine.stats.bootstrap import Resamples, bootstrap_pearson, bootstrap_weights
from engine.stats.correlation import as_columns, pearson, standardized

LEAST_LEFT = 0.05
"""Smallest share of an explanation's variance, or of f_t(x')'s, that must be left given Z. With less, a correlation
would be one of rounding and misfit."""
LEAST_ROWS = 30
"""With fewer rows, no regression on Z is fitted."""
FOLDS = 5
LANDMARKS = 150
"""Landmarks of the kernel approximation."""
PENALTIES = np.logspace(-4, 3, 8)


@dataclass(frozen=True)
class Design:
    """Which group, and where the data have factors which cue and entity, each row belongs to: [n] each."""

    groups: np.ndarray
    cue: np.ndarray | None = None
    entity: np.ndarray | None = None

    @cached_property
    def factors(self) -> list[np.ndarray]:
        """Codes [n] of cue and entity; empty where the data have none, or where a factor has a single level."""
        if self.cue is None or self.entity is None:
            return []
        codes = [pd.factorize(np.asarray(values, dtype=object))[0] for values in (self.cue, self.entity)]
        return codes if all(c.min(initial=0) >= 0 and c.max(initial=0) > 0 for c in codes) else []

    @property
    def sizes(self) -> tuple[int, ...]:
        """Numbers of different cues and entities; empty where the data have no factors."""
        return tuple(int(codes.max()) + 1 for codes in self.factors)

    @cached_property
    def held_out(self) -> np.ndarray:
        """Codes [n] of the factor that folds hold out: the entity, or the group."""
        if self.factors:
            return self.factors[1]
        return pd.factorize(np.asarray(self.groups, dtype=object), use_na_sentinel=False)[0]

    def folds_of(self, seed: int) -> np.ndarray:
        """The fold of each row, [n]; a level of the held-out factor is never split."""
        levels = int(self.held_out.max(initial=-1)) + 1
        return (np.random.default_rng(seed).permutation(levels) % min(FOLDS, max(levels, 1)))[self.held_out]

    def resamples(self, rng: np.random.Generator, draws: int) -> Resamples:
        return bootstrap_weights(rng, draws, self.groups, self.cue, self.entity)

    def others(self, values: np.ndarray) -> np.ndarray:
        """Means of values [n] over the other rows with the same level, a column per factor: [n, factors].

        The overall mean where a level has no other row.
        """
        return np.stack([_others(values, codes) for codes in self.factors], axis=1)


def _others(values: np.ndarray, codes: np.ndarray) -> np.ndarray:
    size, total = np.bincount(codes)[codes], np.bincount(codes, values)[codes]
    return np.where(size > 1, (total - values) / np.maximum(size - 1, 1), np.mean(values))


def features(rows: int, seed: int) -> TransformerMixin:
    """What the regression sees of Z: Z, and an RBF kernel of its normal scores (Nyström)."""
    kernel = Nystroem(gamma=None, n_components=min(LANDMARKS, rows // 2), random_state=seed)
    scores = QuantileTransformer(n_quantiles=min(200, rows), output_distribution="normal", subsample=None)
    return make_union(StandardScaler(), make_pipeline(scores, make_union("passthrough", kernel)))


@dataclass(frozen=True)
class Known:
    """What everybody can read of n examples, and the folds of the regressions on it."""

    values: np.ndarray
    """Z, [n, q]"""
    folds: np.ndarray
    """[n]"""
    seed: int = 0

    @cached_property
    def fitted(self) -> list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
        """For each fold: rows outside [n] bool, rows inside, and the features of both. All explanations share them."""
        out = []
        for fold in np.unique(self.folds):
            inside = self.folds == fold
            made = features(int((~inside).sum()), self.seed).fit(self.values[~inside])
            out.append((~inside, inside, made.transform(self.values[~inside]), made.transform(self.values[inside])))
        return out

    def residuals(self, values: np.ndarray) -> np.ndarray:
        """Residuals of values [n, k] given Z: each row by a regression on the other folds. [n, k]

        Ridge regression, the penalty by leave-one-out for each column. Columns are standardised first, so the mean
        square of a column of residuals is the share of its variance that is left. A constant column becomes NaN.
        """
        z = standardized(values)
        out = np.full(z.shape, np.nan)
        varies = ~np.isnan(z).any(axis=0)
        if not varies.any() or len(np.unique(self.folds)) < 2:
            return out
        for outside, inside, given, asked in self.fitted:
            fitted = RidgeCV(PENALTIES, alpha_per_target=True).fit(given, z[outside][:, varies])
            out[np.ix_(inside, varies)] = z[np.ix_(inside, varies)] - fitted.predict(asked).reshape(inside.sum(), -1)
        return out - out.mean(axis=0)


@dataclass(frozen=True)
class Beyond:
    """f_t(x') [n, 1] freed from what is known, and what it takes to free explanations in the same way."""

    known: Known
    unseen: np.ndarray

    @property
    def testable(self) -> bool:
        """Whether f_t(x') is more than what is known."""
        return bool(np.mean(self.unseen**2) >= LEAST_LEFT)  # False for NaN

    def free(self, explanations: np.ndarray) -> Freed:
        left = self.known.residuals(explanations)
        return Freed(left, np.mean(left**2, axis=0))


@dataclass(frozen=True)
class Freed:
    """Explanations given what is known."""

    residuals: np.ndarray
    """[n, k]"""
    left: np.ndarray
    """Share of each explanation's variance that is left, [k]; NaN for a constant."""

    @property
    def says_something(self) -> np.ndarray:
        return self.left >= LEAST_LEFT


@dataclass(frozen=True)
class Statistic:
    """One of the three, for k explanations."""

    estimate: np.ndarray
    """[k]; NaN where it is not testable."""
    draws: np.ndarray
    """[draws, k]; no draws where there are no resamples."""

    def part(self, columns: slice) -> Statistic:
        return Statistic(self.estimate[columns], self.draws[:, columns])


@dataclass(frozen=True)
class UnseenRun:
    """f_t(x') of some examples at one checkpoint, freed from what can be read; shared by all explanations of them."""

    own: Beyond | None
    """Given Z, this prompt's outputs."""
    outputs: Beyond | None
    """Given the other prompts' outputs too."""
    why_not: str | None
    """Why no explanation can be tested; None where one can."""
    why_not_outputs: str | None


def unseen_run(
    current: Behavior, target: Behavior, design: Design, seed: int = 0, *, outputs: bool = True
) -> UnseenRun:
    """Free f_t(x') from the outputs that can be read; without `outputs`, from this prompt's alone."""
    y = current.f_edited
    if why := _why_not(y, design):
        return UnseenRun(None, None, why, why)
    known = np.column_stack([current.f, target.f, target.f_edited]).astype(np.float64)
    own = _beyond(y, known, design, seed)
    if not own.testable:
        why = "f(x') follows from this prompt's outputs"
        return UnseenRun(None, None, why, why)
    if not outputs:
        return UnseenRun(own, None, None, "not asked for")
    if not design.factors:
        return UnseenRun(own, None, None, "the data have no factors (cue and entity)")
    more = [design.others(known[:, 0]), design.others(known[:, 1])]
    given_all = _beyond(y, np.column_stack([known, *more]), design, seed)
    if not given_all.testable:
        return UnseenRun(own, None, None, "f(x') follows from the outputs of all prompts")
    return UnseenRun(own, given_all, None, None)


def _why_not(unseen: np.ndarray, design: Design) -> str | None:
    groups = len(np.unique(design.held_out))
    if len(unseen) < LEAST_ROWS:
        return f"{len(unseen)} examples; at least {LEAST_ROWS} are needed"
    if groups < FOLDS:
        return f"{groups} independent group{'' if groups == 1 else 's'}; at least {FOLDS} are needed"
    if np.isnan(standardized(unseen)).any():
        return "f(x') is the same in every example"
    return None


def _beyond(unseen: np.ndarray, values: np.ndarray, design: Design, seed: int) -> Beyond:
    varies = ~np.isnan(standardized(values)).any(axis=0)
    known = Known(values[:, varies] if varies.any() else np.zeros((len(values), 1)), design.folds_of(seed), seed)
    return Beyond(known, known.residuals(unseen))


@dataclass(frozen=True)
class UnseenScore:
    """The three statistics of k explanations, and the shares of their variance that they rest on."""

    statistics: dict[str, Statistic]
    """`unseen`, `unseen_over_outputs`, and, where there is a stale reading, `unseen_over_stale`."""
    left: np.ndarray
    """Share of each explanation's variance that is left given Z, [k]."""


def score_unseen(
    explanations: np.ndarray, run: UnseenRun, resamples: Resamples | None = None, stale: np.ndarray | None = None
) -> UnseenScore:
    """Score E [n, k] and, paired with it, `stale` [n, k]: the same explainers on the target's hidden states."""
    e = as_columns(explanations)
    k = e.shape[1]
    draws = 0 if resamples is None else len(resamples.weights)
    nothing = Statistic(np.full(k, np.nan), np.full((draws, k), np.nan))
    out = {"unseen": nothing, "unseen_over_outputs": nothing}
    if stale is not None:
        out["unseen_over_stale"] = nothing
    left = np.full(k, np.nan)
    if run.own is not None:
        both = run.own.free(e if stale is None else np.concatenate([e, as_columns(stale)], axis=1))
        left = both.left[:k]
        found = _correlation(both, run.own, resamples)
        out["unseen"] = found.part(slice(k))
        if stale is not None:
            out["unseen_over_stale"] = _minus(out["unseen"], found.part(slice(k, None)))
    if run.outputs is not None:
        out["unseen_over_outputs"] = _correlation(run.outputs.free(e), run.outputs, resamples)
    return UnseenScore(out, left)


def _correlation(freed: Freed, of: Beyond, resamples: Resamples | None) -> Statistic:
    kept = np.where(freed.says_something, 1.0, np.nan)
    a = np.nan_to_num(freed.residuals)
    draws = np.empty((0, a.shape[1])) if resamples is None else bootstrap_pearson(resamples, a, of.unseen)[..., 0]
    return Statistic(pearson(a, of.unseen) * kept, draws * kept)


def _minus(now: Statistic, stale: Statistic) -> Statistic:
    """Paired. A stale reading that says nothing beyond what is known counts as 0, and so does a constant."""
    return Statistic(now.estimate - np.nan_to_num(stale.estimate), now.draws - np.nan_to_num(stale.draws))
