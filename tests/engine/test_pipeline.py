"""A whole run on tiny models, from the command line: what it writes, that it resumes, and what bad input says."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch
import yaml

from engine import pipeline
from engine.__main__ import main
from engine.config import load_spec, relative_paths
from engine.model import counterfactuals
from engine.records import METRICS
from engine.runs.store import Run, verify
from tests.tiny_models import build

SENTENCES = ("A stranger says that it is {}.", "My doctor swears that it is {}.", "A child thinks that it is {}.")
GRADIENTS = ("stopped", "flowing")
WORDS = ("red", "blue", "green", "old", "new", "cold", "warm", "round")


def data_lines() -> list[dict]:
    lines = []
    for i, word in enumerate(WORDS):
        for j, sentence in enumerate(SENTENCES):
            for k in range(3):
                cue = sentence.format(word)
                question = f"Question {k}: is the house {word}?"
                lines.append(
                    {
                        "prompt": f"{question} {cue} Answer:",
                        "edited": f"{question} Answer:",
                        "edit": "delete_cue",
                        "answer_a": " yes",
                        "answer_b": " no",
                        "split": ("train", "train", "validation", "test_heldout", "test_iid")[(i * 3 + j + k) % 5],
                        "group": f"{word} {j}",
                        "metadata": {"word": word},
                    }
                )
    return lines


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    base = tmp_path_factory.mktemp("pipeline")
    build("gpt2", base / "first", seed=0)
    build("gpt2", base / "second", seed=1)
    build("llama", base / "family", seed=2)
    (base / "data.jsonl").write_text("".join(json.dumps(line) + "\n" for line in data_lines()))
    return base


def spec(**changes) -> dict:
    checkpoints = [
        {"name": "gpt2--step-0000", "path": "first", "step": 0},
        {"name": "gpt2--step-0100", "path": "second", "step": 100},
    ]
    return {
        "name": "tiny",
        "task": {"name": "from_file", "path": "data.jsonl"},
        "checkpoints": checkpoints,
        "hidden": {"layers": [1, -1], "positions": ["last", "span"], "keep": "prompts"},
        "explainers": {
            "kinds": ["ridge", "linear"],
            "modes": ["direct", "difference"],
            "regimes": ["frozen", "online", "refit"],
            "steps": 20,
            "online_steps": 4,
            "folds": 2,
        },
        "noise": {"levels": [0, 0.5], "kinds": ["shuffle"], "seeds": 2},
        "metrics": {"bootstrap": 200},
        "device": "cpu",
        "batch_size": 16,  # found by trial, it would differ between runs, and the last digits with it
    } | changes


def write(folder: Path, name: str = "spec.yaml", **changes) -> Path:
    path = folder / name
    path.write_text(yaml.safe_dump(spec(**changes)))
    return path


def call(capsys, *arguments: object) -> tuple[int, str, str]:
    """Run the command in this process: (exit code, stdout, stderr)."""
    old, sys.argv = sys.argv, ["coupling", *map(str, arguments)]
    handler = signal.getsignal(signal.SIGTERM)
    try:
        main()
        code: object = 0
    except SystemExit as stop:
        code = stop.code
    finally:
        sys.argv = old
        signal.signal(signal.SIGTERM, handler)
    said = capsys.readouterr()
    return int(code or 0), said.out, said.err  # type: ignore[call-overload]


@pytest.fixture(scope="module")
def finished(folder) -> Path:
    from engine import pipeline
    from engine.config import load_spec

    out = folder / "finished"
    pipeline.run(load_spec(write(folder)), out)
    return out


def test_a_finished_run_is_sound_and_reported(finished, capsys):
    assert verify(finished) == []
    code, out, _ = call(capsys, "verify", finished)
    assert code == 0
    assert "sound" in out
    code, out, _ = call(capsys, "report", finished, "--json")
    content = json.loads(out)
    assert code == 0
    assert set(content["rows"][0]) == set(METRICS.names) - {"control"}
    assert {row["control"] for row in content["controls"]} >= {"output", "output_text", "stale", "null", "ceiling"}
    assert {row["position"] for row in content["rows"]} == {"last", "span"}
    code, out, _ = call(capsys, "report", finished)
    assert code == 0
    assert "gpt2--step-0100" in out


def test_only_what_was_asked_for_is_kept(finished):
    run = Run.open(finished)
    assert run.state == "complete"
    assert not [p for p in run.parts if "examples-" in p or "untrained" in p]
    assert run.hidden("gpt2--step-0100", -1).shape[0] == len({line["prompt"] for line in data_lines()})


def test_nothing_of_this_machine_is_in_the_record(finished, folder):
    text = (finished / "run.json").read_text()
    assert str(folder) not in text
    assert str(Path.home()) not in text


def test_a_finished_run_is_returned_as_it_is(finished, folder, capsys):
    before = (finished / "run.json").read_bytes()
    code, out, _ = call(capsys, "run", folder / "spec.yaml", "--out", finished)
    assert code == 0
    assert out.strip().splitlines()[-1] == str(finished)
    assert (finished / "run.json").read_bytes() == before


def test_labels_of_another_family(folder, capsys):
    target = {"name": "llama--step-0000", "path": "family"}
    explainers = spec()["explainers"] | {"kinds": ["ridge"], "modes": ["direct"]}
    path = write(folder, "cross.yaml", target=target, explainers=explainers, hidden={"layers": [-1], "keep": "none"})
    code, _, err = call(capsys, "run", path, "--out", folder / "cross", "--quiet")
    assert code == 0, err
    run = Run.open(folder / "cross")
    rows = run.read_table("metrics.parquet").to_pandas()
    assert set(rows["target"]) == {"llama--step-0000"}
    assert not [p for p in run.parts if p.startswith("hidden/")]
    first = rows[(rows.step == 0) & rows.chosen & rows.control.isna() & (rows.noise == 0)]
    assert (first.self - first.orig).abs().max() > 0, "the target is another model: Self and Orig differ from the start"


def post_training_spec(folder: Path, gradient: str) -> Path:
    """A run that trains its later checkpoints itself, with a linear explainer in the same loop."""
    lines = [{"prompt": line["prompt"], "answer": line["answer_a"]} for line in data_lines()]
    (folder / "dialogues.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    first, *_ = spec()["checkpoints"]
    trained = [{"name": f"gpt2--trained-{s}", "step": s, "trained": True} for s in (5, 10)]
    concurrent = {"kind": "linear", "layer": -1, "edit": "delete_cue", "gradient": gradient, "weight": 5.0}
    return write(
        folder,
        f"post-{gradient}.yaml",
        checkpoints=[first, *trained],
        post_training={
            "dialogues": "dialogues.jsonl",
            "learning_rate": 0.01,
            "answer_weight": 20.0,
            "concurrent": concurrent,
        },
        explainers={"kinds": ["ridge"], "folds": 2, "steps": 20},
    )


@pytest.fixture(scope="module")
def post_trained(folder) -> dict[str, Path]:
    """The run of each gradient."""
    from engine import pipeline
    from engine.config import load_spec

    for gradient in GRADIENTS:
        pipeline.run(load_spec(post_training_spec(folder, gradient)), folder / f"post-{gradient}")
    return {gradient: folder / f"post-{gradient}" for gradient in GRADIENTS}


@pytest.mark.parametrize("gradient", GRADIENTS)
def test_an_explainer_trained_in_the_loop_of_the_post_training(folder, post_trained, capsys, gradient):
    run = Run.open(post_trained[gradient])
    rows = run.read_table("metrics.parquet").to_pandas()
    own = rows[(rows.condition == f"concurrent, gradient {gradient}") & rows.control.isna()]
    assert set(own.step) == {0, 5, 10}
    assert set(own.regime) == {"online"}
    before, after = (
        run.read_table(f"behavior/gpt2--{name}.parquet").to_pandas().f for name in ("step-0000", "trained-10")
    )
    if gradient == "stopped":
        assert after.mean() > before.mean() + 0.05, "the dialogues teach answer a"
    assert (after - before).abs().mean() > 0.01
    code, _, err = call(capsys, "run", folder / f"post-{gradient}.yaml", "--out", run.path, "--quiet")
    assert code == 0, err


def test_only_a_flowing_gradient_reaches_the_base_model(post_trained):
    runs = {gradient: Run.open(path) for gradient, path in post_trained.items()}
    f = {g: run.read_table("behavior/gpt2--trained-10.parquet").to_pandas().f for g, run in runs.items()}
    assert (f["stopped"] - f["flowing"]).abs().max() > 1e-4


@pytest.fixture(scope="module")
def unbroken(folder) -> Path:
    """A run of few explainers, made by a command of its own, as the killed ones are."""
    write(folder, "quick.yaml", explainers={"kinds": ["ridge"], "folds": 2})
    command = [sys.executable, "-m", "engine", "run", str(folder / "quick.yaml"), "--out", str(folder / "unbroken")]
    subprocess.run(command, check=True, capture_output=True)
    return folder / "unbroken"


@pytest.mark.parametrize("moment", ["examples.parquet", "behavior/gpt2--step-0000.parquet", "metrics.parquet"])
def test_a_killed_run_goes_on_and_ends_equal(folder, unbroken, moment):
    """kill -9 as soon as a part is there; the same command then gives the same bytes."""
    out = folder / f"killed-{moment.replace('/', '-')}"
    command = [sys.executable, "-m", "engine", "run", str(folder / "quick.yaml"), "--out", str(out), "--quiet"]
    process = subprocess.Popen(command)
    deadline = time.monotonic() + 120
    while not (out / moment).exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert Run.open(out).state in ("interrupted", "complete")
    subprocess.run(command, check=True, capture_output=True)
    assert verify(out) == []
    resumed, reference = ({k: v["sha256"] for k, v in Run.open(path).parts.items()} for path in (out, unbroken))
    assert resumed == reference


def test_pieces_that_a_kill_left_behind_are_dropped(folder, unbroken, monkeypatch):
    """Killed between the whole and its pieces: the window is too short to hit from outside."""
    out, given = folder / "undropped", load_spec(folder / "quick.yaml")
    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "_drop_pieces", Mock(side_effect=KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            pipeline.run(given, out)
    assert any(part.count("/") == 2 for part in Run.open(out).parts if part.startswith("behavior/"))
    pipeline.run(given, out)
    assert set(Run.open(out).parts) == set(Run.open(unbroken).parts)


@pytest.fixture
def small_shards(folder, monkeypatch):
    """Measure a model in shards of 8 examples, from scratch or on in `out`; stopped after so many of them."""
    monkeypatch.setattr(pipeline, "SHARD", 8)
    measured = []
    real = pipeline.measure_shard
    monkeypatch.setattr(pipeline, "measure_shard", lambda shard: measured.append(real(shard)) or measured[-1])

    def start(out: Path, stop_after: int | None = None) -> tuple[Run, list]:
        def stop(_: str, done: int, __: int) -> None:
            if done == stop_after:
                raise KeyboardInterrupt

        explainers = {"kinds": ["ridge"], "folds": 2}
        given = load_spec(
            write(
                folder,
                "shards.yaml",
                checkpoints=spec()["checkpoints"][:1],
                explainers=explainers,
                hidden={"layers": [-1]},
                batch_size=None,
            )
        )
        measured.clear()
        with Run.create(out, relative_paths(given, out), provenance={}) as record:
            examples = pipeline.load_examples(given)
            stopped = pytest.raises(KeyboardInterrupt) if stop_after else contextlib.nullcontext()
            with stopped:
                pipeline.measure(record, given, given.checkpoints, examples, pipeline.Serial(), stop)
        return record, list(measured)

    return start


def test_the_batch_size_is_found_once_so_that_a_stopped_run_goes_on_with_it(small_shards, tmp_path, monkeypatch):
    sizes = iter(range(3, 100))
    monkeypatch.setattr(counterfactuals, "find_batch_size", lambda *_: next(sizes))
    unbroken, all_shards = small_shards(tmp_path / "unbroken")
    assert len(all_shards) > 4
    assert {shard.report.batch_size for shard in all_shards} == {3}

    sizes = iter((3, *range(50, 100)))
    _, before = small_shards(tmp_path / "stopped", stop_after=1)
    resumed, after = small_shards(tmp_path / "stopped")
    assert [shard.report.batch_size for shard in (*before, *after)] == [3] * len(all_shards)
    assert resumed.parts == unbroken.parts
    assert resumed.manifest["notes"] == unbroken.manifest["notes"]


def test_a_batch_size_that_memory_made_smaller_holds_from_then_on(small_shards, tmp_path, monkeypatch):
    real, calls = counterfactuals.forward, []

    def once_too_small(network, input_ids, *rest, **more):
        calls.append(len(input_ids))
        if len(calls) == 12:
            raise torch.OutOfMemoryError("out of memory")
        return real(network, input_ids, *rest, **more)

    monkeypatch.setattr(counterfactuals, "find_batch_size", lambda *_: 8)
    monkeypatch.setattr(counterfactuals, "forward", once_too_small)
    record, measured = small_shards(tmp_path / "run")
    sizes = [shard.report.batch_size for shard in measured]
    assert sizes[0] == 8
    assert sizes[-1] == 4
    assert sizes == sorted(sizes, reverse=True)
    assert record.manifest["notes"]["batch_size"] == {"gpt2--step-0000": 4}


def test_every_path_that_a_shard_took_is_recorded(small_shards, tmp_path, monkeypatch):
    real = counterfactuals.can_share
    monkeypatch.setattr(counterfactuals, "find_batch_size", lambda *_: 8)
    one, _ = small_shards(tmp_path / "one")
    assert one.manifest["notes"]["forward_path"] == {"gpt2--step-0000": "shared"}
    asked = iter(["", "a window", ""])
    monkeypatch.setattr(
        counterfactuals, "can_share", lambda *a, **more: real(*a, **more) if more else next(asked, "a window")
    )
    several, measured = small_shards(tmp_path / "several")
    assert [shard.report.path for shard in measured[:3]] == ["shared", "full: a window", "shared"]
    assert several.manifest["notes"]["forward_path"] == {"gpt2--step-0000": ["shared", "full: a window"]}


def test_ctrl_c_leaves_a_run_that_goes_on(folder):
    out = folder / "interrupted"
    command = [sys.executable, "-m", "engine", "run", str(folder / "spec.yaml"), "--out", str(out), "--quiet"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not (out / "examples.parquet").exists():
        assert process.poll() is None and time.monotonic() < deadline, "the run never wrote its examples"
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert "goes on from here" in err
    assert Run.open(out).state == "interrupted"


@pytest.mark.parametrize(
    ("error", "state"), [(ValueError("no\nluck"), "failed"), (SystemExit(1), "interrupted")], ids=["fault", "exit"]
)
def test_any_exception_gives_the_lock_back(folder, tmp_path, monkeypatch, error, state):
    given = load_spec(write(folder, "fault.yaml"))
    monkeypatch.setattr(pipeline, "measure", Mock(side_effect=error))
    with pytest.raises(type(error)):
        pipeline.run(given, tmp_path / "run")
    run = Run.open(tmp_path / "run")
    assert run.state == state
    assert run.manifest.get("error") == ("ValueError: no luck" if state == "failed" else None)


# -- bad input: exit code 2, one line, no traceback ------------------------------------------------


def refused(capsys, *arguments: object) -> str:
    code, _, err = call(capsys, *arguments)
    assert code == 2, err
    assert "Traceback" not in err
    assert len(err.strip().splitlines()) == 1, err
    return err


def broken(folder: Path, tmp_path: Path, **changes) -> Path:
    """A spec in the fixture's folder, so that its relative paths still lead to the models."""
    return write(folder, f"{tmp_path.name}.yaml", **changes)


