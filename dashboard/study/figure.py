"""The map of a study: for each setting, every seed's number and their mean, for Self, gap and unseen side by side."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from dashboard.charts import style
from dashboard.study.cells import NUMBERS, name_of
from dashboard.text import escaped

ROW = 30
"""Pixels of a setting."""


def small_multiples(rows: pd.DataFrame, table: pd.DataFrame) -> go.Figure:
    """rows: one for each cell, of `cells.last_rows`; table: one for each setting, of `cells.summary`."""
    figure = make_subplots(1, len(NUMBERS), shared_yaxes=True, subplot_titles=list(NUMBERS.values()))
    labels = {name: escaped(name) for name in table["name"]}
    places = [labels[name_of(row)] for _, row in rows.iterrows()]
    for at, (column, title) in enumerate(NUMBERS.items(), start=1):
        seeds = {"color": style.GREY, "size": 6, "symbol": "circle-open"}
        hover = "%{y}<br>seed %{customdata}: %{x:.2f}<extra></extra>"
        each = rows.reindex(columns=[column])[column]
        shown = {"name": "a seed", "legendgroup": "seed", "showlegend": at == 1, "mode": "markers"}
        points = go.Scatter(x=each, y=places, customdata=rows["seed"], marker=seeds, hovertemplate=hover, **shown)
        mean, low, high = (table[f"{column}{end}"] for end in ("", "_low", "_high"))
        reach = {"type": "data", "array": high - mean, "arrayminus": mean - low, "color": style.BLUE, "thickness": 1.5}
        shown = {
            "name": "mean over seeds, 95% interval",
            "legendgroup": "mean",
            "showlegend": at == 1,
            "mode": "markers",
        }
        marker = {"color": style.BLUE, "size": 9, "symbol": "diamond"}
        hover = f"%{{y}}<br>{title} %{{x:.2f}}<extra></extra>"
        means = go.Scatter(x=mean, y=[*labels.values()], error_x=reach, marker=marker, hovertemplate=hover, **shown)
        figure.add_traces([points, means], rows=[1, 1], cols=[at, at])
        figure.add_vline(x=0, line=style.ZERO_LINE, row=1, col=at)
    figure.update_yaxes(autorange="reversed")
    figure.update_annotations(font_size=style.TITLE_FONT)
    return style.finish(figure, height=160 + ROW * len(table))
