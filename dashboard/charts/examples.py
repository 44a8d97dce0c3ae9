"""Figures of single examples: effects as arrows of f, sentences deleted one by one, edits of a prompt, steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from dashboard.charts import style

Claim = tuple[str, float | None, str, str]
"""A name, the effect it says (nats; None: nothing is drawn), a colour and a symbol."""


@dataclass(frozen=True)
class Arrow:
    """f(x) → f(x') at one checkpoint and its explanation, in nats."""

    is_target: bool
    f: float
    f_edited: float | None
    explanation: float | None


def _look(is_target: bool) -> tuple[str, str]:
    look = style.TARGET if is_target else style.CURRENT
    return look.colour, look.symbol


def _add_arrow(
    figure: go.Figure, name: str, start: float, end: float | None, colour: str, symbol: str, dash: str = "solid"
) -> None:
    """f(x) as an open and f(x') as a filled mark in a row of its own; an open mark alone where `end` is None."""
    x = [start] if end is None else [start, end]
    marks = {"symbol": [f"{symbol}-open", symbol][: len(x)], "size": 12}
    look = {"mode": "lines+markers", "line": {"color": colour, "width": 3, "dash": dash}, "marker": marks}
    figure.add_scatter(x=x, y=[name] * len(x), name=name, hovertemplate=f"%{{x:.2f}} nats<extra>{name}</extra>", **look)


def arrows(rows: Sequence[Arrow]) -> go.Figure:
    """Each checkpoint's f(x) → f(x') with, below it, f(x) → f(x) + explanation."""
    figure = go.Figure()
    order = []
    for row in rows:
        who = "target" if row.is_target else "current"
        colour, symbol = _look(row.is_target)
        drawn = [("measured", "Δ", row.f_edited, colour, symbol, "solid")]
        if row.explanation is not None:
            said = (style.EXPLANATION.colour, style.EXPLANATION.symbol, "dot")
            drawn.append(("explained", "says", row.f + row.explanation, *said))
        for kind, verb, end, *look in drawn:
            name = f"{who}, {kind}"
            order.append(name)
            _add_arrow(figure, name, row.f, end, *look)
            if end is not None:
                text, middle = f"{verb} {style.number(end - row.f, sign=True)}", (row.f + end) / 2
                figure.add_annotation(x=middle, y=name, text=text, showarrow=False, yshift=14)
    return style.finish_rows(figure, order, height=90 + 52 * len(order), x_title="f, nats (open: x, filled: x′)")


def example_effects(
    target: tuple[float, float], current: tuple[float, float], explanation: float | None, others: Sequence[Claim] = ()
) -> go.Figure:
    """Arrows f(x) → f(x') of the target and the current checkpoint, in nats.

    Below them, from f(x) of the current checkpoint, the effect that the explanation and each of `others` says.
    """
    figure = go.Figure()
    says: list[Claim] = [("explanation", explanation, style.EXPLANATION.colour, style.EXPLANATION.symbol), *others]
    rows = [("target", *target, *_look(True)), ("current", *current, *_look(False))]
    rows += [(name, current[0], current[0] + said, c, s) for name, said, c, s in says if said is not None]
    for name, start, end, colour, symbol in rows:
        _add_arrow(figure, name, start, end, colour, symbol)
        text = f"Δ {style.number(end - start, sign=True)}"
        figure.add_annotation(x=end, y=name, text=text, showarrow=False, yshift=16)
    height = (70 + 56 * len(rows)) if others else (70 + 60 * len(rows))
    return style.finish_rows(figure, [r[0] for r in rows], height=height, x_title="f in nats (open: x, filled: x′)")


def sentence_bars(labels: Sequence[str], effects: Sequence[tuple[str, bool, Sequence[float]]]) -> go.Figure:
    """The effect of deleting each sentence: one group of bars for each sentence, in their order from the top.

    effects: (checkpoint's role, whether it is the target, a number for each sentence in nats).
    """
    figure = go.Figure()
    names = [f"{i + 1}. {style.safe(label, 28)}" for i, label in enumerate(labels)]
    for who, is_target, values in effects:
        pattern = {"shape": "/" if is_target else "", "fillmode": "overlay"}
        written = {"text": [style.number(v, sign=True) for v in values], "textposition": "outside", "cliponaxis": False}
        hover = f"%{{y}}<br>%{{x:+.2f}} nats<extra>{style.safe(who)}</extra>"
        marks = {"color": _look(is_target)[0], "pattern": pattern}
        x = [float(v) for v in values]
        figure.add_bar(x=x, y=names, name=who, orientation="h", marker=marks, hovertemplate=hover, **written)
    figure.add_vline(x=0, line=style.ZERO_LINE)
    style.finish(figure, height=120 + 26 * len(effects) * len(names))
    figure.update_layout(barmode="group", bargap=0.3)
    figure.update_yaxes(categoryorder="array", categoryarray=names, type="category", autorange="reversed")
    every = [0.0, *(float(v) for _, _, values in effects for v in values)]
    margin = 0.22 * ((max(every) - min(every)) or 1.0)  # for the numbers beyond the bars
    figure.update_xaxes(title="f without the sentence − f(x), nats", range=[min(every) - margin, max(every) + margin])
    return figure


def _panels(titles: Sequence[str], spacing: float, shared_yaxes: str | bool = False) -> go.Figure:
    """Panels one above the other on one x axis, each with its title at the left."""
    axes = {"shared_xaxes": True, "shared_yaxes": shared_yaxes}
    figure = make_subplots(max(len(titles), 1), 1, vertical_spacing=spacing, subplot_titles=titles, **axes)
    return figure.update_annotations(x=0, xanchor="left", font={"size": 12})


def prompt_features(checkpoints: Sequence[pd.DataFrame], titles: Sequence[str]) -> go.Figure:
    """Measured effect and explanation of every edit of one prompt, in nats: one panel for each checkpoint.

    checkpoints: frames with feature, effect_current and explanation. The feature with the largest effect at the last
    checkpoint stands on top. titles: the panels' headings (data).
    """
    order = checkpoints[-1].sort_values("effect_current", key=np.abs, kind="stable")["feature"]
    names = [style.safe(feature, 44) for feature in order]
    figure = _panels([style.safe(t, 60) for t in titles], spacing=0.14)
    looks = {
        "effect_current": ("measured Δ", style.CURRENT),
        "explanation": ("explanation", style.EXPLANATION),
    }
    for panel, rows in enumerate(checkpoints, 1):
        rows = rows.set_index("feature").reindex(order)
        for column, (name, look) in looks.items():
            about = {"mode": "markers", "name": name, "legendgroup": name, "showlegend": panel == 1}
            marks = {"color": look.colour, "symbol": look.symbol, "size": 12}
            x, hover = rows[column].to_numpy(np.float32), "%{y}: %{x:.2f} nats"
            figure.add_scatter(x=x, y=names, marker=marks, hovertemplate=hover, row=panel, col=1, **about)
        figure.add_vline(x=0, line=style.ZERO_LINE, row=panel, col=1)
    style.finish(figure, height=110 + (70 + 34 * len(names)) * len(checkpoints))
    figure.update_yaxes(type="category", categoryorder="array", categoryarray=names)
    figure.update_xaxes(showgrid=True)
    figure.update_xaxes(title="effect of the edit, nats", row=len(checkpoints), col=1)
    return figure


MOVES = {
    "effect_current": ("Δ of the current model", style.CURRENT),
    "explanation": ("explanation", style.EXPLANATION),
    "effect_target": ("Δ of the target", style.TARGET),
}


def example_moves(frame: pd.DataFrame, order: Sequence[str], titles: Sequence[str]) -> go.Figure:
    """Both effects and the explanation over steps, in nats: one panel for each picked example.

    frame: example_id, step and the columns of `MOVES`. order: ids of the panels. titles: their headings (data).
    """
    n = max(len(order), 1)
    figure = _panels([style.safe(t, 70) for t in titles], spacing=min(0.12, 0.32 / n), shared_yaxes="all")
    for row, identity in enumerate(order, 1):
        mine = frame[frame["example_id"] == identity].sort_values("step")
        for column, (name, own) in MOVES.items():
            if column not in frame or frame[column].isna().all():
                continue
            about = {"mode": "lines+markers", "name": name, "legendgroup": name, "showlegend": row == 1}
            look = {"marker": {"symbol": own.symbol, "size": 8}}
            look["line"] = {"color": own.colour, "dash": own.dash, "width": 2}
            x, y = mine["step"].to_numpy(), mine[column].to_numpy(np.float32)
            figure.add_scatter(x=x, y=y, hovertemplate="%{y:.2f} nats", row=row, col=1, **about, **look)
        figure.add_hline(y=0, line=style.ZERO_LINE, row=row, col=1)
    style.finish(figure, height=130 + 190 * n)
    figure.update_yaxes(title="nats")
    figure.update_xaxes(title="training step", row=n, col=1)
    figure.update_layout(hovermode="x unified")
    return figure
