"""Post-training with an adapter: what is saved, that it answers as merged weights do, that it goes on if stopped."""

from __future__ import annotations

import json
import shutil
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import PeftModel
from safetensors import safe_open
from transformers import AutoModelForCausalLM

from engine import pipeline
from engine.config import RunSpec, SpecError
from engine.runs.report import report
from engine.runs.store import Run
from engine.runs.verify import verify
from engine.spec_files import load_spec
from engine.training import posttraining, state
from engine.training.dialogues import held_out
from tests.tiny_models import build
from tests.tiny_run import examples, write_spec

FIRST = {"name": "gpt2--step-0000", "path": "first"}
LAST = "gpt2--trained-10"
POST = {"dialogues": "dialogues.jsonl", "learning_rate": 0.02, "lora": {"rank": 2}}


def a_spec(folder: Path, name: str = "tiny", first: dict | None = None, **post: object) -> RunSpec:
    """The tiny run with post-training of an adapter, and an explainer in its loop."""
    dialogues = [{"prompt": f"{i}. {e['prompt']}", "answer": e["answer_a"]} for e in examples() for i in range(3)]
    lines = "".join(json.dumps(line) + "\n" for line in dialogues)
    steps = [{"name": f"gpt2--trained-{s}", "step": s, "trained": True} for s in (5, 10)]
    concurrent = {"edit": "delete_cue", "gradient": "flowing"}
    path = write_spec(
        folder,
        name,
        checkpoints=[first or FIRST, *steps],
        explainers={"kinds": ["ridge"], "folds": 2, "steps": 20},
        post_training=POST | {"concurrent": concurrent} | post,
    )
    (folder / "dialogues.jsonl").write_text(lines)
    return load_spec(path)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("lora")


@pytest.fixture(scope="module")
def finished(base: Path) -> Run:
    return pipeline.make_run(a_spec(base), base / "finished")


def f_of(run: Run, checkpoint: str) -> np.ndarray:
    return run.read_table(f"behavior/{checkpoint}.parquet").to_pandas().f.to_numpy()


def test_adapters_are_kept_in_place_of_models(finished: Run, base: Path) -> None:
    assert verify(finished.path) == []
    folder = finished.path / "checkpoints" / LAST
    assert sorted(p.name for p in folder.iterdir()) == ["adapter_config.json", "adapter_model.safetensors"]
    assert str(base) not in (folder / "adapter_config.json").read_text()
    with safe_open(folder / "adapter_model.safetensors", framework="np") as arrays:
        assert {"lora_A", "lora_B"} == {name.split(".")[-2] for name in arrays.keys()}  # noqa: SIM118
    assert set(finished.manifest["notes"]["weights"]) == {"gpt2--trained-5", LAST}
    assert np.abs(f_of(finished, LAST) - f_of(finished, FIRST["name"])).max() > 0.1, "it has learnt something"


def test_an_adapter_loads_with_peft_alone(finished: Run, base: Path) -> None:
    one = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(base / "first"), finished.path / "checkpoints" / LAST
    )
    assert torch.isfinite(one(input_ids=torch.tensor([[5, 6, 7]])).logits).all()


def test_it_is_measured_as_the_merged_model_is(finished: Run, base: Path) -> None:
    merged = pipeline.make_run(a_spec(base, "merged", lora={"rank": 2, "save_as": "merged"}), base / "merged")
    assert (merged.path / "checkpoints" / LAST / "config.json").is_file() and verify(merged.path) == []
    for checkpoint in ("gpt2--trained-5", LAST):
        np.testing.assert_allclose(f_of(finished, checkpoint), f_of(merged, checkpoint), atol=1e-5)
    assert finished.manifest["notes"]["losses"] == merged.manifest["notes"]["losses"]


def test_what_was_stopped_goes_on_as_if_it_had_not_been(
    finished: Run, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state, "SECONDS", 0.0)
    given, out = a_spec(base), base / "stopped"
    for share in (0.25, 0.65):

        def stop(stage: str, done: int, total: int, share: float = share) -> None:
            if stage == "post-training" and done >= share * total:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            pipeline.make_run(given, out, progress=stop)
        saved = Run.open(out).read_arrays(posttraining.STATE)
        assert {name.split(".")[-3] for name in saved if name.startswith("weight:")} == {"lora_A", "lora_B"}
    again = pipeline.make_run(given, out)
    hashes = ({part: about["sha256"] for part, about in run.parts.items()} for run in (again, finished))
    assert next(hashes) == next(hashes)
    assert again.manifest["notes"] == finished.manifest["notes"], "losses and hashes of the adapters among them"


