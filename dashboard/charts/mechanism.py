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
"""Most layers for which the numbers are written into the cells."""
FAINT = 0.05
"""Share of the scale below which a cell has no number: what is not written is near 0."""
ROW, AROUND = 26, 150
"""Pixels of height: of a row, and of all that stands around the rows."""
DETECTORS = {
    "predicted": ("predicted shift", style.EXPLANATION),
    "drift": ("drift of f(x)", style.OUTPUT),
}


@dataclass(frozen=True)
class Column:
    """A position, or several that were patched together."""

    label: str
    """Plain text, maybe from data; unique in its figure."""
    group: str


def patch_maps(
    columns: Sequence[Column],
    layers: Sequence[int],
    panels: Sequence[tuple[str, np.ndarray]],
    *,
    unit: str,
    limit: float | None = None,
    own_scales: bool = False,
    dark: bool = False,
) -> go.Figure:
    """Heatmaps side by side with 0 in the middle of each scale: places of the prompt from top to bottom, layers (0: the
    embeddings) from left to right. NaN is drawn as nothing. Each has its colour bar below it.

    panels: (title, values [layers, columns]). limit: the largest size on the scale; None: the largest of the values.
    own_scales: each panel has its own scale, and its title says it. dark: for a dark page.
    """
    sizes = [float(np.abs(z[np.isfinite(z)]).max(initial=0.0)) or 1.0 for _, z in panels]
    titles = [title for title, _ in panels]
    if own_scales:
        titles = [f"{title} (± {style.number(size)} {unit})" for title, size in zip(titles, sizes, strict=True)]
    else:
        sizes = [limit or max(sizes)] * len(panels)
    figure = make_subplots(rows=1, cols=len(panels), shared_yaxes=True, horizontal_spacing=0.03, subplot_titles=titles)
    names = [style.safe(c.label, 24) for c in columns]
    x = ["emb." if layer == 0 else str(layer) for layer in layers]
    hover = {"hovertemplate": f"%{{y}}, layer %{{x}}: %{{customdata}} {unit}<extra></extra>", "hoverongaps": False}
    template = "%{text}" if len(layers) <= WRITTEN else None
    height = AROUND + ROW * max(len(names), 2)
    for at, ((_, values), size) in enumerate(zip(panels, sizes, strict=True), start=1):
        left, right = figure.get_subplot(1, at).xaxis.domain
        bar = {"orientation": "h", "thickness": 8, "len": 0.9 * (right - left), "x": (left + right) / 2}
        bar |= {"y": 0, "yanchor": "top", "ypad": 58, "nticks": 3, "tickfont": {"size": style.AXIS_FONT}}
        z = [[float(v) if np.isfinite(v) else None for v in column] for column in values.T]
        said = [[style.number(v, sign=True, absent="") for v in column] for column in values.T]
        text = [[_short(v) if abs(v) >= FAINT * size else "" for v in column] for column in values.T]
        scale = {"colorscale": style.DIVERGING[dark], "zmin": -size, "zmax": size, "colorbar": bar}
        written = {"text": text, "texttemplate": template, "textfont": {"size": style.AXIS_FONT}, "customdata": said}
        figure.add_heatmap(z=z, x=x, y=names, xgap=1, ygap=1, row=1, col=at, **written, **hover, **scale)
    style.finish(figure, height=height, legend=False)
    figure.update_layout(margin={"t": 40})
    figure.update_annotations(font_size=style.TITLE_FONT)
    figure.update_yaxes(type="category", categoryorder="array", categoryarray=names[::-1], ticks="")
    figure.update_xaxes(type="category", tickangle=0, title={"text": "layer", "standoff": 4})
    for below in _borders(columns):
        figure.add_hline(y=len(names) - 0.5 - below, line=style.ZERO_LINE)
    return figure


def _short(value: float) -> str:
    """`.53`, `−.07`, `1`, `−4.2`: two digits, for a small cell; nothing for no number."""
    if not np.isfinite(value):
        return ""
    text = f"{value:.1f}" if abs(value) >= 0.995 else f"{value:.2f}".replace("0.", ".", 1)
    return text.removesuffix(".0").replace("-", "−")


def _borders(columns: Sequence[Column]) -> list[int]:
    """Numbers of rows above each border between two groups."""
    return [i for i in range(1, len(columns)) if columns[i].group != columns[i - 1].group]


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
        colour = style.GREY if row.is_control else style.EXPLANATION.colour
        line = {"color": colour, "width": 3}
        mark = {"color": colour, "size": 11, "symbol": style.EXPLANATION.symbol}
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
        label, look = DETECTORS[name]
        line = {"color": look.colour, "dash": look.dash, "width": 2, "shape": "linear"}
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
