"""Splits the effect Δ = f(x′) − f(x) into its two outputs, and correlates an explanation with each, at both models.

An explanation can agree with Δ by agreeing with −f(x) alone, which it can read off.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import streamlit as st

from dashboard.reading import agreement, data
from dashboard.reading.agreement import Band, Estimate
from dashboard.reading.tables import cached_per_run
from dashboard.selection.on_screen import measured
from dashboard.selection.state import Selection
from engine.stats.bootstrap import bootstrap_pearson
from engine.stats.correlation import pearson

LABELS = {
    "effect": "Δ = f(x′) − f(x)",
    "f": "−f(x): the present output, sign turned",
    "f_edited": "f(x′): the unseen answer",
}


@dataclass(frozen=True)
class Half:
    """r of the explanation with one quantity of the current model and of the target."""

    current: Estimate
    target: Estimate
    difference: Estimate
    """current − target, paired."""
    null_current: Band
    """Of r, when whole groups of explanations change places."""
    null_target: Band

    def turned(self) -> Half:
        """The same for the quantity with its sign turned: f(x) in place of −f(x)."""
        nulls = ((-Estimate(None, *null))[1:] for null in (self.null_current, self.null_target))
        return Half(-self.current, -self.target, -self.difference, *nulls)


def halves(rows: pd.DataFrame, *, draws: int = 400, shuffles: int = 200, seed: int = 0) -> dict[str, Half]:
    """A `Half` for each name in LABELS; empty for fewer than three rows.

    rows: explanation, effect_…, f_…, f_edited_… of current and target, group, cue, entity.
    """
    rows = agreement.explained(rows)
    if len(rows) < 3:
        return {}
    weights = agreement.resamples(rows, draws, seed)
    moved = agreement.shuffled(rows, shuffles, seed)
    e = rows["explanation"].to_numpy(np.float64)
    effect, f, f_edited = (
        rows[[f"{name}_current", f"{name}_target"]].to_numpy(np.float64) for name in ("effect", "f", "f_edited")
    )
    found = {}
    for name, quantity in {"effect": effect, "f": -f, "f_edited": f_edited}.items():
        value = pearson(np.column_stack([e, e]), quantity)
        nulls = [agreement.null_band(moved, column) for column in quantity.T]
        found[name] = _half(value, bootstrap_pearson(weights, e, quantity)[:, 0], nulls)
    return found


def _half(value: np.ndarray, drawn: np.ndarray, nulls: list[Band]) -> Half:
    """value [2] and drawn [draws, 2]: current, target."""
    current, target = (agreement.estimate(value[k], drawn[:, k]) for k in range(2))
    return Half(current, target, agreement.estimate(value[0] - value[1], drawn[:, 0] - drawn[:, 1]), *nulls)


@cached_per_run(st.cache_data, max_entries=32)
def _halves(
    path: Path, setting: data.Setting, split: str, edit: str | None, layer: int | None, part: str, _rows: pd.DataFrame
) -> dict[str, Half]:
    rows = measured(_rows)
    many = len(rows) > 20_000
    return halves(rows, draws=100 if many else 400, shuffles=40 if many else 200)


def halves_on_screen(selection: Selection, rows: pd.DataFrame) -> dict[str, Half]:
    """`halves` of the rows of the selection's slice; cached. Above `on_screen.MEASURED` rows, of a sample."""
    s = selection
    return _halves(s.path, s.setting, s.split, s.edit, s.layer, str(s.slice), rows)
