"""Explanation against effect: points, a density raster for many, identity and fit lines."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from dashboard.charts import style
from dashboard.reading.slices import SIGNS, agreement_in_sign

WEBGL_FROM = 1_000
RASTER_FROM = 50_000
RASTER_POINTS = 1_500
RASTER_BINS = 220
DENSITY = "#6F8199"
"""Grey-blue; denser cells are more opaque, which reads on light and dark pages and keeps points on top visible."""
LOOKS = ((3_000, (6, 0.75)), (10_000, (4, 0.4)), (RASTER_FROM, (3, 0.2)), (np.inf, (4, 0.55)))
"""(largest number of rows, (size, opacity)): smaller and fainter where points overlap; the last is a sample."""
MAX_CATEGORIES = 7
QUADRANTS = tuple(SIGNS.values())


@dataclass(frozen=True)
class Limits:
    """One range for x and y of both panels, in nats."""

    low: float
    high: float

    @staticmethod
    def of(*arrays: np.ndarray) -> Limits:
        """The range of all finite values with a margin of 4%; −1 to 1 where there are none."""
        values = np.concatenate([np.asarray(a).ravel() for a in arrays])
        values = values[np.isfinite(values)]
        if not values.size:
            return Limits(-1.0, 1.0)
        low, high = float(values.min()), float(values.max())
        margin = 0.04 * (high - low) or 0.5
        return Limits(low - margin, high + margin)

    @property
    def tick(self) -> float:
        """A round step of 1, 2 or 5 that gives five to ten ticks, the same on both axes."""
        rough = (self.high - self.low) / 6
        power = 10.0 ** np.floor(np.log10(rough))
        return float(power * next(m for m in (1, 2, 5, 10) if m * power >= rough))


def quadrants(explanation: np.ndarray, current: np.ndarray, target: np.ndarray) -> np.ndarray:
    """[n] of QUADRANTS: with which model's sign of the effect the explanation agrees. Zero counts as positive."""
    found = agreement_in_sign(explanation, current, target)
    return np.where(found < 0, "(no number)", np.asarray(QUADRANTS, dtype=object)[found])


def categories(values: Iterable[object], first: Sequence[str] = ()) -> tuple[np.ndarray, list[str]]:
    """Codes [n] and names, the most frequent first; the rest becomes "other", missing values "(none)".

    first: names that always come first, in this order and even if absent, so that each keeps its colour.
    """
    column = pd.Series(list(values), dtype=object)
    column = column.where(column.notna(), "(none)").astype(str)
    names = [*first, *(name for name in column.value_counts().index if name not in first)]
    if len(names) > MAX_CATEGORIES:
        names = [*names[: MAX_CATEGORIES - 1], f"other ({len(names) - MAX_CATEGORIES + 1} values)"]
    lookup = {name: i for i, name in enumerate(names)}
    return column.map(lambda v: lookup.get(v, len(names) - 1)).to_numpy(np.int64), names


def _raster(x: np.ndarray, y: np.ndarray, limits: Limits) -> go.Heatmap:
    """Counts in RASTER_BINS² cells on a log scale, one byte per cell."""
    scale = RASTER_BINS / (limits.high - limits.low)
    columns, rows = (np.clip(((a - limits.low) * scale).astype(np.int32), 0, RASTER_BINS - 1) for a in (x, y))
    counts = np.bincount(rows * RASTER_BINS + columns, minlength=RASTER_BINS**2).reshape(RASTER_BINS, RASTER_BINS)
    top = max(int(counts.max()), 1)
    shade = np.round(255 * np.log1p(counts) / np.log1p(top)).astype(np.uint8)
    shade[(counts > 0) & (shade == 0)] = 1
    marks = [c for c in (1, 10, 100, 1_000, 10_000, 100_000) if c <= top]
    step = (limits.high - limits.low) / RASTER_BINS
    title = {"text": "examples<br>a cell", "font": {"size": style.AXIS_FONT}}
    ticks = {"tickvals": [255 * np.log1p(c) / np.log1p(top) for c in marks], "ticktext": [f"{c:,}" for c in marks]}
    bar = {"title": title, "thickness": 10, "len": 0.6, **ticks}
    colours = [[0, style.TRANSPARENT], [0.0039, style.faded(DENSITY, 0.2)], [1, style.faded(DENSITY, 1)]]
    start = limits.low + step / 2
    place = {"x0": start, "dx": step, "y0": start, "dy": step}
    shades = {"zmin": 0, "zmax": 255, "colorscale": colours, "colorbar": bar}
    return go.Heatmap(z=shade, hoverinfo="skip", name="density", **place, **shades)


def fit_line(x: np.ndarray, y: np.ndarray) -> tuple[float, float] | None:
    """Least-squares slope and intercept of y on x; None where x does not vary."""
    keep = np.isfinite(x) & np.isfinite(y)
    x, y = np.asarray(x, np.float64)[keep], np.asarray(y, np.float64)[keep]
    if len(x) < 3 or np.ptp(x) == 0:
        return None
    slope = float(np.cov(x, y, bias=True)[0, 1] / x.var())
    return slope, float(y.mean() - slope * x.mean())


