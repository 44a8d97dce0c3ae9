"""A link shows what the page that it was taken from shows: nothing chosen elsewhere has a hand in its numbers."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qs, urlparse

import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from dashboard import data
from dashboard.examples import examples_page
from tests.synthetic_run import write_run
from tests.test_pages import Open, opened, said

__all__ = ["opened"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("links")
    write_run(folder / "alpha", prompts=100, checkpoints=3)
    write_run(folder / "alpha-twin", prompts=100, checkpoints=3, seed=0)
    return folder


def walk(app: AppTest, page: str) -> AppTest:
    """To another page, by the navigation: the address begins anew, the session goes on."""
    app.query_params.clear()
    return app.switch_page(f"../pages/{page}.py").run()


def address(app: AppTest) -> dict[str, str]:
    """The parameters in the address."""
    return {name: v if isinstance(v, str) else v[0] for name, v in app.query_params.items()}


def numbers(app: AppTest) -> str:
    """Every table and figure on the page."""
    tables = [pd.DataFrame(t.value).to_csv() for t in app.dataframe]
    return "\n".join(tables + [e.proto.spec for e in app.get("plotly_chart")])


@pytest.mark.parametrize("page", ["compare", "trajectory"])
def test_noise_chosen_on_another_page_changes_no_number(runs: Path, opened: Open, page: str) -> None:
    second = {"second": "alpha-twin"} if page == "compare" else {}
    app = opened(runs, "correlation", run="alpha", noise="shuffle-0.5", **second)
    walk(app, page)
    assert not app.exception, app.exception[0].stack_trace
    assert "noise" not in app.query_params
    fresh = opened(runs, page, **address(app))
    assert address(fresh) == address(app)
    assert numbers(app) == numbers(fresh)
    assert said(app) == said(fresh)
    walk(app, "correlation")
    assert address(app)["noise"] == "shuffle-0.5"  # remembered all the same


def test_a_permalink_names_the_example_on_the_screen_though_none_was_chosen(runs: Path, opened: Open) -> None:
    app = opened(runs, "examples", run="alpha", sort="error")
    assert "example" not in app.query_params
    link = parse_qs(urlparse(next(c.value for c in app.code if "hash=" in c.value)).query)
    setting = data.Setting("gpt2--step-0200", "ridge", "frozen")
    first = examples_page(runs / "alpha", setting, split="test_heldout", sort="error", limit=1).rows
    assert link["example"] == [first["example_id"].iloc[0]]
