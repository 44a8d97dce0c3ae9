"""A run of chat models: two templates and tokenizers share one set of messages, and what was used is recorded."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from dashboard.reading import models
from engine.config import ChatSpec, InputError, RunSpec
from engine.model import chat
from engine.model.checkpoints import load
from engine.model.of_run import chat_of
from engine.pipeline import make_run
from engine.runs.store import Run
from engine.spec_files import load_spec
from tests import reference
from tests.tiny_models import build, tokenizer
from tests.tiny_run import examples, write_spec

TURNED = "{{ strftime_now('%j') }}{% for m in messages %}<{{ m.role }}>{{ m.content | trim }}\n{% endfor %}"
TURNED += "{% if add_generation_prompt %}<assistant>{% endif %}"
QUOTED = (
    "{% for m in messages %}{{ m.role[0] }}: {{ m.content }}\n{% endfor %}{% if add_generation_prompt %}a: {% endif %}"
)
NAMES = ("gpt2--turned", "llama--quoted")


def with_template(shape: str, folder: Path, template: str, **options: bool) -> Path:
    build(shape, folder, **options)
    words = tokenizer(**options)
    words.chat_template = template
    words.save_pretrained(folder)
    return folder


def as_messages(line: dict) -> dict:
    """The question of a plain example as messages: its first sentence is a turn of its own."""
    first, rest = "Be quick.", {key: [{"role": "user", "content": line[key]}] for key in ("prompt", "edited")}
    return line | {key: [{"role": "system", "content": first}, *said] for key, said in rest.items()}


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> RunSpec:
    folder = tmp_path_factory.mktemp("chat")
    with_template("gpt2", folder / "turned", TURNED)
    with_template("llama", folder / "quoted", QUOTED, bos=True, space_prefix=True)
    steps = [{"name": name, "path": name.split("--")[1], "step": step} for step, name in enumerate(NAMES)]
    path = write_spec(folder, checkpoints=steps, noise={"levels": [0], "kinds": []})
    lines = [as_messages(line) for line in examples()]
    (folder / "data.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return load_spec(path)


@pytest.fixture(scope="module")
def finished(spec: RunSpec, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Stopped after the first checkpoint, and ended on another day."""
    out = tmp_path_factory.mktemp("runs") / "chat"
    with pytest.MonkeyPatch.context() as patch:
        for today, stops in ((date(2026, 3, 31), True), (date(2026, 4, 1), False)):
            fixed = SimpleNamespace(today=lambda day=today: day, fromisoformat=date.fromisoformat)
            patch.setattr(chat, "date", fixed)
            if stops:
                patch.setattr("engine.pipeline.explain", lambda *_, **__: (_ for _ in ()).throw(InputError("stopped")))
                with pytest.raises(InputError, match="stopped"):
                    make_run(spec, out)
                patch.undo()
            else:
                return make_run(spec, out)
    raise AssertionError


def test_each_checkpoint_reads_the_messages_in_its_own_template(spec: RunSpec, finished: Run) -> None:
    table = finished.read_table("examples.parquet").slice(0, 6).to_pandas()
    assert table["prompt"].str.startswith("⟦system⟧Be quick.\n⟦user⟧Question").all()
    answers = list(zip(table["answer_a"], table["answer_b"], strict=True))
    for checkpoint in spec.checkpoints:
        model = load(checkpoint, "cpu", chat=ChatSpec(date="2026-03-31"))
        f = finished.read_table(f"behavior/{checkpoint.name}.parquet")["f"].to_numpy()[:6]
        np.testing.assert_allclose(f, reference.behavior(model, list(table["prompt"]), answers), atol=1e-4)
        text = model.chat.read(table["prompt"][0]).text  # type: ignore[union-attr]
        asked = table["prompt"][0].split("⟦user⟧")[1]
        assert text in (f"090<system>Be quick.\n<user>{asked}\n<assistant>", f"s: Be quick.\nu: {asked}\na: ")


def test_what_was_used_is_recorded_and_used_again(spec: RunSpec, finished: Run) -> None:
    noted = finished.manifest["notes"]["chat"]
    assert set(noted) >= set(NAMES)
    assert noted[NAMES[0]]["date"] == "2026-03-31" and "date" not in noted[NAMES[1]]
    assert noted[NAMES[0]]["template_sha256"] != noted[NAMES[1]]["template_sha256"]
    again = Run.open(finished.path)
    assert chat_of(again.spec, again.manifest).date == "2026-03-31", "a run that goes on reads the same text"
    with models.model(finished.path, NAMES[0]) as model:
        assert model.chat is not None and model.chat.used == noted[NAMES[0]], "the lab reads as the run did"
    without = again.manifest | {"notes": {}}
    assert chat_of(again.spec, without).mode == "off", "finished runs of earlier versions read plain text"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (
            {"chat": "on", "checkpoints": [{"name": "gpt2--plain", "path": "first"}]},
            "has no chat template: set chat: auto",
        ),
        ({"chat": {"mode": "off"}}, "example [0-9a-f]{16}: its prompt has messages, and this model reads plain text"),
        ({"chat": {"system": "Be brief. " * 60}}, r"example .* take \d+ tokens, gpt2--turned reads at most 128"),
    ],
)
def test_a_run_that_cant_read_its_prompts_says_why(spec: RunSpec, tmp_path: Path, change: dict, why: str) -> None:
    folder = Path(spec.checkpoints[0].path).parent
    data = {"checkpoints": [{"name": NAMES[0], "path": "turned"}]} | change
    made = load_spec(write_spec(folder, **data))
    lines = [as_messages(line) for line in examples()]
    if "system" in str(change):
        lines = [line | {key: line[key][1:] for key in ("prompt", "edited")} for line in lines]
    (folder / "data.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(InputError, match=why):
        make_run(made, tmp_path / "out")
