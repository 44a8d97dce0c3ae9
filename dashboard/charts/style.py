"""What all figures share: colours, symbols, escaping, layout.

Colours are mid-tones with a contrast of 3:1 on white and on Streamlit's dark background. They differ in lightness as
well as in hue. Every series also has its own symbol or dash, so that no reader depends on colour.
"""

from __future__ import annotations

import html
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import ArrayLike

from dashboard.text import bracketed, number

BLUE, ORANGE, GREEN, PURPLE, GREY = "#3B7DD8", "#D55E00", "#1A936F", "#A259B5", "#808890"
BROWN, ROSE, TEAL = "#B07D00", "#C2557F", "#2794A8"
CATEGORICAL = (BLUE, ORANGE, GREEN, PURPLE, BROWN, ROSE, TEAL, "#8A6E5A")
SYMBOLS = ("circle", "diamond", "square", "triangle-up", "x", "star", "cross", "triangle-down")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
SELF, ORIG, CURRENT, TARGET, EXPLANATION = BLUE, ORANGE, BLUE, ORANGE, GREEN
ZERO_LINE = {"color": GREY, "width": 1}


@dataclass(frozen=True)
class Look:
    """How one control is named and drawn, the same on every page."""

    name: str
    colour: str
    symbol: str
    dash: str


CONTROLS = {
    "output": Look("−f(x) alone", BROWN, "x", "dash"),
    "output_text": Look("text and f(x)", ROSE, "cross", "dot"),
    "text_only": Look("text only", "#8A6E5A", "triangle-down", "dashdot"),
    "stale": Look("stale hidden states", TEAL, "triangle-up", "longdash"),
    "other_model": Look("another model's hidden states", GREY, "square", "longdashdot"),
    "ceiling": Look("ceiling: trained on the current model", PURPLE, "star", "dashdot"),
    "difference": Look("difference mode: reads both runs", "#555B63", "hexagon", "dot"),
}
"""Controls of a probe. No control has a colour of Self, Orig or the explanation."""
IN_WORDS = {
    "copy": Look("copying the present answer", "#B07D00", "x", "dash"),
    "contrary": Look("contradicting the present answer", PURPLE, "diamond", "dash"),
    "consistency": Look("own answer to x′, change read off", "#555B63", "star", "dot"),
    "output_text": Look("text and the present answer", ROSE, "cross", "dot"),
    "text_only": CONTROLS["text_only"],
    "stale": Look("what it said at first", TEAL, "triangle-up", "longdash"),
    "small_lm": Look("a small model on the same labels", "#7A8B2F", "hexagon", "longdash"),
    "other_model": Look("another model on the same labels", GREY, "square", "longdashdot"),
}
"""Controls of a model that explains itself. A control that probes have too keeps its colour, symbol and dash."""
DIVERGING = [[0.0, "#B35806"], [0.25, "#E8A55A"], [0.5, "#DADDE0"], [0.75, "#7FA8D9"], [1.0, "#2B5FA8"]]
TRANSPARENT = "rgba(0,0,0,0)"


def controls(explainer: str) -> dict[str, Look]:
    """The controls of an explainer, in the order of the legend."""
    return IN_WORDS if explainer == "verbal" else CONTROLS


def faded(colour: str, alpha: float) -> str:
    """`#RRGGBB` with an opacity, for bands."""
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{alpha:g})"


def safe(value: object, limit: int = 120) -> str:
    """Text from data that Plotly shows as plain text: no tags, links, TeX or control characters; cut to `limit`."""
    text = "" if value is None else str(value)[: 4 * limit]
    text = "".join(" " if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp") else c for c in text)
    if len(text) > limit:
        text = text[: limit - 1] + "…"
    return html.escape(text, quote=True).replace("$", "&#36;")


def finish(figure: go.Figure, *, height: int, title: str | None = None, legend: bool = True) -> go.Figure:
    """Margins, legend below the plot, hover in one style. Fonts and grids come from the page's theme."""
    figure.update_layout(
        height=height,
        title={"text": title, "font": {"size": 15}, "x": 0, "xref": "paper", "yanchor": "top"} if title else None,
        margin={"l": 12, "r": 12, "t": 44 if title else 24, "b": 12},
        showlegend=legend,
        legend={"orientation": "h", "yref": "container", "yanchor": "bottom", "y": 0, "x": 0, "title": None},
        hoverlabel={"align": "left", "namelength": -1},
        modebar={"bgcolor": TRANSPARENT, "color": GREY, "activecolor": BLUE},
        paper_bgcolor=TRANSPARENT,
        plot_bgcolor=TRANSPARENT,
    )
    figure.update_xaxes(automargin=True, zeroline=False)
    figure.update_yaxes(automargin=True, zeroline=False)
    return figure


def finish_rows(figure: go.Figure, names: Sequence[str], *, height: int, x_title: str) -> go.Figure:
    """`finish` a figure with named rows: the first on top, a line at x = 0, no legend."""
    figure.add_vline(x=0, line=ZERO_LINE)
    figure.update_yaxes(categoryorder="array", categoryarray=names[::-1])
    figure.update_xaxes(title=x_title)
    return finish(figure, height=height, legend=False)


def add_band(
    figure: go.Figure, x: np.ndarray, low: ArrayLike, high: ArrayLike, fill: str, name: str | None = None, **more: Any
) -> None:
    """Fill between `low` and `high` [n] over `x` [n]; only a band with a name stands in the legend.

    more: what Plotly's add_scatter takes for both edges, as row, col and legendgroup.
    """
    low, high = np.asarray(low, np.float64), np.asarray(high, np.float64)
    edge = {"x": x, "mode": "lines", "line": {"width": 0}, "hoverinfo": "skip", **more}
    figure.add_scatter(y=high, showlegend=False, **edge)
    figure.add_scatter(y=low, fill="tonexty", fillcolor=fill, name=name, showlegend=None if name else False, **edge)


def mark_x(figure: go.Figure, x: float, text: str) -> None:
    """A dotted orange line at `x`, with `text` above the plot."""
    figure.add_vline(x=x, line={"color": ORANGE, "dash": "dot", "width": 2})
    place = {"x": x, "y": 1, "yref": "paper", "yanchor": "bottom"}
    figure.add_annotation(text=text, showarrow=False, font={"color": ORANGE}, **place)


def stamp(figure: go.Figure, origin: str) -> go.Figure:
    """Write the source of a figure's numbers at its right edge, so that a saved picture says it too."""
    place = {"x": 1, "y": 0, "xref": "paper", "yref": "paper", "xanchor": "left", "yanchor": "bottom"}
    font = {"size": 9, "color": GREY}
    return figure.add_annotation(text=safe(origin), font=font, textangle=-90, showarrow=False, **place)


def interval(value: float | None, low: float | None, high: float | None, *, sign: bool = False) -> str:
    """`0.81 [0.78, 0.84]`; the number alone where it has no interval."""
    ends = "" if number(value) == "n/a" else bracketed(low, high, sign=sign)
    return f"{number(value, sign=sign)} {ends}".rstrip()
