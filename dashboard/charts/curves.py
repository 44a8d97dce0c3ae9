"""Lines with bands over checkpoints or over label noise, and a heatmap of layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from dashboard.charts import style
from dashboard.charts.line_ends import End, margin, name_ends
from dashboard.charts.style import Look

GAP_BETWEEN, AROUND = 0.06, 90
"""Share of the height between two panels; pixels of height above and below all of them."""


@dataclass(frozen=True)
class Series:
    """One line: `column` of `rows`, with `column_low` and `column_high` as its band where `rows` has them."""

    rows: pd.DataFrame
    column: str
    name: str
    look: Look
    panel: int = 1
    band: bool = True
    label: str = ""
    """The name at the line's end; by default the look's."""

    @property
    def is_thin(self) -> bool:
        """Whether this is a line for comparison, which stays behind the others."""
        return self.look.colour == style.GREY


def _values(rows: pd.DataFrame, column: str) -> np.ndarray | None:
    return rows[column].to_numpy(np.float64) if column in rows and rows[column].notna().any() else None


def _add_series(figure: go.Figure, series: Series, x: str) -> None:
    rows = series.rows.sort_values(x)
    xs, ys = rows[x].to_numpy(), _values(rows, series.column)
    if ys is None:
        return
    low, high = (_values(rows, f"{series.column}_{end}") for end in ("low", "high"))
    shared: dict = {"row": series.panel, "col": 1}
    bounds, hover = None, "%{y:.3f}"
    if low is not None and high is not None:
        bounds = np.column_stack([low, high])
        hover = "%{y:.3f} [%{customdata[0]:.3f}, %{customdata[1]:.3f}]"
        if series.band:
            style.add_band(figure, xs, low, high, style.faded(series.look.colour, 0.15), **shared)
    line = {"color": series.look.colour, "dash": series.look.dash, "width": 1.2 if series.is_thin else 2.5}
    marker = {"symbol": series.look.symbol, "size": 6 if series.is_thin else 10}
    about = {"name": style.safe(series.name, 60), "mode": "lines+markers", **shared}
    figure.add_scatter(x=xs, y=ys, customdata=bounds, line=line, marker=marker, hovertemplate=hover, **about)


def _end(series: Series, x: str) -> End | None:
    """The last point of a line that has a number."""
    rows = series.rows.sort_values(x)
    rows = rows[rows[series.column].notna()] if series.column in rows else rows.iloc[:0]
    if rows.empty:
        return None
    last = rows.iloc[-1]
    return End(float(last[x]), float(last[series.column]), series.label or series.look.label, series.look.colour)


def _span(series: Sequence[Series], more: Sequence[float]) -> tuple[float, float]:
    """The range of a panel's y axis: all lines with their drawn bands, and `more`."""
    columns = [(s.rows, s.column + end) for s in series for end in ("", *(("_low", "_high") if s.band else ()))]
    every = [v for rows, column in columns if (v := _values(rows, column)) is not None]
    values = np.concatenate([*every, np.asarray(more, np.float64)])
    values = values[np.isfinite(values)]
    low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 1.0)
    pad = 0.05 * (high - low) or 0.5
    return low - pad, high + pad


