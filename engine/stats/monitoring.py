"""Monitoring without edits: does the shift that a frozen explainer predicts show where behavior's effects have moved?

At a new checkpoint the explainer is asked about the prompts x alone. Its predicted shift on a slice is the mean of
e_t − e_0; what really happened is the mean of Δ_t − Δ_0, which needs every edit to be run. Detection: a checkpoint ×
slice is an event where |measured shift| exceeds a threshold, and |predicted shift| is to tell events from the rest. The
baseline needs no edits either: |drift of the mean of f(x)|. All in nats; no torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import rankdata
from sklearn.metrics import roc_curve

from engine.records import META
from engine.stats.correlation import Resamples, interval

LEAST = 20
"""Examples in a slice that is watched."""
MOST_VALUES = 60
"""Distinct values of a column whose values are slices."""
EVERYTHING = ("everything", "")


@dataclass(frozen=True)
class Slices:
    """Groups of examples by their metadata; they overlap."""

    names: tuple[tuple[str, str], ...]
    """(column, value)"""
    members: np.ndarray
    """[n, slices], 0 or 1"""


def slices_of(examples: pd.DataFrame, least: int = LEAST) -> Slices:
    """All examples, and those of each value of each metadata column that has `least` of them [n rows]."""
    names, members = [EVERYTHING], [np.ones(len(examples)).astype(float)]
    for column in [c for c in examples.columns if c.startswith(META)]:
        counts = examples[column].astype(object).value_counts()
        if 2 <= len(counts) <= MOST_VALUES:
            for value in sorted(str(v) for v, count in counts.items() if count >= least):
                names.append((column.removeprefix(META), value))
                members.append((examples[column].astype(str) == value).to_numpy().astype(float))
    return Slices(tuple(names), np.stack(members, axis=1))


@dataclass(frozen=True)
class Watched:
    """One checkpoint: changes since the first, of each example [n], in nats."""

    name: str
    predicted: np.ndarray
    """e_t − e_0"""
    measured: np.ndarray
    """Δ_t − Δ_0"""
    drift: np.ndarray
    """f_t(x) − f_0(x)"""


QUANTITIES = ("predicted", "measured", "drift")


@dataclass(frozen=True)
class Shifts:
    """Mean shifts of checkpoints × slices, P pairs in all."""

    table: pd.DataFrame
    """[P]: checkpoint, column, value, n, predicted, measured, drift, and their _low and _high (examples resampled)."""
    pairs: np.ndarray
    """Numbers of pairs [D, P]: draws of slices and of checkpoints, each with replacement and each by itself."""


def shifts(
    watched: Sequence[Watched], slices: Slices, resamples: Resamples, confidence: float = 0.95, seed: int = 0
) -> Shifts:
    """Mean shift of every slice at every checkpoint. Shifts of other checkpoints with the same slices and seed draw the
    same slices."""
    counts = slices.members.sum(axis=0)
    weights = resamples.sums(slices.members)
    tables: list[pd.DataFrame] = []
    for one in watched:
        table = pd.DataFrame(list(slices.names), columns=["column", "value"])
        table.insert(0, "checkpoint", one.name)
        table["n"] = counts.astype(int)
        for name in QUANTITIES:
            values = getattr(one, name)
            with np.errstate(invalid="ignore", divide="ignore"):
                own = resamples.sums(slices.members * values[:, None]) / weights
            low, high = interval(own, confidence)
            table[name], table[f"{name}_low"], table[f"{name}_high"] = slices.members.T @ values / counts, low, high
        tables.append(table)
    draws, k, c = len(weights), len(slices.names), len(watched)
    by_slice = np.random.default_rng([seed, 1]).integers(k, size=(draws, 1, k))
    by_checkpoint = np.random.default_rng([seed, 2]).integers(c, size=(draws, c, 1))
    return Shifts(pd.concat(tables, ignore_index=True), (by_checkpoint * k + by_slice).reshape(draws, c * k))


def pooled(parts: Sequence[Shifts]) -> Shifts:
    """Pairs of several runs together; the draws are aligned by number."""
    first = np.cumsum([0, *(len(p.table) for p in parts[:-1])])
    pairs = np.concatenate([p.pairs + start for p, start in zip(parts, first, strict=True)], axis=1)
    return Shifts(pd.concat([p.table for p in parts], ignore_index=True), pairs)


def area(score: np.ndarray, event: np.ndarray) -> np.ndarray:
    """Area under the ROC curve of scores [..., P] for events [..., P] (bool), ties counted half; NaN where all pairs
    are events or none is. As sklearn.metrics.roc_auc_score, for many draws at once."""
    ranks = rankdata(score, axis=-1)
    positive = event.sum(axis=-1)
    negative = event.shape[-1] - positive
    with np.errstate(invalid="ignore", divide="ignore"):
        found = ((ranks * event).sum(axis=-1) - positive * (positive + 1) / 2) / (positive * negative)
    return np.where((positive > 0) & (negative > 0), found, np.nan)


@dataclass(frozen=True)
class Detection:
    """How well events are told from the rest without running an edit."""

    threshold: float
    """Nats."""
    pairs: int
    events: int
    values: dict[str, tuple[float, float, float]]
    """Name → value, low, high: `area`, `area_baseline`, `area_difference`; `r`, `r_baseline` (correlation of the signed
    predicted shift, and of minus the drift, with the measured one); `slope` of measured on predicted."""
    curves: dict[str, pd.DataFrame]
    """`predicted` and `drift` → false alarms, detected, score; empty where there is no curve."""


def detect(found: Shifts, threshold: float, confidence: float = 0.95) -> Detection:
    """Score |predicted shift| and |drift of the mean f(x)| as detectors of |measured shift| > threshold.

    Intervals: slices and checkpoints drawn anew, each by itself. (Resampling examples would blur the shifts that the
    curve is made of, and so pull every area towards one half.)
    """
    table = found.table
    columns = {name: table[name].to_numpy() for name in QUANTITIES}
    estimates = _numbers({name: values[None] for name, values in columns.items()}, threshold)
    drawn = _numbers({name: values[found.pairs] for name, values in columns.items()}, threshold)
    values = {}
    for name, own in drawn.items():
        low, high = interval(own[:, None], confidence)
        estimate = float(estimates[name][0])
        values[name] = (estimate, float(low[0]), float(high[0])) if estimate == estimate else (np.nan,) * 3
    event = (table["measured"].abs() > threshold).to_numpy()
    curves = {}
    if event.any() and not event.all():
        for name in ("predicted", "drift"):
            false, true, score = roc_curve(event, table[name].abs(), drop_intermediate=True)
            curves[name] = pd.DataFrame({"false_alarms": false, "detected": true, "score": score})
    return Detection(threshold, len(table), int(event.sum()), values, curves)


def _numbers(shifts: dict[str, np.ndarray], threshold: float) -> dict[str, np.ndarray]:
    """The values of a Detection, [D], from the shifts of each quantity [D, P]."""
    predicted, measured, drift = (shifts[name] for name in QUANTITIES)
    event = np.abs(measured) > threshold
    own, baseline = area(np.abs(predicted), event), area(np.abs(drift), event)
    r, slope = _correlation_and_slope(predicted, measured)
    return {
        "area": own,
        "area_baseline": baseline,
        "area_difference": own - baseline,
        "r": r,
        "r_baseline": _correlation_and_slope(-drift, measured)[0],
        "slope": slope,
    }


def _correlation_and_slope(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Row by row of [D, P]: Pearson's r, and the slope of the regression of b on a; NaN where a or b is constant."""
    a, b = (v - v.mean(axis=1, keepdims=True) for v in (a, b))
    aa, bb, ab = (a**2).sum(axis=1), (b**2).sum(axis=1), (a * b).sum(axis=1)
    nowhere = np.full(len(a), np.nan)
    r = np.divide(ab, np.sqrt(aa * bb), out=nowhere.copy(), where=(aa > 0) & (bb > 0))
    return r, np.divide(ab, aa, out=nowhere, where=aa > 0)


def watch(
    examples: pd.DataFrame, effects: dict[str, np.ndarray], f: dict[str, np.ndarray], said: dict[str, np.ndarray]
) -> tuple[list[Watched], Slices]:
    """Checkpoints after the first, from f(x), effects and explanations [n] by checkpoint (the first comes first)."""
    first, *later = list(said)
    watched = [Watched(n, said[n] - said[first], effects[n] - effects[first], f[n] - f[first]) for n in later]
    return watched, slices_of(examples)
