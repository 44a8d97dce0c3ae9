"""Label noise: agreement against the amount of it, precomputed and refitted live."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from dashboard.charts import style

SERIES = (("self", "Self", style.SELF, "circle"), ("orig", "Orig", style.ORIG, "diamond"))


def _band(x: np.ndarray, low: np.ndarray, high: np.ndarray, colour: str, name: str) -> list[go.Scatter]:
    shared = {"x": x, "mode": "lines", "line": {"width": 0}, "hoverinfo": "skip", "legendgroup": name}
    return [
        go.Scatter(y=high, showlegend=False, **shared),
        go.Scatter(y=low, fill="tonexty", fillcolor=style.faded(colour, 0.16), showlegend=False, **shared),
    ]


def noise_curve(
    stored: pd.DataFrame,
    live: pd.DataFrame | None = None,
    *,
    x: str = "noise",
    null: tuple[float, float] | None = None,
    ceiling: float | None = None,
    breaks_at: float | None = None,
    level: float | None = None,
    height: int = 460,
) -> go.Figure:
    """Self and Orig against noise.

    `stored`: rows of metrics (noise, noisy_clean, self, self_low, self_high, orig …). `live`: the same
    columns from a refit, the band being the range over seeds. `null`: its 95% band. `ceiling`: Self of a
    refit on the current model's own effects. `breaks_at`, `level`: places on the x axis.
    """
    figure = go.Figure()
    if null is not None:
        figure.add_hrect(y0=null[0], y1=null[1], fillcolor=style.faded(style.GREY, 0.22), line_width=0, layer="below")
        figure.add_trace(
            go.Scatter(
                x=[None], y=[None], mode="markers", name="null, 95% band",
                marker={"symbol": "square", "size": 12, "color": style.faded(style.GREY, 0.4)},
            )
        )  # fmt: skip
    if ceiling is not None:
        look = style.CONTROLS["ceiling"]
        line = {"color": look.colour, "dash": look.dash, "width": 1.5}
        figure.add_hline(y=ceiling, line=line)
        figure.add_trace(
            go.Scatter(
                x=[None], y=[None], mode="lines", name=f"ceiling {style.number(ceiling)}", line=line,
            )
        )  # fmt: skip
    for frame, kind, dash in ((stored, "precomputed", "dash"), (live, "refitted now", "solid")):
        if frame is None or frame.empty:
            continue
        frame = frame.sort_values(x)
        xs = frame[x].to_numpy(np.float64)
        for column, name, colour, symbol in SERIES:
            ys = frame[column].to_numpy(np.float64)
            if not np.isfinite(ys).any():
                continue
            low, high = (frame.get(f"{column}_{end}") for end in ("low", "high"))
            if low is not None and high is not None:
                for trace in _band(xs, low.to_numpy(np.float64), high.to_numpy(np.float64), colour, name + kind):
                    figure.add_trace(trace)
            figure.add_trace(
                go.Scatter(
                    x=xs, y=ys, mode="lines+markers", name=f"{name}, {kind}", legendgroup=name + kind,
                    line={"color": colour, "dash": dash, "width": 1.5 if kind == "precomputed" else 2.5},
                    marker={"symbol": symbol + ("-open" if kind == "precomputed" else ""), "size": 8},
                    hovertemplate="%{x:.2f}: %{y:.3f}",
                )
            )  # fmt: skip
    if level is not None:
        figure.add_vline(x=level, line={"color": style.GREY, "width": 6}, opacity=0.25)
    if breaks_at is not None:
        place = f"{breaks_at:.0%}" if x == "noise" else style.number(breaks_at)
        figure.add_vline(x=breaks_at, line={"color": style.ORANGE, "dash": "dot", "width": 2})
        figure.add_annotation(
            x=breaks_at, y=1, yref="paper", yanchor="bottom", showarrow=False, xanchor="center",
            text=f"breaks at {place}", font={"color": style.ORANGE},
        )  # fmt: skip
    style.finish(figure, height=height)
    titles = {
        "noise": "level of label noise (share, or relative size for Gaussian)",
        "noisy_clean": "correlation of noisy with clean targets",
    }
    lowest = min([0.0, *(float(f[x].min()) for f in (stored, live) if f is not None and len(f))])
    figure.update_xaxes(title=titles.get(x, x), range=[1.03, lowest - 0.03] if x == "noisy_clean" else [-0.03, 1.03])
    figure.update_yaxes(title="Pearson r with the effect")
    return figure