def _reach(xs: Sequence[pd.Series], log: bool) -> list[float]:
    """The range of the x axis, with little room at its ends, so that the names stand outside."""
    every = pd.concat(list(xs)).to_numpy(np.float64) if xs else np.array([0.0, 1.0])
    low, high = float(every.min()), float(every.max())
    low, high = (float(np.log10(low)), float(np.log10(high))) if log else (low, high)
    pad = 0.02 * (high - low) or 0.5
    return [low - pad, high + pad]


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
    """Lines over steps, one panel above the other on one x axis, each with its name at its end.

    null: columns x, null_low, null_high; shades the first panel. absent_within: a gap within ± this is too small to
    count; shades that range of the last panel. lost_at: draws a vertical line there.
    """
    last = len(panels)
    shares = [0.58, 0.42] if last == 2 else [1 / last] * last
    figure = make_subplots(rows=last, cols=1, shared_xaxes=True, vertical_spacing=GAP_BETWEEN, row_heights=shares)
    ends: dict[int, list[End]] = {row: [] for row in range(1, last + 1)}
    more: dict[int, list[float]] = {row: [0.0] if row > 1 else [] for row in ends}
    if null is not None and len(null):
        xs, low, high = (null.sort_values(x)[column].to_numpy() for column in (x, "null_low", "null_high"))
        style.add_band(figure, xs, low, high, style.faded(style.GREY, 0.22), name=style.NULL.name, row=1, col=1)
        ends[1].append(End(float(xs[-1]), float(low[-1] + high[-1]) / 2, style.NULL.label, style.GREY))
        more[1] += [float(low.min()), float(high.max())]
    for one in sorted(series, key=lambda s: not s.is_thin):  # what matters lies on top
        _add_series(figure, one, x)
        if end := _end(one, x):
            ends[one.panel].append(end)
    if last > 1:
        figure.add_hline(y=0, line=style.ZERO_LINE, row=last, col=1)
        if absent_within:
            look = {"fillcolor": style.faded(style.GREY, 0.14), "line_width": 0, "layer": "below"}
            figure.add_hrect(y0=-absent_within, y1=absent_within, row=last, col=1, **look)
    style.finish(figure, height=height, legend=False)
    room = (height - AROUND) * (1 - GAP_BETWEEN * (last - 1))
    for row, name in enumerate(panels, 1):
        figure.update_yaxes(title=name, row=row, col=1)
        span = _span([s for s in series if s.panel == row], more[row])
        name_ends(figure, ends[row], span, room * shares[row - 1], row=row, log_x=log_x)
    names = [end.text for own in ends.values() for end in own]
    figure.update_layout(hovermode="x unified", margin={"r": margin(names), "t": 28})
    figure.update_xaxes(title=x_title, row=last, col=1)
    figure.update_xaxes(range=_reach([s.rows[x] for s in series], log_x))
    if log_x:
        figure.update_xaxes(type="log", dtick=1)
    if lost_at is not None:
        style.mark_x(figure, lost_at, style.safe(lost_text))
    return figure


def heatmap(rows: pd.DataFrame, column: str, *, title: str, centred: bool, dark: bool = False) -> go.Figure:
    """`column` of every layer (rows) at every checkpoint (columns), with its numbers in the cells.

    centred: puts the middle of a diverging scale at 0, for gaps. dark: for a dark page.
    """
    steps = rows[["step", "checkpoint"]].drop_duplicates().sort_values(["step", "checkpoint"])
    grid = rows.pivot_table(index="layer", columns="checkpoint", values=column, aggfunc="mean", dropna=False)
    grid = grid.reindex(columns=steps["checkpoint"].tolist()).sort_index()
    z = grid.to_numpy(np.float64)
    names = [style.safe(c.split("--", 1)[-1], 24) for c in grid.columns]
    text = [[style.number(v, sign=centred, absent="") for v in row] for row in z]
    scale: dict = {"colorscale": style.SEQUENTIAL[dark]}
    if centred:
        top = float(np.nanmax(np.abs(z))) if np.isfinite(z).any() else 1.0
        scale = {"colorscale": style.DIVERGING[dark], "zmin": -top, "zmax": top}
    scale |= {"xgap": 2, "ygap": 2, "colorbar": {"thickness": 10, "title": {"text": "r"}}}
    written = {"text": text, "texttemplate": "%{text}", "hovertemplate": "%{y}, %{x}: %{text}<extra></extra>"}
    layers = [f"layer {layer}" for layer in grid.index]
    figure = go.Figure(go.Heatmap(z=z.astype(np.float32), x=names, y=layers, **scale, **written))
    style.finish(figure, height=150 + 46 * max(len(grid), 1), title=title, legend=False)
    figure.update_xaxes(title="checkpoint", type="category")
    return figure


