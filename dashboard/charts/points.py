"""Explanation against effect: points, a density raster for many, identity and fit lines."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

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
"""Denser is more opaque, which reads on a light and on a dark page; grey-blue, so that the points on top stand out."""
LOOKS = ((3_000, (6, 0.75)), (10_000, (4, 0.4)), (RASTER_FROM, (3, 0.2)))
"""Up to so many points: their size and opacity."""
ON_RASTER = (4, 0.55)
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
        finite = [a[np.isfinite(a)] for a in map(np.asarray, arrays)]
        values = [v for v in finite if v.size]
        if not values:
            return Limits(-1.0, 1.0)
        low, high = min(float(v.min()) for v in values), max(float(v.max()) for v in values)
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


def categories(
    values: Iterable[object], limit: int = MAX_CATEGORIES, first: Sequence[str] = ()
) -> tuple[np.ndarray, list[str]]:
    """Codes [n] and names, the most frequent first; the rest becomes "other", the absent "(none)".

    `first`: names that stand before all others in this order, there or not, so that each keeps its colour.
    """
    column = pd.Series(list(values), dtype=object)
    column = column.where(column.notna(), "(none)").astype(str)
    names = [*first, *(name for name in column.value_counts().index if name not in first)]
    if len(names) > limit:
        names = [*names[: limit - 1], f"other ({len(names) - limit + 1} values)"]
    lookup = {name: i for i, name in enumerate(names)}
    return column.map(lambda v: lookup.get(v, len(names) - 1)).to_numpy(np.int64), names


def _raster(x: np.ndarray, y: np.ndarray, limits: Limits) -> go.Heatmap:
    """Counts in RASTER_BINS² cells on a log scale, one byte a cell."""
    scale = RASTER_BINS / (limits.high - limits.low)
    columns = np.clip(((x - limits.low) * scale).astype(np.int32), 0, RASTER_BINS - 1)
    rows = np.clip(((y - limits.low) * scale).astype(np.int32), 0, RASTER_BINS - 1)
    counts = np.bincount(rows * RASTER_BINS + columns, minlength=RASTER_BINS**2).reshape(RASTER_BINS, RASTER_BINS)
    top = max(int(counts.max()), 1)
    shade = np.round(255 * np.log1p(counts) / np.log1p(top)).astype(np.uint8)
    shade[(counts > 0) & (shade == 0)] = 1
    marks = [c for c in (1, 10, 100, 1_000, 10_000, 100_000) if c <= top]
    step = (limits.high - limits.low) / RASTER_BINS
    return go.Heatmap(
        z=shade,
        x0=limits.low + step / 2,
        dx=step,
        y0=limits.low + step / 2,
        dy=step,
        zmin=0,
        zmax=255,
        colorscale=[[0, style.TRANSPARENT], [0.0039, style.faded(DENSITY, 0.2)], [1, style.faded(DENSITY, 1)]],
        colorbar={
            "title": {"text": "examples<br>a cell", "font": {"size": 11}},
            "tickvals": [255 * np.log1p(c) / np.log1p(top) for c in marks],
            "ticktext": [f"{c:,}" for c in marks],
            "thickness": 10,
            "len": 0.6,
        },
        hoverinfo="skip",
        name="density",
    )


def _line(slope: float, intercept: float, limits: Limits, name: str, colour: str, dash: str) -> go.Scatter:
    x = np.array([limits.low, limits.high])
    y = intercept + slope * x
    return go.Scatter(
        x=x, y=y, mode="lines", name=name, hoverinfo="skip", line={"color": colour, "width": 2, "dash": dash}
    )


def fit_line(x: np.ndarray, y: np.ndarray) -> tuple[float, float] | None:
    """Least-squares slope and intercept of y on x; None where x does not vary."""
    keep = np.isfinite(x) & np.isfinite(y)
    x, y = np.asarray(x, np.float64)[keep], np.asarray(y, np.float64)[keep]
    if len(x) < 3 or np.ptp(x) == 0:
        return None
    slope = float(np.cov(x, y, bias=True)[0, 1] / x.var())
    return slope, float(y.mean() - slope * x.mean())


def sample_rows(n: int, selected: np.ndarray | None, points: int = RASTER_POINTS) -> np.ndarray:
    """Rows drawn on top of a raster: a seeded sample, half of it from the slice where there is one."""
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
    title: str | None = None,
    identity: bool = True,
    drag: str = "pan",
    marked: str | None = None,
    height: int = 460,
) -> go.Figure:
    """`y` against `x` of every row of `frame`, which has `example_id`; `colour` names a column of categories.

    `selected` [n] bool fades what is outside the slice. A point's `customdata` is its example_id.
    `marked`: the example_id of a point with a ring around it.
    `drag`: what dragging does, one of pan, select, lasso. From 1,000 rows points are drawn by WebGL;
    above 50,000 a raster of counts stands for all rows and a seeded sample of points lies on top.
    """
    xs, ys = frame[x].to_numpy(np.float32), frame[y].to_numpy(np.float32)
    finite = np.isfinite(xs) & np.isfinite(ys)
    if not finite.all():
        frame, xs, ys = frame[finite], xs[finite], ys[finite]
        selected = selected[finite] if selected is not None else None
    figure = go.Figure()
    n, rows = len(frame), np.arange(len(frame))
    if n > RASTER_FROM:
        figure.add_trace(_raster(xs, ys, limits))
        rows = sample_rows(n, selected)
    kind = go.Scattergl if len(rows) >= WEBGL_FROM else go.Scatter
    if colour is None:
        codes, names = np.zeros(len(rows), np.int64), ["examples" if n <= RASTER_FROM else "sampled examples"]
    else:
        codes, names = categories(frame[colour].iloc[rows], first=QUADRANTS if colour == "quadrant" else ())
    # Fainter and smaller where many lie on top of each other.
    size, opacity = ON_RASTER if n > RASTER_FROM else next(look for most, look in LOOKS if n <= most)
    ids = np.empty(n, dtype=object)
    ids[rows] = frame["example_id"].iloc[rows].astype(str)
    for code, name in enumerate(names):
        here = rows[codes == code]
        if len(rows) and not len(here):
            continue
        marks = {
            "color": style.CATEGORICAL[code % len(style.CATEGORICAL)],
            "symbol": style.SYMBOLS[code % len(style.SYMBOLS)],
            "size": size,
            "opacity": opacity,
        }
        figure.add_trace(
            kind(
                x=xs[here],
                y=ys[here],
                customdata=ids[here],
                mode="markers",
                name=style.safe(name, 48),
                marker=marks,
                selectedpoints=None if selected is None else np.flatnonzero(selected[here]),
                selected={"marker": {"opacity": 0.95}},
                unselected={"marker": {"opacity": 0.12}},
                hovertemplate=f"{x_title}: %{{x:.2f}}<br>{y_title}: %{{y:.2f}}<br>example %{{customdata}}",
            )
        )
    here = np.flatnonzero((frame["example_id"] == marked).to_numpy()) if marked else []
    if len(here):
        ring = {"symbol": "circle-open", "size": 18, "color": style.PURPLE, "line": {"width": 3}}
        figure.add_trace(
            go.Scatter(
                x=xs[here], y=ys[here], mode="markers", name="chosen example", marker=ring, hoverinfo="skip",
                customdata=[marked],
            )
        )  # fmt: skip
    if identity:
        figure.add_trace(_line(1.0, 0.0, limits, "identity", style.GREY, "dash"))
    inside = slice(None) if selected is None else selected
    fit = fit_line(xs[inside], ys[inside])
    if fit:
        name = f"fit{'' if selected is None else ' to the slice'}, slope {style.number(fit[0])}"
        figure.add_trace(_line(*fit, limits, name, "#C2557F", "solid"))
    style.finish(figure, height=height, title=title)
    span = [limits.low, limits.high]
    figure.update_xaxes(title=x_title, range=span, dtick=limits.tick, showgrid=True)
    figure.update_yaxes(title=y_title, range=span, dtick=limits.tick)
    # Streamlit hands on clicks only while dragging neither selects nor draws a lasso.
    figure.update_layout(dragmode=drag, clickmode="event+select" if drag in ("pan", "zoom") else "event")
    return figure
