"""Figures carry what the frames say, stay small for many points, and show hostile text as text."""

from __future__ import annotations

import json
import tomllib

import numpy as np
import pandas as pd
import plotly.io
import pytest

from dashboard import PAGES, charts
from dashboard.charts import learn, line_ends, style
from dashboard.charts import points as points_module
from dashboard.charts.on_page import for_page
from dashboard.charts.zoo import Animal, zoo

HOSTILE = '<script>alert(1)</script><a href="https://canary.example/x.png">$x^2$</a>\x00\u202e%{x}'


def some_points(n: int, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    effect = rng.standard_normal(n).astype(np.float32)
    return pd.DataFrame(
        {
            "example_id": [f"{i:016x}" for i in range(n)],
            "explanation": 0.5 * effect + 0.1 * rng.standard_normal(n).astype(np.float32),
            "effect_current": effect,
            "edit": np.where(np.arange(n) % 3 == 0, "delete_cue", "mask_cue"),
        }
    )


def limits_of(frame: pd.DataFrame) -> charts.Limits:
    return charts.Limits.of(frame["effect_current"], frame["explanation"])


def draw(frame: pd.DataFrame, **options):
    titles = {"x_title": "Δ (nats)", "y_title": "e (nats)"}
    return charts.scatter(frame, "effect_current", limits=limits_of(frame), **titles, **options)


def named(figure, name: str):
    return next(t for t in figure.data if t.name and t.name.startswith(name))


def test_scatter_holds_every_point_once_with_its_id():
    frame = some_points(300)
    figure = draw(frame, colour="edit")
    ids = np.concatenate([t.customdata for t in figure.data if t.mode == "markers"])
    assert sorted(ids) == sorted(frame["example_id"])
    marks = [t.marker for t in figure.data if t.mode == "markers"]
    assert len({m.symbol for m in marks}) == len({m.color for m in marks}) == 2
    assert figure.layout.xaxis.range == figure.layout.yaxis.range


def test_fit_line_is_least_squares():
    x, y = (some_points(500)[name].astype(float) for name in ("effect_current", "explanation"))
    assert points_module.fit_line(x, y) == pytest.approx(tuple(np.polyfit(x, y, 1)), abs=1e-6)
    assert points_module.fit_line(np.ones(5), np.arange(5.0)) is None


@pytest.mark.parametrize(("n", "kind"), [(200, "scatter"), (1_000, "scattergl"), (60_000, "scattergl")])
def test_webgl_draws_from_a_thousand_points(n, kind):
    trace = named(draw(some_points(n)), "sampled" if n > 50_000 else "examples")
    assert trace.type == kind and trace.x.dtype == np.float32


def test_raster_counts_every_row_and_is_small():
    frame = some_points(1_000_000)
    figure = draw(frame)
    assert figure.data[0].type == "heatmap"
    plain = len(json.dumps(frame["effect_current"].tolist())) + len(json.dumps(frame["explanation"].tolist()))
    assert len(named(figure, "sampled").x) == points_module.RASTER_POINTS
    assert plain / len(plotly.io.to_json(for_page(figure, dark=False), validate=False)) > 20


def test_raster_density_sums_to_n():
    frame = some_points(60_000)
    x, y, limits = frame["effect_current"].to_numpy(), frame["explanation"].to_numpy(), limits_of(frame)
    z = points_module._raster(x, y, limits).z
    bins, ends = points_module.RASTER_BINS, [[limits.low, limits.high]] * 2
    histogram, _, _ = np.histogram2d(y, x, bins=bins, range=ends)
    assert (np.asarray(z) > 0).sum() == pytest.approx((histogram > 0).sum(), rel=0.02)


def test_slice_is_highlighted_and_sampled_first():
    frame = some_points(60_000)
    selected = np.zeros(len(frame), bool)
    selected[:50] = True
    trace = named(draw(frame, selected=selected), "sampled")
    assert len(trace.selectedpoints) == 50


def test_rows_without_numbers_are_left_out():
    frame = some_points(10)
    frame.loc[3, "explanation"] = np.nan
    figure = draw(frame, selected=np.ones(10, bool))
    assert len(named(figure, "examples").x) == 9
    assert draw(frame.iloc[:0]).data is not None


def test_quadrants_compare_signs():
    one = charts.quadrants(np.array([1, 1, 1, 1]), np.array([1, 1, -1, -1]), np.array([1, -1, 1, -1]))
    assert one.tolist() == list(charts.QUADRANTS)


def test_many_categories_become_other():
    values = [f"v{i % 30}" for i in range(300)] + [None]
    codes, names = points_module.categories(values)
    assert len(names) == points_module.MAX_CATEGORIES and names[-1].startswith("other (")
    assert codes.max() == len(names) - 1 and len(codes) == 301


def test_hostile_text_is_escaped_everywhere():
    frame = some_points(20)
    frame["edit"] = HOSTILE
    moves = pd.DataFrame({"example_id": ["a"] * 2, "step": [0, 1], "effect_current": [0.0, 1.0], "explanation": [0, 1]})
    rows = pd.DataFrame({"step": [0], "checkpoint": [f"a--{HOSTILE}"], "layer": [1], "self": [0.5]})
    for figure in (
        draw(frame, colour="edit"),
        charts.example_moves(moves, ["a"], [HOSTILE]),
        charts.heatmap(rows, "self", title="Self", centred=False),
        charts.ladder([charts.LadderRow(HOSTILE, 0.5)], x_title="r"),
        charts.trajectory([charts.Series(rows, "self", HOSTILE, style.CURRENT)]),
    ):
        text = plotly.io.to_json(figure, validate=False)
        assert "<script" not in text and "\\u003cscript" not in text and "<a href" not in text
        assert "\u202e" not in text and "$x" not in text


def test_safe_cuts_long_text():
    assert len(style.safe("a" * 1_000_000, 50)) == 50


def test_interval_says_both_ends():
    assert charts.interval(0.05, 0.01, 0.09, sign=True) == "+0.05 [+0.01, +0.09]"
    assert charts.interval(0.05, None, None) == "0.05"


def test_noise_curve_draws_both_curves_and_marks_the_break():
    levels = np.linspace(0, 1, 11)
    curve = pd.DataFrame({"noise": levels, "self": 0.8 - 0.7 * levels, "orig": 0.7 - 0.6 * levels})
    figure = charts.noise_curve(curve, curve, null=(-0.1, 0.1), ceiling=0.9, breaks_at=0.85, level=0.5)
    names = [t.name for t in figure.data]
    assert {"Self, precomputed", "Orig, precomputed", "Self, refitted now", "Orig, refitted now"} <= set(names)
    assert any("enters the null at 85%" in (a.text or "") for a in figure.layout.annotations)
    levels = {(shape.y0, shape.y1) for shape in figure.layout.shapes}
    assert {(-0.1, 0.1), (0.9, 0.9)} <= levels, "the null's band and the ceiling are drawn, not only named"


def test_names_at_the_ends_of_lines_are_apart_and_within_the_panel():
    at = [100.0, 101, 102, 5, 300]
    places = line_ends.spread(at, 15, 0, 300)
    assert np.diff(np.sort(places)).min() >= 15 - 1e-9 and places.min() >= 0 and places.max() <= 300
    assert np.argsort(places).tolist() == np.argsort(at).tolist(), "in the order of the lines"
    assert line_ends.spread([10.0, 200], 15, 0, 300).tolist() == [10, 200], "left where there is room"


def test_every_line_has_its_name_at_its_end_and_there_is_no_legend():
    rows = pd.DataFrame({"step": [0, 100], "self": [0.8, 0.7], "gap": [0.0, 0.2]})
    lines = [
        charts.Series(rows, "self", "Self", style.CURRENT, label="Self"),
        charts.Series(rows, "gap", "gap", style.GAP, panel=2),
    ]
    figure = charts.trajectory(lines)
    assert [(a.text, a.y, a.arrowcolor) for a in figure.layout.annotations] == [
        ("Self", 0.7, style.CURRENT.colour),
        ("gap", 0.2, style.GAP.colour),
    ]
    assert not figure.layout.showlegend and figure.layout.margin.r > 40


def luminance(colour: str) -> float:
    parts = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("background", ["#FFFFFF", "#15181C"])
def test_all_colours_stand_out_on_both_pages(background: str):
    for colour in {*style.PALETTE, *style.CATEGORICAL}:
        assert contrast(colour, background) >= 3, colour


@pytest.mark.parametrize("dark", [False, True])
def test_text_is_legible_on_every_colour_of_a_heatmap(dark: bool):
    for _, colour in (*style.DIVERGING[dark], *style.SEQUENTIAL[dark]):
        assert contrast(style.PAPER[dark][0], colour) >= 4.5, colour


def test_a_colour_with_a_symbol_means_one_thing():
    looks = [*style.CONCEPTS, *(look for look in style.CONTROLS.values() if look is not style.OUTPUT)]
    assert len({(look.colour, look.symbol) for look in looks}) == len(looks)
    assert len({look.colour for look in style.CONCEPTS}) == len(style.CONCEPTS)
    own = {look.colour for look in style.CONCEPTS}, {look.symbol for look in style.CONCEPTS}
    assert not own[0] & set(style.CATEGORICAL) and not own[1] & set(style.SYMBOLS)
    assert all(len(look.label) <= style.LONGEST for look in (*style.CONTROLS.values(), *style.IN_WORDS.values()))


def test_streamlits_own_charts_have_the_same_colours():
    options = tomllib.loads((PAGES.parent / "dashboard/.streamlit/config.toml").read_text())
    assert tuple(options["theme"]["chartCategoricalColors"]) == style.PALETTE


def test_trajectory_skips_what_was_not_computed():
    rows = pd.DataFrame({"step": [0, 100], "self": [0.8, 0.7], "gap": [np.nan] * 2})
    rows = rows.assign(self_low=[0.7, 0.6], self_high=[0.9, 0.8])
    lines = [
        charts.Series(rows, "self", "Self", style.CURRENT),
        charts.Series(rows, "gap", "gap", style.CURRENT, panel=2),
    ]
    figure = charts.trajectory(lines, lost_at=100, lost_text="coupling lost at 100")
    assert [t.name for t in figure.data if t.name] == ["Self"]


def test_heatmap_is_ordered_by_step_and_layer():
    rows = pd.DataFrame({"step": [100, 100, 0, 0], "layer": [4, 1, 4, 1], "gap": [0.1, -0.2, 0, 0]})
    rows["checkpoint"] = ["m--b", "m--b", "m--a", "m--a"]
    heat = charts.heatmap(rows, "gap", title="gap", centred=True).data[0]
    assert list(heat.x) == ["a", "b"] and list(heat.y) == ["layer 1", "layer 4"]
    assert heat.zmin == pytest.approx(-0.2) and heat.z[0][1] == pytest.approx(-0.2)


def test_one_example_moves_in_a_panel_of_its_own():
    frame = pd.DataFrame({"example_id": ["a", "a", "b", "b"], "step": [0, 1] * 2, "explanation": [0, 0.5, 2, 2.5]})
    frame = frame.assign(effect_current=[0, 1, 2, 3.0], effect_target=[0, 0, 2, 2.0])
    figure = charts.example_moves(frame, ["a", "b"], ["one", "two"])
    assert len(figure.data) == 6 and {t.yaxis for t in figure.data} == {"y", "y2"}
    figure = charts.example_moves(frame.assign(explanation=np.nan), ["a"], ["one"])
    assert [t.name for t in figure.data] == ["Δ of the current model", "Δ of the target"], "no line without numbers"


def test_a_number_without_interval_has_no_error_bar():
    rows = [charts.LadderRow("with", 0.5, 0.4, 0.7), charts.LadderRow("without", 0.5)]
    bars = charts.ladder(rows, x_title="r").data[0].error_x
    assert bars.array[1] is None and bars.arrayminus[1] is None
    assert bars.array[0] == pytest.approx(0.2)
    given = [learn.Bar("with", (0.5, 0.4, 0.7)), learn.Bar("without", (0.5, None, None))]
    shown = {t.name: t.error_x.visible for t in learn.estimates(given, x_title="r").data}
    assert shown == {"with": True, "without": False}


def test_example_effects_and_ladder_write_their_numbers():
    figure = charts.example_effects((0.0, -1.0), (0.5, 1.0), 0.25)
    assert [a.text for a in figure.layout.annotations] == ["Δ −1.00", "Δ +0.50", "Δ +0.25"]
    others = [("you", -0.5, style.PURPLE, "x"), ("nobody", None, style.GREY, "x")]
    figure = charts.example_effects((0.0, -1.0), (0.5, 1.0), None, others)
    assert [t.name for t in figure.data] == ["target", "current", "you"] and list(figure.data[2].x) == [0.5, 0.0]
    rows = [charts.LadderRow("ridge", 0.8, 0.7, 0.9, "explainer"), charts.LadderRow("output", None)]
    assert sum(len(t.x) for t in charts.ladder(rows, x_title="r").data) == 1


def test_features_of_a_prompt_are_ordered_by_measured_effect():
    rows = pd.DataFrame({"feature": ["a", "b", HOSTILE], "effect_current": [0.1, -2, 1], "explanation": [0, -1, 2]})
    before = rows.assign(effect_current=[5, 0, 0])
    figure = charts.prompt_features([before, rows], ["first", "now"])
    assert list(figure.data[0].y)[::2] == ["a", "b"] and "<script" not in figure.data[0].y[1]
    assert list(figure.data[0].x) == [5, 0, 0] and figure.data[2].x[0] == np.float32(0.1)
    assert [a.text for a in figure.layout.annotations] == ["first", "now"]


def test_a_quadrant_keeps_its_colour_whatever_is_frequent():
    def colours(*kept: int) -> dict[str, str]:
        frame = some_points(60).assign(quadrant=np.asarray(points_module.QUADRANTS, object)[np.resize(kept, 60)])
        return {t.name: t.marker.color for t in draw(frame, colour="quadrant").data if t.mode == "markers"}

    many, few = colours(0, 1, 2, 3), colours(3, 3, 1)
    assert list(many) == [style.safe(name, 48) for name in points_module.QUADRANTS]
    assert len(set(many.values())) == 4
    assert set(few) < set(many)
    assert all(many[name] == colour for name, colour in few.items())


def test_the_zoo_draws_every_number_once_and_parts_the_groups():
    knowing = {"gap": (0.5, 0.4, 0.7), "unseen": (0.6, None, None)}
    blind = {"gap": (0.8, 0.7, 0.9), "unseen": (None, None, None)}
    figure = zoo([Animal("oracle", True, knowing), Animal("<b>reader</b>", False, blind)])
    points = {(trace.name, trace.xaxis): list(zip(trace.y, trace.x, strict=True)) for trace in figure.data}
    assert points == {
        ("knows the unseen answer", "x"): [("oracle", 0.5)],
        ("knows the unseen answer", "x2"): [("oracle", 0.6)],
        ("does not know it", "x"): [("&lt;b&gt;reader&lt;/b&gt;", 0.8)],
    }
    assert [trace.name for trace in figure.data if trace.showlegend] == ["knows the unseen answer", "does not know it"]
    assert figure.data[0].error_x.array[0] == pytest.approx(0.2)