NOISE_LINES = (("self", "Self", style.CURRENT), ("orig", "Orig", style.TARGET))
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
    ends = []
    at = max((float(f[x].max()) for f in (stored, live) if f is not None and len(f)), default=1.0)
    if x == "noisy_clean":
        at = min((float(f[x].min()) for f in (stored, live) if f is not None and len(f)), default=0.0)
    faint = {"dash": "dot", "width": 1.2}
    drawn = _add_curves(figure, stored, x, "precomputed", faint, "-open", " stored" if live is not None else "")
    if live is not None:
        drawn += _add_curves(figure, live, x, "refitted now", {"dash": "solid", "width": 2.5}, "")
    shapes = []
    if null is not None:
        shapes.append(style.band_at(*null, style.faded(style.GREY, 0.22)))
        ends.append(End(at, sum(null) / 2, style.NULL.label, style.GREY))
    if ceiling is not None:
        look = style.CONTROLS["ceiling"]
        shapes.append(style.line_at({"color": look.colour, "dash": look.dash, "width": 1.5}, y=ceiling))
        ends.append(End(at, ceiling, f"{look.label} {style.number(ceiling)}", look.colour))
    ends += drawn
    if level is not None:
        shapes.append(style.line_at({"color": style.GREY, "width": 6}, x=level, opacity=0.25))
    figure.layout.shapes = shapes
    if breaks_at is not None:
        place = f"{breaks_at:.0%}" if x == "noise" else style.number(breaks_at)
        style.mark_x(figure, breaks_at, f"enters the null at {place}")
    height = 460
    style.finish(figure, height=height, legend=False)
    frames = [f for f in (stored, live) if f is not None and len(f)]
    numbers = [f[c].to_numpy(np.float64) for f in frames for c in f if str(c).startswith(("self", "orig"))]
    values = np.concatenate([*numbers, np.array([0.0, *(null or ()), *([] if ceiling is None else [ceiling])])])
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    pad = 0.05 * (high - low) or 0.5
    name_ends(figure, ends, (low - pad, high + pad), height - AROUND)
    figure.update_layout(margin={"r": margin([end.text for end in ends]), "t": 28})
    lowest = min([0.0, *(float(f[x].min()) for f in frames)])
    figure.update_xaxes(title=NOISE_TITLES[x], range=[1.03, lowest - 0.03] if x == "noisy_clean" else [-0.03, 1.03])
    figure.update_yaxes(title="Pearson r with the effect")
    return figure


def _add_curves(
    figure: go.Figure, frame: pd.DataFrame, x: str, kind: str, line: dict, mark: str, tail: str = ""
) -> list[End]:
    """Self and Orig of one frame, in its own kind of line; their ends, named with `tail`."""
    frame = frame.sort_values(x, ascending=x == "noise")
    xs, ends = frame[x].to_numpy(np.float64), []
    for column, name, look in NOISE_LINES:
        ys = frame[column].to_numpy(np.float64)
        if not np.isfinite(ys).any():
            continue
        low, high = (frame.get(f"{column}_{end}") for end in ("low", "high"))
        if low is not None and high is not None:
            style.add_band(figure, xs, low, high, style.faded(look.colour, 0.16))
        about = {"mode": "lines+markers", "name": f"{name}, {kind}", "hovertemplate": "%{x:.2f}: %{y:.3f}"}
        marker = {"symbol": look.symbol + mark, "size": 8}
        figure.add_scatter(x=xs, y=ys, line={"color": look.colour, **line}, marker=marker, **about)
        last = int(np.flatnonzero(np.isfinite(ys))[-1])
        ends.append(End(float(xs[last]), float(ys[last]), name + tail, look.colour))
    return ends
