"""Names at the ends of lines, in place of a legend: they are spread so that none covers another. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go
from scipy.optimize import isotonic_regression

from dashboard.charts import style

LINE = 15
"""Pixels from one name to the next."""
LEADER = 16
"""Pixels from the end of a line to its name; a stroke in the line's colour joins them."""
LETTER = 7.2
"""Pixels of width, on the safe side."""


@dataclass(frozen=True)
class End:
    """The last point of a line with its name."""

    x: float
    y: float
    text: str
    colour: str


def spread(at: Sequence[float], gap: float, low: float, high: float) -> np.ndarray:
    """Places [n] at least `gap` apart within low … high, as near as can be to `at` [n] in squares."""
    values = np.asarray(at, np.float64)
    order, steps = np.argsort(values, kind="stable"), gap * np.arange(len(values))
    apart = isotonic_regression(values[order] - steps).x
    places = np.empty(len(values))
    places[order] = np.clip(apart, low, max(low, high - (steps[-1] if len(steps) else 0))) + steps
    return places


def name_ends(
    figure: go.Figure,
    ends: Sequence[End],
    span: tuple[float, float],
    pixels: float,
    *,
    row: int = 1,
    log_x: bool = False,
) -> None:
    """Write the names beside the ends of the lines of one panel, where panels stand one above the other. The caller
    leaves `margin` at the right.

    span: the range of the panel's y axis, which this sets. pixels: the panel's height.
    """
    low, high = span
    number = "" if row == 1 else str(row)
    figure.layout[f"yaxis{number}"].range = [low, high]
    heights = [(high - end.y) / (high - low) * pixels for end in ends]
    place = {"xref": f"x{number}", "yref": f"y{number}", "xanchor": "left", "yanchor": "middle", "ax": LEADER}
    stroke = {"arrowhead": 0, "arrowwidth": 1.5, "standoff": 4, "font": {"size": style.AXIS_FONT}}
    notes = [
        {
            "x": float(np.log10(end.x)) if log_x else end.x,
            "y": end.y,
            "ay": float(to - height),
            "text": style.safe(end.text, 2 * style.LONGEST),
            "arrowcolor": end.colour,
            **place,
            **stroke,
        }
        for end, height, to in zip(ends, heights, spread(heights, LINE, 0, pixels), strict=True)
    ]
    figure.layout.annotations += tuple(notes)  # all at once: Plotly checks the whole list each time


def margin(names: Sequence[str]) -> int:
    """Pixels that the names need at the right of a figure."""
    return round(LEADER + 4 + LETTER * max((min(len(name), 2 * style.LONGEST) for name in names), default=0))