def sample_rows(n: int, selected: np.ndarray | None, points: int = RASTER_POINTS) -> np.ndarray:
    """Rows drawn on top of a raster: a seeded sample; where there is a slice, half of it comes from the slice."""
    rng = np.random.default_rng(0)
    if selected is None or not selected.any():
        return np.sort(rng.choice(n, min(points, n), replace=False))
    inside, outside = np.flatnonzero(selected), np.flatnonzero(~selected)
    inside = rng.choice(inside, min(points // 2, len(inside)), replace=False)
    outside = rng.choice(outside, min(points - len(inside), len(outside)), replace=False)
    return np.sort(np.concatenate([inside, outside]))


def scatter(
    frame: pd.DataFrame,
    x: str,
    y: str = "explanation",
    *,
    x_title: str,
    y_title: str,
    limits: Limits,
    colour: str | None = None,
    selected: np.ndarray | None = None,
    identity: bool = True,
    drag: str = "pan",
    marked: str | None = None,
    height: int = 460,
) -> go.Figure:
    """`y` against `x` of every row of `frame`, which has `example_id`; `colour` names a column of categories.

    selected: [n] bool; rows outside it are faded. A point's `customdata` is its example_id.
    marked: the example_id of a point with a ring around it. drag: pan, select or lasso.
    From 1,000 rows WebGL draws the points. Above 50,000 a raster of counts stands for all rows, and a seeded sample of
    points lies on top.
    """
    xs, ys = frame[x].to_numpy(np.float32), frame[y].to_numpy(np.float32)
    finite = np.isfinite(xs) & np.isfinite(ys)
    if not finite.all():
        frame, xs, ys = frame[finite], xs[finite], ys[finite]
        selected = selected[finite] if selected is not None else None
    figure = go.Figure()
    if len(frame) > RASTER_FROM:
        figure.add_trace(_raster(xs, ys, limits))
    _add_points(figure, frame, xs, ys, colour, selected, (x_title, y_title))
    here = np.flatnonzero(frame["example_id"] == marked) if marked else np.empty(0, np.int64)
    if len(here):
        ring = {"symbol": "circle-open", "size": 18, "color": style.GREY, "line": {"width": 3}}
        about = {"name": "chosen example", "hoverinfo": "skip", "customdata": [marked]}
        figure.add_scatter(x=xs[here], y=ys[here], mode="markers", marker=ring, **about)
    span = [limits.low, limits.high]

    def add_line(slope: float, intercept: float, name: str, **look: Any) -> None:
        y = intercept + slope * np.array(span)
        figure.add_scatter(x=np.array(span), y=y, mode="lines", name=name, hoverinfo="skip", line={"width": 2, **look})

    if identity:
        add_line(1.0, 0.0, "identity", color=style.GREY, dash="dash")
    inside = slice(None) if selected is None else selected
    fit = fit_line(xs[inside], ys[inside])
    if fit:
        name = f"fit{'' if selected is None else ' to the slice'}, slope {style.number(fit[0])}"
        add_line(*fit, name, color=style.EXPLANATION.colour, dash="solid")
    style.finish(figure, height=height)
    figure.update_xaxes(title=x_title, range=span, dtick=limits.tick, showgrid=True)
    figure.update_yaxes(title=y_title, range=span, dtick=limits.tick)
    # Streamlit reports clicks only while dragging neither selects nor draws a lasso.
    figure.update_layout(dragmode=drag, clickmode="event+select" if drag in ("pan", "zoom") else "event")
    return figure


def _add_points(
    figure: go.Figure,
    frame: pd.DataFrame,
    xs: np.ndarray,
    ys: np.ndarray,
    colour: str | None,
    selected: np.ndarray | None,
    titles: tuple[str, str],
) -> None:
    """One trace for each category, of all rows or of the sample on a raster."""
    n = len(frame)
    is_sample = n > RASTER_FROM
    rows = sample_rows(n, selected) if is_sample else np.arange(n)
    size, opacity = next(look for most, look in LOOKS if n <= most)
    codes, names = np.zeros(len(rows), np.int64), ["sampled examples" if is_sample else "examples"]
    if colour is not None:
        codes, names = categories(frame[colour].iloc[rows], first=QUADRANTS if colour == "quadrant" else ())
    ids = np.empty(n, dtype=object)
    ids[rows] = frame["example_id"].iloc[rows].astype(str)
    add = figure.add_scattergl if len(rows) >= WEBGL_FROM else figure.add_scatter
    hover = f"{titles[0]}: %{{x:.2f}}<br>{titles[1]}: %{{y:.2f}}<br>example %{{customdata}}"
    inside, outside = ({"marker": {"opacity": alpha}} for alpha in (0.95, 0.12))
    for code, name in enumerate(names):
        here = rows[codes == code]
        if len(rows) and not len(here):
            continue
        marker: dict = {"color": style.CATEGORICAL[code % 8], "symbol": style.SYMBOLS[code % 8]}
        marker |= {"size": size, "opacity": opacity}
        chosen = None if selected is None else np.flatnonzero(selected[here])
        about = {"name": style.safe(name, 48), "customdata": ids[here], "hovertemplate": hover, "mode": "markers"}
        look = {"marker": marker, "selectedpoints": chosen, "selected": inside, "unselected": outside}
        add(x=xs[here], y=ys[here], **about, **look)
