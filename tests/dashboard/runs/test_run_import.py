"""Zips from anybody: a sound run comes in whole, and nothing else comes in, goes outside, or stays behind."""

from __future__ import annotations

import io
import json
import os
import shutil
import stat
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dashboard.runs import run_export, run_import
from dashboard.runs.run_import import ImportProblem, import_run
from engine.config import InputError
from engine.runs.files import find_runs, sha256_of
from engine.runs.verify import verify
from tests.synthetic_run import write_run

Change = Callable[[dict[str, bytes]], object]


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("given") / "alpha", prompts=12, checkpoints=2)


@pytest.fixture
def runs(tmp_path: Path) -> Iterator[Path]:
    """Where runs are imported to. Whatever happened: nothing is left half done, and nothing lies beside it."""
    folder = tmp_path / "runs"
    yield folder
    assert not list((folder / run_import.IMPORTS).iterdir())
    assert {p.name for p in tmp_path.iterdir()} == {"runs"}
    assert all(verify(run) == [] for run in find_runs([folder]))


def members(run: Path, inside: str = "alpha/") -> dict[str, bytes]:
    return {f"{inside}{f.relative_to(run).as_posix()}": f.read_bytes() for f in run.rglob("*") if f.is_file()}


def zipped(files: dict[str, bytes], how: int = zipfile.ZIP_DEFLATED) -> io.BytesIO:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", how) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return io.BytesIO(out.getvalue())


def refused(file: io.BytesIO, runs: Path, **options: str) -> str:
    with pytest.raises(InputError) as caught:
        import_run(file, runs, **options)
    assert find_runs([runs]) == []
    assert ".imports" not in str(caught.value), "where it was unpacked is nobody's business"
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_is_exported_comes_in_equal(given: Path, runs: Path) -> None:
    with run_export.as_zip(given) as file:
        path = import_run(file, runs)
    assert path == runs / "alpha"
    assert sha256_of(path) == sha256_of(given)
    with run_export.as_zip(given) as file, pytest.raises(ImportProblem, match="'alpha' already"):
        import_run(file, runs)
    with run_export.as_zip(given) as file:
        assert import_run(file, runs, "alpha-2").name == "alpha-2"


@pytest.mark.parametrize(
    ("inside", "options", "name"),
    [
        ("", {"stem": "from-a-friend"}, "from-a-friend"),
        ("", {"stem": "alpha (1)"}, "alpha"),
        ("folder/", {"stem": "file"}, "folder"),
        ("a folder/", {"stem": "../x"}, "alpha"),
        ("folder/", {"name": "mine"}, "mine"),
    ],
)
def test_its_name(given: Path, runs: Path, inside: str, options: dict[str, str], name: str) -> None:
    files = members(given, inside) | {f"__MACOSX/{inside}._run.json": b"x", f"{inside}.DS_Store": b"x"}
    assert import_run(zipped(files), runs, **options).name == name


@pytest.mark.parametrize("name", ["../outside", "/tmp/outside", "a/b", ".hidden", "a\n", "<b>", "a b", "x" * 300 + "/"])
def test_a_name_that_is_none(given: Path, runs: Path, name: str) -> None:
    assert "letters, digits" in refused(zipped(members(given)), runs, name=name)


OUTSIDE = (
    r"../escaped.parquet alpha/../../escaped.parquet /tmp/escaped.parquet alpha/../../.bashrc C:/escaped a\..\..\x"
)
FOREIGN = (
    "alpha/evil.py alpha/checkpoints/gpt2--step-0100/modeling.py alpha/checkpoints/m/pytorch_model.bin notes.txt "
    "alpha/behavior/x.pkl alpha/.ssh/id alpha/deep/run.parquet alpha/hidden/a/b/00000.safetensors"
)
UNNAMED = "alpha/behavior/extra.parquet alpha/checkpoints/gpt2--step-0100/config.json"
REFUSED = {
    "not a path inside a run": [*OUTSIDE.split(), "alpha/hidden/..\x00/x", "alpha/behavior/\x07.parquet"],
    "which no run has": FOREIGN.split(),
    "does not name": UNNAMED.split(),
}


