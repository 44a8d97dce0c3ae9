"""Pictures of one prompt in the lab: what the edit does to both checkpoints, and what each sentence carries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from dashboard.charts import style


@dataclass(frozen=True)
class Arrow:
    """f(x) → f(x') at one checkpoint, and what was said of it; nats."""

    name: str
    is_target: bool
    f: float
    f_edited: float | None
    explanation: float | None


def arrows(rows: Sequence[Arrow]) -> go.Figure:
    """Each checkpoint's f(x) → f(x') with, below it, f(x) → f(x) + explanation."""
    figure = go.Figure()
    order = []
    for row in rows:
        who = "target" if row.is_target else "current"
        colour, symbol = (style.TARGET, "diamond") if row.is_target else (style.CURRENT, "circle")
        said = None if row.explanation is None else row.f + row.explanation
        for kind, end, hue, mark in (
            ("measured", row.f_edited, colour, symbol),
            ("explained", said, style.EXPLANATION, "square"),
        ):
            if end is None and kind == "explained":
                continue
            name = f"{who}, {kind}"
            order.append(name)
            points = [row.f] if end is None else [row.f, end]
            figure.add_trace(
                go.Scatter(
                    x=points, y=[name] * len(points), mode="lines+markers", name=name,
                    line={"color": hue, "width": 3, "dash": "solid" if kind == "measured" else "dot"},
                    marker={"symbol": [f"{mark}-open", mark][: len(points)], "size": 12},
                    hovertemplate="%{x:.2f} nats<extra>" + name + "</extra>",
                )
            )  # fmt: skip
            if end is not None:
                text = f"{'Δ' if kind == 'measured' else 'says'} {style.number(end - row.f, sign=True)}"
                figure.add_annotation(
                    x=(row.f + end) / 2, y=name, text=text, showarrow=False, yshift=14, font={"color": hue}
                )
    figure.add_vline(x=0, line={"color": style.GREY, "width": 1})
    style.finish(figure, height=90 + 52 * len(order), legend=False)
    figure.update_yaxes(categoryorder="array", categoryarray=order[::-1])
    figure.update_xaxes(title="f, nats (open: x, filled: x′)")
    return figure


def sentence_bars(labels: Sequence[str], effects: Sequence[tuple[str, bool, Sequence[float]]]) -> go.Figure:
    """The effect of deleting each sentence, a group of bars a sentence, in their order from the top.

    effects: (checkpoint's role, whether it is the target, a number for each sentence in nats).
    """
    figure = go.Figure()
    names = [f"{i + 1}. {style.safe(label, 28)}" for i, label in enumerate(labels)]
    for who, is_target, values in effects:
        colour, pattern = (style.TARGET, "/") if is_target else (style.CURRENT, "")
        figure.add_trace(
            go.Bar(
                x=[float(v) for v in values], y=names, name=who, orientation="h",
                marker={"color": colour, "pattern": {"shape": pattern, "fillmode": "overlay"}},
                text=[style.number(v, sign=True) for v in values], textposition="outside", cliponaxis=False,
                hovertemplate="%{y}<br>%{x:+.2f} nats<extra>" + style.safe(who) + "</extra>",
            )
        )  # fmt: skip
    figure.add_vline(x=0, line={"color": style.GREY, "width": 1})
    style.finish(figure, height=120 + 26 * len(effects) * len(names))
    figure.update_layout(barmode="group", bargap=0.3)
    figure.update_yaxes(categoryorder="array", categoryarray=names, type="category", autorange="reversed")
    every = [0.0, *(float(v) for _, _, values in effects for v in values)]
    room = 0.22 * ((max(every) - min(every)) or 1.0)  # for the numbers beyond the bars
    figure.update_xaxes(title="f without the sentence − f(x), nats", range=[min(every) - room, max(every) + room])
    return figure
