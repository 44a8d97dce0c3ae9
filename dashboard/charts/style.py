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
PALETTE = (BLUE, ORANGE, GREEN, PURPLE, BROWN, ROSE, TEAL, GREY)
"""The colours of concepts, and of Streamlit's own charts (`chartCategoricalColors` in config.toml)."""


@dataclass(frozen=True)
class Look:
    """How one concept is named and drawn, the same on every page."""

    name: str
    colour: str
    symbol: str
    dash: str = "solid"
    short: str = ""
    """The name at the end of a line, of at most `LONGEST` characters; by default the name."""

    @property
    def label(self) -> str:
        return self.short or self.name


LONGEST = 13
CURRENT = Look("current model", BLUE, "circle")
TARGET = Look("target", ORANGE, "diamond", "dash")
EXPLANATION = Look("explanation", GREEN, "square")
GAP = Look("gap", PURPLE, "hexagon")
OUTPUT = Look("−f(x) alone", BROWN, "x", "dashdot")
GUESS = Look("a reader's guess", ROSE, "triangle-up", "dot", "guess")
SECOND = Look("second run", TEAL, "star-square", "dash")
NULL = Look("null, 95% band", GREY, "line-ew", short="null")
RHO = Look("target–current ρ", GREY, "asterisk-open", "dot", "ρ")
CONCEPTS = (CURRENT, TARGET, EXPLANATION, GAP, OUTPUT, GUESS, SECOND)
"""Self is agreement with the current model and is drawn as it; Orig, agreement with the target, as the target."""
CATEGORICAL = ("#6572C3", "#7A8B2F", "#B8568F", "#8A6E5A", "#4C8DA6", "#B8683A", "#8A5FA0", GREY)
SYMBOLS = ("triangle-down", "star", "cross", "pentagon", "bowtie", "triangle-left", "hourglass", "triangle-right")
"""Of categories in the data, such as kinds of edit. None has the colour or the symbol of a concept."""
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
ZERO_LINE = {"color": GREY, "width": 1}


def _other(name: str, symbol: str, dash: str, short: str) -> Look:
    """A control beside `OUTPUT`: thin and grey, told apart by its label at the line's end, its dash and its symbol."""
    return Look(name, GREY, symbol, dash, short)


