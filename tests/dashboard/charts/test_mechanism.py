"""Figures of patching maps and of monitoring: what the numbers say, on one scale, and hostile text as text."""

from __future__ import annotations

import numpy as np
import pandas as pd

from dashboard.charts import mechanism
from dashboard.charts.mechanism import Column, MapCorrelation

HOSTILE = "<b>x</b> $y$ <a href='https://canary.invalid'>"


SHIFTS = pd.DataFrame(
    [
        ("one", "everything", "", 9, 0.1, 0.2),
        ("one", "topic", HOSTILE, 4, 0.6, 0.7),
        (HOSTILE, "topic", "b", 5, -0.2, -0.9),
    ],
    columns=["checkpoint", "column", "value", "n", "predicted", "measured"],
)


def test_both_maps_share_axes_and_scale_and_what_is_not_read_is_empty():
    values = np.arange(12.0).reshape(3, 4) - 5
    said = values / 2
    said[2] = np.nan
    columns = [Column(f"token {i}", "the edit" if i < 2 else "after it") for i in range(4)]
    figure = mechanism.patch_maps(columns, [0, 1, 2], [("Behavior f", values), ("Explanation", said)], unit="nats")
    one, other = figure.data
    assert list(one.y) == list(other.y) == [f"token {i}" for i in range(4)]
    assert list(one.x) == list(other.x) == ["emb.", "1", "2"]
    assert figure.layout.yaxis.categoryarray[-1] == "token 0", "the first place stands on top"
    np.testing.assert_allclose(np.array(one.z, dtype=float), values.T)
    assert all(row[2] is None and row[1] is not None for row in other.z) and other.text[0][2] == ""
    assert one.zmax == other.zmax == 6 == -one.zmin
    assert [(line.y0, line.y1) for line in figure.layout.shapes] == [(1.5, 1.5)] * 2, "a line below the edit"


def test_many_layers_have_no_numbers_in_them_and_a_limit_is_kept():
    columns, layers = [Column("0", "the edit")], list(range(40))
    figure = mechanism.patch_maps(columns, layers, [("Behavior f", np.full((40, 1), 0.3))], unit="x", limit=1.0)
    assert figure.data[0].texttemplate is None and figure.data[0].zmax == 1
    empty = mechanism.patch_maps(columns, layers, [("Behavior f", np.zeros((40, 1)))], unit="x")
    assert empty.data[0].zmax == 1


def test_numbers_in_cells_are_short_and_those_near_0_are_left_out():
    values = np.array([[0.53], [-0.07], [1.0], [-4.2], [0.04]])
    panels = [("Behavior f", values)]
    figure = mechanism.patch_maps([Column("0", "the edit")], list(range(5)), panels, unit="x", limit=1.0)
    assert list(figure.data[0].text[0]) == [".53", "−.07", "1", "−4.2", ""]


def test_each_map_may_have_a_scale_of_its_own():
    columns = [Column(str(i), "the edit") for i in range(2)]
    panels = [("Behavior f", np.array([[4.0, -2.0]])), ("Explanation", np.array([[0.1, np.nan]]))]
    figure = mechanism.patch_maps(columns, [0], panels, unit="nats", own_scales=True)
    assert [trace.zmax for trace in figure.data] == [4, 0.1] == [-trace.zmin for trace in figure.data]
    assert [a.text for a in figure.layout.annotations] == ["Behavior f (± 4.00 nats)", "Explanation (± 0.10 nats)"]


def test_the_explainer_stands_first_and_bands_look_unlike_intervals():
    rows = [MapCorrelation("own", 0.5, 0.4, 0.6, False, False), MapCorrelation("null", 0.0, -0.2, 0.2, True, True)]
    figure = mechanism.agreements(rows)
    assert figure.layout.yaxis.categoryarray[-1] == "own"  # the top
    lines = [t for t in figure.data if t.mode == "lines"]
    assert lines[0].line.width < lines[1].line.width
    assert [t.x[0] for t in figure.data if t.mode == "markers"] == [0.5, 0.0]


def test_hostile_text_is_text():
    figures = [
        mechanism.patch_maps([Column(HOSTILE, "g")], [0], [("t", np.ones((1, 1)))], unit="nats"),
        mechanism.agreements([MapCorrelation(HOSTILE, 0.5, 0.4, 0.6, False, False)]),
        mechanism.shifts(SHIFTS, 0.5, {}),
    ]
    for figure in figures:
        text = figure.to_json()
        assert "<b>x" not in text and "\\u003cb\\u003ex" not in text and "<a href" not in text


def test_monitoring_draws_every_pair_and_both_detectors():
    curve = pd.DataFrame({"false_alarms": [0, 0.5, 1], "detected": [0, 0.9, 1]})
    figure = mechanism.shifts(SHIFTS, 0.5, {"predicted": curve, "drift": curve})
    points = [t for t in figure.data if t.mode == "markers"]
    assert sum(len(t.x) for t in points) == 3
    names = [t.name for t in figure.data]
    assert {"detected by predicted shift", "detected by drift of f(x)"} <= set(names)
