"""The explainer and its controls on one axis, at one checkpoint or over all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
import plotly.graph_objects as go

from dashboard.charts import style
from dashboard.charts.curves import Series, trajectory

MEASURES = {
    "self": ("Self", "Self, Pearson r"),
    "gap": ("Gap", "Self − Orig, Pearson r"),
    "unseen": ("Unseen", "unseen, partial r"),
    "unseen_over_stale": ("Unseen − stale", "unseen over stale, difference of partial r"),
}


@dataclass(frozen=True)
class LadderRow:
    """A number with its interval; `kind` is "explainer", "control" or "reference"."""

    name: str
    value: float | None
    low: float | None = None
    high: float | None = None
    kind: str = "control"


_LOOKS = {
    "explainer": {"color": style.EXPLANATION.colour, "symbol": style.EXPLANATION.symbol, "size": 13},
    "control": {"color": style.OUTPUT.colour, "symbol": style.OUTPUT.symbol, "size": 10},
    "reference": {"color": style.GREY, "symbol": "line-ns", "size": 10},
}


def ladder(rows: Sequence[LadderRow], *, x_title: str) -> go.Figure:
    """Each number on its own line, with its interval as a bar; undefined values are left out."""
    shown = [r for r in rows if r.value is not None and r.value == r.value]
    figure = go.Figure()
    for kind, look in _LOOKS.items():
        mine = [(r, float(r.value or 0.0)) for r in shown if r.kind == kind]
        if not mine:
            continue
        # Without an interval there is no bar: Plotly draws a bar of length 0 as a cap.
        up = [None if r.high is None else max(r.high - value, 0.0) for r, value in mine]
        down = [None if r.low is None else max(value - r.low, 0.0) for r, value in mine]
        bars = {"type": "data", "symmetric": False, "array": up, "arrayminus": down, "thickness": 2}
        x, y = [value for _, value in mine], [style.safe(r.name, 60) for r, _ in mine]
        text = [style.interval(r.value, r.low, r.high) for r, _ in mine]
        hover = {"text": text, "hovertemplate": "%{y}: %{text}<extra></extra>"}
        figure.add_scatter(x=x, y=y, mode="markers", name=kind, marker=look, error_x=bars, **hover)
    names = [style.safe(r.name, 60) for r in shown]
    return style.finish_rows(figure, names, height=110 + 36 * max(len(shown), 1), x_title=x_title)


def among_controls(rows: pd.DataFrame, controls: pd.DataFrame, measure: str, explainer: str, regime: str) -> go.Figure:
    """One of `MEASURES` over checkpoints: the explainer's chosen rows, and each control that has the measure."""
    axis = MEASURES[measure][1]
    if explainer == "verbal":
        axis = axis.replace("partial r", "shares" if "difference" in axis else "difference of shares").replace(
            "Pearson r", "exact match"
        )
    lines = [Series(rows, measure, f"{explainer}, {regime}", style.EXPLANATION)]
    for control, look in style.controls(explainer).items():
        at = controls[controls.control == control][["step", "checkpoint", measure]]
        if control != "difference" and at[measure].notna().any():
            lines.append(Series(at, measure, look.name, look))
    figure = trajectory(lines, panels=(axis,), null=_null_band(rows, controls, measure), height=500)
    figure.add_hline(y=0, line=style.ZERO_LINE)
    return figure


def _null_band(rows: pd.DataFrame, controls: pd.DataFrame, measure: str) -> pd.DataFrame | None:
    """step, null_low, null_high: the scores of explainers that were trained on shuffled targets."""
    null = controls[controls.control == "null"]
    if null[f"{measure}_low"].notna().any():
        renamed = {f"{measure}_low": "null_low", f"{measure}_high": "null_high"}
        return null[["step", *renamed]].rename(columns=renamed)
    return rows[["step", "null_low", "null_high"]] if measure == "self" and rows.null_low.notna().any() else None
