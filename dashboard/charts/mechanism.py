"""Maps of activation patching, how well they agree, and monitoring without edits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from dashboard.charts import style

WRITTEN = 12
"""Most columns for which the numbers are written into the cells."""
DETECTORS = {
    "predicted": ("predicted shift", style.EXPLANATION, "solid"),
    "drift": ("drift of f(x)", style.ORANGE, "dash"),
}


@dataclass(frozen=True)
class Column:
    """A position, or several that were patched together."""

    label: str
    """Plain text, maybe from data; unique in its group."""
    group: str


def patch_maps(
    columns: Sequence[Column],
    layers: Sequence[int],
    panels: Sequence[tuple[str, np.ndarray]],
    *,
    unit: str,
    limit: float | None = None,
    own_scales: bool = False,
) -> go.Figure:
    """Heatmaps on one scale with 0 in its middle; NaN is drawn as nothing. The embeddings (layer 0) are at the bottom.

    panels: (title, values [layers, columns]). limit: the largest size on the scale; None: the largest of the values.
    own_scales: each panel has its own scale, and its title says it.
    """
    sizes = [float(np.abs(z[np.isfinite(z)]).max(initial=0.0)) or 1.0 for _, z in panels]
    titles = [title for title, _ in panels]
    if own_scales:
        titles = [f"{title} (± {style.number(size)} {unit})" for title, size in zip(titles, sizes, strict=True)]
    figure = make_subplots(rows=1, cols=len(panels), shared_yaxes=True, horizontal_spacing=0.04, subplot_titles=titles)
    names = [style.safe(c.label, 24) for c in columns]
    x = [[style.safe(c.group, 24) or " " for c in columns], names]  # two lines of labels: groups, and their members
    y = ["embeddings" if layer == 0 else f"layer {layer}" for layer in layers]
    hover = {"hovertemplate": f"%{{y}}, %{{x}}: %{{text}} {unit}<extra></extra>", "hoverongaps": False}
    template = "%{text}" if len(columns) <= WRITTEN else None
    for at, ((_, values), size) in enumerate(zip(panels, sizes, strict=True), start=1):
        scale: dict = {"coloraxis": "coloraxis"}
        if own_scales:
            scale = {"colorscale": style.DIVERGING, "zmin": -size, "zmax": size, "showscale": False}
        z = [[float(v) if np.isfinite(v) else None for v in row] for row in values]
        text = [[style.number(v, sign=True, absent="") for v in row] for row in values]
        written = {"text": text, "texttemplate": template, **hover}
        figure.add_heatmap(z=z, x=x, y=y, xgap=1, ygap=1, row=1, col=at, **written, **scale)
    style.finish(figure, height=220 + 42 * max(len(layers), 1), legend=False)
    top = limit or max(sizes)
    bar = {"thickness": 10, "title": {"text": unit, "side": "right"}}
    axis = {"colorscale": style.DIVERGING, "cmin": -top, "cmax": top, "colorbar": bar}
    figure.update_layout(margin={"t": 44}, coloraxis=axis)
    figure.update_yaxes(type="category", categoryorder="array", categoryarray=y)
    figure.update_xaxes(tickangle=-60, dividerwidth=1)
    return figure


@dataclass(frozen=True)
class MapCorrelation:
    """A correlation of maps, or a control of it: a value with its interval, or the mean and band of a distribution."""

    name: str
    r: float
    low: float
    high: float
    is_band: bool
    is_control: bool


def agreements(rows: Sequence[MapCorrelation]) -> go.Figure:
    """Each correlation on a line of its own, the explainer first; bands of distributions are wide and pale."""
    figure = go.Figure()
    names = [style.safe(row.name, 60) for row in rows]
    for row, name in zip(rows, names, strict=True):
        colour = style.GREY if row.is_control else style.EXPLANATION
        line = {"color": colour, "width": 3}
        mark = {"color": colour, "size": 11, "symbol": "diamond"}
        if row.is_band:
            line, mark["symbol"] = {"color": style.faded(colour, 0.45), "width": 10}, "line-ns-open"
        hover = f"{style.interval(row.r, row.low, row.high, sign=True)}<extra>{name}</extra>"
        figure.add_scatter(x=[row.low, row.high], y=[name] * 2, mode="lines", hoverinfo="skip", line=line)
        figure.add_scatter(x=[row.r], y=[name], mode="markers", marker=mark, hovertemplate=hover)
    title = "mean correlation of both maps of an example"
    style.finish_rows(figure, names, height=96 + 34 * max(len(rows), 1), x_title=title)
    return figure.update_xaxes(range=[-1.05, 1.05])


def shifts(table: pd.DataFrame, threshold: float, curves: Mapping[str, pd.DataFrame]) -> go.Figure:
    """Left: each slice at each checkpoint, mean e_t − e_0 against mean Δ_t − Δ_0, nats. Right: ROC curves.

    table: checkpoint, column, value, n, predicted, measured. curves: name in `DETECTORS` → false_alarms and detected.
    """
    figure = make_subplots(rows=1, cols=2, column_widths=[0.58, 0.42], horizontal_spacing=0.12)
    left, right = {"row": 1, "col": 1}, {"row": 1, "col": 2}
    for i, (checkpoint, rows) in enumerate(table.groupby("checkpoint", sort=False)):
        names = [style.safe(f"{c}: {v}" if v else c, 60) for c, v in zip(rows["column"], rows["value"], strict=True)]
        marker = {"color": style.CATEGORICAL[i % 8], "symbol": style.SYMBOLS[i % 8], "size": 7, "opacity": 0.75}
        hover = "%{text}, n = %{customdata}<br>predicted %{x:.2f}, measured %{y:.2f} nats"
        about = {"name": style.safe(checkpoint, 40), "text": names, "customdata": rows["n"].to_numpy()}
        x, y = rows["predicted"].to_numpy(np.float32), rows["measured"].to_numpy(np.float32)
        figure.add_scatter(x=x, y=y, mode="markers", marker=marker, hovertemplate=hover, **about, **left)
    for sign in (-1, 1):
        figure.add_hline(y=sign * threshold, line={"color": style.GREY, "dash": "dot", "width": 1}, **left)
    for name, curve in curves.items():
        label, colour, dash = DETECTORS[name]
        line = {"color": colour, "dash": dash, "width": 2, "shape": "linear"}
        about = {"name": f"detected by {label}", "hovertemplate": "%{y:.0%} detected, %{x:.0%} false alarms"}
        figure.add_scatter(x=curve["false_alarms"], y=curve["detected"], mode="lines", line=line, **about, **right)
    chance = {"line": style.ZERO_LINE, "showlegend": False, "hoverinfo": "skip"}
    figure.add_scatter(x=[0, 1], y=[0, 1], mode="lines", **chance, **right)
    style.finish(figure, height=440)
    figure.update_xaxes(title="predicted shift, nats", **left)
    figure.update_yaxes(title="measured shift of mean Δ, nats", **left)
    figure.update_xaxes(title="false alarms", tickformat=".0%", range=[-0.02, 1.02], **right)
    figure.update_yaxes(title="events detected", tickformat=".0%", range=[-0.02, 1.02], **right)
    return figure
