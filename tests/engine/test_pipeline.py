"""A whole run on tiny models, from the command line: its parts, how it resumes, and the messages about bad input."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from unittest.mock import Mock

import pytest
from transformers import BertConfig, BertModel

from engine import pipeline
from engine.__main__ import main
from engine.measuring import stage as measuring
from engine.records import METRICS
from engine.runs.store import Run
from engine.runs.verify import verify
from engine.serve import free_port
from engine.spec_files import load_spec, relative_paths
from engine.training import posttraining, state
from tests.apart import coupling
from tests.tiny_models import build, tokenizer
from tests.tiny_run import examples, write_spec

FIRST = {"name": "gpt2--step-0000", "path": "first"}
QUICK = {"explainers": {"kinds": ["ridge"], "folds": 2, "steps": 20}}
WHOLE = {
    "hidden": {"layers": [1, -1], "positions": ["last", "span"], "keep": "prompts"},
    "explainers": {
        "kinds": ["ridge", "linear"],
        "modes": ["direct", "difference"],
        "regimes": ["frozen", "online", "refit"],
        "steps": 20,
        "online_steps": 4,
        "folds": 2,
    },
}


def write(folder: Path, name: str, **changes) -> Path:
    return write_spec(folder, **changes).rename(folder / f"{name}.yaml")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    base = tmp_path_factory.mktemp("pipeline")
    write(base, "whole", **WHOLE)
    write(base, "quick", **QUICK)
    build("llama", base / "family", seed=2)
    lines = [{"prompt": line["prompt"], "answer": line["answer_a"]} for line in examples()]
    (base / "dialogues.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return base


def trained(**section) -> dict:
    """Changes of the spec for a run that trains its later checkpoints."""
    steps = [{"name": f"gpt2--trained-{s}", "step": s, "trained": True} for s in (5, 10)]
    return QUICK | {"checkpoints": [FIRST, *steps]} | section


def post_training(gradient: str) -> dict:
    """Post-training with a linear explainer in the same loop."""
    concurrent = {"edit": "delete_cue", "gradient": gradient, "weight": 5.0}
    return {"dialogues": "dialogues.jsonl", "learning_rate": 0.01, "answer_weight": 20.0, "concurrent": concurrent}


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
    return pipeline.make_run(load_spec(folder / "whole.yaml"), folder / "finished").path


def test_a_finished_run_is_sound_and_reported(finished, capsys):
    assert call(capsys, "verify", finished) == (0, f"{finished}: sound\n", "")
    code, out, _ = call(capsys, "report", finished, "--json")
    content = json.loads(out)
    assert code == 0
    assert set(content["rows"][0]) == set(METRICS.names) - {"control"}
    assert {row["control"] for row in content["controls"]} >= {"output", "output_text", "stale", "null", "ceiling"}
    assert {row["position"] for row in content["rows"]} == {"last", "span"}
    code, out, _ = call(capsys, "report", finished)
    assert code == 0
    assert "gpt2--step-0100" in out


def test_the_record_keeps_what_was_asked_for_and_nothing_of_this_machine(finished, folder):
    run = Run.open(finished)
    assert run.state == "complete"
    assert not [p for p in run.parts if "examples-" in p or "untrained" in p]
    layer = run.kept_layers("gpt2--step-0100")[-1]
    assert run.hidden("gpt2--step-0100", layer).shape[0] == len({line["prompt"] for line in examples()})
    text = (finished / "run.json").read_text()
    assert str(folder) not in text
    assert str(Path.home()) not in text


def test_a_finished_run_is_returned_as_it_is(finished, folder, capsys):
    before = (finished / "run.json").read_bytes()
    code, out, _ = call(capsys, "run", folder / "whole.yaml", "--out", finished)
    assert code == 0
    assert out.strip().splitlines()[-1] == str(finished)
    assert (finished / "run.json").read_bytes() == before


@pytest.mark.parametrize(
    "changes",
    [
        QUICK | {"patching": {"edits": ["delete_cue"]}, "other_model": {"name": "gpt2--other", "path": "second"}},
        trained(post_training=post_training("stopped"), patching={}),
        trained(verbal={}, patching={"checkpoints": ["gpt2--trained-5"]}),
        trained(verbal={"probes": True}),
    ],
    ids=["probes", "post-training", "verbal", "verbal and probes"],
)
def test_a_run_reports_progress_under_the_planned_stages(folder, tmp_path, changes):
    spec, told = load_spec(write(folder, "told", **changes)), {}
    pipeline.make_run(spec, tmp_path / "run", progress=lambda stage, done, total: told.update({stage: (done, total)}))
    assert list(told) == pipeline.stages(spec)
    assert all(done == total > 0 for done, total in told.values())


def test_labels_of_another_family(folder, capsys):
    target = {"name": "llama--step-0000", "path": "family"}
    path = write(folder, "cross", **QUICK, target=target, hidden={"layers": [-1], "keep": "none"})
    code, _, err = call(capsys, "run", path, "--out", folder / "cross", "--quiet")
    assert code == 0, err
    run = Run.open(folder / "cross")
    rows = run.read_table("metrics.parquet").to_pandas()
    assert set(rows["target"]) == {"llama--step-0000"}
    assert not [p for p in run.parts if p.startswith("hidden/")]
    first = rows[(rows.step == 0) & rows.chosen & rows.control.isna() & (rows.noise == 0)]
    assert (first.self - first.orig).abs().max() > 0, "the target is another model: Self and Orig differ from the start"


@pytest.fixture(scope="module")
def post_trained(folder) -> dict[str, Run]:
    """The run of each gradient."""
    specs = {g: write(folder, f"post-{g}", **trained(post_training=post_training(g))) for g in ("stopped", "flowing")}
    return {g: pipeline.make_run(load_spec(path), folder / f"post-{g}") for g, path in specs.items()}


def test_an_explainer_trained_in_the_loop_of_the_post_training(post_trained):
    for gradient, run in post_trained.items():
        rows = run.read_table("metrics.parquet").to_pandas()
        own = rows[(rows.condition == f"concurrent, gradient {gradient}") & rows.control.isna()]
        assert set(own.step) == {0, 5, 10}
        assert set(own.regime) == {"online"}
    f = {
        (gradient, name): run.read_table(f"behavior/gpt2--{name}.parquet").to_pandas().f
        for gradient, run in post_trained.items()
        for name in ("step-0000", "trained-10")
    }
    assert f["stopped", "trained-10"].mean() > f["stopped", "step-0000"].mean() + 0.05, "the dialogues teach answer a"
    assert (f["flowing", "trained-10"] - f["flowing", "step-0000"]).abs().mean() > 0.01
    moved = (f["stopped", "trained-10"] - f["flowing", "trained-10"]).abs().max()
    assert moved > 1e-4, "only a flowing gradient reaches the base model"


@pytest.mark.parametrize("gradient", ["stopped", "flowing"])
def test_post_training_that_was_stopped_goes_on_as_if_it_had_not_been(folder, post_trained, monkeypatch, gradient):
    monkeypatch.setattr(state, "SECONDS", 0.0)
    given = load_spec(write(folder, f"post-{gradient}", **trained(post_training=post_training(gradient))))
    out = folder / f"post-{gradient}-stopped"

    for share in (0.25, 0.65):

        def stop(stage: str, done: int, total: int, share: float = share) -> None:
            if stage == "post-training" and done >= share * total:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            pipeline.make_run(given, out, progress=stop)
        assert posttraining.STATE in Run.open(out).parts
    assert (out / "checkpoints" / "gpt2--trained-5").exists(), "the second stop was after this step"
    again = pipeline.make_run(given, out)
    hashes = ({part: about["sha256"] for part, about in run.parts.items()} for run in (again, post_trained[gradient]))
    assert next(hashes) == next(hashes)
    assert again.manifest["notes"] == post_trained[gradient].manifest["notes"], "weights among them"


@pytest.fixture(scope="module")
def unbroken(folder) -> Path:
    """A run made by a command of its own, as the killed ones are."""
    assert coupling("run", folder / "quick.yaml", "--out", folder / "unbroken", "--quiet") == 0
    return folder / "unbroken"


@pytest.mark.parametrize("part", ["examples.parquet", "behavior/gpt2--step-0000.parquet", "metrics.parquet"])
def test_a_killed_run_goes_on_and_ends_equal(folder, unbroken, part):
    """kill -9 between the write of a part and its record; the same command then gives the same bytes."""
    out = folder / f"killed-{part.replace('/', '-')}"
    command = ("run", folder / "quick.yaml", "--out", out, "--quiet")
    assert coupling(*command, killed_after=part) == -signal.SIGKILL
    assert Run.open(out).state == "interrupted"
    assert (out / part).exists() and part not in Run.open(out).parts
    assert coupling(*command) == 0
    assert verify(out) == []
    resumed, reference = ({k: v["sha256"] for k, v in Run.open(path).parts.items()} for path in (out, unbroken))
    assert resumed == reference


def test_pieces_that_a_kill_left_behind_are_dropped(folder, unbroken, monkeypatch):
    """Killed between the write of the whole and the removal of its pieces."""
    out, given = folder / "undropped", load_spec(folder / "quick.yaml")
    with monkeypatch.context() as patch:
        patch.setattr(measuring, "drop_pieces", Mock(side_effect=KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            pipeline.make_run(given, out)
    assert any(part.count("/") == 2 for part in Run.open(out).parts if part.startswith("behavior/"))
    pipeline.make_run(given, out)
    assert set(Run.open(out).parts) == set(Run.open(unbroken).parts)


def test_a_run_that_was_stopped_at_its_end_measures_nothing_again(folder, unbroken, monkeypatch):
    """Killed when the control model's behavior, which only explanations needed, was dropped."""
    out, given = folder / "at-its-end", load_spec(folder / "quick.yaml")
    with monkeypatch.context() as patch:
        patch.setattr(Run, "tidy", Mock(side_effect=KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            pipeline.make_run(given, out)
    assert not Run.open(out).has(f"behavior/{given.control_model.name}.parquet")
    monkeypatch.setattr(measuring, "_measure", Mock(side_effect=AssertionError))
    again = pipeline.make_run(given, out)
    assert again.manifest["notes"] == Run.open(unbroken).manifest["notes"]
    assert set(again.parts) == set(Run.open(unbroken).parts)


def test_ctrl_c_leaves_a_run_that_goes_on(folder):
    out = folder / "interrupted"
    command = [sys.executable, "-m", "engine", "run", str(folder / "whole.yaml"), "--out", str(out), "--quiet"]
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


@pytest.mark.parametrize(("error", "state"), [(ValueError("no\nluck"), "failed"), (SystemExit(1), "interrupted")])
def test_any_exception_gives_the_lock_back(folder, tmp_path, monkeypatch, error, state):
    monkeypatch.setattr(pipeline, "measure", Mock(side_effect=error))
    with pytest.raises(type(error)):
        pipeline.make_run(load_spec(folder / "whole.yaml"), tmp_path / "run")
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


def refused_spec(capsys, folder: Path, tmp_path: Path, **changes) -> str:
    """The message about a changed spec. It lies in the fixture's folder, so that its paths still lead to the models."""
    path = write(folder, tmp_path.name, **changes)
    return refused(capsys, "run", path, "--out", tmp_path / "run", "--quiet")


def test_bad_specs(capsys, folder, tmp_path):
    path = tmp_path / "bad.yaml"
    assert "no such file" in refused(capsys, "run", path)
    for text, said in (
        ("name: [", "line 1"),
        ("- name", "a spec is a mapping of keys"),
        ("name: x", "'task' is missing"),
    ):
        path.write_text(text)
        assert said in refused(capsys, "run", path)
    assert "unknown key 'explianers'" in refused_spec(capsys, folder, tmp_path, explianers={})


@pytest.mark.parametrize(("path", "said"), [("absent", "absent"), (".", "config"), ("bert", "a causal language model")])
def test_a_folder_that_is_no_causal_model(capsys, folder, tmp_path, path, said):
    if path == "bert":
        shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
        BertModel(BertConfig(vocab_size=50, **shape)).save_pretrained(tmp_path / path)
        tokenizer().save_pretrained(tmp_path / path)
    checkpoints = [{"name": "gpt2--step-0", "path": str(tmp_path / path)}]
    assert said in refused_spec(capsys, folder, tmp_path, checkpoints=checkpoints)


SPLITS = ("train",) * 4 + ("test_heldout",)


def test_an_example_longer_than_the_context(capsys, folder, tmp_path):
    apart = ("group", "cue", "entity")
    rows = [
        examples()[0] | {"prompt": "house " * (3000 + i), "split": split} | dict.fromkeys(apart, f"{i}")
        for i, split in enumerate(SPLITS)
    ]
    (tmp_path / "data.jsonl").write_text("\n".join(map(json.dumps, rows)))
    task = {"name": "from_file", "path": str(tmp_path / "data.jsonl")}
    assert "tokens" in refused_spec(capsys, folder, tmp_path, task=task)


def test_a_cut_off_part(capsys, finished, tmp_path):
    shutil.copytree(finished, tmp_path / "cut")
    part = tmp_path / "cut" / "metrics.parquet"
    part.write_bytes(part.read_bytes()[:1000])
    code, out, _ = call(capsys, "verify", tmp_path / "cut")
    assert code == 1
    assert "metrics.parquet" in out
    assert "metrics.parquet" in refused(capsys, "report", tmp_path / "cut", "--json")


def test_a_run_that_is_still_running(capsys, folder, tmp_path):
    out = tmp_path / "busy"
    with Run.create(out, relative_paths(load_spec(folder / "whole.yaml"), out), provenance={}):
        assert "another process" in refused(capsys, "run", folder / "whole.yaml", "--out", out, "--quiet")
        assert "no metrics yet" in refused(capsys, "report", out)
    assert "not a run" in refused(capsys, "report", tmp_path)


def test_a_busy_port_is_said_and_the_next_one_taken():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert free_port(port) > port
