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
    """Write the names beside the ends of the lines of one panel. The caller leaves `margin` at the right.

    span: the range of the panel's y axis, which this sets. pixels: the panel's height.
    """
    low, high = span
    figure.update_yaxes(range=[low, high], row=row, col=1)
    heights = [(high - end.y) / (high - low) * pixels for end in ends]
    for end, height, place in zip(ends, heights, spread(heights, LINE, 0, pixels), strict=True):
        tail = {"ax": LEADER, "ay": float(place - height), "xanchor": "left", "yanchor": "middle"}
        stroke = {"arrowhead": 0, "arrowwidth": 1.5, "arrowcolor": end.colour, "standoff": 4}
        text, font = style.safe(end.text, 2 * style.LONGEST), {"size": style.AXIS_FONT}
        x = float(np.log10(end.x)) if log_x else end.x
        figure.add_annotation(x=x, y=end.y, text=text, font=font, row=row, col=1, **tail, **stroke)


def margin(names: Sequence[str]) -> int:
    """Pixels that the names need at the right of a figure."""
    return round(LEADER + 4 + LETTER * max((min(len(name), 2 * style.LONGEST) for name in names), default=0))
