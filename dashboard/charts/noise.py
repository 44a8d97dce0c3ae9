"""Label noise: agreement against the amount of it, precomputed and refitted live."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from dashboard.charts import style

SERIES = (("self", "Self", style.SELF, "circle"), ("orig", "Orig", style.ORIG, "diamond"))
X_TITLES = {
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
    figure.update_xaxes(title=X_TITLES[x], range=[1.03, lowest - 0.03] if x == "noisy_clean" else [-0.03, 1.03])
    figure.update_yaxes(title="Pearson r with the effect")
    return figure


def _add_curves(figure: go.Figure, frame: pd.DataFrame, x: str, kind: str, line: dict, mark: str) -> None:
    frame = frame.sort_values(x)
    xs = frame[x].to_numpy(np.float64)
    for column, name, colour, symbol in SERIES:
        ys = frame[column].to_numpy(np.float64)
        if not np.isfinite(ys).any():
            continue
        low, high = (frame.get(f"{column}_{end}") for end in ("low", "high"))
        if low is not None and high is not None:
            style.add_band(figure, xs, low, high, style.faded(colour, 0.16), legendgroup=name + kind)
        about = {"mode": "lines+markers", "name": f"{name}, {kind}", "legendgroup": name + kind}
        look = {"line": {"color": colour, **line}, "marker": {"symbol": symbol + mark, "size": 8}}
        figure.add_scatter(x=xs, y=ys, hovertemplate="%{x:.2f}: %{y:.3f}", **about, **look)
