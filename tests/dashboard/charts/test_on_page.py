"""A figure in the page's look."""

import json
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go
import pytest

import dashboard
from dashboard.charts import style
from dashboard.charts.on_page import for_page
from dashboard.charts.style import PAPER


def made(names: list[str] | None = None, **layout: Any) -> go.Figure:
    figure = go.Figure()
    error = {"array": np.array([0.1, np.nan, 0.3])}
    figure.add_scatter(x=np.arange(3.0), y=names or np.arange(3), error_x=error, customdata=np.ones((3, 2)))
    figure.update_xaxes(title="steps", showgrid=True)
    figure.update_yaxes(title="nats")
    return style.finish(figure, height=300, legend=False).update_layout(**layout)


def test_nothing_in_it_makes_plotly_draw_twice() -> None:
    figure = for_page(made(), dark=False)
    sent = json.loads(figure.to_json())  # typed arrays are objects with "bdata" there
    assert "template" not in sent["layout"] and sent["layout"]["datarevision"]
    (trace,) = sent["data"]
    assert trace["x"] == [0, 1, 2] and trace["y"] == [0, 1, 2] and trace["customdata"] == [[1, 1]] * 3
    assert trace["error_x"]["array"] == [0.1, None, 0.3]


@pytest.mark.parametrize("dark", [False, True])
def test_it_has_the_pages_colours_where_it_has_none_of_its_own(dark: bool) -> None:
    figure = for_page(made(font={"color": "#123456"}).update_yaxes(gridcolor="#654321"), dark)
    text, background = PAPER[dark]
    assert figure.layout.font.color == "#123456" and figure.layout.yaxis.gridcolor == "#654321"
    assert figure.layout.xaxis.showgrid and figure.layout.xaxis.title.text == "steps"
    assert for_page(made(), dark).layout.font.color == text
    assert for_page(made(), dark).layout.hoverlabel.bgcolor == background


def test_the_colours_are_those_of_the_theme() -> None:
    theme = tomllib.loads((Path(dashboard.__file__).parent / ".streamlit" / "config.toml").read_text())["theme"]
    for dark, name in enumerate(("light", "dark")):
        assert PAPER[bool(dark)] == (theme[name]["textColor"], theme[name]["backgroundColor"])


def test_long_names_and_large_type_have_room() -> None:
    def left(figure: go.Figure) -> float:
        return for_page(figure, dark=False).layout.margin.l

    long = [f"a name of some length {i}" for i in range(3)]
    assert left(made()) < 90 < 6 * len(long[0]) < left(made(long)) < 9 * len(long[0]) + 60
    assert left(made(long)) < left(made(long, font={"size": 20}))


def test_numbers_are_sent_as_short_as_they_are() -> None:
    figure = for_page(go.Figure(go.Scatter(x=np.array([0.1, np.nan, 1e-30, 3], np.float32))), dark=False)
    assert json.loads(figure.to_json())["data"][0]["x"] == [0.1, None, 1e-30, 3.0]


def parts(value: Any) -> Iterator[Any]:
    yield value
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ():
        yield from parts(part)


def test_subplots_and_heatmaps_are_listed_too() -> None:
    figure = for_page(go.Figure(go.Heatmap(z=np.eye(2), text=np.array([["a", "b"], ["c", "d"]]))), dark=True)
    assert figure.data[0].colorbar.thickness == 16 and figure.data[0].textfont.color == PAPER[True][0]
    assert not any(isinstance(part, np.ndarray) for part in parts(figure.data[0].to_plotly_json()))
