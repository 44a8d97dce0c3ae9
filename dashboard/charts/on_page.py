"""A figure in the colours of the page, in a form that the browser draws once.

Streamlit's own theme for figures reaches Plotly as a template, a moment after the first drawing, with copies of all
arrays. Plotly takes a template, and arrays that are not known to be the same, for new ones, and draws everything anew.
"""

from __future__ import annotations

from html import unescape
from typing import Any

import numpy as np
import plotly.graph_objects as go

from dashboard.charts.style import AXIS_FONT, PAPER

GRID = "rgba(128,136,144,0.22)"
"""Visible on both backgrounds."""
FAMILY = '"Source Sans", sans-serif'
LETTER, NUMBERS, TITLE, LEGEND = 6.5, 36, 28, 29
"""Pixels: of a letter on average, of the numbers at an axis, of an axis title, and of a legend of one line."""
MOST_NAMES = 170
"""Pixels for names at an axis, at most: for longer ones Plotly makes room by itself, as far as there is some."""
MANY = 5_000
"""Larger arrays stay typed, which is smaller to send. Plotly then draws the figure twice."""


def for_page(figure: go.Figure, dark: bool) -> go.Figure:
    """Give a figure that `style.finish` has made the page's look wherever it has none of its own; in place."""
    text, background = PAPER[dark]
    font = {"family": FAMILY, "size": AXIS_FONT, "color": text}
    label = {"bgcolor": background, "bordercolor": GRID, "font": font}
    axis = {"gridcolor": GRID, "tickcolor": GRID}
    axes = {
        "xaxis": {**axis, "showgrid": False, "title": {"standoff": 10}},
        "yaxis": {**axis, "title": {"standoff": 14}},
    }
    cells = {"colorbar": {"thickness": 16, "outlinewidth": 0}, "textfont": {"color": text}}
    left, below = _room(figure)
    figure.layout.template = None
    own = _listed(figure.layout.to_plotly_json())
    axes |= {name: axes[kind] for name in own if (kind := name.rstrip("0123456789")) in axes}
    layout = _merged({"font": font, "hoverlabel": label, "margin": {"pad": 6}, **axes}, own)
    layout["margin"] |= {"l": max(layout["margin"].get("l", 0), left), "b": max(layout["margin"].get("b", 0), below)}
    layout["datarevision"] = "one figure"  # the same for all: other data are another element, with an id of its own
    traces = [_listed(trace.to_plotly_json()) for trace in figure.data]
    figure.data, figure.layout = (), layout
    figure.layout.template = None
    return figure.add_traces([_merged(cells, trace) if trace["type"] == "heatmap" else trace for trace in traces])


def _room(figure: go.Figure) -> tuple[int, int]:
    """Pixels that the axes need at the left and below, so that Plotly need not draw again to make room.

    It does so where this is too little.
    """
    larger = (figure.layout.font.size or AXIS_FONT) - AXIS_FONT  # the lesson's type is
    names = [
        piece
        for trace in figure.data
        if trace.y is not None and getattr(trace.y, "dtype", np.dtype(object)).kind in "OU"
        for name in trace.y
        if isinstance(name, str)
        for piece in unescape(name).split("<br>")
    ]
    letters = (LETTER + larger / 2) * max(map(len, names), default=0)
    labels = min(letters, MOST_NAMES + 4 * larger) if names else NUMBERS + 2 * larger
    left = below = 0.0
    for axis in figure.select_yaxes():
        if axis.visible is not False:
            left = max(left, labels + 14 + (TITLE + larger if axis.title.text else 0))
    for axis in figure.select_xaxes():
        below = max(below, NUMBERS + larger / 2 + (TITLE + larger if axis.title.text else 0))
    return round(left), round(below + (LEGEND + 1.5 * larger if figure.layout.showlegend else 0))


def _merged(look: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    both = {name: _merged(look[name], own[name]) for name in look if isinstance(own.get(name), dict)}
    return {**look, **own, **both}


def _listed(value: Any) -> Any:
    """The same with lists in place of arrays of numbers and texts, which Plotly would send as typed ones."""
    if isinstance(value, dict):
        return {name: _listed(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_listed(part) for part in value]
    if not isinstance(value, np.ndarray) or value.size > MANY or value.dtype.kind not in "biufOU":
        return value
    if value.dtype == np.float32:  # as short as it is written: 0.1, not 0.10000000149011612
        value = value.astype("U").astype(float)
    return value.tolist()
