"""The page Examples: the order of examples, their numbers, permalinks, and token attribution on demand."""

import re
from pathlib import Path

import pytest

from dashboard.examples.attribution_view import who_differs
from dashboard.reading import data
from tests.dashboard.app import Open, checked, examples, html, tiles
from tests.synthetic_run import write_run
from tests.tiny_models import build

SETTING = data.Setting("gpt2--step-0200", "ridge", "frozen")


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sound")
    write_run(folder / "alpha", prompts=60, checkpoints=3)
    return folder


def test_next_and_previous_walk_the_order(sound: Path, opened: Open) -> None:
    app = opened(sound, "examples", run="alpha", sort="error")
    wanted = examples(sound / "alpha", SETTING, split="test_heldout", sort="error").example_id
    for button, place in (("next", 1), ("next", 2), ("previous", 1)):
        app.button(key=button).click().run()
        assert app.query_params["example"] == wanted[place]


def test_an_example_shows_its_numbers(sound: Path, opened: Open) -> None:
    row = examples(sound / "alpha", SETTING, split="test_iid", sort="shift").iloc[0]
    app = opened(sound, "examples", run="alpha", split="test_iid", example=row.example_id)
    shown = tiles(app)
    assert shown["Δ current, nats"] == (f"{row.effect_current:+.2f}".replace("-", "−"), "")
    assert shown["−f(x) alone, nats"][0] == f"{-row.f_current:+.2f}".replace("-", "−")
    assert shown["Explanation, nats"][1] == f"off by {row.error:.2f} nats"
    assert "<del>" in html(app)


def test_a_permalink_to_other_content_warns(sound: Path, opened: Open) -> None:
    content = data.content_hash(sound / "alpha")
    assert not opened(sound, "examples", run="alpha", hash=content).warning
    warned = opened(sound, "examples", run="alpha", hash="0123456789ab").warning
    assert "other data" in warned[0].value


def test_words_are_computed_on_demand_on_both_checkpoints(tmp_path: Path, opened: Open) -> None:
    path = write_run(tmp_path / "with-models", prompts=12, checkpoints=2)
    for step in range(2):
        build("gpt2", path / "checkpoints" / f"step-{step}", seed=step)
    app = opened(tmp_path, "examples", run="with-models")
    assert "prompt heat" not in html(app)
    checked(app.button(key="compute_words").click().run())
    assert not app.error, app.error[0].value
    heats = [e.proto.body for e in app.get("html") if "prompt heat" in e.proto.body]
    assert len(heats) == len(set(heats)) == 2
    table = next(t.value for t in app.dataframe if "Attribution" in t.value)
    assert list(table["At"]) == ["target", "target", "current", "current"]  # both edits of the prompt
    claims = table[["Attribution", "Measured", "Explained"]]
    assert list(table["Signs"]) == [who_differs(row) for row in claims.to_numpy()]
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
    assert len(checked(app.button(key="compute_words").click().run()).error) == 1
