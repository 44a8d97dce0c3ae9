"""Regions drawn on a scatter: the same on any points and in the URL."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dashboard.reading.slices import MAX_CORNERS, RANGES, Lasso, Slice, SliceError, parse
from dashboard.selection import on_screen

STAR = Lasso("effect_current", "explanation", ((0, 2), (1, -2), (-2, 1), (2, 1), (-1, -2)))


def points(n: int = 500) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame(rng.uniform(-3, 3, (n, 2)), columns=["effect_current", "explanation"])


def crossings(x: float, y: float) -> int:
    """How many sides of the star a ray straight up from a point meets."""
    sides = zip(STAR.corners, (*STAR.corners[1:], STAR.corners[0]), strict=True)
    return sum((a < x) != (c < x) and b + (d - b) * (x - a) / (c - a) > y for (a, b), (c, d) in sides)


def test_inside_is_by_the_even_odd_rule_even_where_a_region_crosses_itself():
    frame = points()
    inside = STAR.mask(frame["effect_current"].to_numpy(), frame["explanation"].to_numpy())
    expected = [crossings(x, y) % 2 == 1 for x, y in zip(frame["effect_current"], frame["explanation"], strict=True)]
    assert (inside == expected).all() and 0 < inside.sum() < len(frame)
    assert not STAR.mask(np.array([0.0]), np.array([0.0]))[0], "the middle of a star is outside"


def test_a_lasso_comes_back_from_the_url():
    part = Slice(name="star; with: marks", lasso=STAR)
    assert parse(str(part), ()) == part


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(*[st.floats(-5, 5, width=32)] * 2), min_size=3, max_size=200))
def test_any_drawn_line_is_simplified_and_stays_itself(line):
    try:
        drawn = Lasso.drawn("effect_current", "explanation", *zip(*line, strict=True))
    except ValueError:
        return
    assert 1 <= len(drawn.corners) <= MAX_CORNERS
    assert parse(str(Slice(lasso=drawn)), ()).lasso == drawn


def test_a_circle_of_many_points_keeps_its_area():
    angle = np.linspace(0, 2 * np.pi, 400, endpoint=False)
    circle = Lasso.drawn("effect_current", "explanation", 2 * np.cos(angle), 2 * np.sin(angle))
    frame = points(4_000)
    exact = np.hypot(frame["effect_current"], frame["explanation"]) < 2
    inside = circle.mask(frame["effect_current"].to_numpy(), frame["explanation"].to_numpy())
    assert len(circle.corners) == MAX_CORNERS and (inside == exact).mean() > 0.98


@pytest.mark.parametrize("text", ["", "a,b,1,2,3,4,5,6", "error,explanation,1,2", "error,explanation,1,2,3", "error"])
def test_what_is_no_lasso_is_refused_in_one_line(text):
    with pytest.raises(SliceError, match="slice"):
        parse(f"lasso:{text}", RANGES)


BOX = {"selection": {"box": [{"x": [2.0, -1.0], "y": [0.5, 1.5]}], "points": [{"customdata": "a"}]}}


def test_a_box_replaces_an_earlier_drawing_and_keeps_the_rest():
    before = Slice(text="Rome", ranges={"effect_target": (0.0, 1.0), "error": (1.0, None)}, lasso=STAR)
    part = on_screen.from_event(BOX, "effect_current", "explanation", before)
    assert dict(part.ranges) == {"effect_current": (-1.0, 2.0), "explanation": (0.5, 1.5), "error": (1.0, None)}
    assert part.text == "Rome" and part.lasso is None


def test_clicks_boxes_and_empty_events_are_told_apart():
    click = {"selection": {"points": [{"customdata": ["abc"]}], "box": [], "lasso": []}}
    empty = {"selection": {"points": [], "box": [], "lasso": []}}
    assert on_screen.clicked(click) == "abc" and on_screen.clicked(BOX) is None and on_screen.clicked(empty) is None
    assert all(on_screen.from_event(event, "x", "y", Slice()) is None for event in (click, empty))


def test_a_slice_asks_all_that_it_holds():
    frame = points().assign(meta_topic=lambda f: np.where(f["explanation"] > 0, "a", "b"))
    frame.loc[3, "effect_current"] = np.nan
    part = Slice(values={"meta_topic": ("a",)}, ranges={"effect_current": (-1.0, None)}, lasso=STAR)
    expected = (frame["explanation"] > 0) & (frame["effect_current"] >= -1.0)
    expected &= STAR.mask(frame["effect_current"].to_numpy(), frame["explanation"].to_numpy())
    assert (part.mask(frame) == expected).all() and expected.any()


def test_a_slice_is_said_in_words():
    part = Slice(text="Rome", values={"meta_topic": ("a", "b")}, ranges={"explanation": (None, 1.0)})
    assert on_screen.say(part) == "text has “Rome”; topic is a or b; explanation ≤ 1.00"
    assert on_screen.by_outcome(part) and not on_screen.by_outcome(Slice(text="Rome"))
