"""Data imported in the browser: what the command makes of them, beside the runs, and a run to start on them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from streamlit.testing.v1 import AppTest

from dashboard.runs import data_import
from engine.config import InputError
from engine.spec_files import load_spec
from engine.tasks import task_examples
from tests.dashboard.app import Open, checked, opened, said
from tests.engine.importing.samples import STATEMENTS, imported, json_lines
from tests.synthetic_run import write_run

__all__ = ["opened"]


@pytest.fixture
def page(tmp_path: Path, opened: Open) -> AppTest:
    write_run(tmp_path / "alpha", prompts=8, checkpoints=2)
    return opened(tmp_path, "runs", section="data")


def test_a_file_is_looked_at_and_imported_and_a_run_starts_from_it(page: AppTest, tmp_path: Path) -> None:
    file = json_lines(tmp_path / "own.jsonl", [*STATEMENTS, "{"])
    assert page.button(key="data_import").disabled
    page.file_uploader(key="data_file").upload(file.name, file.read_bytes(), "application/json")
    checked(page.run())
    page.checkbox(key="data_chat").check().run()
    page.button(key="data_preview").click().run()
    assert "31 rows, 1 skipped → 60 examples" in said(page) and "⟦assistant⟧Answer:" in said(page)
    assert not (tmp_path / "imported").exists(), "a preview writes nothing"
    checked(page.button(key="data_import").click().run())
    made = task_examples(load_spec(tmp_path / "imported" / "own" / "spec.yaml").task)
    assert [e.prompt for e in made] == [m.prompt for m in imported("anthropic-evals", file, chat=True).lines]
    draft = yaml.safe_load(page.text_area(key="spec_yaml").value)
    assert draft["task"] == {"name": "from_file", "path": "imported/own/examples.jsonl"}
    assert draft["checkpoints"] == [{}, {}] and "checkpoint 1, name: fill this in" in said(page)


@pytest.mark.parametrize(
    ("options", "content", "why"),
    [
        ({"format": "bbq"}, b'{"a": 1}', r"^x\.jsonl: not in the format bbq: it has no context"),
        ({"format": "anthropic-evals"}, b"", r"^x\.jsonl: is empty"),
        ({"format": "csv", "columns": ["prompt"]}, b"a,b\n1,2\n", "^--columns: 'prompt': give each role once"),
    ],
)
def test_what_cant_be_imported_is_said_without_the_folder_it_was_read_in(
    options: dict, content: bytes, why: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=why):
        data_import.bring_in("../x.jsonl", content, options, tmp_path)
    assert not list(tmp_path.iterdir())


def test_nothing_is_overwritten_or_written_through_a_link(tmp_path: Path) -> None:
    content = "".join(json.dumps(row) + "\n" for row in STATEMENTS).encode()
    options = {"format": "anthropic-evals"}
    (tmp_path / "runs").mkdir()
    (tmp_path / "elsewhere").mkdir()
    assert data_import.bring_in("x.jsonl", content, options, tmp_path / "runs") == "x"
    with pytest.raises(InputError, match="not empty"):
        data_import.bring_in("x.jsonl", content, options, tmp_path / "runs")
    (tmp_path / "runs" / "imported").rename(tmp_path / "kept")
    (tmp_path / "runs" / "imported").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="leads out of the folder of runs"):
        data_import.bring_in("x.jsonl", content, options, tmp_path / "runs")
    assert not list((tmp_path / "elsewhere").iterdir())
