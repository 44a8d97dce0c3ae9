"""The researcher's correlation page, with a mouse and without."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pandas as pd
from playwright.sync_api import Page, expect

from dashboard import charts
from dashboard.reading import data, example_rows
from dashboard.reading.slices import RANGES, Slice, parse
from dashboard.reading.titles import title
from tests.browser import hands
from tests.browser.conftest import Visit, settled
from tests.browser.hands import choose_first_row, click, gone, parameters, soon, until

SETTING = data.Setting("gpt2--step-0300", "ridge", "frozen")
SLICE = re.compile("[?&]slice=")
OUTLINE = "() => document.querySelector('.select-outline')?.getAttribute('d') ?? ''"


def drag(page: Page, corners: list[tuple[float, float]], plot: int = 0) -> None:
    """Drag along corners given as shares of the plot's area."""
    area = page.locator('[data-testid="stPlotlyChart"]').nth(plot).locator(".nsewdrag").first

    def act() -> None:
        area.scroll_into_view_if_needed()
        box = area.bounding_box()
        points = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in corners]
        page.mouse.move(*points[0])
        page.mouse.down()
        for point in points[1:]:
            before = page.evaluate(OUTLINE)
            page.mouse.move(*point, steps=6)
            page.wait_for_function(f"before => ({OUTLINE})() !== before", arg=before)
        page.mouse.up()

    until(page, act, soon(expect(page).to_have_url, SLICE))


def test_two_panels_on_the_same_axes_with_r_interval_n_and_null(visit: Visit):
    page = visit("correlation", run="alpha", edit="delete_cue")
    expect(page.get_by_role("figure")).to_have_count(2)
    for who in ("current", "target"):
        expect(page.get_by_role("heading", name=f"Against the {who} model")).to_be_visible()
    numbers = page.locator("p", has_text="r = ").filter(has_text="null")
    expect(numbers).to_have_count(2)
    assert "[" in numbers.first.inner_text() and "groups" in numbers.first.inner_text()
    for plot in page.get_by_role("figure").all():
        plot.locator(".legendtext").first.wait_for()
        plot.locator("g.xtick").nth(3).wait_for()
    ticks = [plot.locator("g.xtick").all_text_contents() for plot in page.get_by_role("figure").all()]
    assert ticks[0] == ticks[1] and len(ticks[0]) > 3


def unfold_examples(page: Page) -> None:
    click(page.locator("summary", has_text="Table and export"), page.get_by_test_id("stDataFrame"))


def in_slice(runs: Path, part: Slice) -> pd.DataFrame:
    """The rows of a slice as they are in the run."""
    rows = data.explanations(runs / "alpha", SETTING, split="test_heldout", edit="delete_cue")
    return rows[part.mask(rows)]


def test_a_box_makes_a_slice_that_survives_a_reload(visit: Visit, runs: Path):
    page = visit("correlation", run="alpha", edit="delete_cue", drag="select")
    tile = page.locator(".tiles > div").filter(has_text="Self").first
    whole = tile.inner_text()
    drag(page, [(0.25, 0.25), (0.75, 0.75)])
    part = parse(parameters(page.url)["slice"], RANGES)
    assert set(part.ranges) == {"effect_current", "explanation"}
    expect(page.get_by_role("heading", name="Examples in the slice")).to_be_visible()
    expect(page.get_by_text("says nothing of the rest")).to_be_visible()
    rows = in_slice(runs, part)
    r = charts.number(np.corrcoef(rows["explanation"], rows["effect_current"])[0, 1])
    line = page.locator("p", has_text="r = ").filter(has_text="null").first
    expect(line).to_contain_text(f"r = {r} [")
    expect(line).to_contain_text(f"n = {len(rows)} · {rows['group'].nunique()} groups")
    expect(line).to_contain_text(re.compile(r"null \(pairs shuffled\) −?\d\.\d\d to −?\d\.\d\d"))
    assert tile.inner_text() != whole
    expect(tile).to_contain_text(r)
    table = page.locator('[data-testid="stDataFrame"]').last
    table.scroll_into_view_if_needed()
    expect(table.locator("[role=grid]")).to_have_attribute("aria-rowcount", str(len(rows) + 1))
    texts = example_rows.rows(runs / "alpha", SETTING, rows["row_number"].tolist()).to_dict("records")
    titles = dict(zip(rows["example_id"], map(title, texts), strict=True))
    expect(table.locator("#glide-cell-1-0")).to_have_text(titles[rows.loc[rows["error"].idxmax(), "example_id"]])
    assert set(table.locator("[id^=glide-cell-1-]").all_text_contents()) <= set(titles.values())
    said = page.get_by_text("of 60 examples").or_(page.locator('[data-testid="stAlert"]').first).first.inner_text()
    page.reload()
    settled(page)
    expect(page.locator('[data-testid="stAlert"]').first).to_contain_text(said.strip()[-20:])


def test_a_lasso_makes_a_slice(visit: Visit):
    page = visit("correlation", run="alpha", edit="delete_cue", drag="lasso")
    drag(page, [(0.2, 0.2), (0.8, 0.25), (0.7, 0.8), (0.3, 0.7), (0.2, 0.2)], plot=1)
    part = parse(parameters(page.url)["slice"], RANGES)
    assert part.lasso is not None and part.lasso.x == "effect_target" and len(part.lasso.corners) >= 3


