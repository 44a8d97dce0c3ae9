"""The run store: killed anywhere, it opens and goes on; damage is named, never shown as a result."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from engine import SAMPLES
from engine.config import CheckpointSpec, RunSpec, TaskSpec
from engine.records import BEHAVIOR, EXPLANATIONS, examples_table, metrics_table
from engine.runs import files
from engine.runs.files import find_runs, sha256_of
from engine.runs.store import Run, RunError
from engine.runs.verify import verify
from tests.engine.test_records import examples

CHECKPOINT = "gpt2--step-0"


def a_spec(seed: int = 0) -> RunSpec:
    checkpoints = (CheckpointSpec(name=CHECKPOINT, path="m"),)
    return RunSpec(name="a-run", seed=seed, task=TaskSpec(name="sycophancy"), checkpoints=checkpoints)


def behavior_of(examples: pa.Table, first: float = 0.5) -> pa.Table:
    n = examples.num_rows
    numbers = pa.array([first] + [1.0] * (n - 1), pa.float32())
    return pa.Table.from_arrays([examples["example_id"], numbers, numbers], schema=BEHAVIOR)


def explanations(rows: list[dict]) -> pa.Table:
    columns = []
    for field in EXPLANATIONS:
        plain = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
        columns.append(pa.array([row.get(field.name) for row in rows], plain).cast(field.type))
    return pa.Table.from_arrays(columns, schema=EXPLANATIONS)


def finished(path: Path) -> Run:
    run = Run.create(path, a_spec(), provenance={"content": {"m": "abc"}})
    run.note(batch_size={CHECKPOINT: 64})
    table = examples_table(examples(6))
    run.write_table("examples.parquet", table)
    run.write_table(f"behavior/{CHECKPOINT}.parquet", behavior_of(table))
    for i, prompts in enumerate((2, 1)):
        states = {"last.0": np.full((prompts, 4), i, np.float32), "last.2": np.full((prompts, 4), 10 + i, np.float16)}
        run.write_arrays(f"hidden/{CHECKPOINT}/{i:05d}.safetensors", states)
        of_examples = {"span.2": np.full((2 * prompts, 4), i, np.float32)}
        run.write_arrays(f"hidden/{CHECKPOINT}/examples-{i:05d}.safetensors", of_examples)
    setting = {"checkpoint": CHECKPOINT, "target": CHECKPOINT, "step": 0, "explainer": "ridge", "edit": "replace"}
    setting |= {"regime": "frozen", "noise_kind": "none", "noise": 0.0, "chosen": True}
    explained = setting | {"example_id": table["example_id"][0].as_py(), "explanation": 0.25}
    run.write_table("explanations.parquet", explanations([explained]))
    scored = {"split": "test_heldout", "metric": "pearson", "n": 1, "self": 0.5}
    run.write_table("metrics.parquet", metrics_table([setting | scored]))
    run.finish({"seconds": 1.5})
    return run


def test_a_finished_run_is_sound_and_reads_back(tmp_path):
    finished(tmp_path / "r")
    assert verify(tmp_path / "r") == []
    run = Run.open(tmp_path / "r")
    assert (run.state, run.spec, run.manifest["timings"]) == ("complete", a_spec(), {"seconds": 1.5})
    assert run.manifest["notes"]["batch_size"] == {CHECKPOINT: 64}
    assert run.parts["examples.parquet"]["rows"] == 6 and run.has("examples.parquet") and not run.has("nothing")
    assert run.read_table("examples.parquet", columns=["prompt_id"])["prompt_id"].to_pylist() == [0, 0, 1, 1, 2, 2]
    assert run.hidden(CHECKPOINT, 0).tolist() == [[0.0] * 4] * 2 + [[1.0] * 4]
    assert run.hidden(CHECKPOINT, 2)[-1].tolist() == [11.0] * 4 and run.hidden(CHECKPOINT, 2).dtype == np.float16
    assert run.kept_layers(CHECKPOINT) == [0, 2] and run.kept_layers(CHECKPOINT, "span") == [2]
    assert run.hidden(CHECKPOINT, 2, "span").shape == (6, 4)
    with pytest.raises(RunError, match="no hidden states of layer 1"):
        run.hidden(CHECKPOINT, 1)
    assert not list((tmp_path / "r").rglob(".*")), "no lock and no temporary file is left"
    with pytest.raises(RunError, match="reading only"):
        run.note(x=1)


def test_same_command_again_returns_the_finished_run(tmp_path):
    finished(tmp_path)
    assert Run.create(tmp_path, a_spec(), provenance={}).state == "complete"
    with pytest.raises(RunError, match="another spec \\('seed' differs\\)"):
        Run.create(tmp_path, a_spec(seed=1), provenance={})
    with pytest.raises(RunError, match="m has changed since"):
        Run.create(tmp_path, a_spec(), provenance={"content": {"m": "abd"}})


def test_an_unfinished_run_goes_on(tmp_path):
    run = Run.create(tmp_path, a_spec(), provenance={})
    run.write_table("examples.parquet", examples_table(examples(6)))
    assert Run.open(tmp_path).state == "running"
    with pytest.raises(RunError, match="another process is writing"):
        Run.create(tmp_path, a_spec(), provenance={})
    run.close()
    assert Run.open(tmp_path).state == "interrupted"
    assert verify(tmp_path) == ["run.json: the run is interrupted, not complete"]
    (tmp_path / ".half.parquet.tmp").write_bytes(b"PAR1")
    again = Run.create(tmp_path, a_spec(), provenance={})
    assert again.has("examples.parquet") and not (tmp_path / ".half.parquet.tmp").exists()
    again.drop("examples.parquet")
    assert not again.has("examples.parquet") and not (tmp_path / "examples.parquet").exists()
    again.fail("no luck")
    assert Run.open(tmp_path).state == "failed"
    assert Run.create(tmp_path, a_spec(), provenance={}).state == "running"


WRITER = """
import sys
import pyarrow as pa
sys.path[:0] = {path!r}
from tests.engine.runs.test_store import a_spec
from engine.runs.store import Run
run = Run.create(sys.argv[1], a_spec(), provenance={{}})
table = pa.table({{"x": list(range(50_000))}})
i = sum(run.has(f"parts/{{i}}.parquet") for i in range(100_000))
run.write_table(f"parts/{{i}}.parquet", table)
print("found", i, flush=True)
while True:
    i += 1
    run.write_table(f"parts/{{i}}.parquet", table)
