"""The lesson's figures on the page: drawn for a wall, with alternative text, provenance and the same as a table."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import streamlit as st

from dashboard import charts
from dashboard.charts import learn
from dashboard.lesson.roles import Told
from dashboard.reading.agreement import Estimate
from dashboard.selection import on_screen
from dashboard.widgets.figures import show


def triple(e: Estimate) -> learn.Triple:
    return e.value, e.low, e.high


def counts(told: Told, n: float, n_groups: float, note: str = "95% intervals") -> str:
    """What stands before a figure's provenance."""
    of = f", a seeded sample of {told.moved.n:,}" if n <= on_screen.MEASURED < told.moved.n else ""
    pieces = [told.split, told.edit, f"n = {int(n):,}{of}", f"{int(n_groups):,} groups", note]
    return " · ".join(piece for piece in pieces if piece)


def bars(
    told: Told, shown: Sequence[learn.Bar], *, key: str, x_title: str, about: str, signed: bool = False,
    band: tuple[float, float] | None = None, guess: float | None = None, table: pd.DataFrame | None = None,
) -> None:  # fmt: skip
    """Numbers with their intervals, a line each."""
    said = "; ".join(f"{b.name} {charts.interval(*b.value, sign=signed)}" for b in shown)
    if table is None:
        table = pd.DataFrame([(b.name, *b.value) for b in shown], columns=["of", x_title, "low", "high"])
    show(
        learn.estimates(shown, x_title=x_title, signed=signed, band=band, guess=guess), key=key, path=told.path,
        alt=f"{x_title}: {said}", about=about, table=table,
    )  # fmt: skip


def cloud(
    told: Told, frame: pd.DataFrame, x: str, y: str, *, note: str, titles: tuple[str, str], key: str
) -> None:  # fmt: skip
    """Examples as points, in nats, with their number written on it. frame: example_id, group and both columns."""
    if frame.empty:
        st.info("This run kept no explanations of single examples in this setting.")
        return
    limits = charts.Limits.of(frame[x].to_numpy(), frame[y].to_numpy())
    figure = charts.scatter(frame, x, y, x_title=titles[0], y_title=titles[1], limits=limits)
    show(
        learn.noted(figure, note), key=key, path=told.path, alt=f"Scatter of {titles[1]} against {titles[0]}: {note}.",
        about=counts(told, len(frame), frame["group"].nunique(dropna=False)),
        table=frame[list(dict.fromkeys(("example_id", x, y)))],
    )  # fmt: skip
