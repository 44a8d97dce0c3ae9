"""A link shows what the page that it was taken from shows: nothing chosen elsewhere has a hand in its numbers."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qs, urlparse

import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from dashboard.reading import data
from tests.dashboard.app import Open, address, checked, examples, said, tiles, walk
from tests.synthetic_run import write_run


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("links")
    write_run(folder / "alpha", prompts=100, checkpoints=3)
    write_run(folder / "alpha-twin", prompts=100, checkpoints=3, seed=0)
    return folder


def numbers(app: AppTest) -> str:
    """Every table and figure on the page."""
    tables = [pd.DataFrame(t.value).to_csv() for t in app.dataframe]
    return "\n".join(tables + [e.proto.spec for e in app.get("plotly_chart")])


@pytest.mark.parametrize("page", ["compare", "trajectory"])
def test_noise_chosen_on_another_page_changes_no_number(runs: Path, opened: Open, page: str) -> None:
    second = {"second": "alpha-twin"} if page == "compare" else {}
    app = opened(runs, "correlation", run="alpha", noise="shuffle-0.5", **second)
    walk(app, page)
    assert "noise" not in app.query_params
    fresh = opened(runs, page, **address(app))
    assert address(fresh) == address(app)
    assert numbers(app) == numbers(fresh)
    assert said(app) == said(fresh)
    walk(app, "correlation")
    assert address(app)["noise"] == "shuffle-0.5"  # remembered all the same


def test_what_was_chosen_on_a_page_before_stands_in_its_address_again(runs: Path, opened: Open) -> None:
    app = opened(runs, "robustness", run="alpha", kind="flip")
    walk(app, "overview")
    assert "kind" not in address(app)
    walk(app, "robustness")
    assert address(app)["kind"] == "flip"


def test_the_address_alone_decides_what_a_page_shows(runs: Path, opened: Open) -> None:
    app = opened(runs, "robustness", run="alpha", kind="flip", checkpoint="gpt2--step-0100")
    for name in ("kind", "checkpoint"):  # as Back does
        del app.query_params[name]
    checked(app.run())
    assert app.selectbox(key="select_checkpoint").value == "gpt2--step-0200"
    assert "kind" not in address(walk(walk(app, "overview"), "robustness"))


def test_a_permalink_names_the_example_on_the_screen_though_none_was_chosen(runs: Path, opened: Open) -> None:
    app = opened(runs, "examples", run="alpha", sort="error")
    assert "example" not in app.query_params
    link = parse_qs(urlparse(next(c.value for c in app.code if "hash=" in c.value)).query)
    setting = data.Setting("gpt2--step-0200", "ridge", "frozen")
    first = examples(runs / "alpha", setting, split="test_heldout", sort="error")
    assert link["example"] == [first["example_id"].iloc[0]]


def test_a_run_chosen_on_the_page_runs_is_the_one_on_the_next_page(runs: Path, opened: Open) -> None:
    app = opened(runs, "runs", run="alpha-twin")
    assert address(walk(app, "overview"))["run"] == "alpha-twin"


def test_what_is_of_one_run_is_left_behind_with_it(runs: Path, opened: Open) -> None:
    app = opened(runs, "correlation", run="alpha", slice="meta_topic:history", layer="4")
    walk(app, "overview")
    app.query_params["run"] = "alpha-twin"
    app.run()
    assert not {"slice", "layer"} & address(walk(app, "correlation")).keys()


def test_correlation_shows_the_chosen_kind_of_edit_and_all_on_demand(runs: Path, opened: Open) -> None:
    def numbers(**parameters: str) -> dict[str, tuple[str, str]]:
        return tiles(opened(runs, "correlation", run="alpha", **parameters))

    assert numbers() == numbers(edit="delete_cue") != numbers(kinds="all")
    app = opened(runs, "correlation", run="alpha", slice="meta_topic:history|music")
    assert "Kind of edit: delete" in said(app)
    app.toggle(key="option_kinds").set_value(True).run()
    assert address(app)["kinds"] == "all"
    assert address(app)["slice"] == "meta_topic:history|music"
    assert "All kinds of edit pooled" in said(app)


def test_a_link_to_trajectory_draws_the_examples_that_it_names(runs: Path, opened: Open) -> None:
    setting = data.Setting("gpt2--step-0200", "ridge", "frozen")
    other = examples(runs / "alpha", setting, split="test_iid")["example_id"][:2].tolist()
    app = opened(runs, "trajectory", run="alpha", split="test_heldout", examples=",".join([*other, "0" * 16]))
    assert app.multiselect(key="option_examples").value == other
    assert [w for w in app.warning if "no example 0000" in w.value]
    app = opened(runs, "trajectory", run="alpha", split="test_heldout", example=other[1], part="single")
    assert app.multiselect(key="option_examples").value[0] == other[1]
    app.selectbox(key="select_checkpoint").set_value("gpt2--step-0100").run()
    assert app.multiselect(key="option_examples").value[0] == other[1]


def test_an_example_is_followed_over_the_checkpoints_by_a_link(runs: Path, opened: Open) -> None:
    app = opened(runs, "examples", run="alpha", sort="error")
    shown = next(e.proto for e in app.get("page_link") if e.proto.label == "Over the checkpoints")
    link = parse_qs(shown.query_string)
    assert link["examples"] == link["example"] and "hash" not in link
