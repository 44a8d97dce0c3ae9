"""The zoo as a picture: every measure of every look-alike, and who of them knows the unseen answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from dashboard.charts import style
from engine.zoo.lookalikes import ZOO
from engine.zoo.table import HEADS


@dataclass(frozen=True)
class Animal:
    """A hand-built explainer with its numbers."""

    name: str
    knows: bool | None
    """Whether it knows f(x′) beyond the outputs that were seen; None: in part, from an entity's other prompts."""
    values: Mapping[str, tuple[float | None, float | None, float | None]]
    """Measure → (value, low, high); None where it is not defined."""


@dataclass(frozen=True)
class Group:
    """How the explainers with the same answer are drawn."""

    says: str
    colour: str
    symbol: str


GROUPS = {
    True: Group("knows the unseen answer", style.EXPLANATION.colour, style.EXPLANATION.symbol),
    None: Group("knows it from other prompts", style.EXPLANATION.colour, "square-open"),
    False: Group("does not know it", style.OUTPUT.colour, style.OUTPUT.symbol),
}
ROW, MARGIN = 26, 120
"""Pixels of height: of a row, and of all that stands around the rows."""


def of_table(table: pd.DataFrame) -> list[Animal]:
    """What `coupling zoo` prints (`engine.zoo.table`), in its order; its means have no intervals."""
    return [
        Animal(row["explainer"], knows(row["explainer"]), {head: _mean(row[name]) for name, head in HEADS.items()})
        for row in table.to_dict("records")
    ]


def knows(name: str) -> bool | None:
    """The right answer about an explainer of the zoo, as in `Animal.knows`."""
    return ZOO[name].answers.get("unseen")


def _mean(value: float) -> tuple[float | None, None, None]:
    return (None if pd.isna(value) else value), None, None


def zoo(animals: Sequence[Animal], row: int = ROW, abreast: int | None = None) -> go.Figure:
    """A panel for each measure, a row for each explainer, the first on top. A measure that works parts the groups.

    row: height of a row in pixels. abreast: panels beside each other; None: all of them.
    """
    heads = list(animals[0].values)
    across = abreast or len(heads)
    down = -(-len(heads) // across)
    space = {"horizontal_spacing": 0.025, "vertical_spacing": 0.16 if down > 1 else 0}
    figure = make_subplots(down, across, shared_yaxes=True, subplot_titles=heads, **space)
    for knows, group in GROUPS.items():
        own = [animal for animal in animals if animal.knows is knows]
        for place, head in enumerate(heads):
            shown = [animal for animal in own if animal.values[head][0] is not None]
            if shown or (own and place == 0):
                at = place // across + 1, place % across + 1
                figure.add_trace(_points(shown, head, group, legend=place == 0), *at)
    figure.add_vline(x=0, line=style.ZERO_LINE)
    names = [style.safe(animal.name, 40) for animal in animals]
    figure.update_yaxes(categoryorder="array", categoryarray=names[::-1], range=[-0.6, len(names) - 0.4])
    figure.update_yaxes(showgrid=True)
    figure.update_xaxes(nticks=4)
    return style.finish(figure, height=MARGIN * down + row * len(names) * down)


def _points(shown: Sequence[Animal], head: str, group: Group, legend: bool) -> go.Scatter:
    """One group's numbers in one panel, with their intervals."""
    values, lows, highs = zip(*(animal.values[head] for animal in shown), strict=True) if shown else ([], [], [])
    error = {"type": "data", "symmetric": False, "thickness": 2, "width": 0, "color": group.colour}
    error["array"] = [0 if high is None else high - value for value, high in zip(values, highs, strict=True)]
    error["arrayminus"] = [0 if low is None else value - low for value, low in zip(values, lows, strict=True)]
    return go.Scatter(
        x=values,
        y=[style.safe(animal.name, 40) for animal in shown],
        error_x=error,
        mode="markers",
        marker={"color": group.colour, "symbol": group.symbol, "size": 11},
        name=group.says,
        legendgroup=group.says,
        showlegend=legend,
        hovertemplate=f"%{{y}}: {head} %{{x:+.2f}}<extra></extra>",
    )