@pytest.mark.parametrize(("said", "name"), [(said, name) for said, names in REFUSED.items() for name in names])
def test_a_file_that_is_no_part_of_a_run_is_refused(given: Path, runs: Path, name: str, said: str) -> None:
    assert said in refused(zipped(members(given) | {name: b"x"}), runs)


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFSOCK])
def test_links_and_special_files(given: Path, runs: Path, kind: int) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in members(given).items():
            entry = zipfile.ZipInfo(name)
            if name.endswith("metrics.parquet"):
                entry.external_attr, content = (kind | 0o777) << 16, b"/etc/passwd"
            archive.writestr(entry, content)
    assert "only plain files" in refused(out, runs)


def test_limits_of_size_and_number(given: Path, runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = members(given)
    assert "zip bomb" in refused(zipped(files | {"alpha/behavior/zeros.parquet": bytes(30_000_000)}), runs)
    endless = io.BytesIO()
    pq.write_table(pa.table({"example_id": pa.array(["x"] * 5000)}), endless)
    many = {f"alpha/behavior/{i}.parquet": b"" for i in range(60)}
    for limit, value, more, said in (
        ("MOST_ROWS", 1000, {"alpha/metrics.parquet": endless.getvalue()}, "too large"),
        ("MOST_FILES", 50, many, "at most 50"),
        ("MOST_BYTES", 20_000, {}, "unpacks to"),
    ):
        with monkeypatch.context() as lowered:
            lowered.setattr(run_import, limit, value)
            assert said in refused(zipped(files | more), runs)


def test_a_size_that_lies(given: Path, runs: Path) -> None:
    """The directory of the zip claims a few bytes where there are many."""
    files = members(given)
    name = "alpha/explanations.parquet"
    honest = zipped(files | {name: bytes(50_000)}, zipfile.ZIP_STORED).getvalue()
    lying = bytearray(honest)
    at = lying.rindex(name.encode()) - 46  # its record in the central directory
    assert lying[at : at + 4] == b"PK\x01\x02"
    lying[at + 24 : at + 28] = (10).to_bytes(4, "little")
    said = refused(io.BytesIO(bytes(lying)), runs)
    assert "larger than the zip says" in said or "not a sound" in said


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("twin", ["alpha/metrics.parquet", "alpha/behavior/GPT2--STEP-0100.parquet"])
def test_a_name_twice(given: Path, runs: Path, twin: str) -> None:
    out = zipped(members(given))
    with zipfile.ZipFile(out, "a") as archive:
        archive.writestr(twin, b"x")
    assert "twice" in refused(out, runs)


def changed_manifest(**changes: object) -> Change:
    def change(files: dict[str, bytes]) -> None:
        manifest = json.loads(files["alpha/run.json"]) | changes
        files["alpha/run.json"] = json.dumps(manifest).encode()

    return change


def damage(name: str) -> Change:
    return lambda files: files.update({name: files[name][:-9] + b"\0" * 9})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (damage("alpha/behavior/gpt2--step-0100.parquet"), "gpt2--step-0100.parquet"),
        (damage("alpha/hidden/gpt2--step-0100/00000.safetensors"), "damaged"),
        (lambda files: files.pop("alpha/metrics.parquet"), "metrics.parquet: missing"),
        (lambda files: files.pop("alpha/run.json"), "no run.json"),
        (lambda files: files.update({"alpha/run.json": b'{"format_version"'}), "damaged"),
        (lambda files: files.update({"alpha/run.json": b'{"name": "npm"}'}), "not the record of a run"),
        (lambda files: files.update({"beta/run.json": b"{}"}), "2 run.json"),
        (changed_manifest(format_version=99), "newer version"),
        (changed_manifest(status="running"), "interrupted"),
        (changed_manifest(spec={"name": "../x"}), "spec"),
        (changed_manifest(parts={"../../etc/passwd": {"sha256": "0"}}), "not a path inside the run"),
        (changed_manifest(parts={}), "does not name"),
        (lambda files: files.clear(), "no run.json"),
    ],
)
def test_what_is_no_sound_run(given: Path, runs: Path, change: Change, said: str) -> None:
    files = members(given)
    change(files)
    assert said in refused(zipped(files), runs)


