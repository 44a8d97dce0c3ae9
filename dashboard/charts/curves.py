"""Lines with bands over checkpoints or over label noise, and a heatmap of layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from dashboard.charts import style


@dataclass(frozen=True)
class Series:
    """One line: `column` of `rows`, with `column_low` and `column_high` as its band where `rows` has them."""

    rows: pd.DataFrame
    column: str
    name: str
    colour: str
    symbol: str = "circle"
    dash: str = "solid"
    panel: int = 1
    band: bool = True
    legend: bool = True
    """False where another panel already shows the same line in the legend."""


def _values(rows: pd.DataFrame, column: str) -> np.ndarray | None:
    return rows[column].to_numpy(np.float64) if column in rows and rows[column].notna().any() else None


def _add_series(figure: go.Figure, series: Series, x: str) -> None:
    rows = series.rows.sort_values(x)
    xs, ys = rows[x].to_numpy(), _values(rows, series.column)
    if ys is None:
        return
    low, high = (_values(rows, f"{series.column}_{end}") for end in ("low", "high"))
    group = style.safe(f"{series.name}{series.panel if series.legend else 1}")
    shared: dict = {"legendgroup": group, "row": series.panel, "col": 1}
    bounds, hover = None, "%{y:.3f}"
    if low is not None and high is not None:
        bounds = np.column_stack([low, high])
        hover = "%{y:.3f} [%{customdata[0]:.3f}, %{customdata[1]:.3f}]"
        if series.band:
            style.add_band(figure, xs, low, high, style.faded(series.colour, 0.15), **shared)
    line = {"color": series.colour, "dash": series.dash, "width": 2}
    marker = {"symbol": series.symbol, "size": 8}
    about = {"name": style.safe(series.name, 60), "showlegend": series.legend, "mode": "lines+markers", **shared}
    figure.add_scatter(x=xs, y=ys, customdata=bounds, line=line, marker=marker, hovertemplate=hover, **about)


def trajectory(
    series: Sequence[Series],
    *,
    x: str = "step",
    x_title: str = "training step of the current checkpoint",
    panels: Sequence[str] = ("agreement (Pearson r)", "gap"),
    absent_within: float | None = None,
    null: pd.DataFrame | None = None,
    lost_at: float | None = None,
    lost_text: str = "",
    log_x: bool = False,
    height: int = 620,
) -> go.Figure:
    """Lines over steps, one panel above the other on one x axis.

    null: columns x, null_low, null_high; shades the first panel. absent_within: a gap within ± this is too small to
    count; shades that range of the last panel. lost_at: draws a vertical line there.
    """
    last = len(panels)
    shares = [0.58, 0.42] if last == 2 else None
    figure = make_subplots(rows=last, cols=1, shared_xaxes=True, vertical_spacing=0.06, row_heights=shares)
    if null is not None and len(null):
        xs, low, high = (null.sort_values(x)[column].to_numpy() for column in (x, "null_low", "null_high"))
        style.add_band(figure, xs, low, high, style.faded(style.GREY, 0.22), name="null, 95% band", row=1, col=1)
    for one in series:
        _add_series(figure, one, x)
    if last > 1:
        figure.add_hline(y=0, line=style.ZERO_LINE, row=last, col=1)
        if absent_within:
            look = {"fillcolor": style.faded(style.GREY, 0.14), "line_width": 0, "layer": "below"}
            figure.add_hrect(y0=-absent_within, y1=absent_within, row=last, col=1, **look)
    style.finish(figure, height=height)
    for row, name in enumerate(panels, 1):
        figure.update_yaxes(title=name, row=row, col=1)
    figure.update_xaxes(title=x_title, row=last, col=1)
    figure.update_layout(hovermode="x unified")
    if log_x:
        figure.update_xaxes(type="log", dtick=1)
    if lost_at is not None:
        style.mark_x(figure, lost_at, style.safe(lost_text))
    return figure


def heatmap(rows: pd.DataFrame, column: str, *, title: str, centred: bool) -> go.Figure:
    """`column` of every layer (rows) at every checkpoint (columns), with its numbers in the cells.

    `centred` puts the middle of a diverging scale at 0, for gaps.
    """
    steps = rows[["step", "checkpoint"]].drop_duplicates().sort_values(["step", "checkpoint"])
    grid = rows.pivot_table(index="layer", columns="checkpoint", values=column, aggfunc="mean", dropna=False)
    grid = grid.reindex(columns=steps["checkpoint"].tolist()).sort_index()
    z = grid.to_numpy(np.float64)
    names = [style.safe(c.split("--", 1)[-1], 24) for c in grid.columns]
    text = [[style.number(v, sign=centred, absent="") for v in row] for row in z]
    scale: dict = {"colorscale": "Cividis"}
    if centred:
        top = float(np.nanmax(np.abs(z))) if np.isfinite(z).any() else 1.0
        scale = {"colorscale": style.DIVERGING, "zmin": -top, "zmax": top}
    scale |= {"xgap": 2, "ygap": 2, "colorbar": {"thickness": 10, "title": {"text": "r"}}}
    written = {"text": text, "texttemplate": "%{text}", "hovertemplate": "%{y}, %{x}: %{text}<extra></extra>"}
    layers = [f"layer {layer}" for layer in grid.index]
    figure = go.Figure(go.Heatmap(z=z.astype(np.float32), x=names, y=layers, **scale, **written))
    style.finish(figure, height=150 + 46 * max(len(grid), 1), title=title, legend=False)
    figure.update_xaxes(title="checkpoint", type="category")
    return figure


NOISE_LINES = (("self", "Self", style.SELF, "circle"), ("orig", "Orig", style.ORIG, "diamond"))
NOISE_TITLES = {
    "noise": "level of label noise (share, or relative size for Gaussian)",
    "noisy_clean": "correlation of noisy with clean targets",
}


def noise_curve(
    stored: pd.DataFrame,
    live: pd.DataFrame | None = None,
    *,
    x: str = "noise",
    null: tuple[float, float] | None = None,
    ceiling: float | None = None,
    breaks_at: float | None = None,
    level: float | None = None,
) -> go.Figure:
    """Self and Orig against noise.

    stored: rows of metrics (noise, noisy_clean, self, self_low, self_high, orig …). live: the same columns from a
    refit, with the range over seeds as the band. null: its 95% band. ceiling: Self of a refit on the current model's
    own effects. breaks_at, level: places on the x axis.
    """
    figure = go.Figure()
    if null is not None:
        figure.add_hrect(y0=null[0], y1=null[1], fillcolor=style.faded(style.GREY, 0.22), line_width=0, layer="below")
        square = {"symbol": "square", "size": 12, "color": style.faded(style.GREY, 0.4)}
        figure.add_scatter(x=[None], y=[None], mode="markers", name="null, 95% band", marker=square)
    if ceiling is not None:
        look = style.CONTROLS["ceiling"]
        line = {"color": look.colour, "dash": look.dash, "width": 1.5}
        figure.add_hline(y=ceiling, line=line)
        figure.add_scatter(x=[None], y=[None], mode="lines", name=f"ceiling {style.number(ceiling)}", line=line)
    _add_curves(figure, stored, x, "precomputed", {"dash": "dash", "width": 1.5}, "-open")
    if live is not None:
        _add_curves(figure, live, x, "refitted now", {"dash": "solid", "width": 2.5}, "")
    if level is not None:
        figure.add_vline(x=level, line={"color": style.GREY, "width": 6}, opacity=0.25)
    if breaks_at is not None:
        place = f"{breaks_at:.0%}" if x == "noise" else style.number(breaks_at)
        style.mark_x(figure, breaks_at, f"breaks at {place}")
    style.finish(figure, height=460)
    lowest = min([0.0, *(float(f[x].min()) for f in (stored, live) if f is not None and len(f))])
    figure.update_xaxes(title=NOISE_TITLES[x], range=[1.03, lowest - 0.03] if x == "noisy_clean" else [-0.03, 1.03])
    figure.update_yaxes(title="Pearson r with the effect")
    return figure


def _add_curves(figure: go.Figure, frame: pd.DataFrame, x: str, kind: str, line: dict, mark: str) -> None:
    frame = frame.sort_values(x)
    xs = frame[x].to_numpy(np.float64)
    for column, name, colour, symbol in NOISE_LINES:
        ys = frame[column].to_numpy(np.float64)
        if not np.isfinite(ys).any():
            continue
        low, high = (frame.get(f"{column}_{end}") for end in ("low", "high"))
        if low is not None and high is not None:
            style.add_band(figure, xs, low, high, style.faded(colour, 0.16), legendgroup=name + kind)
        about = {"mode": "lines+markers", "name": f"{name}, {kind}", "legendgroup": name + kind}
        look = {"line": {"color": colour, **line}, "marker": {"symbol": symbol + mark, "size": 8}}
        figure.add_scatter(x=xs, y=ys, hovertemplate="%{x:.2f}: %{y:.3f}", **about, **look)
