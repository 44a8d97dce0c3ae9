"""Named slices in a file beside the runs."""

import json
from pathlib import Path

import pytest

from dashboard.selection import saved_slices
from engine.runs.store import RunError

COLUMNS = ("group", "meta_topic")
RUN = Path("/somewhere/alpha")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("COUPLING_RUNS", str(tmp_path))
    return tmp_path


def test_a_slice_is_saved_replaced_and_forgotten(folder: Path) -> None:
    assert saved_slices.of_run(RUN, COLUMNS) == {}
    saved_slices.save(RUN, "loud <b>", "meta_topic:history")
    saved_slices.save(RUN, "clear", "explanation:1..")
    saved_slices.save(RUN, "loud <b>", "meta_topic:sport")
    saved_slices.save(Path("/other/beta"), "theirs", "meta_topic:sport")
    assert saved_slices.of_run(RUN, COLUMNS) == {"clear": "explanation:1..", "loud <b>": "meta_topic:sport"}
    saved_slices.save(RUN, "clear", None)
    assert list(saved_slices.of_run(RUN, COLUMNS)) == ["loud <b>"]
    assert saved_slices.file() == folder / saved_slices.FILE


@pytest.mark.parametrize("text", ["meta_secret:1", "nonsense", "explanation:inf..", "lasso:a,b,1", "signs:all", ""])
def test_what_does_not_fit_the_run_is_left_out(folder: Path, text: str) -> None:
    saved_slices.save(RUN, "bad", text)
    assert saved_slices.of_run(RUN, COLUMNS) == {}


@pytest.mark.parametrize("content", ["{", "[1]", '{"run": 1}', "null", '[{"run": "alpha"}]', "[[]]"])
def test_a_damaged_file_hides_no_page_and_is_not_overwritten(folder: Path, content: str) -> None:
    (folder / saved_slices.FILE).write_text(content)
    assert saved_slices.of_run(RUN, COLUMNS) == {}
    with pytest.raises(RunError, match="can't be read"):
        saved_slices.save(RUN, "name", "explanation:1..")
    assert (folder / saved_slices.FILE).read_text() == content


def test_there_is_an_end_to_it(folder: Path) -> None:
    full = [{"run": "x", "name": str(i), "slice": "explanation:1.."} for i in range(saved_slices.MOST_SAVED)]
    (folder / saved_slices.FILE).write_text(json.dumps(full))
    with pytest.raises(RunError, match="remove some"):
        saved_slices.save(RUN, "name", "explanation:1..")


def test_without_a_folder_that_can_be_written_the_link_is_recommended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COUPLING_RUNS", str(tmp_path / "absent"))
    with pytest.raises(RunError, match="copy the link"):
        saved_slices.save(RUN, "name", "explanation:1..")
    assert saved_slices.of_run(RUN, COLUMNS) == {}
