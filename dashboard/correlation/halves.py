"""The effect Δ = f(x′) − f(x) split into its two outputs: with which of them, of which model, does an explanation go?

An explanation that goes with Δ may go with −f(x) alone, which it can read off. What it knows of the unseen run f(x′)
beyond the present outputs is the last line; its difference between the models is the counterfactual gap.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import streamlit as st

from dashboard.reading import data
from dashboard.reading.agreement import Estimate, explained, resamples
from dashboard.selection.on_screen import measured
from dashboard.selection.state import Selection
from engine.stats.correlation import bootstrap_partial, bootstrap_pearson, interval, partial, pearson, spline_basis
from engine.stats.noise import shuffled_targets

LABELS = {
    "effect": "Δ = f(x′) − f(x)",
    "f": "−f(x): the present output, sign turned",
    "f_edited": "f(x′): the unseen run",
    "given": "f(x′), with f(x) at both held fixed",
}


@dataclass(frozen=True)
class Half:
    """r of the explanation with one quantity of both models; the null is of groups that changed places."""

    name: str
    current: Estimate
    target: Estimate
    difference: Estimate
    """current − target, paired."""
    null_current: tuple[float | None, float | None]
    null_target: tuple[float | None, float | None]

    def turned(self) -> Half:
        """The same with the quantity's sign turned: f(x) in place of −f(x)."""

        def turn(e: Estimate) -> Estimate:
            return Estimate(*(None if v is None else -v for v in (e.value, e.high, e.low)))

        def band(ends: tuple[float | None, float | None]) -> tuple[float | None, float | None]:
            low, high = ends
            return (None if high is None else -high, None if low is None else -low)

        return Half(
            self.name, turn(self.current), turn(self.target), turn(self.difference), band(self.null_current),
            band(self.null_target),
        )  # fmt: skip


def halves(rows: pd.DataFrame, *, draws: int = 400, shuffles: int = 200, seed: int = 0) -> dict[str, Half]:
    """By the names of LABELS. rows: explanation, effect_…, f_…, f_edited_… of current and target, group, cue, entity.

    Empty below three rows.
    """
    rows = explained(rows)
    if len(rows) < 3:
        return {}
    weights = resamples(rows, draws, seed)
    e = rows["explanation"].to_numpy(np.float64)
    of = {n: rows[[f"{n}_current", f"{n}_target"]].to_numpy(np.float64) for n in ("effect", "f", "f_edited")}
    of["f"] = -of["f"]
    z = spline_basis(-of["f"][:, 0], -of["f"][:, 1])
    nulls = shuffled_targets(e, rows["group"], shuffles, seed) if rows["group"].nunique(dropna=False) > 1 else None
    found = {}
    for name in LABELS:
        if name == "given":
            value = partial(e, of["f_edited"], z)[0]
            drawn = bootstrap_partial(weights, e, of["f_edited"], z)[:, 0]
            shuffled = None if nulls is None else partial(nulls, of["f_edited"], z)
        else:
            value = pearson(np.column_stack([e, e]), of[name])
            drawn = bootstrap_pearson(weights, e, of[name])[:, 0]
            shuffled = None if nulls is None else _all(nulls, of[name])
        found[name] = Half(
            name, _estimate(value[0], drawn[:, 0]), _estimate(value[1], drawn[:, 1]),
            _estimate(value[0] - value[1], drawn[:, 0] - drawn[:, 1]),
            *((None, None) if shuffled is None else _band(shuffled[:, k]) for k in range(2)),
        )  # fmt: skip
    return found


def _all(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """r of every column of A [n, k] with every column of B [n, m]: [k, m]."""
    return np.column_stack([pearson(a, np.broadcast_to(b[:, [j]], a.shape)) for j in range(b.shape[1])])


def _band(values: np.ndarray) -> tuple[float | None, float | None]:
    low, high = (float(end) for end in interval(values))
    return (low, high) if np.isfinite(low) and np.isfinite(high) else (None, None)


def _estimate(value: float, drawn: np.ndarray) -> Estimate:
    return Estimate(float(value), *_band(drawn)) if np.isfinite(value) else Estimate(None)


@st.cache_data(max_entries=32, show_spinner=False)
def _of_screen(
    path: Path, setting: data.Setting, split: str, edit: str | None, layer: int | None, part: str, stamp: str,
    _rows: pd.DataFrame,
) -> dict[str, Half]:  # fmt: skip
    rows = measured(_rows)
    many = len(rows) > 20_000
    return halves(rows, draws=100 if many else 400, shuffles=40 if many else 200)


def of_screen(selection: Selection, frame: pd.DataFrame) -> dict[str, Half]:
    """Of the rows on the screen, those in the slice; cached."""
    s = selection
    return _of_screen(s.path, s.setting, s.split, s.edit, s.layer, str(s.slice), data.stamp(s.path), frame)