def test_a_click_opens_the_example(visit: Visit, runs: Path):
    page = visit("correlation", run="alpha", edit="delete_cue")
    point = page.locator('[data-testid="stPlotlyChart"]').first.locator(".scatterlayer .point").nth(5)
    dialog = page.get_by_role("dialog")

    def act() -> None:
        point.scroll_into_view_if_needed()
        box = point.bounding_box()
        page.mouse.move(box["x"] + 1, box["y"] + 1)
        hands.seen(page.locator(".hovertext"), hands.LOOK)  # Plotly looks only now and then at what the mouse is over
        page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)

    until(page, act, dialog.get_by_text("Error of the explanation"))
    page.wait_for_url("**example=**")
    examples = pd.read_parquet(runs / "alpha" / "examples.parquet").set_index("example_id")
    prompt = examples.loc[parameters(page.url)["example"], "prompt"]
    expect(dialog).to_contain_text(prompt[:20], use_inner_text=True)


def test_a_slice_is_named_and_cleared(visit: Visit):
    page = visit("correlation", run="alpha", edit="delete_cue", slice="meta_topic:history")
    name = page.get_by_role("textbox", name="Name of this slice")
    click(page.locator("summary", has_text=re.compile("Slice$")), name)
    hands.enter(name, "Only **history** <b>", hands.address(page, "**Only**"))
    assert "Only **history** <b>" in unquote(parameters(page.url)["slice"])
    expect(page.locator('[data-testid="stAlert"]').first).to_contain_text("Only **history** <b>")
    click(page.get_by_role("button", name="Clear the slice"), soon(expect(page).not_to_have_url, SLICE))


def test_colour_and_axis_live_in_the_url(visit: Visit):
    page = visit("correlation", run="alpha", edit="delete_cue", colour="quadrant", against="f_edited")
    expect(page.locator(".legendtext", has_text="sign").first).to_be_attached()
    expect(page.locator(".xtitle", has_text="f(x′)").first).to_be_attached()


def test_all_kinds_of_edit_are_told_apart(visit: Visit):
    page = visit("correlation", run="alpha")
    expect(page.get_by_text("Kind of edit: delete_cue, of the chosen setting")).to_be_visible()
    click(page.get_by_text("All kinds of edit, pooled"), page.get_by_text("All kinds of edit pooled"))
    expect(page).to_have_url(re.compile("kinds=all"))
    hands.in_legend(page, "delete_cue", "replace_speaker")


def test_hostile_text_stays_text(visit: Visit):
    page = visit("correlation", run="hostile", colour="meta_topic")
    unfold_examples(page)
    choose_first_row(page, page.get_by_role("dialog").get_by_text("Question"))
    assert page.evaluate("window.stolen") is None


def test_a_link_that_does_not_fit_is_answered_in_words(visit: Visit):
    page = visit("correlation", run="alpha", slice="nonsense", colour="nonsense")
    expect(page.get_by_text("The link does not fit")).to_be_visible()
    expect(page.get_by_role("figure")).to_have_count(2)


def test_delta_is_split_into_both_outputs_beside_what_is_known_of_the_unseen_run(visit: Visit):
    page = visit("correlation", run="alpha", edit="delete_cue", against="f")
    expect(page.get_by_role("heading", name="Δ split into its two outputs")).to_be_visible()
    for tile in ("Self", "Orig", "Gap", "Unseen", "Target–current ρ"):
        expect(page.locator(".tiles > div").filter(has_text=tile).first).to_contain_text(" to ")
    line = page.locator("p", has_text="r = ").filter(has_text="null")
    expect(line).to_have_count(2)  # interval, n and null also against one output
    assert "[" in line.first.inner_text()


def test_a_row_marks_its_point_and_a_point_its_row(visit: Visit):
    page = visit("correlation", run="alpha", edit="delete_cue")
    rings = page.locator(".legendtext", has_text="chosen example")
    for plot in page.get_by_role("figure").all():
        plot.locator(".legendtext").first.wait_for()
    expect(rings).to_have_count(0)
    dialog = page.get_by_role("dialog")
    unfold_examples(page)
    choose_first_row(page, dialog.get_by_text("Error of the explanation"))
    hands.press(page, "Escape", gone(dialog))
    page.wait_for_url("**example=**")
    chosen = parameters(page.url)["example"]
    expect(rings).to_have_count(2)  # one in each panel
    expect(page.get_by_text("The chosen example first")).to_be_visible()
    other = visit("correlation", run="alpha", edit="delete_cue", example=chosen)
    expect(other.get_by_text("The chosen example first")).to_be_visible()
    expect(other.get_by_role("dialog")).to_have_count(0)  # a link marks it and opens nothing


def test_a_named_slice_is_saved_and_found_again(visit: Visit):
    page = visit("correlation", run="alpha", slice="name:Only history;meta_topic:history")
    save = page.get_by_role("button", name="Save", exact=True)
    click(page.locator("summary", has_text=re.compile("Slice$")), save)
    click(save, page.get_by_role("button", name="Remove", exact=True))
    other = visit("correlation", run="alpha")
    saved = other.get_by_role("combobox", name="Saved slices")
    click(other.locator("summary", has_text="Slice"), saved)
    hands.choose_option(other, "Saved slices", "Only history", soon(expect(other).to_have_url, SLICE))
    expect(other.locator('[data-testid="stAlert"]').first).to_contain_text("Only history")
    click(other.get_by_role("button", name="Remove", exact=True), gone(saved))


def test_a_slice_by_sign_few_examples_and_none(visit: Visit):
    page = visit("correlation", run="alpha", edit="delete_cue", slice="signs:current|target", colour="quadrant")
    expect(page.locator('[data-testid="stAlert"]').first).to_contain_text("signs: nearer the current model")
    page = visit("correlation", run="alpha", edit="delete_cue", slice="explanation:1.5..")
    expect(page.get_by_text("Few examples")).to_be_visible()
    page = visit("correlation", run="alpha", edit="delete_cue", slice="explanation:99..")
    expect(page.get_by_text("No example lies in this slice")).to_be_visible()
    assert page.get_by_test_id("stException").count() == 0
