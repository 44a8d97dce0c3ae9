"""Every page, run by Streamlit's own test harness: right numbers, empty and broken runs, foreign links."""

import re
import shutil
from pathlib import Path

import pytest

from dashboard.examples.attribution_view import who_differs
from dashboard.reading import data
from dashboard.widgets import parts
from tests.dashboard.app import PAGES, Open, examples, html, said
from tests.synthetic_run import write_run
from tests.tiny_models import build


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sound")
    write_run(folder / "alpha", prompts=60, checkpoints=3)
    write_run(folder / "hostile", prompts=40, checkpoints=2, hostile=True)
    return folder


@pytest.mark.parametrize("page", PAGES)
def test_a_page_is_drawn_without_an_error(sound: Path, opened: Open, page: str) -> None:
    app = opened(sound, page, run="alpha")
    assert not app.exception, app.exception[0].stack_trace
    assert not app.error
    assert app.title


@pytest.mark.parametrize("page", PAGES)
def test_hostile_text_reaches_no_markdown(sound: Path, opened: Open, page: str) -> None:
    app = opened(sound, page, run="hostile")
    assert not app.exception, app.exception[0].stack_trace
    rendered = "\n".join(str(e.value) for kind in ("markdown", "caption", "error", "info") for e in app.get(kind))
    assert "![canary](" not in rendered
    assert "<script" not in rendered
    assert "<script" not in html(app)


@pytest.mark.parametrize("page", PAGES)
def test_no_runs_say_how_to_make_one(tmp_path: Path, opened: Open, page: str) -> None:
    app = opened(tmp_path, page)
    assert not app.exception, app.exception[0].stack_trace
    if page not in ("learn", "lab", "audit"):
        assert "coupling demo" in said(app)


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("kind", ["unfinished", "cut manifest", "foreign", "cut table", "no explanations"])
def test_a_run_that_can_not_be_read_is_explained(tmp_path: Path, opened: Open, page: str, kind: str) -> None:
    path = write_run(tmp_path / "bad", prompts=20, checkpoints=2, finish=kind != "unfinished")
    if kind == "cut manifest":
        (path / "run.json").write_text((path / "run.json").read_text()[:100])
    elif kind == "foreign":
        (path / "run.json").write_text('{"name": "something else"}')
    elif kind == "cut table":
        for part in ("metrics.parquet", "explanations.parquet"):
            (path / part).write_bytes((path / part).read_bytes()[:64])
    elif kind == "no explanations":
        (path / "explanations.parquet").unlink()
    app = opened(tmp_path, page)
    assert not app.exception, app.exception[0].stack_trace
    assert "Traceback" not in said(app)


def test_overview_states_verdicts_and_small_print(sound: Path, opened: Open) -> None:
    text = said(opened(sound, "overview", run="alpha"))
    for needed in ("Are the explanations good?", "Coupled is not correct", "Coupled is not aware", "groups", "seed"):
        assert needed in text
    rows = data.metrics(sound / "alpha", control=None, chosen=True, split="test_heldout", explainer="ridge")
    assert f"n = {rows.n.iloc[0]}" in text


def test_the_url_is_corrected_and_the_reader_told(sound: Path, opened: Open) -> None:
    app = opened(sound, "examples", run="alpha", checkpoint="gpt2--nowhere", sort="error", example="0" * 16)
    assert [w for w in app.warning if "nowhere" in w.value.replace("\\", "")]
    assert [w for w in app.warning if "no example" in w.value]
    assert app.query_params["checkpoint"] == "gpt2--step-0200"
    assert app.query_params["sort"] == "error"


def test_a_widget_moves_the_url_and_the_next_page_remembers(sound: Path, opened: Open) -> None:
    app = opened(sound, "examples", run="alpha")
    app.selectbox(key="select_checkpoint").set_value("gpt2--step-0100").run()
    assert app.query_params["checkpoint"] == "gpt2--step-0100"
    app.query_params.clear()  # as the navigation does
    app.switch_page("../pages/overview.py").run()
    app.switch_page("../pages/examples.py").run()
    assert app.query_params["checkpoint"] == "gpt2--step-0100"


def test_next_and_previous_walk_the_order(sound: Path, opened: Open) -> None:
    app = opened(sound, "examples", run="alpha", sort="error")
    setting = data.Setting("gpt2--step-0200", "ridge", "frozen")
    wanted = examples(sound / "alpha", setting, split="test_heldout", sort="error").example_id
    app.button(key="next").click().run()
    assert app.query_params["example"] == wanted[1]
    app.button(key="next").click().run()
    assert app.query_params["example"] == wanted[2]
    app.button(key="previous").click().run()
    assert app.query_params["example"] == wanted[1]


def test_an_example_shows_its_numbers(sound: Path, opened: Open) -> None:
    setting = data.Setting("gpt2--step-0200", "ridge", "frozen")
    row = examples(sound / "alpha", setting, split="test_iid", sort="shift").iloc[0]
    app = opened(sound, "examples", run="alpha", split="test_iid", example=row.example_id)
    shown = {m.label: m.value for m in app.metric}
    assert shown["Δ current, nats"] == f"{row.effect_current:+.2f}".replace("-", "−")
    assert shown["−f(x) alone, nats"] == f"{-row.f_current:+.2f}".replace("-", "−")
    assert f"off by {row.error:.2f} nats" in [m.delta for m in app.metric]
    assert "<del>" in html(app)


@pytest.mark.parametrize("page", ["examples", "correlation"])
def test_more_rows_than_a_browser_should_save_are_refused_in_words(
    sound: Path, opened: Open, page: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "MOST_ROWS", 5)
    app = opened(sound, page, run="alpha")
    assert not app.exception, app.exception[0].stack_trace
    assert "rows are too many to save from a browser (5 at most)" in said(app).replace("\\", "")


