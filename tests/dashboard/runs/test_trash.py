"""The trash: runs go and come back whole; what is being written, came with the program or lies elsewhere stays."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from dashboard.runs import jobs, trash
from dashboard.runs.trash import TrashError, delete, empty, restore, trashed
from engine import SAMPLES
from engine.runs.files import MANIFEST, find_runs, sha256_of
from engine.runs.store import Run, RunError
from engine.runs.verify import verify
from tests.synthetic_run import write_run


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_run(tmp_path / "runs" / "alpha", prompts=12, checkpoints=2)


def test_a_run_goes_and_comes_back_as_it_was(run: Path) -> None:
    before, home = sha256_of(run), run.parent
    entry = delete(run, [home])
    assert not run.exists()
    assert find_runs([home]) == [], "the trash is not looked into"
    assert [e.name for e in trashed([home])] == ["alpha"]
    assert (entry.place, entry.home, entry.bytes > 1000) == (Path("alpha"), home, True)
    assert restore(trashed([home])[0]) == run
    assert sha256_of(run) == before
    assert verify(run) == []
    assert trashed([home]) == []
    assert not list((home / trash.TRASH).iterdir())


def test_a_run_in_a_folder_of_the_folder_returns_there(run: Path) -> None:
    (run.parent / "study").mkdir()
    inner = run.rename(run.parent / "study" / "one")
    entry = delete(inner, [run.parent])
    assert entry.place == Path("study/one")
    (run.parent / "study").rmdir()
    assert restore(entry) == inner
    # The nearest of nested folders keeps it.
    assert delete(inner, [run.parent, run.parent / "study"]).home == run.parent / "study"


def test_a_name_that_is_taken_again_is_not_overwritten(run: Path) -> None:
    home = run.parent
    entry = delete(run, [home])
    write_run(run, prompts=8, checkpoints=2)
    with pytest.raises(TrashError, match="another run of this name"):
        restore(entry)
    second = delete(run, [home])
    assert len(trashed([home])) == 2
    restore(second)
    empty([entry])
    assert trashed([home]) == []
    assert verify(run) == []


def test_what_is_being_written_stays(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = run.parent
    spec = Run.open(run).spec.model_copy(update={"name": "busy"})
    with (
        Run.create(home / "busy", spec, provenance={}),
        pytest.raises(RunError, match="another process is writing this run"),
    ):
        delete(home / "busy", [home])
    assert (home / "busy" / MANIFEST).is_file()
    assert trashed([home]) == []
    assert not list((home / trash.TRASH).glob("*"))
    delete(home / "busy", [home])  # nobody writes it any more
    monkeypatch.setattr(jobs, "writes", lambda path, runs: True)
    with pytest.raises(TrashError, match="cancel it first"):
        delete(run, [home])


def test_only_runs_inside_the_folders_can_be_deleted(run: Path, tmp_path: Path) -> None:
    for directories in ([tmp_path / "elsewhere"], []):
        with pytest.raises(TrashError, match="outside"):
            delete(run, directories)
    with pytest.raises(TrashError, match="the folder above"):
        delete(run, [run])
    (run.parent / "thesis").mkdir()
    for path in (run.parent / "thesis", run / ".." / "thesis"):
        with pytest.raises(TrashError, match="not a run"):
            delete(path, [run.parent])
    with pytest.raises(TrashError, match="not a run"):
        delete(run.parent / "absent", [run.parent])
    link = run.parent / "link"
    link.symlink_to(write_run(tmp_path / "other" / "beta", prompts=8, checkpoints=2))
    with pytest.raises(TrashError, match="outside"):
        delete(link, [run.parent])
    assert run.exists()


def test_the_sample_runs_stay() -> None:
    samples = [path for path in find_runs([SAMPLES]) if trash.is_sample(path)]
    assert len(samples) == len(find_runs([SAMPLES])) >= 8
    with pytest.raises(TrashError, match="came with the program"):
        delete(samples[0], [SAMPLES])
    assert not trash.is_sample(SAMPLES / "mine"), "a run of one's own beside them is no sample"


def test_a_damaged_run_can_be_deleted(run: Path) -> None:
    (run / MANIFEST).write_text("{")
    assert delete(run, [run.parent]).name == "alpha"


@pytest.mark.parametrize("place", ["../escaped", "/tmp/escaped", "", "..", "absent"])
def test_a_record_that_was_tampered_with_leads_nowhere(run: Path, place: str) -> None:
    entry = delete(run, [run.parent])
    (entry.folder / "about.json").write_text(json.dumps({"place": place, "when": "2026-01-01T00:00:00"}))
    assert trashed([run.parent]) == []


def test_emptying_follows_no_links(run: Path, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis.txt").write_text("years of work")
    entry = delete(run, [run.parent])
    os.symlink(precious, entry.folder / "alpha" / "behavior" / "link")
    assert entry.bytes < 10**6
    with pytest.raises(RunError, match="is a link"):
        restore(entry)
    empty([entry])
    assert (precious / "thesis.txt").read_text() == "years of work"
    assert trashed([run.parent]) == []


def test_a_run_with_links_stays_and_what_they_lead_to_too(run: Path, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis.txt").write_text("years of work")
    os.symlink(precious, run / "checkpoints")
    assert "is a link" in trash.why_not(run, [run.parent])
    with pytest.raises(TrashError, match="is a link"):
        delete(run, [run.parent])
    assert (run / MANIFEST).is_file() and (precious / "thesis.txt").read_text() == "years of work"


def test_a_trash_that_leads_elsewhere_is_not_used(run: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    entry = delete(run, [run.parent])
    (run.parent / trash.TRASH).rename(elsewhere)
    (run.parent / trash.TRASH).symlink_to(elsewhere)
    assert trashed([run.parent]) == [], "so nothing there can be emptied"
    other = write_run(run.parent / "beta", prompts=8, checkpoints=2)
    with pytest.raises(RunError, match="is a link"):
        delete(other, [run.parent])
    assert [p.name for p in elsewhere.iterdir()] == [entry.folder.name]
    # An entry that is a link, a run in it that is one, and a place behind one.
    (run.parent / trash.TRASH).unlink()
    (run.parent / trash.TRASH).mkdir()
    (run.parent / trash.TRASH / "linked").symlink_to(elsewhere / entry.folder.name)
    assert trashed([run.parent]) == []
    (run.parent / trash.TRASH / "linked").unlink()
    entry = delete(other, [run.parent])
    (entry.folder / "about.json").write_text(json.dumps({"place": "out/beta", "when": "2026-01-01T00:00:00"}))
    (run.parent / "out").symlink_to(elsewhere)
    (entry,) = trashed([run.parent])
    with pytest.raises(TrashError, match="a link to elsewhere"):
        restore(entry)
    assert not (elsewhere / "beta").exists()
