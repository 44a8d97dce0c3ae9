"""Figures of the lesson, for a wall: large type, values written on the figure, nothing that needs hovering.

Shapes: a number with its interval is a triple (value, low, high); None where it is not defined.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from dashboard.charts import style

FONT = 18
"""Pixels, on every axis, label and legend."""
LANE = 0.18
"""Half the height of a row's own lane, in rows."""
LABEL = "rgba(128,136,144,0.25)"
Triple = tuple[float | None, float | None, float | None]


@dataclass(frozen=True)
class Bar:
    """One labelled number on a line of its own."""

    name: str
    value: Triple
    colour: str = style.BLUE
    symbol: str = "circle"


def projected(figure: go.Figure, *, legend: bool = False) -> go.Figure:
    """All type of a figure in a size that reads from the back of a room."""
    size = {"size": FONT}
    figure.update_layout(font=size, showlegend=legend, legend={"font": size}, dragmode=False)
    figure.update_xaxes(title_font=size, tickfont=size, nticks=6)
    figure.update_yaxes(title_font=size, tickfont=size)
    figure.update_annotations(font_size=FONT)
    return figure


def answers(f: float, f_edited: float | None, answer_a: str, answer_b: str) -> go.Figure:
    """f(x) and, once it may be seen, f(x') on one axis, in nats, from answer b to answer a (both are data)."""
    ends = [0.0, f] + ([] if f_edited is None else [f_edited])
    reach = max(abs(v) for v in ends) * 1.25 + 0.6
    figure = go.Figure()
    figure.add_vline(x=0, line={"color": style.GREY, "width": 2, "dash": "dot"})
    if f_edited is not None:
        figure.add_annotation(
            x=f_edited, y=0, ax=f, ay=0, axref="x", ayref="y", arrowhead=2, arrowwidth=4, arrowsize=1, standoff=12,
            startstandoff=10, arrowcolor=style.GREEN, text="",
        )  # fmt: skip
        middle = f"Δ = {style.number(f_edited - f, sign=True)} nats"
        figure.add_annotation(x=(f + f_edited) / 2, y=0, yshift=-38, text=middle, showarrow=False)
    points = [(f, "f(x)", "circle-open", style.BLUE)]
    points += [] if f_edited is None else [(f_edited, "f(x′)", "diamond", style.ORANGE)]
    for at, label, symbol, colour in points:
        figure.add_trace(
            go.Scatter(
                x=[at], y=[0], mode="markers+text", text=[f"{label} {style.number(at, sign=True)}"],
                textposition="top center", textfont={"size": FONT}, name=label, hoverinfo="skip",
                marker={"symbol": symbol, "size": 20, "color": colour, "line": {"width": 4, "color": colour}},
            )
        )  # fmt: skip
    for x, anchor, words, up in (  # one above the other: both fit on a phone
        (-reach, "left", f"← {style.safe(answer_b.strip(), 28)}", 0),
        (reach, "right", f"{style.safe(answer_a.strip(), 28)} →", 26),
    ):
        figure.add_annotation(
            x=x, y=1, yref="paper", xanchor=anchor, yanchor="bottom", yshift=up, text=words, showarrow=False
        )
    style.finish(figure, height=290, legend=False)
    figure.update_layout(margin={"l": 12, "r": 12, "t": 68, "b": 12})
    figure.update_xaxes(title="f, nats", range=[-reach, reach], showgrid=True)
    figure.update_yaxes(visible=False, range=[-1, 1])
    return projected(figure)


def noted(figure: go.Figure, note: str) -> go.Figure:
    """A scatter with its number written into it; legend below, in large type."""
    projected(figure, legend=True)
    figure.add_annotation(
        x=0.02, y=0.98, xref="paper", yref="paper", xanchor="left", yanchor="top", showarrow=False, text=note,
        font={"size": FONT + 2}, bgcolor=LABEL, borderpad=6,
    )  # fmt: skip
    figure.update_layout(height=520, margin={"l": 12, "r": 12, "t": 16, "b": 12})
    figure.update_traces(hoverinfo="skip", hovertemplate=None)
    return figure


@dataclass(frozen=True)
class Line:
    """`column` over steps, with `column_low` and `column_high` as its band where they are there."""

    column: str
    name: str
    colour: str
    symbol: str
    dash: str = "solid"