def test_a_damaged_or_missing_adapter_is_found(finished: Run, tmp_path: Path) -> None:
    copied = shutil.copytree(finished.path, tmp_path / "copied")
    file = copied / "checkpoints" / LAST / "adapter_model.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[:-4] + b"1234")
    assert verify(copied) == [f"checkpoints/{LAST}: damaged (its contents are not what was recorded)"]
    file.write_bytes(whole[:50])
    assert "damaged" in verify(copied)[0]
    (file.parent / "adapter_config.json").unlink()
    assert "adapter_config.json" in verify(copied)[0]
    shutil.rmtree(file.parent)
    assert "missing" in verify(copied)[0]


def test_the_loss_is_measured_on_what_is_held_out(finished: Run, capsys: pytest.CaptureFixture) -> None:
    losses = report(finished.path)["losses"]
    assert list(losses) == [FIRST["name"], "gpt2--trained-5", LAST]
    for kind in ("training", "validation"):
        values = [at[kind] for at in losses.values()]
        assert values == sorted(values, reverse=True) and values[-1] < values[0] - 0.1, kind
    assert finished.manifest["notes"]["post_training"]["held_out"] >= 8


def test_a_small_file_is_trained_on_in_full(base: Path, tmp_path: Path) -> None:
    shutil.copytree(base / "first", tmp_path / "first")
    run = pipeline.make_run(a_spec(tmp_path, validation=0.01, concurrent=None), tmp_path / "run")
    assert run.manifest["notes"]["post_training"]["held_out"] is None
    assert report(run.path)["losses"] == {} and verify(run.path) == []


def test_a_prompt_is_held_out_with_all_its_answers() -> None:
    dialogues = [(f"prompt {i % 100}", f" {i}") for i in range(250)]
    trained, held = held_out(dialogues, 0.1, np.random.default_rng(0))
    assert sorted(trained + held) == sorted(dialogues) and len({p for p, _ in held}) == 10
    assert not {p for p, _ in trained} & {p for p, _ in held}
    assert held_out(dialogues, 0.1, np.random.default_rng(0)) == (trained, held)
    for share in (0.0, 0.03):
        assert held_out(dialogues[:50], share, np.random.default_rng(0)) == (dialogues[:50], [])


def test_the_adapter_of_the_first_checkpoint_is_trained_further(finished: Run, base: Path, tmp_path: Path) -> None:
    adapter = finished.path / "checkpoints" / LAST
    first = {"name": "gpt2--first", "path": str(base / "first"), "adapter": str(adapter)}
    build("gpt2", tmp_path / "first")
    run = pipeline.make_run(a_spec(tmp_path, first=first, lora={"rank": 7}, concurrent=None), tmp_path / "run")
    assert verify(run.path) == [] and np.allclose(f_of(run, "gpt2--first"), f_of(finished, LAST), atol=1e-5)
    losses = [at["training"] for at in report(run.path)["losses"].values()]
    assert losses[-1] < losses[0] < report(finished.path)["losses"][FIRST["name"]]["training"]
    folder = run.path / "checkpoints" / LAST
    assert sorted(p.name for p in folder.iterdir()) == ["adapter_config.json", "adapter_model.safetensors"]
    assert json.loads((folder / "adapter_config.json").read_text())["r"] == 2, "the rank of the adapter itself"


def test_words_do_not_go_on_an_adapter(tmp_path: Path) -> None:
    build("gpt2", tmp_path / "first")
    steps = [{"name": "gpt2--trained-5", "step": 5, "trained": True}]
    for save_as, refused in (("adapter", True), ("merged", False)):
        path = write_spec(
            tmp_path,
            "words",
            checkpoints=[FIRST | {"adapter": "somewhere"}, *steps],
            verbal={"lora": {"save_as": save_as}},
        )
        with pytest.raises(SpecError, match="save_as: merged") if refused else nullcontext():
            load_spec(path)


@pytest.mark.parametrize("option", [{"load_in": "8bit"}, {"device_map": "auto"}])
def test_what_is_not_whole_in_one_memory_is_not_trained(tmp_path: Path, option: dict) -> None:
    build("gpt2", tmp_path / "first")
    with pytest.raises(SpecError, match="trained further, so it has no load_in"):
        a_spec(tmp_path, first=FIRST | option)
