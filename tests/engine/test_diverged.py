"""A checkpoint that diverged is not testable, and the run goes on with the others. A full disk loses nothing."""

from __future__ import annotations

import json
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from engine import pipeline
from engine.config import CheckpointSpec, InputError, RunSpec
from engine.model.checkpoints import load
from engine.model.saving import save
from engine.model.sizes import DivergedError
from engine.runs.files import RunError
from engine.runs.report import report
from engine.runs.store import Run
from engine.runs.verify import verify
from engine.spec_files import load_spec
from tests.dashboard.app import Open, opened
from tests.tiny_models import build
from tests.tiny_run import examples, write_spec

__all__ = ["opened"]  # a fixture
QUICK = {
    "explainers": {"kinds": ["ridge"], "folds": 2, "steps": 5},
    "noise": {"levels": [0]},
    "hidden": {"layers": [-1]},
}
GIVEN = [{"name": f"gpt2--step-{s:04d}", "path": path, "step": s} for s, path in enumerate(("first", "second", "bad"))]


def diverged(folder: Path) -> None:
    """A model `bad` with one weight that is NaN."""
    build("gpt2", folder / "bad", seed=3)
    one = load(CheckpointSpec(name="gpt2--bad", path=str(folder / "bad")), "cpu")
    one.model.get_input_embeddings().weight[5, 5] = float("nan")
    save(one.model, one.tokenizer, folder / "bad")


def spec(folder: Path, **changes: object) -> RunSpec:
    return load_spec(write_spec(folder, **QUICK | changes))


def test_a_later_checkpoint_that_diverged_is_not_testable_and_the_others_are_measured(
    tmp_path: Path, opened: Open
) -> None:
    diverged(tmp_path)
    given = spec(tmp_path, checkpoints=[GIVEN[0], GIVEN[2], GIVEN[1] | {"step": 5}], patching={"examples": 4})
    run = pipeline.make_run(given, tmp_path / "run")
    assert run.state == "complete" and verify(run.path) == []
    assert list(run.diverged) == ["gpt2--step-0002"] and "diverged in training" in run.diverged["gpt2--step-0002"]
    assert {c.name for c in run.spec.checkpoints} == {c["name"] for c in GIVEN}, "the spec stays as it was asked for"
    content = report(run.path)
    assert content["not_testable"] == run.diverged
    assert {row["checkpoint"] for row in content["rows"]} == {"gpt2--step-0000", "gpt2--step-0001"}
    assert pipeline.make_run(given, tmp_path / "run").state == "complete", "the same command finds it finished"
    for page in ("overview", "trajectory", "mechanism", "compare"):
        app = opened(tmp_path, page, run="run")
        assert not app.error and any("diverged in training" in warning.value for warning in app.warning), page
    app = opened(tmp_path, "overview", run="run", checkpoint="gpt2--step-0002")
    assert not app.error, "an address that names it is complained about, and the page drawn"


def test_the_first_checkpoint_has_to_be_sound(tmp_path: Path) -> None:
    diverged(tmp_path)
    with pytest.raises(DivergedError, match="gpt2--step-0002"):
        pipeline.make_run(spec(tmp_path, checkpoints=[GIVEN[2], GIVEN[1] | {"step": 5}]), tmp_path / "run")
    run = Run.open(tmp_path / "run")
    assert run.state == "failed" and "diverged" in run.manifest["error"] and run.has("examples.parquet")


def test_a_training_that_diverges_leaves_what_can_be_measured(tmp_path: Path) -> None:
    lines = [json.dumps({"prompt": line["prompt"], "answer": line["answer_a"]}) + "\n" for line in examples(1)]
    (tmp_path / "dialogues.jsonl").write_text("".join(lines))
    trained = [{"name": f"gpt2--trained-{s}", "step": s, "trained": True} for s in (1, 2)]
    post = {"dialogues": "dialogues.jsonl", "learning_rate": 1e38, "concurrent": {"edit": "delete_cue", "layer": -1}}
    run = pipeline.make_run(
        spec(tmp_path, checkpoints=[GIVEN[0], *trained], post_training=post | {"prompts_a_step": 4}), tmp_path / "run"
    )
    assert run.state == "complete" and set(run.diverged) == {"gpt2--trained-1", "gpt2--trained-2"}
    assert verify(run.path) == []


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Files may have no more bytes than this, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_weights_that_cannot_be_written_leave_nothing_half_written(tmp_path: Path) -> None:
    one, made = (
        load(CheckpointSpec(name="gpt2--one", path=str(build("gpt2", tmp_path / "one"))), "cpu"),
        tmp_path / "made",
    )
    for before in (None, "first"):
        with largest_file(20_000), pytest.raises(RunError, match=r"made: (larger than files may be|the disk is full)"):
            save(one.model, one.tokenizer, made)
        assert sorted(p.name for p in tmp_path.iterdir()) == ["made", "one"][before is None :]
        save(one.model, one.tokenizer, made)
    assert torch.equal(
        load(CheckpointSpec(name="gpt2--made", path=str(made)), "cpu").model.lm_head.weight, one.model.lm_head.weight
    )


def test_a_run_whose_weights_cannot_be_written_goes_on_later(tmp_path: Path) -> None:
    (tmp_path / "dialogues.jsonl").write_text(json.dumps({"prompt": "Is it so?", "answer": " yes"}) + "\n")
    trained = {"name": "gpt2--trained-1", "step": 1, "trained": True}
    post = {"dialogues": "dialogues.jsonl", "prompts_a_step": 2}
    given = spec(tmp_path, checkpoints=[GIVEN[0], trained], post_training=post)
    with largest_file(60_000), pytest.raises(InputError, match="larger than files may be"):
        pipeline.make_run(given, tmp_path / "run")
    run = Run.open(tmp_path / "run")
    assert run.state == "failed" and run.has("behavior/gpt2--step-0000.parquet")
    assert not list((tmp_path / "run" / "checkpoints").iterdir())
    assert pipeline.make_run(given, tmp_path / "run").state == "complete" and verify(tmp_path / "run") == []


@pytest.mark.parametrize("change", [{"group": "one"}, {"split": "train"}, {"split": "test_heldout"}])
def test_examples_that_no_explainer_can_use_are_refused_before_anything_is_measured(
    tmp_path: Path, change: dict
) -> None:
    given = spec(tmp_path)
    rows = [json.dumps(line | change) + "\n" for line in examples(1)]
    (tmp_path / "data.jsonl").write_text("".join(rows))
    with pytest.raises(InputError, match=r"in one group|no kind of edit has") as caught:
        pipeline.make_run(given, tmp_path / "run")
    assert "\n" not in str(caught.value) and not (tmp_path / "run").exists()
