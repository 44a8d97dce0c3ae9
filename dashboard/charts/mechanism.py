"""Maps of activation patching: layer by position, of behavior and of the explanation side by side on the same axes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from dashboard.charts import style

WRITTEN = 12
"""Up to so many columns the numbers are written into the cells."""


@dataclass(frozen=True)
class Column:
    """A position, or several that were patched together."""

    label: str
    """Plain text, maybe from data; no other column of the group has the same."""
    group: str


def patch_maps(
    columns: Sequence[Column],
    layers: Sequence[int],
    panels: Sequence[tuple[str, np.ndarray]],
    *,
    unit: str,
    limit: float | None = None,
    own_scales: bool = False,
) -> go.Figure:
    """`panels` of (title, values [layers, columns]); NaN is drawn as nothing. One scale for all, 0 in its middle.

    `limit`: the largest size on the scale; none: the largest there is. `own_scales`: each panel has its own, written
    into its title. The embeddings (layer 0) stand at the bottom.
    """
    sizes = [float(np.abs(z[np.isfinite(z)]).max(initial=0.0)) or 1.0 for _, z in panels]
    titles = [
        f"{t} (± {style.number(top)} {unit})" if own_scales else t for (t, _), top in zip(panels, sizes, strict=True)
    ]
    figure = make_subplots(rows=1, cols=len(panels), shared_yaxes=True, horizontal_spacing=0.04, subplot_titles=titles)
    top = limit or max(sizes)
    names = [style.safe(c.label, 24) for c in columns]
    x = [[style.safe(c.group, 24) or " " for c in columns], names]  # two lines of labels: groups, and what is in them
    y = ["embeddings" if layer == 0 else f"layer {layer}" for layer in layers]
    for at, ((_, values), size) in enumerate(zip(panels, sizes, strict=True), start=1):
        scale = {"colorscale": style.DIVERGING, "zmin": -size, "zmax": size, "showscale": False}
        text = [[style.number(v, sign=True) if np.isfinite(v) else "" for v in row] for row in values]
        figure.add_trace(
            go.Heatmap(
                z=[[float(v) if np.isfinite(v) else None for v in row] for row in values], x=x, y=y, text=text,
                texttemplate="%{text}" if len(columns) <= WRITTEN else None, xgap=1, ygap=1,
                hovertemplate="%{y}, %{x}: %{text} " + unit + "<extra></extra>", hoverongaps=False,
                **(scale if own_scales else {"coloraxis": "coloraxis"}),
            ),
            row=1, col=at,
        )  # fmt: skip
    style.finish(figure, height=220 + 42 * max(len(layers), 1), legend=False)
    figure.update_layout(
        margin={"t": 44},
        coloraxis={
            "colorscale": style.DIVERGING, "cmin": -top, "cmax": top,
            "colorbar": {"thickness": 10, "title": {"text": unit, "side": "right"}},
        },
    )  # fmt: skip
    figure.update_yaxes(type="category", categoryorder="array", categoryarray=y)
    figure.update_xaxes(tickangle=-60, dividerwidth=1)
    return figure


@dataclass(frozen=True)
class Agreement:
    """A correlation of maps, or a control of it: a value with its interval, or the mean and band of a distribution."""

    name: str
    r: float
    low: float
    high: float
    is_band: bool
    is_control: bool


def agreements(rows: Sequence[Agreement]) -> go.Figure:
    """Each on a line of its own, the explainer first; bands of distributions are wide and open."""
    figure = go.Figure()
    for row in rows:
        colour = style.GREY if row.is_control else style.EXPLANATION
        name = style.safe(row.name, 60)
        figure.add_trace(
            go.Scatter(
                x=[row.low, row.high], y=[name] * 2, mode="lines", hoverinfo="skip",
                line={"color": style.faded(colour, 0.45) if row.is_band else colour, "width": 10 if row.is_band else 3},
            )
        )  # fmt: skip
        figure.add_trace(
            go.Scatter(
                x=[row.r], y=[name], mode="markers",
                marker={"color": colour, "size": 11, "symbol": "line-ns-open" if row.is_band else "diamond"},
                hovertemplate=f"{style.interval(row.r, row.low, row.high, sign=True)}<extra>{name}</extra>",
            )
        )  # fmt: skip
    figure.add_vline(x=0, line={"color": style.GREY, "width": 1})
    style.finish(figure, height=96 + 34 * max(len(rows), 1), legend=False)
    figure.update_yaxes(categoryorder="array", categoryarray=[style.safe(r.name, 60) for r in rows][::-1])
    figure.update_xaxes(title="mean correlation of both maps of an example", range=[-1.05, 1.05])
    return figure
