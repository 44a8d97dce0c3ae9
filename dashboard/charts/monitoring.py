"""Monitoring without edits: predicted against measured shifts of slices, and how well they are told apart."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from dashboard.charts import style

DETECTORS = {
    "predicted": ("predicted shift", style.EXPLANATION, "solid"),
    "drift": ("drift of f(x)", style.ORANGE, "dash"),
}


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