def test_a_permalink_to_other_content_warns(sound: Path, opened: Open) -> None:
    content = data.content_hash(sound / "alpha")
    assert not opened(sound, "examples", run="alpha", hash=content).warning
    warned = opened(sound, "examples", run="alpha", hash="0123456789ab").warning
    assert "other data" in warned[0].value


def test_runs_lists_states_and_verifies(tmp_path: Path, opened: Open) -> None:
    good = write_run(tmp_path / "good", prompts=20, checkpoints=2)
    write_run(tmp_path / "stopped", prompts=20, checkpoints=2, finish=False)
    shutil.copytree(good, tmp_path / "damaged")
    table = tmp_path / "damaged" / "behavior" / "gpt2--step-0100.parquet"
    table.write_bytes(table.read_bytes()[:-40] + bytes(40))
    states = opened(tmp_path, "runs").dataframe[0].value.set_index("Run").State.to_dict()
    assert states == {"good": "complete", "stopped": "interrupted", "damaged": "complete"}
    app = opened(tmp_path, "runs", run="good")
    app.button(key="verify").click().run()
    assert "Sound" in app.success[0].value
    app = opened(tmp_path, "runs", run="damaged")
    app.button(key="verify").click().run()
    assert "damaged" in app.error[0].value


def test_words_are_computed_on_demand_on_both_checkpoints(tmp_path: Path, opened: Open) -> None:
    path = write_run(tmp_path / "with-models", prompts=12, checkpoints=2)
    for step in range(2):
        build("gpt2", path / "checkpoints" / f"step-{step}", seed=step)
    app = opened(tmp_path, "examples", run="with-models")
    assert not app.exception
    assert "prompt heat" not in html(app)
    app.button(key="compute_words").click().run()
    assert not app.exception, app.exception[0].stack_trace
    assert not app.error, app.error[0].value
    heats = [e.proto.body for e in app.get("html") if "prompt heat" in e.proto.body]
    assert len(heats) == 2
    assert heats[0] != heats[1]
    table = next(t.value for t in app.dataframe if "Attribution" in t.value)
    assert list(table["At"]) == ["target", "target", "current", "current"]  # both edits of the prompt
    assert list(table["Signs"]) == [
        who_differs(claims) for claims in table[["Attribution", "Measured", "Explained"]].values
    ]
    tokens = next(t.value for t in app.dataframe if "Token" in t.value)
    assert list(tokens.columns) == ["Token", "Target", "Current"] and tokens.notna().all(axis=None)
    deepest = tokens[["Target", "Current"]].abs().max()
    assert f"the deepest shade is {deepest.max():.2f} nats" in html(app)
    shades = [max(int(s) for s in re.findall(r"--share:(\d+)%", one)) for one in heats]
    assert shades == [round(100 * deepest[who] / deepest.max()) for who in ("Target", "Current")], "one scale"


@pytest.mark.parametrize(
    ("claims", "said"),
    [
        ((0.5, 0.4, 0.3), "agree"),
        ((-0.5, 0.4, 0.3), "attribution differs"),
        ((-0.5, -0.4, 0.3), "explained differs"),
        ((0.5, -0.4, 0.01), "attribution +, measured −"),
        ((0.5, None, float("nan")), "too small to tell"),
    ],
)
def test_who_differs_is_said(claims: tuple[float | None, ...], said: str) -> None:
    assert who_differs(claims) == said


def test_words_without_the_checkpoints_are_answered_in_words(sound: Path, opened: Open) -> None:
    app = opened(sound, "examples", run="alpha")
    app.button(key="compute_words").click().run()
    assert not app.exception, app.exception[0].stack_trace
    assert len(app.error) == 1


@pytest.mark.parametrize("page", ["overview", "correlation", "trajectory", "examples", "compare", "robustness"])
def test_what_was_trained_under_a_condition_is_chosen_and_shown(tmp_path: Path, opened: Open, page: str) -> None:
    condition = "concurrent, gradient *stopped*"
    path = write_run(tmp_path / "concurrent", prompts=40, checkpoints=3, condition=condition)
    write_run(tmp_path / "plain", prompts=40, checkpoints=3)
    assert data.options(path).varied == {condition: {"linear": ("online",)}}
    app = opened(tmp_path, page, run="concurrent", condition=condition, second="plain")
    assert not app.exception, app.exception[0].stack_trace
    assert not app.error
    assert app.selectbox(key="select_condition").value == condition
    assert app.query_params["condition"] == condition
    app.selectbox(key="select_condition").set_value("").run()
    assert not app.exception, app.exception[0].stack_trace
    assert "condition" not in app.query_params
    assert app.selectbox(key="select_explainer").value == "ridge"


def test_the_checkpoint_at_which_coupling_is_lost_is_marked(tmp_path: Path, opened: Open) -> None:
    path = write_run(tmp_path / "lost", prompts=800, checkpoints=3)
    app = opened(tmp_path, "trajectory", run="lost")
    assert not app.exception, app.exception[0].stack_trace
    row = data.metrics(
        path, control=None, chosen=True, explainer="ridge", regime="frozen", split="test_heldout", noise_kind="none",
        checkpoint="gpt2--step-0200",
    ).iloc[0]  # fmt: skip
    rho = f"{row.target_current:.2f}".replace("-", "−")
    assert "is lost at step 200, where target–current" in said(app).replace("\\", "")
    figure = app.get("plotly_chart")[0].proto.spec
    assert f"coupling lost, \\u03c1 = {rho}" in figure or f"coupling lost, ρ = {rho}" in figure