"""


def test_kill_9_at_any_point_leaves_a_sound_run(tmp_path):
    code = textwrap.dedent(WRITER).format(path=[str(Path(__file__).parents[3])])
    counts = []
    for attempt in range(4):
        child = subprocess.Popen([sys.executable, "-c", code, tmp_path / "r"], stdout=subprocess.PIPE, text=True)
        counts.append(int(child.stdout.readline().split()[1]))
        time.sleep(0.05 + 0.037 * attempt)
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        run = Run.open(tmp_path / "r")
        assert run.state == "interrupted"
        assert verify(tmp_path / "r") == ["run.json: the run is interrupted, not complete"]
        assert all(run.has(part) for part in run.parts)
    assert counts == sorted(counts) and counts[-1] > 0, "each attempt goes on after the parts of the last"


def test_what_a_killed_writer_left_is_removed_and_what_is_somebodys_own_stays(tmp_path):
    run = Run.create(tmp_path, a_spec(), provenance={})
    run.write_table("examples.parquet", examples_table(examples(6)))
    run.close()
    left = ["behavior/a/00001.parquet", "hidden/a/.00000.safetensors.tmp", "metrics.parquet", ".run.json.tmp"]
    left += ["checkpoints/.gpt2--step-5.tmp/config.json", "checkpoints/.gpt2--step-5.old/config.json"]
    own = ["notes.md", "mine.parquet", "figures/a.parquet", "checkpoints/gpt2--step-5/config.json", "behavior/note.txt"]
    for name in [*left, *own]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    again = Run.create(tmp_path, a_spec(), provenance={})
    there = {p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file()}
    assert there == {*own, "examples.parquet", "run.json", ".lock"}
    assert not (tmp_path / "hidden").exists() and not (tmp_path / "behavior" / "a").exists()
    again.finish()
    (tmp_path / ".lock").touch()  # killed before it was removed
    (tmp_path / "metrics.parquet").write_bytes(b"x")
    assert Run.create(tmp_path, a_spec(), provenance={}).state == "complete"
    assert not (tmp_path / ".lock").exists() and not (tmp_path / "metrics.parquet").exists()


def test_damage_is_named(tmp_path):
    run = finished(tmp_path)
    part = tmp_path / "behavior" / f"{CHECKPOINT}.parquet"
    part.write_bytes(part.read_bytes()[:-20])
    with pytest.raises(RunError, match=f"{CHECKPOINT}.parquet: this part of the run is damaged"):
        run.read_table(f"behavior/{CHECKPOINT}.parquet")
    assert not run.has(f"behavior/{CHECKPOINT}.parquet")
    states = tmp_path / "hidden" / CHECKPOINT / "00001.safetensors"
    states.write_bytes(states.read_bytes()[:10])
    with pytest.raises(RunError, match=r"00001.safetensors: this part of the run is damaged"):
        run.hidden(CHECKPOINT, 0)
    (tmp_path / "metrics.parquet").unlink()
    with pytest.raises(RunError, match=r"metrics.parquet: this part of the run is missing"):
        run.read_table("metrics.parquet")
    problems = "\n".join(verify(tmp_path))
    assert problems.count("\n") == 2 and all(name in problems for name in (part.name, states.name, "metrics.parquet"))


def test_verify_reads_what_the_hashes_cannot_tell(tmp_path):
    run = Run.create(tmp_path, a_spec(), provenance={})
    table = examples_table(examples(6))
    run.write_table("examples.parquet", pa.concat_tables([table, table.slice(0, 1)]))
    run.write_table(f"behavior/{CHECKPOINT}.parquet", behavior_of(table, first=float("nan")))
    beyond = pa.array([-(2**62)], pa.timestamp("us"))  # no time that Python can hold
    run.write_table("metrics.parquet", pa.table({"self": [0.1], "when": beyond, "of a later version": ["text"]}))
    run.finish()
    problems = verify(tmp_path)
    for expected in (
        "explanations.parquet: missing",
        "examples.parquet: example_id is not unique",
        f"behavior/{CHECKPOINT}.parquet: column 'f' holds 1 values that are no number",
        f"behavior/{CHECKPOINT}.parquet: its rows are not those of examples.parquet, in their order",
        "metrics.parquet: column 'gap' is missing",
        "metrics.parquet: column 'when' is timestamp[us], which no version has written",
    ):
        assert expected in problems
    assert not any("later version" in line for line in problems)


def test_what_is_no_run_is_said(tmp_path):
    with pytest.raises(RunError, match="no such folder"):
        Run.open(tmp_path / "absent")
    with pytest.raises(RunError, match="not a run"):
        Run.open(tmp_path)
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(RunError, match="not empty, and not a run"):
        Run.create(tmp_path, a_spec(), provenance={})
    with pytest.raises(RunError, match="is a file"):
        Run.create(tmp_path / "thesis.txt", a_spec(), provenance={})
    assert (tmp_path / "thesis.txt").read_text() == "mine"
    finished(tmp_path / "r")
    manifest = tmp_path / "r" / "run.json"
    text = manifest.read_text()
    for broken, message in (
        (text[:100], "cut off"),
        ("[]", "not the record of a run"),
        (text.replace('"format_version": 2', '"format_version": 99'), "format 99 by a newer version"),
        (text.replace('"parts"', '"bits"'), "'parts' is missing"),
        (text.replace('"seed": 0', '"seed": -1'), "spec.task.seed: "),
        (text.replace('"examples.parquet"', '"../../examples.parquet"'), "not a path inside the run"),
    ):
        manifest.write_text(broken)
        assert any(message in problem for problem in verify(tmp_path / "r")), message


@pytest.fixture
def full_disk(tmp_path, monkeypatch):
    """A folder with room for 64 KiB: a real tmpfs where we may mount one, else a writer that fails like it."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    mounted = os.geteuid() == 0 and subprocess.run(mount, capture_output=True).returncode == 0
    if not mounted:

        def no_room(descriptor: int) -> None:
            if os.fstat(descriptor).st_size > 32_768:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(files.os, "fsync", no_room)
    yield folder
    monkeypatch.undo()
    if mounted:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_full_disk_is_said_and_the_run_goes_on_later(full_disk):
    run = Run.create(full_disk / "r", a_spec(), provenance={})
    run.write_table("examples.parquet", examples_table(examples(6)))
    noise = np.random.default_rng(0).normal(size=20_000)
    for write in (
        lambda: run.write_table("big.parquet", pa.table({"x": noise})),
        lambda: run.write_arrays("hidden/big.safetensors", {"last.0": noise}),
    ):
        with pytest.raises(RunError, match="disk is full"):
            write()
    assert not list((full_disk / "r").rglob(".*.tmp")), "the half-written files are gone"
    run.close()
    assert verify(full_disk / "r") == ["run.json: the run is interrupted, not complete"]
    again = Run.create(full_disk / "r", a_spec(), provenance={})
    assert again.has("examples.parquet") and not again.has("big.parquet")
    again.close()


