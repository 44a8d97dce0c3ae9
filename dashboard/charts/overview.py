"""One picture of a run: the explainer and its controls on one axis; one example's effects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from dashboard.charts import style
from dashboard.charts.trajectory import Series, trajectory

MEASURES = {
    "self": ("Self", "Self, Pearson r"),
    "gap": ("Gap", "Self − Orig, Pearson r"),
    "counterfactual_gap": ("Counterfactual gap", "counterfactual gap, partial r"),
}


@dataclass(frozen=True)
class Estimate:
    """A number with its interval; `kind` is "explainer", "control" or "reference"."""

    name: str
    value: float | None
    low: float | None = None
    high: float | None = None
    kind: str = "control"


_LOOKS = {
    "explainer": (style.BLUE, "circle", 13),
    "control": (style.ORANGE, "diamond", 10),
    "reference": (style.GREY, "square-open", 10),
}


def ladder(estimates: Sequence[Estimate], *, x_title: str) -> go.Figure:
    """Each estimate on its own line, with its interval as a bar; undefined values are left out."""
    shown = [e for e in estimates if e.value is not None and e.value == e.value]
    figure = go.Figure()
    figure.add_vline(x=0, line={"color": style.GREY, "width": 1})
    for kind, (colour, symbol, size) in _LOOKS.items():
        mine = [e for e in shown if e.kind == kind]
        if not mine:
            continue
        value = [float(e.value or 0.0) for e in mine]
        # Where there is no interval there is no bar: one of length 0 would be drawn as a cap.
        up = [None if e.high is None else max(e.high - v, 0.0) for e, v in zip(mine, value, strict=True)]
        down = [None if e.low is None else max(v - e.low, 0.0) for e, v in zip(mine, value, strict=True)]
        figure.add_trace(
            go.Scatter(
                x=value, y=[style.safe(e.name, 60) for e in mine], mode="markers", name=kind,
                error_x={"type": "data", "symmetric": False, "array": up, "arrayminus": down, "thickness": 2},
                marker={"color": colour, "symbol": symbol, "size": size},
                text=[style.interval(e.value, e.low, e.high) for e in mine],
                hovertemplate="%{y}: %{text}<extra></extra>",
            )
        )  # fmt: skip
    style.finish(figure, height=110 + 36 * max(len(shown), 1), legend=False)
    names = [style.safe(e.name, 60) for e in shown]
    figure.update_yaxes(categoryorder="array", categoryarray=names[::-1], title=None)
    figure.update_xaxes(title=x_title)
    return figure


def example_effects(target: tuple[float, float], current: tuple[float, float], explanation: float | None) -> go.Figure:
    """f(x) → f(x') of the target and of the current checkpoint as arrows, and where the explanation points, in nats."""
    figure = go.Figure()
    rows = [("target", target, style.TARGET, "diamond"), ("current", current, style.CURRENT, "circle")]
    if explanation is not None:
        rows.append(("explanation", (current[0], current[0] + explanation), style.EXPLANATION, "square"))
    for name, (start, end), colour, symbol in rows:
        figure.add_trace(
            go.Scatter(
                x=[start, end], y=[name, name], mode="lines+markers", name=name,
                line={"color": colour, "width": 3}, hovertemplate="%{x:.2f} nats<extra>" + name + "</extra>",
                marker={"symbol": [f"{symbol}-open", symbol], "size": 12},
            )
        )  # fmt: skip
        figure.add_annotation(
            x=end, y=name, text=f"Δ {style.number(end - start, sign=True)}", showarrow=False, yshift=16,
            font={"color": colour},
        )  # fmt: skip
    figure.add_vline(x=0, line={"color": style.GREY, "width": 1})
    style.finish(figure, height=70 + 60 * len(rows), legend=False)
    figure.update_yaxes(categoryorder="array", categoryarray=[r[0] for r in rows][::-1])
    figure.update_xaxes(title="f in nats (open: x, filled: x′)")
    return figure


def prompt_features(checkpoints: Sequence[pd.DataFrame], titles: Sequence[str]) -> go.Figure:
    """Which edits of one prompt matter, at each of some checkpoints: measured effect and explanation, nats.

    One panel a checkpoint with its title above; its rows have feature, effect_current and explanation, and the feature
    whose effect is largest at the last checkpoint stands on top.
    """
    order = checkpoints[-1].sort_values("effect_current", key=np.abs, kind="stable")["feature"]
    names = [style.safe(feature, 44) for feature in order]
    figure = make_subplots(
        rows=len(checkpoints), cols=1, shared_xaxes=True, subplot_titles=[style.safe(t, 60) for t in titles],
        vertical_spacing=0.14,
    )  # fmt: skip
    for panel, rows in enumerate(checkpoints, 1):
        rows = rows.set_index("feature").reindex(order)
        for column, name, colour, symbol in (
            ("effect_current", "measured Δ", style.CURRENT, "circle"),
            ("explanation", "explanation", style.EXPLANATION, "diamond"),
        ):
            figure.add_trace(
                go.Scatter(
                    x=rows[column].to_numpy(np.float32), y=names, mode="markers", name=name, legendgroup=name,
                    showlegend=panel == 1, marker={"color": colour, "symbol": symbol, "size": 12},
                    hovertemplate="%{y}: %{x:.2f} nats",
                ),
                row=panel, col=1,
            )  # fmt: skip
        figure.add_vline(x=0, line={"color": style.GREY, "width": 1}, row=panel, col=1)
    style.finish(figure, height=110 + (70 + 34 * len(names)) * len(checkpoints))
    figure.update_annotations(x=0, xanchor="left", font={"size": 12})
    figure.update_yaxes(type="category", categoryorder="array", categoryarray=names)
    figure.update_xaxes(showgrid=True)
    figure.update_xaxes(title="effect of the edit, nats", row=len(checkpoints), col=1)
    return figure


def among_controls(rows: pd.DataFrame, controls: pd.DataFrame, measure: str, explainer: str, regime: str) -> go.Figure:
    """One of `MEASURES` over checkpoints: the explainer's chosen rows, and each control that has the measure."""
    axis = MEASURES[measure][1]
    if explainer == "verbal":
        axis = axis.replace("partial r", "share").replace("Pearson r", "exact match")
    lines = [Series(rows, measure, f"{explainer}, {regime}", style.BLUE, "circle", "solid")]
    for control, look in style.controls(explainer).items():
        at = controls[controls.control == control][["step", "checkpoint", measure]]
        if control != "difference" and at[measure].notna().any():
            lines.append(Series(at, measure, look.name, look.colour, look.symbol, look.dash))
    figure = trajectory(lines, panels=(axis,), null=null_band(rows, controls, measure), height=500)
    figure.update_layout(legend_y=-0.2)
    figure.add_hline(y=0, line={"color": style.GREY, "width": 1})
    return figure


def null_band(rows: pd.DataFrame, controls: pd.DataFrame, measure: str) -> pd.DataFrame | None:
    """step, null_low, null_high: what explainers trained on shuffled targets score."""
    null = controls[controls.control == "null"]
    if null[f"{measure}_low"].notna().any():
        renamed = {f"{measure}_low": "null_low", f"{measure}_high": "null_high"}
        return null[["step", *renamed]].rename(columns=renamed)
    return rows[["step", "null_low", "null_high"]] if measure == "self" and rows.null_low.notna().any() else None
