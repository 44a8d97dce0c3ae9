"""Every page, run by Streamlit's own test harness: right numbers, empty and broken runs, foreign links."""

import shutil
from pathlib import Path

import pytest

from dashboard.reading import data
from dashboard.widgets import parts
from tests.dashboard.app import PAGES, Open, address, checked, html, said, walk
from tests.synthetic_run import write_run


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sound")
    write_run(folder / "alpha", prompts=60, checkpoints=3)
    write_run(folder / "hostile", prompts=40, checkpoints=2, hostile=True)
    return folder


@pytest.mark.parametrize("page", PAGES)
def test_a_page_is_drawn_without_an_error(sound: Path, opened: Open, page: str) -> None:
    app = opened(sound, page, run="alpha")
    assert app.title and not app.error


@pytest.mark.parametrize("page", PAGES)
def test_hostile_text_reaches_no_markdown(sound: Path, opened: Open, page: str) -> None:
    app = opened(sound, page, run="hostile")
    rendered = "\n".join(str(e.value) for kind in ("markdown", "caption", "error", "info") for e in app.get(kind))
    assert "![canary](" not in rendered and "<script" not in rendered + html(app)


@pytest.mark.parametrize("page", PAGES)
def test_no_runs_say_how_to_make_one(tmp_path: Path, opened: Open, page: str) -> None:
    text = said(opened(tmp_path, page))
    command = "coupling study" if page == "study" else "coupling demo"
    assert command in text or page in ("learn", "lab", "audit")


@pytest.fixture(scope="module", params=["unfinished", "cut manifest", "foreign", "cut table", "no explanations"])
def broken(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one run that can't be read, or not wholly."""
    folder, kind = tmp_path_factory.mktemp("broken"), request.param
    path = write_run(folder / "bad", prompts=20, checkpoints=2, finish=kind != "unfinished")
    if kind == "cut manifest":
        (path / "run.json").write_text((path / "run.json").read_text()[:100])
    elif kind == "foreign":
        (path / "run.json").write_text('{"name": "something else"}')
    elif kind == "cut table":
        for part in ("metrics.parquet", "explanations.parquet"):
            (path / part).write_bytes((path / part).read_bytes()[:64])
    elif kind == "no explanations":
        (path / "explanations.parquet").unlink()
    return folder


@pytest.mark.parametrize("page", PAGES)
def test_a_run_that_can_not_be_read_is_explained(broken: Path, opened: Open, page: str) -> None:
    assert "Traceback" not in said(opened(broken, page))


def test_overview_states_verdicts_and_small_print(sound: Path, opened: Open) -> None:
    text = said(opened(sound, "overview", run="alpha"))
    for needed in ("Are the explanations good?", "Coupled is not correct", "Coupled is not aware", "cues × ", "seed"):
        assert needed in text
    rows = data.metrics(sound / "alpha", control=None, chosen=True, split="test_heldout", explainer="ridge")
    assert f"n = {rows.n.iloc[0]}" in text


def test_the_url_is_corrected_and_the_reader_told(sound: Path, opened: Open) -> None:
    app = opened(sound, "examples", run="alpha", checkpoint="gpt2--nowhere", sort="error", example="0" * 16)
    assert [w for w in app.warning if "nowhere" in w.value] and [w for w in app.warning if "no example" in w.value]
    assert (app.query_params["checkpoint"], app.query_params["sort"]) == ("gpt2--step-0200", "error")


def test_a_widget_moves_the_url_and_the_next_page_remembers(sound: Path, opened: Open) -> None:
    app = opened(sound, "examples", run="alpha")
    app.selectbox(key="select_checkpoint").set_value("gpt2--step-0100").run()
    assert app.query_params["checkpoint"] == "gpt2--step-0100"
    walk(walk(app, "overview"), "examples")
    assert address(app)["checkpoint"] == "gpt2--step-0100"


@pytest.mark.parametrize("page", ["examples", "correlation"])
def test_more_rows_than_a_browser_should_save_are_refused_in_words(
    sound: Path, opened: Open, page: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "MOST_ROWS", 5)
    assert "rows are too many to save from a browser (5 at most)" in said(opened(sound, page, run="alpha"))


def test_runs_lists_states_and_verifies(tmp_path: Path, opened: Open) -> None:
    good = write_run(tmp_path / "good", prompts=20, checkpoints=2)
    write_run(tmp_path / "stopped", prompts=20, checkpoints=2, finish=False)
    shutil.copytree(good, tmp_path / "damaged")
    table = tmp_path / "damaged" / "behavior" / "gpt2--step-0100.parquet"
    table.write_bytes(table.read_bytes()[:-40] + bytes(40))
    states = opened(tmp_path, "runs").dataframe[0].value.set_index("Run").State.to_dict()
    assert states == {"good": "complete", "stopped": "interrupted", "damaged": "complete"}
    for run, kind, word in (("good", "success", "Sound"), ("damaged", "error", "damaged")):
        app = opened(tmp_path, "runs", run=run)
        assert word in app.button(key="verify").click().run().get(kind)[0].value


@pytest.mark.parametrize("page", ["overview", "correlation", "trajectory", "examples", "compare", "robustness"])
def test_what_was_trained_under_a_condition_is_chosen_and_shown(tmp_path: Path, opened: Open, page: str) -> None:
    condition = "concurrent, gradient *stopped*"
    path = write_run(tmp_path / "concurrent", prompts=40, checkpoints=3, condition=condition)
    write_run(tmp_path / "plain", prompts=40, checkpoints=3)
    assert data.options(path).varied == {condition: {"linear": ("online",)}}
    app = opened(tmp_path, page, run="concurrent", condition=condition, second="plain")
    assert not app.error
    assert app.selectbox(key="select_condition").value == app.query_params["condition"] == condition
    checked(app.selectbox(key="select_condition").set_value("").run())
    assert "condition" not in app.query_params
    assert app.selectbox(key="select_explainer").value == "ridge"
