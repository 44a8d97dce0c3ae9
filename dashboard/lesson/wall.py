"""The lesson's figures on the page: drawn for a wall, with alternative text, provenance and the same as a table."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import streamlit as st

from dashboard import charts
from dashboard.charts import learn
from dashboard.charts.style import Look
from dashboard.lesson.measures import group_count
from dashboard.lesson.roles import LessonRun
from dashboard.reading.agreement import Estimate
from dashboard.selection import on_screen
from dashboard.widgets.figures import show


def triple(e: Estimate) -> learn.Triple:
    return e.value, e.low, e.high


def bar(name: str, value: Estimate, look: Look) -> learn.Bar:
    """One labelled number for `bars`."""
    return learn.Bar(name, triple(value), look)


def about(run: LessonRun, n: float, n_groups: float, note: str = "95% intervals") -> str:
    """What stands before a figure's provenance: split, edit, and the numbers of examples and groups."""
    of = f", a seeded sample of {run.moved.n:,}" if n <= on_screen.MEASURED < run.moved.n else ""
    return f"{run.split} · {run.edit} · n = {int(n):,}{of} · {int(n_groups):,} groups · {note}"


def bars(
    run: LessonRun,
    shown: Sequence[learn.Bar],
    *,
    key: str,
    x_title: str,
    about: str,
    signed: bool = False,
    guess: float | None = None,
    table: pd.DataFrame | None = None,
) -> None:
    """Numbers with their intervals, a line each."""
    said = "; ".join(f"{b.name} {charts.interval(*b.value, sign=signed)}" for b in shown)
    if table is None:
        table = pd.DataFrame([(b.name, *b.value) for b in shown], columns=["of", x_title, "low", "high"])
    figure = learn.estimates(shown, x_title=x_title, signed=signed, guess=guess)
    show(figure, key=key, path=run.path, alt=f"{x_title}: {said}", about=about, table=table)


def cloud(run: LessonRun, frame: pd.DataFrame, x: str, y: str, *, note: str, titles: tuple[str, str], key: str) -> None:
    """Examples as points, in nats, with their number written on it. frame: example_id, group and both columns."""
    if frame.empty:
        st.info("This run kept no explanations of single examples in this setting.")
        return
    limits = charts.Limits.of(frame[x].to_numpy(), frame[y].to_numpy())
    figure = learn.noted(charts.scatter(frame, x, y, x_title=titles[0], y_title=titles[1], limits=limits), note)
    alt, said = f"Scatter of {titles[1]} against {titles[0]}: {note}.", about(run, len(frame), group_count(frame))
    show(figure, key=key, path=run.path, alt=alt, about=said, table=frame[["example_id", x, y]])