CONTROLS = {
    "output": OUTPUT,
    "output_text": _other("text and f(x)", "cross", "dot", "text and f(x)"),
    "text_only": _other("text only", "triangle-down", "dashdot", "text only"),
    "stale": _other("stale hidden states", "triangle-left", "longdash", "stale"),
    "other_model": _other("another model's hidden states", "pentagon", "longdashdot", "other model"),
    "ceiling": _other("ceiling: trained on the current model", "star", "dash", "ceiling"),
    "difference": _other("difference mode: reads both runs", "bowtie", "dot", "reads both"),
}
"""Controls of a probe."""
IN_WORDS = {
    "copy": Look("copying the present answer", BROWN, "x", "dashdot", "copying"),
    "contrary": _other("contradicting the present answer", "triangle-right", "dash", "contradicting"),
    "consistency": _other("own answer to x′, change read off", "star", "dot", "answers x′"),
    "output_text": _other("text and the present answer", "cross", "dot", "text, answer"),
    "text_only": CONTROLS["text_only"],
    "stale": _other("what it said at first", "triangle-left", "longdash", "said at first"),
    "small_lm": _other("a small model on the same labels", "hourglass", "longdash", "small model"),
    "other_model": _other("another model on the same labels", "pentagon", "longdashdot", "other model"),
}
"""Controls of a model that explains itself. A control that probes have too keeps its colour, symbol and dash."""
DIVERGING = {
    False: [[0.0, "#D9822B"], [0.25, "#E9B278"], [0.5, "#F0F1F3"], [0.75, "#A3C1E7"], [1.0, "#5B92D6"]],
    True: [[0.0, "#9A560D"], [0.25, "#6E4315"], [0.5, "#23292F"], [0.75, "#2A4A75"], [1.0, "#2F66AB"]],
}
"""Whether the page is dark → orange below 0 and blue above it; the middle is near the page's background. The page's
text is legible on all of it."""
SEQUENTIAL = {dark: [[0.0, scale[2][1]], [0.5, scale[3][1]], [1.0, scale[4][1]]] for dark, scale in DIVERGING.items()}
PAPER = {False: ("#1B1F24", "#FFFFFF"), True: ("#E8EAED", "#15181C")}
"""Whether the page is dark → its text and background, as in config.toml. Style of the page keeps axis text readable
where the reader has changed the theme since."""
AXIS_FONT, TITLE_FONT = 12, 13
"""Pixels."""
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
    """Margins, legend below the plot, hover in one style. Fonts and grids come from `on_page`."""
    figure.update_layout(
        height=height,
        title={"text": title, "font": {"size": 15}, "x": 0, "xref": "paper", "yanchor": "top"} if title else None,
        margin={"l": 12, "r": 12, "t": 44 if title else 24, "b": 12},
        showlegend=legend,
        legend={
            "font": {"size": AXIS_FONT},
            "orientation": "h",
            "yref": "container",
            "yanchor": "bottom",
            "y": 0,
            "x": 0,
            "title": None,
        },
        hoverlabel={"align": "left", "namelength": -1},
        modebar={"bgcolor": TRANSPARENT, "color": GREY, "activecolor": BLUE},
        paper_bgcolor=TRANSPARENT,
        plot_bgcolor=TRANSPARENT,
    )
    type_sizes = {"tickfont": {"size": AXIS_FONT}, "title_font": {"size": TITLE_FONT}}
    figure.update_xaxes(automargin=True, zeroline=False, **type_sizes)
    figure.update_yaxes(automargin=True, zeroline=False, **type_sizes)
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


def line_at(line: dict[str, Any], *, x: float | None = None, y: float | None = None, **more: Any) -> dict[str, Any]:
    """A shape of the layout: a line through the whole panel at x or at y. Several are added at once, which is quick."""
    if x is not None:
        ends = {"x0": x, "x1": x, "y0": 0, "y1": 1, "yref": "y domain"}
    else:
        ends = {"y0": y, "y1": y, "x0": 0, "x1": 1, "xref": "x domain"}
    return {"type": "line", "line": line, **ends, **more}


def band_at(low: float, high: float, fill: str) -> dict[str, Any]:
    """A shape of the layout: the range low … high of y, shaded below everything."""
    ends = {"y0": low, "y1": high, "x0": 0, "x1": 1, "xref": "x domain"}
    return {"type": "rect", "fillcolor": fill, "line": {"width": 0}, "layer": "below", **ends}


def mark_x(figure: go.Figure, x: float, text: str) -> None:
    """A dotted grey line at `x` through all panels, with `text` above them."""
    figure.layout.shapes += (line_at({"color": GREY, "dash": "dot", "width": 2}, x=x, yref="paper"),)
    place = {"x": x, "y": 1, "yref": "paper", "yanchor": "bottom"}
    figure.add_annotation(text=text, showarrow=False, **place)


def stamp(figure: go.Figure, origin: str) -> go.Figure:
    """Write the source of a figure's numbers at its right edge, so that a saved picture says it too."""
    place = {"x": 1, "y": 0, "xref": "paper", "yref": "paper", "xanchor": "left", "yanchor": "bottom"}
    font = {"size": 9, "color": GREY}
    return figure.add_annotation(text=safe(origin), font=font, textangle=-90, showarrow=False, **place)


def interval(value: float | None, low: float | None, high: float | None, *, sign: bool = False) -> str:
    """`0.81 [0.78, 0.84]`; the number alone where it has no interval."""
    ends = "" if number(value) == "n/a" else bracketed(low, high, sign=sign)
    return f"{number(value, sign=sign)} {ends}".rstrip()
