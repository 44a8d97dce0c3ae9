"""Figures of the lesson, for a wall: large type, values written on the figure, nothing that needs hovering.

Shapes: a number with its interval is a triple (value, low, high); None where it is not defined.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from textwrap import wrap
from typing import Any

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
    look: style.Look = style.CURRENT


@dataclass(frozen=True)
class Line:
    """`column` over steps, with `column_low` and `column_high` as its band where the frame has them."""

    column: str
    name: str
    look: style.Look


def projected(figure: go.Figure, *, legend: bool = False) -> go.Figure:
    """All type of a figure in a size that is legible from the back of a room."""
    size = {"size": FONT}
    figure.update_layout(font=size, showlegend=legend, legend={"font": size}, dragmode=False)
    figure.update_xaxes(title_font=size, tickfont=size, nticks=6)
    figure.update_yaxes(title_font=size, tickfont=size)
    figure.update_annotations(font_size=FONT)
    return figure


def answers(f: float, f_edited: float | None, answer_a: str, answer_b: str) -> go.Figure:
    """f(x) and, once revealed, f(x') on one axis, in nats, from answer b to answer a (both are data)."""
    points = [(f, "f(x)", "circle-open")]
    figure = go.Figure()
    figure.add_vline(x=0, line={"color": style.GREY, "width": 2, "dash": "dot"})
    if f_edited is not None:
        points.append((f_edited, "f(x′)", "circle"))
        head = {"arrowhead": 2, "arrowwidth": 4, "arrowsize": 1, "standoff": 12, "startstandoff": 10}
        tail = {"ax": f, "ay": 0, "axref": "x", "ayref": "y"}
        figure.add_annotation(x=f_edited, y=0, text="", arrowcolor=style.CURRENT.colour, **head, **tail)
        middle = f"Δ = {style.number(f_edited - f, sign=True)} nats"
        figure.add_annotation(x=(f + f_edited) / 2, y=0, yshift=-38, text=middle, showarrow=False)
    for at, label, symbol in points:
        colour = style.CURRENT.colour
        marker = {"symbol": symbol, "size": 20, "color": colour, "line": {"width": 4, "color": colour}}
        written: dict = {"text": [f"{label} {style.number(at, sign=True)}"], "textposition": "top center"}
        written |= {"textfont": {"size": FONT}, "hoverinfo": "skip", "mode": "markers+text"}
        figure.add_scatter(x=[at], y=[0], name=label, marker=marker, **written)
    reach = max(abs(point[0]) for point in points) * 1.25 + 0.6
    left, right = _lines(answer_b), _lines(answer_a)
    room = 8 + round(1.35 * FONT) * max(len(left), len(right))
    above = {"y": 1, "yref": "paper", "yanchor": "top", "yshift": room, "showarrow": False}
    ends = (-reach, "left", ["← " + left[0], *left[1:]]), (reach, "right", [*right[:-1], right[-1] + " →"])
    for x, side, written_in in ends:
        figure.add_annotation(x=x, xanchor=side, align=side, text="<br>".join(written_in), **above)
    style.finish(figure, height=290, legend=False)
    figure.update_layout(margin={"l": 12, "r": 12, "t": room + 8, "b": 12})
    figure.update_xaxes(title="f, nats", range=[-reach, reach], showgrid=True)
    figure.update_yaxes(visible=False, range=[-1, 1])
    return projected(figure)


def _lines(answer: str) -> list[str]:
    """An answer in lines so short that two answers stand side by side on a phone."""
    return [style.safe(line, 16) for line in wrap(" ".join(answer.split())[:48], 16)] or [""]


def noted(figure: go.Figure, note: str) -> go.Figure:
    """A scatter with its number written into it; legend below, in large type."""
    projected(figure, legend=True)
    corner = {"x": 0.02, "y": 0.98, "xref": "paper", "yref": "paper", "xanchor": "left", "yanchor": "top"}
    font = {"size": FONT + 2}
    figure.add_annotation(text=note, showarrow=False, font=font, bgcolor=LABEL, borderpad=6, **corner)
    figure.update_layout(height=520, margin={"l": 12, "r": 12, "t": 16, "b": 12})
    figure.update_traces(hoverinfo="skip", hovertemplate=None)
    return figure


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
        place = {"x": 0, "xref": "paper", "xanchor": "left", "y": chance[1], "yanchor": "bottom"}
        figure.add_annotation(text="chance", showarrow=False, **place)
    steps = rows["step"].to_numpy()
    shifts = _apart([float(rows[line.column].iloc[-1]) for line in lines])
    for line, shift in zip(lines, shifts, strict=True):
        low, high = (rows.get(f"{line.column}_{side}") for side in ("low", "high"))
        if low is not None and high is not None:
            style.add_band(figure, steps, low, high, style.faded(line.look.colour, 0.18))
        values = rows[line.column].to_numpy(np.float64)
        stroke = {"color": line.look.colour, "width": 4, "dash": line.look.dash}
        look = {"mode": "lines+markers", "line": stroke, "marker": {"symbol": line.look.symbol, "size": 13}}
        figure.add_scatter(x=steps, y=values, name=line.name, hoverinfo="skip", **look)
        text = f"{style.safe(line.name, 40)} {style.number(values[-1])}"
        _add_tag(figure, steps[-1], values[-1], text, line.look.colour, yanchor="middle", yshift=shift)
    if guess is not None:
        mine = {"symbol": style.GUESS.symbol, "size": 20, "color": style.GUESS.colour}
        figure.add_scatter(x=[steps[-1]], y=[guess], mode="markers", hoverinfo="skip", name="predicted", marker=mine)
        _add_tag(figure, steps[-1], guess, f"predicted {style.number(guess)}", style.GUESS.colour, xshift=-14)
    style.finish(figure, height=480, legend=False)
    figure.update_xaxes(title="training step of the model explained")
    figure.update_yaxes(title=y_title, showgrid=True)
    figure.add_hline(y=0, line=style.ZERO_LINE)
    return projected(figure)


def _add_tag(figure: go.Figure, x: float, y: float, text: str, colour: str, **place: Any) -> None:
    """A framed label that ends at a point."""
    frame = {"bgcolor": LABEL, "bordercolor": colour, "borderwidth": 2, "borderpad": 3}
    figure.add_annotation(x=x, y=y, text=text, showarrow=False, xanchor="right", **frame, **place)


def _apart(values: Sequence[float], gap: int = 24) -> list[int]:
    """Upward shifts in pixels for labels at the ends of lines: the highest line's goes up, the lowest's down."""
    order = np.argsort(np.argsort(np.nan_to_num(np.asarray(values, np.float64)), kind="stable"), kind="stable")
    middle = (len(values) - 1) / 2
    return [round(2 * gap * (float(rank) - middle)) or gap for rank in order]


def _add_heading(figure: go.Figure, row: int, name: str, said: str, yshift: int) -> None:
    """A row's name (data) and value, above it at the left edge."""
    text = f"<b>{style.safe(name, 48)}</b> {said}"
    figure.add_annotation(x=0, xref="paper", xanchor="left", y=row, yshift=yshift, showarrow=False, text=text)


def estimates(
    bars: Sequence[Bar],
    *,
    x_title: str,
    signed: bool = False,
    band: tuple[float, float] | None = None,
    guess: float | None = None,
) -> go.Figure:
    """Each number with its interval on a line of its own, its name and value written above it.

    band: shaded behind each row. guess: the class's prediction, a vertical line.
    """
    shown = [b for b in bars if b.value[0] is not None]
    figure = go.Figure()
    ends = [0.0]
    for row, bar in enumerate(reversed(shown)):
        value, low, high = bar.value
        assert value is not None
        ends += [end for end in (low, high, value) if end is not None]
        lane = {"y0": row - LANE, "y1": row + LANE, "layer": "below"}  # clear of the heading above it
        if band is not None:
            fill = style.faded(style.GREY, 0.3)
            figure.add_shape(type="rect", x0=band[0], x1=band[1], fillcolor=fill, line_width=0, **lane)
        figure.add_shape(type="line", x0=0, x1=0, line={"color": style.GREY, "width": 3}, **lane)
        error: dict = {"type": "data", "symmetric": False, "thickness": 4, "width": 8, "color": bar.look.colour}
        error["visible"] = low is not None and high is not None
        if low is not None and high is not None:
            error |= {"array": [high - value], "arrayminus": [value - low]}
        look = {"marker": {"color": bar.look.colour, "symbol": bar.look.symbol, "size": 18}, "error_x": error}
        figure.add_scatter(x=[value], y=[row], mode="markers", hoverinfo="skip", name=bar.name, **look)
        _add_heading(figure, row, bar.name, style.interval(*bar.value, sign=signed), yshift=28)
    if guess is not None:
        ends.append(guess)
        figure.add_vline(x=guess, line={"color": style.GUESS.colour, "width": 3, "dash": style.GUESS.dash})
        place = {"x": guess, "y": 1, "yref": "paper", "yanchor": "bottom"}
        figure.add_annotation(text=f"predicted {style.number(guess)}", showarrow=False, **place)
    margin = 0.08 * (max(ends) - min(ends) or 1)
    style.finish(figure, height=140 + 78 * max(len(shown), 1), legend=False)
    figure.update_layout(margin={"l": 12, "r": 12, "t": 36 if guess is not None else 12, "b": 12})
    figure.update_yaxes(visible=False, range=[-0.5, len(shown) - 0.25])
    figure.update_xaxes(title=x_title, showgrid=True, range=[min(ends) - margin, max(ends) + margin])
    return projected(figure)


def hands(votes: Mapping[str, int], labels: Mapping[str, str], right: str | None) -> go.Figure:
    """A show of hands; a word and a frame mark the answer that the numbers support, in addition to its colour."""
    figure = go.Figure()
    for row, (name, count) in enumerate(reversed(list(votes.items()))):
        is_right = name == right
        marker = {"color": style.CURRENT.colour if is_right else style.GREY, "line": {"width": 3 if is_right else 0}}
        figure.add_bar(x=[count], y=[row], orientation="h", hoverinfo="skip", width=0.45, marker=marker)
        _add_heading(figure, row, labels[name], f"{count}{' ✓ measured' if is_right else ''}", yshift=30)
    style.finish(figure, height=110 + 80 * len(votes), legend=False)
    figure.update_yaxes(visible=False, range=[-0.5, len(votes) - 0.2])
    figure.update_xaxes(title="hands", rangemode="tozero")
    return projected(figure)