def test_what_is_no_zip_or_was_cut_or_spoilt(given: Path, runs: Path) -> None:
    whole = zipped(members(given)).getvalue()
    third = len(whole) // 3
    spoilt = whole[:third] + bytes(400) + whole[third + 400 :]
    for content in (b"", b"PK\x03\x04", b"not a zip" * 100, b"PK\x05\x06" + bytes(18), whole[:third], spoilt):
        refused(io.BytesIO(content), runs)


def test_a_place_before_the_beginning_of_the_file(given: Path, runs: Path) -> None:
    """The directory at a zip's end says where its files are; one cut or moved may say a place below 0."""
    raw = bytearray(zipped(members(given)).getvalue())
    end = raw.rindex(b"PK\x05\x06")
    for at, size in ((12, 4), (16, 4)):  # the directory's length, and its place
        spoilt = raw.copy()
        spoilt[end + at : end + at + size] = (
            int.from_bytes(raw[end + at : end + at + size], "little") + 2**30
        ).to_bytes(4, "little")
        assert "not a sound zip" in refused(io.BytesIO(bytes(spoilt)), runs)


def test_unusual_ways_to_pack(given: Path, runs: Path) -> None:
    assert "deflate" in refused(zipped(members(given), zipfile.ZIP_LZMA), runs)
    locked = bytearray(zipped(members(given)).getvalue())
    at = locked.rindex(b"PK\x01\x02")
    locked[at + 8] |= 1
    assert "password" in refused(io.BytesIO(bytes(locked)), runs)


def test_a_run_too_large_for_a_browser_is_not_packed(given: Path, runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (runs / run_import.IMPORTS).mkdir(parents=True)
    monkeypatch.setattr(run_export, "MOST_BYTES", 1000)
    with pytest.raises(InputError, match="copy the folder"):
        run_export.as_zip(given)


def test_only_the_runs_own_files_are_exported(tmp_path: Path, runs: Path) -> None:
    run = write_run(runs / "mine", prompts=8, checkpoints=2)
    (runs / run_import.IMPORTS).mkdir()
    (run / "secret.txt").write_text("private")
    with run_export.as_zip(run) as file:
        names = zipfile.ZipFile(file).namelist()
    assert "mine/run.json" in names
    assert not [n for n in names if "secret" in n]


def test_what_a_link_leads_to_is_not_exported(tmp_path: Path, runs: Path) -> None:
    (runs / run_import.IMPORTS).mkdir(parents=True)
    keys = runs / ".ssh"
    keys.mkdir()
    (keys / "metrics.parquet").write_text("a private key")
    for number, (part, target) in enumerate(
        {"metrics.parquet": keys / "metrics.parquet", "behavior": keys, "checkpoints": keys}.items()
    ):
        run = write_run(runs / f"given-{number}", prompts=8, checkpoints=2)
        if (run / part).exists():
            (run / part).rename(runs / f".was-{number}")
        (run / part).symlink_to(target)
        for pack in (run_export.as_zip, run_export.size):
            with pytest.raises(InputError, match=f"{part}: is a link"):
                pack(run)
        shutil.rmtree(run)


def test_a_folder_of_imports_that_leads_elsewhere_is_not_used(given: Path, tmp_path: Path) -> None:
    """What lies longer than an hour in the folder of imports is removed: it must not be somebody's own."""
    precious, runs = tmp_path / "precious", tmp_path / "runs"
    (precious / "thesis").mkdir(parents=True)
    os.utime(precious / "thesis", (0, 0))
    runs.mkdir()
    (runs / run_import.IMPORTS).symlink_to(precious)
    with pytest.raises(InputError, match="is a link"):
        import_run(zipped(members(given)), runs)
    assert [p.name for p in precious.iterdir()] == ["thesis"]