def test_no_such_spec_or_run(capsys, tmp_path):
    assert "no such file" in refused(capsys, "run", tmp_path / "absent.yaml")
    assert "no such folder" in refused(capsys, "report", tmp_path / "absent")
    assert "not a run" in refused(capsys, "report", tmp_path)


def test_a_misspelt_key(capsys, folder, tmp_path):
    assert "unknown key 'explianers'" in refused(capsys, "run", broken(folder, tmp_path, explianers={}))


@pytest.mark.parametrize(("path", "said"), [("absent", "absent"), (".", "config")])
def test_a_folder_that_is_no_model(capsys, folder, tmp_path, path, said):
    base = tmp_path / path
    checkpoints = [{"name": "gpt2--step-0", "path": str(base)}]
    err = refused(
        capsys, "run", broken(folder, tmp_path, checkpoints=checkpoints), "--out", tmp_path / "run", "--quiet"
    )
    assert said in err


def test_an_encoder_only_model(capsys, folder, tmp_path):
    from transformers import BertConfig, BertModel

    BertModel(
        BertConfig(vocab_size=50, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
    ).save_pretrained(tmp_path / "bert")
    checkpoints = [{"name": "bert--step-0", "path": str(tmp_path / "bert")}]
    path = broken(folder, tmp_path, checkpoints=checkpoints)
    assert "encoder" in refused(capsys, "run", path, "--out", tmp_path / "run", "--quiet")


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([], "is empty"),
        ([{k: v for k, v in data_lines()[0].items() if k != "answer_a"}], "line 1"),
        ([data_lines()[0] | {"prompt": "house " * 3000, "edited": "house " * 2999}], "tokens"),
    ],
)
def test_bad_data(capsys, folder, tmp_path, lines, said):
    data = tmp_path / "data.jsonl"
    data.write_text("".join(json.dumps(line) + "\n" for line in lines))
    path = broken(folder, tmp_path, task={"name": "from_file", "path": str(data)})
    assert said in refused(capsys, "run", path, "--out", tmp_path / "run", "--quiet")


