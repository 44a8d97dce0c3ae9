"""Monitoring without edits: do the shifts that a frozen explainer predicts show where effects have moved?

At a new checkpoint the explainer reads the prompts x only. The predicted shift of a slice is the mean of e_t − e_0. The
measured shift is the mean of Δ_t − Δ_0, for which every edit must be run. Detection: a checkpoint × slice is an event
if |measured shift| exceeds a threshold, and |predicted shift| is the detector's score. The baseline score also needs no
edits: |drift of the mean of f(x)|. All in nats; no torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import rankdata
from sklearn.metrics import roc_curve

from engine.records import META
from engine.stats.bootstrap import Resamples, interval

LEAST = 20
"""Fewest examples in a slice."""
MOST_VALUES = 60
"""A metadata column with more distinct values gives no slices."""
EVERYTHING = ("everything", "")


@dataclass(frozen=True)
class Slices:
    """Overlapping groups of examples, by their metadata."""

    names: tuple[tuple[str, str], ...]
    """(column, value)"""
    members: np.ndarray
    """[n, slices], 0 or 1"""


def slices_of(examples: pd.DataFrame, least: int = LEAST) -> Slices:
    """All examples [n], and those of each metadata value that `least` examples have."""
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
    """Mean shifts of P pairs (checkpoint, slice)."""

    table: pd.DataFrame
    """[P]: checkpoint, column, value, n; predicted, measured, drift, with _low and _high from resampled examples."""
    pairs: np.ndarray
    """Row numbers of `table` [D, P]: slices and checkpoints drawn independently, with replacement."""


def shifts(
    watched: Sequence[Watched], slices: Slices, resamples: Resamples, confidence: float = 0.95, seed: int = 0
) -> Shifts:
    """Mean shift of every slice at every checkpoint. Calls with the same slices and seed draw the same slices."""
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
    """The pairs of several runs together; draw d of the result joins the runs' draws d."""
    first = np.cumsum([0, *(len(p.table) for p in parts[:-1])])
    pairs = np.concatenate([p.pairs + start for p, start in zip(parts, first, strict=True)], axis=1)
    return Shifts(pd.concat([p.table for p in parts], ignore_index=True), pairs)


def area(score: np.ndarray, event: np.ndarray) -> np.ndarray:
    """Area under the ROC curve [...] of scores [..., P] for events [..., P] (bool), ties counted half.

    As sklearn.metrics.roc_auc_score, for many draws at once. NaN where all pairs are events, or none is.
    """
    ranks = rankdata(score, axis=-1)
    positive = event.sum(axis=-1)
    negative = event.shape[-1] - positive
    with np.errstate(invalid="ignore", divide="ignore"):
        found = ((ranks * event).sum(axis=-1) - positive * (positive + 1) / 2) / (positive * negative)
    return np.where((positive > 0) & (negative > 0), found, np.nan)


@dataclass(frozen=True)
class Detection:
    """How well events are detected without running an edit."""

    threshold: float
    """Nats."""
    pairs: int
    events: int
    values: dict[str, tuple[float, float, float]]
    """Name → value, low, high: `area`, `area_baseline`, `area_difference`; `r` and `r_baseline` (correlation of the
    measured shift with the predicted one, and with minus the drift); `slope` of measured on predicted."""
    curves: dict[str, pd.DataFrame]
    """`predicted` and `drift` → columns false_alarms, detected, score; empty where there is no curve."""


def detect(found: Shifts, threshold: float, confidence: float = 0.95) -> Detection:
    """Evaluate |predicted shift| and |drift of the mean f(x)| as detectors of |measured shift| > threshold.

    Intervals resample slices and checkpoints, not examples: resampled examples would blur the shifts and pull every
    area towards one half.
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
    """The values of a Detection [D], from the shifts of each quantity [D, P]."""
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
    """Pearson's r and the slope of b on a, for each row of [D, P]; NaN where a (or, for r, b) is constant."""
    a, b = (v - v.mean(axis=1, keepdims=True) for v in (a, b))
    aa, bb, ab = (a**2).sum(axis=1), (b**2).sum(axis=1), (a * b).sum(axis=1)
    nowhere = np.full(len(a), np.nan)
    r = np.divide(ab, np.sqrt(aa * bb), out=nowhere.copy(), where=(aa > 0) & (bb > 0))
    return r, np.divide(ab, aa, out=nowhere, where=aa > 0)


def watch(
    examples: pd.DataFrame, effects: dict[str, np.ndarray], f: dict[str, np.ndarray], said: dict[str, np.ndarray]
) -> tuple[list[Watched], Slices]:
    """Changes since the first checkpoint. effects, f(x), explanations: checkpoint, in order → [n]."""
    first, *later = list(said)
    watched = [Watched(n, said[n] - said[first], effects[n] - effects[first], f[n] - f[first]) for n in later]
    return watched, slices_of(examples)
