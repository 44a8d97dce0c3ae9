"""The face for notebooks: the README's code runs, frames have the pages' columns, and wrong names are said."""

from __future__ import annotations

import re

import pytest

import engine
from engine.config import InputError
from tests.tiny_run import write_spec


def test_the_code_of_the_readme_runs(tmp_path, monkeypatch):
    (code,) = re.findall(r"```python\n(.*?)```", (engine.ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    write_spec(tmp_path, "mine").rename(tmp_path / "mine.yaml")
    (tmp_path / "sample_runs").symlink_to(engine.SAMPLES)
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(code, names)
    assert names["made"].path == tmp_path / "runs" / "mine"
    said = names["said"]
    assert set(said.split) == {"test_heldout"} and said.explanation.notna().all()


@pytest.fixture(scope="module")
def opened():
    return engine.open_run(engine.SAMPLES / "sycophancy")


def test_frames_have_the_columns_of_the_pages(opened):
    assert len(opened.examples) == len(opened.behavior(opened.checkpoints[0]))
    assert {"checkpoint", "self", "gap", "chosen", "control"} <= set(opened.metrics)
    assert {"explanation", "error", "effect_current"} <= set(opened.explanations())


@pytest.mark.parametrize("name", ["overview", "explanations"])
def test_figures_carry_numbers(opened, name):
    figure = opened.figure(name)
    assert figure.data and len(figure.data[0].x)


def test_what_is_not_there_is_said(opened, tmp_path):
    with pytest.raises(InputError, match="gpt2--step-0000"):
        opened.behavior("gpt2--no")
    with pytest.raises(InputError, match="overview"):
        opened.figure("pie")
    with pytest.raises(InputError):
        engine.open_run(tmp_path)