def over_steps(
    rows: pd.DataFrame, lines: Sequence[Line], *, y_title: str, guess: float | None = None, chance: Triple | None = None
) -> go.Figure:
    """Lines over the steps of post-training; the name and the last value of each stand at its end.

    rows: step and the columns of `lines`. `guess` draws the class's prediction for the last step.
    """
    rows = rows.sort_values("step")
    figure = go.Figure()
    if chance is not None and chance[1] is not None and chance[2] is not None:
        figure.add_hrect(y0=chance[1], y1=chance[2], fillcolor=style.faded(style.GREY, 0.2), line_width=0)
        figure.add_annotation(
            x=0, xref="paper", xanchor="left", y=chance[1], yanchor="bottom", text="chance", showarrow=False
        )
    steps = rows["step"].to_numpy()
    ends = _apart([float(rows[line.column].iloc[-1]) for line in lines])
    for line, end in zip(lines, ends, strict=True):
        low, high = (rows.get(f"{line.column}_{side}") for side in ("low", "high"))
        if low is not None and high is not None:
            edge = {"x": steps, "mode": "lines", "line": {"width": 0}, "hoverinfo": "skip"}
            figure.add_trace(go.Scatter(y=high, **edge))
            figure.add_trace(go.Scatter(y=low, fill="tonexty", fillcolor=style.faded(line.colour, 0.18), **edge))
        values = rows[line.column].to_numpy(np.float64)
        figure.add_trace(
            go.Scatter(
                x=steps, y=values, mode="lines+markers", name=line.name, hoverinfo="skip",
                line={"color": line.colour, "width": 4, "dash": line.dash},
                marker={"symbol": line.symbol, "size": 13},
            )
        )  # fmt: skip
        figure.add_annotation(
            x=steps[-1], y=values[-1], text=f"{style.safe(line.name, 40)} {style.number(values[-1])}",
            showarrow=False, xanchor="right", yanchor="middle", yshift=end, bgcolor=LABEL, bordercolor=line.colour,
            borderwidth=2, borderpad=3,
        )  # fmt: skip
    if guess is not None:
        figure.add_trace(
            go.Scatter(
                x=[steps[-1]], y=[guess], mode="markers", hoverinfo="skip", name="predicted",
                marker={"symbol": "star", "size": 20, "color": style.PURPLE},
            )
        )  # fmt: skip
        figure.add_annotation(
            x=steps[-1], y=guess, text=f"predicted {style.number(guess)}", showarrow=False, xanchor="right", xshift=-14,
            bgcolor=LABEL, bordercolor=style.PURPLE, borderwidth=2, borderpad=3,
        )  # fmt: skip
    style.finish(figure, height=480, legend=False)
    figure.update_xaxes(title="training step of the model explained")
    figure.update_yaxes(title=y_title, showgrid=True)
    figure.add_hline(y=0, line={"color": style.GREY, "width": 1})
    return projected(figure)


def _apart(values: Sequence[float], gap: int = 24) -> list[int]:
    """Upward shifts in pixels for labels at the ends of lines: the highest line's goes up, the lowest's down."""
    order = np.argsort(np.argsort(np.nan_to_num(np.asarray(values, np.float64)), kind="stable"), kind="stable")
    middle = (len(values) - 1) / 2
    return [round(2 * gap * (float(rank) - middle)) or gap for rank in order]


def estimates(
    bars: Sequence[Bar], *, x_title: str, signed: bool = False, band: tuple[float, float] | None = None,
    guess: float | None = None, guess_name: str = "predicted",
) -> go.Figure:  # fmt: skip
    """Each number with its interval on a line of its own, its name and value written above it."""
    shown = [b for b in bars if b.value[0] is not None]
    figure = go.Figure()
    ends = [0.0]
    for row, bar in enumerate(reversed(shown)):
        value, low, high = bar.value
        assert value is not None
        ends += [end for end in (low, high, value) if end is not None]
        bounds = {} if low is None or high is None else {"array": [high - value], "arrayminus": [value - low]}
        inside = {"y0": row - LANE, "y1": row + LANE, "layer": "below"}  # a lane a row, clear of the label above it
        if band is not None:
            figure.add_shape(
                type="rect", x0=band[0], x1=band[1], fillcolor=style.faded(style.GREY, 0.3), line_width=0, **inside
            )
        figure.add_shape(type="line", x0=0, x1=0, line={"color": style.GREY, "width": 3}, **inside)
        figure.add_trace(
            go.Scatter(
                x=[value], y=[row], mode="markers", hoverinfo="skip", name=bar.name,
                marker={"color": bar.colour, "symbol": bar.symbol, "size": 18},
                error_x={"type": "data", "symmetric": False, "thickness": 4, "width": 8, "color": bar.colour,
                         "visible": bool(bounds), **bounds},
            )
        )  # fmt: skip
        figure.add_annotation(
            x=0, xref="paper", xanchor="left", y=row, yshift=28, showarrow=False,
            text=f"<b>{style.safe(bar.name, 48)}</b> {style.interval(*bar.value, sign=signed)}",
        )  # fmt: skip
    if guess is not None:
        ends.append(guess)
        figure.add_vline(x=guess, line={"color": style.PURPLE, "width": 3, "dash": "dash"})
        figure.add_annotation(
            x=guess, y=1, yref="paper", yanchor="bottom", showarrow=False, 
            text=f"{guess_name} {style.number(guess)}",
        )  # fmt: skip
    margin = 0.08 * (max(ends) - min(ends) or 1)
    style.finish(figure, height=140 + 78 * max(len(shown), 1), legend=False)
    figure.update_layout(margin={"l": 12, "r": 12, "t": 36 if guess is not None else 12, "b": 12})
    figure.update_yaxes(visible=False, range=[-0.5, len(shown) - 0.25])
    figure.update_xaxes(title=x_title, showgrid=True, range=[min(ends) - margin, max(ends) + margin])
    return projected(figure)


def hands(votes: Mapping[str, int], labels: Mapping[str, str], right: str | None) -> go.Figure:
    """A show of hands; the answer that the numbers support is marked by a word and a frame, not by colour alone."""
    figure = go.Figure()
    names = list(votes)
    for row, name in enumerate(reversed(names)):
        here = name == right
        figure.add_trace(
            go.Bar(
                x=[votes[name]], y=[row], orientation="h", hoverinfo="skip", width=0.45,
                marker={"color": style.BLUE if here else style.GREY, "line": {"width": 3 if here else 0}},
            )
        )  # fmt: skip
        mark = " ✓ measured" if here else ""
        figure.add_annotation(
            x=0, xref="paper", xanchor="left", y=row, yshift=30, showarrow=False,
            text=f"<b>{style.safe(labels[name], 48)}</b> {votes[name]}{mark}",
        )  # fmt: skip
    style.finish(figure, height=110 + 80 * len(names), legend=False)
    figure.update_yaxes(visible=False, range=[-0.5, len(names) - 0.2])
    figure.update_xaxes(title="hands", rangemode="tozero")
    return projected(figure)
