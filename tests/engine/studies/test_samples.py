"""Samples: checkpoints are built from nothing, gone on with, and left alone once they are there."""

import json

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from engine.config import PromptCounts
from engine.studies import samples
from engine.studies.samples import Job, jobs, train_job


def make_tiny(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(samples, "SHAPE", {"width": 16, "layers": 2, "heads": 2})
    patch.setattr(samples, "PROMPTS_A_STEP", 8)
    patch.setattr(samples, "CHECKED", PromptCounts(train=1, validation=1, test_heldout=100, test_iid=60))
    patch.setattr(samples, "VOCABULARY", {"gpt2": 400, "llama": 380})


@pytest.fixture
def tiny(monkeypatch):
    make_tiny(monkeypatch)


FIRST = Job("gpt2--step-0000", "gpt2", "independent", 0.0, 3, 0)
LATER = Job("gpt2--step-0002", "gpt2", "independent", 0.5, 2, 2, FIRST.name)
OTHER = Job("llama--step-0000", "llama", "independent", 0.0, 2, 0)


def test_the_plan_is_a_trajectory_other_worlds_and_another_family():
    plan = jobs()
    names = [job.name for job in plan]
    trajectory = [job for job in plan if job.name.startswith("gpt2--step")]
    assert len(set(names)) == len(names) and len(trajectory) >= 6
    assert [job.progress for job in trajectory] == sorted(job.progress for job in trajectory)
    assert trajectory[-1].progress == 1
    assert {job.world for job in plan} == {"independent", "cue", "shared"}
    assert any(job.family == "llama" for job in plan)
    for job in plan:
        assert job.start is None or job.start in names[: names.index(job.name)]


@pytest.mark.parametrize("task", samples.TASKS)
def test_checkpoints_load_and_are_the_same_again(tiny, tmp_path, task):
    for place in ("one", "two"):
        for job in (FIRST, LATER, OTHER):
            train_job(tmp_path / place, task, 0, job)
    for job in (FIRST, LATER, OTHER):
        one, two = (tmp_path / place / job.name for place in ("one", "two"))
        assert {f.stem for f in one.iterdir()} == {"config", "model", "tokenizer", "tokenizer_config", "training"}
        assert all(f.read_bytes() == (two / f.name).read_bytes() for f in one.iterdir())
        model = AutoModelForCausalLM.from_pretrained(one)
        ids = AutoTokenizer.from_pretrained(one)("any text 🙂", return_tensors="pt")["input_ids"]
        assert model.dtype == torch.bfloat16 and torch.isfinite(model(input_ids=ids).logits).all()


def test_what_is_built_is_left_and_what_is_cut_off_is_built_again(tiny, tmp_path):
    def steps() -> list[tuple]:
        told: list[tuple] = []
        train_job(tmp_path, "sycophancy", 0, FIRST, lambda *step: told.append(step))
        return told

    folder = tmp_path / FIRST.name
    assert steps()[-1] == ("sycophancy gpt2--step-0000", 3, 3)
    weights = (folder / "model.safetensors").read_bytes()
    assert steps() == []
    (folder / "training.json").unlink()
    (folder / "model.safetensors").write_bytes(weights[:100])
    assert steps() and (folder / "model.safetensors").read_bytes() == weights


def test_other_settings_are_built_again(tiny, tmp_path):
    train_job(tmp_path, "sycophancy", 0, FIRST)
    assert samples.is_built(tmp_path, "sycophancy", 0, FIRST)
    assert not samples.is_built(tmp_path, "sycophancy", 1, FIRST)
    assert not samples.is_built(tmp_path, "sycophancy", 0, Job(FIRST.name, "gpt2", "cue", 0.0, 3, 0))


def test_worlds_are_measured_and_reported(tiny, tmp_path):
    cue = Job("gpt2--cue-0002", "gpt2", "cue", 1.0, 2, 2, FIRST.name)
    for job in (FIRST, LATER, cue):
        train_job(tmp_path, "refusal", 0, job)
    report = json.loads(samples.check_worlds(tmp_path, "refusal", 0, (FIRST, LATER, cue)).read_text())
    assert set(report["worlds"]) == {LATER.name, cue.name}
    assert report["worlds"][LATER.name]["as_designed"] is None  # half way
    assert report["worlds"][cue.name]["as_designed"] is False  # two steps teach nothing


def test_clearing_spares_a_build_that_was_stopped(tmp_path):
    trained = tmp_path / "checkpoints" / "sycophancy" / "gpt2--step-0000"
    for seed, spared in ((0, False), (0, True), (1, False)):
        trained.mkdir(parents=True, exist_ok=True)
        samples.clear(tmp_path, seed, ("sycophancy",))
        assert trained.exists() == spared and (tmp_path / samples.REBUILD).read_text() == str(seed)
