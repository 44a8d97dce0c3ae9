"""Numbers over checkpoints: lines with bands, a heatmap of layers, single examples on the move."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from dashboard.charts import style


@dataclass(frozen=True)
class Series:
    """One line: `column` of `rows`, with `column_low` and `column_high` as its band where they are there."""

    rows: pd.DataFrame
    column: str
    name: str
    colour: str
    symbol: str = "circle"
    dash: str = "solid"
    panel: int = 1
    band: bool = True
    legend: bool = True
    """Whether it stands in the legend: not where the same line does in another panel."""


def _values(rows: pd.DataFrame, column: str) -> np.ndarray | None:
    return rows[column].to_numpy(np.float64) if column in rows and rows[column].notna().any() else None


def _add(figure: go.Figure, series: Series, x: str) -> None:
    rows = series.rows.sort_values(x)
    xs, ys = rows[x].to_numpy(), _values(rows, series.column)
    if ys is None:
        return
    low, high = (_values(rows, f"{series.column}_{end}") for end in ("low", "high"))
    place = {"row": series.panel, "col": 1}
    group = {"legendgroup": style.safe(f"{series.name}{series.panel if series.legend else 1}")}
    if low is not None and high is not None and series.band:
        edge = {"x": xs, "mode": "lines", "line": {"width": 0}, "hoverinfo": "skip", "showlegend": False, **group}
        figure.add_trace(go.Scatter(y=high, **edge), **place)
        figure.add_trace(go.Scatter(y=low, fill="tonexty", fillcolor=style.faded(series.colour, 0.15), **edge), **place)
    bounds, hover = None, "%{y:.3f}"
    if low is not None and high is not None:
        bounds = np.column_stack([low, high])
        hover = "%{y:.3f} [%{customdata[0]:.3f}, %{customdata[1]:.3f}]"
    figure.add_trace(
        go.Scatter(
            x=xs, y=ys, customdata=bounds, mode="lines+markers", name=style.safe(series.name, 60), **group,
            showlegend=series.legend,
            line={"color": series.colour, "dash": series.dash, "width": 2},
            marker={"symbol": series.symbol, "size": 8}, hovertemplate=hover,
        ),
        **place,
    )  # fmt: skip


def trajectory(
    series: Sequence[Series],
    *,
    x: str = "step",
    x_title: str = "training step of the current checkpoint",
    panels: Sequence[str] = ("agreement (Pearson r)", "gap"),
    absent_within: float | None = None,
    null: pd.DataFrame | None = None,
    lost_at: float | None = None,
    lost_text: str = "",
    log_x: bool = False,
    height: int = 620,
) -> go.Figure:
    """Lines over steps, one panel above the other on one x axis.

    null: columns x, null_low, null_high; shades the first panel. absent_within: a gap within ± this is called absent;
    shades that range of the last panel. lost_at: draws a vertical line there.
    """
    shares = [0.58, 0.42] if len(panels) == 2 else None
    figure = make_subplots(rows=len(panels), cols=1, shared_xaxes=True, vertical_spacing=0.06, row_heights=shares)
    if null is not None and len(null):
        null = null.sort_values(x)
        edge = {"x": null[x].to_numpy(), "mode": "lines", "line": {"width": 0}, "hoverinfo": "skip"}
        figure.add_trace(go.Scatter(y=null["null_high"].to_numpy(np.float64), showlegend=False, **edge), row=1, col=1)
        figure.add_trace(
            go.Scatter(
                y=null["null_low"].to_numpy(np.float64), fill="tonexty", name="null, 95% band",
                fillcolor=style.faded(style.GREY, 0.22), **edge,
            ),
            row=1, col=1,
        )  # fmt: skip
    for one in series:
        _add(figure, one, x)
    last = len(panels)
    if last > 1:
        figure.add_hline(y=0, line={"color": style.GREY, "width": 1}, row=last, col=1)
        if absent_within:
            figure.add_hrect(
                y0=-absent_within, y1=absent_within, fillcolor=style.faded(style.GREY, 0.14), line_width=0,
                layer="below", row=last, col=1,
            )  # fmt: skip
    style.finish(figure, height=height)
    for row, name in enumerate(panels, 1):
        figure.update_yaxes(title=name, row=row, col=1)
    figure.update_xaxes(title=x_title, row=last, col=1)
    figure.update_layout(hovermode="x unified")
    if log_x:
        figure.update_xaxes(type="log", dtick=1)
    if lost_at is not None:
        figure.add_vline(x=lost_at, line={"color": style.ORANGE, "dash": "dot", "width": 2})
        figure.add_annotation(
            x=lost_at, y=1, yref="paper", yanchor="bottom", showarrow=False, text=style.safe(lost_text),
            font={"color": style.ORANGE},
        )  # fmt: skip
    return figure


def heatmap(
    rows: pd.DataFrame, column: str, *, title: str, centred: bool, y: str = "layer", height: int | None = None
) -> go.Figure:
    """`column` of every layer (rows) at every checkpoint (columns), numbers written into the cells.

    `centred` puts the middle of a diverging scale at 0, for gaps.
    """
    steps = rows[["step", "checkpoint"]].drop_duplicates().sort_values(["step", "checkpoint"])
    grid = rows.pivot_table(index=y, columns="checkpoint", values=column, aggfunc="mean", dropna=False)
    grid = grid.reindex(columns=steps["checkpoint"].tolist()).sort_index()
    z = grid.to_numpy(np.float64)
    names = [style.safe(c.split("--", 1)[-1], 24) for c in grid.columns]
    top = float(np.nanmax(np.abs(z))) if np.isfinite(z).any() else 1.0
    text = [[style.number(v, sign=centred) if np.isfinite(v) else "" for v in row] for row in z]
    figure = go.Figure(
        go.Heatmap(
            z=z.astype(np.float32), x=names, y=[f"{y} {v}" for v in grid.index], text=text, texttemplate="%{text}",
            colorscale=style.DIVERGING if centred else style.SEQUENTIAL, zmin=-top if centred else None,
            zmax=top if centred else None, xgap=2, ygap=2, colorbar={"thickness": 10, "title": {"text": "r"}},
            hovertemplate="%{y}, %{x}: %{text}<extra></extra>",
        )
    )  # fmt: skip
    style.finish(figure, height=height or 150 + 46 * max(len(grid), 1), title=title, legend=False)
    figure.update_xaxes(title="checkpoint", type="category")
    return figure


MOVES = (
    ("effect_current", "Δ of the current model", style.CURRENT, "circle", "solid"),
    ("explanation", "explanation", style.EXPLANATION, "diamond", "dash"),
    ("effect_target", "Δ of the target", style.TARGET, "square", "dot"),
)


def example_moves(frame: pd.DataFrame, order: Sequence[str], titles: Sequence[str]) -> go.Figure:
    """Each picked example in a panel of its own: both effects and the explanation over steps, in nats.

    `frame` has example_id, step and the columns of MOVES; `order` the ids, `titles` their headings (data).
    """
    figure = make_subplots(
        rows=max(len(order), 1), cols=1, shared_xaxes=True, shared_yaxes="all",
        vertical_spacing=min(0.12, 0.32 / max(len(order), 1)), subplot_titles=[style.safe(t, 70) for t in titles],
    )  # fmt: skip
    for row, identity in enumerate(order, 1):
        mine = frame[frame["example_id"] == identity].sort_values("step")
        for column, name, colour, symbol, dash in MOVES:
            if _values(frame, column) is not None:
                figure.add_trace(
                    go.Scatter(
                        x=mine["step"].to_numpy(), y=mine[column].to_numpy(np.float32), mode="lines+markers",
                        name=name, legendgroup=name, showlegend=row == 1, marker={"symbol": symbol, "size": 8},
                        line={"color": colour, "dash": dash, "width": 2}, hovertemplate="%{y:.2f} nats",
                    ),
                    row=row, col=1,
                )  # fmt: skip
        figure.add_hline(y=0, line={"color": style.GREY, "width": 1}, row=row, col=1)
    style.finish(figure, height=130 + 190 * max(len(order), 1))
    figure.update_annotations(x=0, xanchor="left", font={"size": 12})
    figure.update_yaxes(title="nats")
    figure.update_xaxes(title="training step", row=max(len(order), 1), col=1)
    figure.update_layout(hovermode="x unified")
    return figure