def test_a_cut_off_part(capsys, finished, tmp_path):
    shutil.copytree(finished, tmp_path / "cut")
    part = tmp_path / "cut" / "metrics.parquet"
    part.write_bytes(part.read_bytes()[:1000])
    code, out, _ = call(capsys, "verify", tmp_path / "cut")
    assert code == 1
    assert "metrics.parquet" in out
    assert "metrics.parquet" in refused(capsys, "report", tmp_path / "cut", "--json")


def test_a_run_that_is_still_running(capsys, folder, finished, tmp_path):
    from engine.config import load_spec, relative_paths

    out = tmp_path / "busy"
    resolved = load_spec(folder / "spec.yaml")
    with Run.create(out, relative_paths(resolved, out), provenance={}):
        assert "another process" in refused(capsys, "run", folder / "spec.yaml", "--out", out, "--quiet")
        assert "no metrics yet" in refused(capsys, "report", out)


def test_a_folder_that_holds_something_else(capsys, folder, tmp_path):
    (tmp_path / "thesis.txt").write_text("precious")
    refused(capsys, "run", folder / "spec.yaml", "--out", tmp_path, "--quiet")
    assert (tmp_path / "thesis.txt").read_text() == "precious"


def test_a_busy_port_is_said_and_the_next_one_taken(capsys):
    import socket

    from engine.serve import free_port

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert free_port(port) > port