def test_runs_are_found_and_contents_hashed(tmp_path):
    finished(tmp_path / "runs" / "b"), finished(tmp_path / "runs" / "study" / "a"), finished(tmp_path / "runs" / ".old")
    assert find_runs([tmp_path / "runs", tmp_path / "absent"]) == [tmp_path / "runs/b", tmp_path / "runs/study/a"]
    assert find_runs([tmp_path / "runs" / "b"]) == [tmp_path / "runs/b"]
    assert sha256_of(tmp_path / "runs/b") == sha256_of(tmp_path / "runs/study/a"), "same inputs, same bytes"
    before = sha256_of(tmp_path / "runs")
    (tmp_path / "runs" / "README.md").write_text("not part of it")
    assert sha256_of(tmp_path / "runs") == before
    (tmp_path / "runs" / "b" / "metrics.parquet").write_bytes(b"")
    assert sha256_of(tmp_path / "runs") != before
    parts = json.loads((tmp_path / "runs/b/run.json").read_text())["parts"]
    assert parts["examples.parquet"]["sha256"] == sha256_of(tmp_path / "runs/b/examples.parquet")


def test_a_record_of_an_earlier_version_says_what_was_done_then(tmp_path: Path) -> None:
    """A record names all options of its time. One that it lacks has come later, perhaps with another default."""
    post = {"dialogues": "d.jsonl", "prompts_a_step": 4, "learning_rate": 0.001, "answer_weight": 1.0}
    lora = {"rank": 4, "alpha": 8.0, "modules": []}
    trained = {"name": "gpt2--later", "step": 5, "trained": True}
    for number, sections in enumerate(
        ({"post_training": post}, {"verbal": {"lora": lora}}, {"verbal": {"lora": None}})
    ):
        path = tmp_path / str(number)
        with Run.create(path, a_spec(), provenance={}):
            pass
        record = json.loads((path / "run.json").read_text())
        record["spec"] |= {"checkpoints": [*record["spec"]["checkpoints"], trained]} | sections
        (path / "run.json").write_text(json.dumps(record))
        spec = Run.open(path).spec
        training = spec.post_training or spec.verbal
        assert training is not None and training.optimizer == "muon"
        assert spec.lora is None or spec.lora.save_as == "merged"
        if spec.post_training:
            assert (spec.post_training.validation, spec.post_training.prompt_weight) == (0, 1)
        with Run.create(path, spec, provenance={}) as again:
            assert again.spec == spec, "it goes on by the spec that its record gives"
        record["spec"] = spec.model_dump(mode="json") | {"verbal": None, "post_training": post | {"optimizer": "adamw"}}
        (path / "run.json").write_text(json.dumps(record))
        kept = Run.open(path).spec.post_training
        assert kept is not None and kept.optimizer == "adamw", "what it says stands"


def test_the_committed_runs_were_trained_with_muon() -> None:
    committed = [Run.open(path).spec.verbal for path in SAMPLES.glob("verbal-*") if (path / "run.json").is_file()]
    assert committed and {verbal.optimizer for verbal in committed if verbal} == {"muon"}
