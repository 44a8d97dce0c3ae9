"""Runs that keep adapters of their first checkpoint: shown, loaded by pages, packed and unpacked."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from dashboard.reading import models
from dashboard.runs import run_export
from dashboard.runs.run_import import import_run
from engine import pipeline
from engine.model.checkpoints import load
from engine.runs.files import sha256_of
from engine.runs.verify import verify
from tests.dashboard.app import Open, opened
from tests.engine.training.test_lora import FIRST, LAST, a_spec

__all__ = ["opened"]  # a fixture


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("adapters")
    return pipeline.make_run(a_spec(folder), folder / "runs" / "tiny").path


def test_a_zip_holds_the_adapters(run: Path, tmp_path: Path) -> None:
    with run_export.as_zip(run) as file:
        path = import_run(file, tmp_path)
    assert sha256_of(path) == sha256_of(run) and verify(path) == []
    assert (path / "checkpoints" / LAST / "adapter_model.safetensors").is_file()


def test_pages_load_an_adapter_on_the_first_checkpoint(run: Path, tmp_path: Path) -> None:
    assert models.missing(run, LAST) is None and models.is_as_measured(run, LAST)
    assert load(models.checkpoint_spec(run, LAST), "cpu").name == LAST
    alone = shutil.copytree(run, tmp_path / "elsewhere" / "runs" / "tiny")
    told = models.missing(alone, LAST)
    assert told and "Put it there" in told[0], "its first checkpoint did not come with it"
    shutil.rmtree(alone / "checkpoints" / LAST)
    told = models.missing(alone, LAST)
    assert told and "did not keep the weights" in told[0] and not told[1]


def test_the_page_of_runs_shows_the_losses(run: Path, opened: Open) -> None:
    app = opened(run.parent, "runs", run="tiny")
    facts = next(f.value for f in app.dataframe if "what" in f.value).set_index("what")["value"]
    assert "held out" in facts[f"post-training, {FIRST['name']}"] and "held out" in facts[f"post-training, {LAST}"]
