"""`coupling import`: the preview, the folder it writes, and what it refuses to write."""

import json
import os
import subprocess
import sys

import pytest
from jsonschema import Draft202012Validator
from typer.testing import CliRunner

from engine import child_environment
from engine.__main__ import app
from engine.config import ChatSpec, InputError, TaskSpec
from engine.importing.build import read
from engine.importing.folder import check_folder, default_name, printable, spec_of, write
from engine.importing.options import FORMATS
from engine.model.chat import chat_for
from engine.runs.files import RunError, sha256_of
from engine.spec_files import load_spec
from engine.tasks import task_examples
from engine.tasks.messages import as_text
from tests.chat_templates import SMOLLM2
from tests.engine.importing.samples import STATEMENTS, imported, json_lines
from tests.tiny_models import tokenizer

FILES = ["examples.jsonl", "skipped.jsonl", "source.json", "spec.yaml"]


def run(*args):
    done = CliRunner().invoke(app, ["import", *map(str, args)])
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done


@pytest.fixture
def file(tmp_path):
    return json_lines(tmp_path / "my answers.jsonl", [*STATEMENTS, "{", *['{"question": "x"}'] * 25])


def test_the_folder_that_is_written(tmp_path, file):
    out = tmp_path / "deep" / "out"
    done = run("anthropic-evals", file, "--out", out)
    assert done.exit_code == 0 and sorted(os.listdir(out)) == FILES
    for said in (
        "edit: delete_hint of 'My ",
        "x′: Is the following statement",
        "answers: a ' ",
        "56 rows, 26 skipped → 60 examples",
        "30 delete_hint, 30 replace_speaker",
        "line 31: not valid JSON",
        "… and 6 more skipped rows; all are in skipped.jsonl",
    ):
        assert said in done.output, said
    skipped = [json.loads(line) for line in (out / "skipped.jsonl").read_text().splitlines()]
    assert [item["line"] for item in skipped] == list(range(31, 57))
    source = json.loads((out / "source.json").read_text())
    assert source["licence"] == "CC BY 4.0" and "Perez" in source["source"]
    assert source["files"] == [{"name": file.name, "bytes": file.stat().st_size, "sha256": sha256_of(file)}]
    assert (source["rows"], source["skipped"], source["examples"]) == (56, 26, 60)
    assert source["options"]["name"] == "my-answers" and sum(source["splits"].values()) == 60


def test_the_written_spec_and_examples_are_read_by_the_engine(tmp_path, file):
    run("anthropic-evals", file, "--out", tmp_path / "out", "--task", "mine")
    spec = load_spec(tmp_path / "out" / "spec.yaml")
    assert spec.name == "mine" and "CC BY 4.0" in spec.note and spec.explainers.headline_edits == ("delete_hint",)
    assert "FILL IN" in (tmp_path / "out" / "spec.yaml").read_text()
    examples = task_examples(spec.task)
    made = imported("anthropic-evals", file)
    assert [(e.prompt, e.edited, e.spans, e.split) for e in examples] == [
        (m.prompt, m.edited, tuple(m.spans), m.split) for m in made.lines
    ]
    held = task_examples(
        TaskSpec(name="from_file", path=str(tmp_path / "out" / "examples.jsonl"), edits=("delete_hint",))
    )
    assert len(held) == 30


@pytest.mark.parametrize("closing", [None, "", "\nI would say:"])
def test_for_chat_models_the_closing_begins_the_assistants_answer(tmp_path, file, closing):
    given = [] if closing is None else ["--closing", closing]
    assert run("anthropic-evals", file, "--out", tmp_path / "out", "--chat", *given).exit_code == 0
    first = json.loads((tmp_path / "out" / "examples.jsonl").read_text().splitlines()[0])
    lead = "Answer:" if closing is None else closing.strip()
    assert [m["role"] for m in first["prompt"]] == (["user", "assistant"] if lead else ["user"])
    plain = imported("anthropic-evals", file, **({} if closing is None else {"closing": closing})).lines
    words = tokenizer()
    words.chat_template = SMOLLM2
    chat = chat_for(words, ChatSpec())
    for e, m in zip(task_examples(load_spec(tmp_path / "out" / "spec.yaml").task), plain, strict=True):
        for text, spans, as_plain, its_spans in (
            (e.prompt, e.spans, m.prompt, m.spans),
            (e.edited, e.edited_spans, m.edited, m.edited_spans),
        ):
            said = as_plain.removesuffix(lead).rstrip("\n")
            assert text == as_text([("user", said), *([("assistant", lead)] if lead else [])])
            assert [text[a:b] for a, b in spans] == [as_plain[a:b] for a, b in its_spans]
        assert chat is not None and chat.read(e.prompt).text.endswith(f"<|im_start|>assistant\n{lead}")


def test_odd_names_stay_inside_the_written_spec(tmp_path):
    odd = tmp_path / 'a"b: {c}\u2028#.jsonl'
    json_lines(odd, STATEMENTS)
    run("anthropic-evals", odd, "--out", tmp_path / "out", "--source", 'x: {y} "z"\\', "--licence", "none: yet")
    spec = load_spec(tmp_path / "out" / "spec.yaml")
    assert odd.name in spec.note and 'x: {y} "z"\\, none: yet' in spec.note


def test_a_preview_writes_nothing(tmp_path, file):
    for flag in ("--dry-run", "--preview"):
        done = run("anthropic-evals", file, "--out", tmp_path / "out", flag, "--show", 3)
        assert done.output.count("edit: delete_hint") == 3 and not (tmp_path / "out").exists()


def test_an_existing_folder_is_kept_unless_replace_is_given(tmp_path, file):
    out = tmp_path / "out"
    run("anthropic-evals", file, "--out", out)
    (out / "my notes.md").write_text("keep me")
    before = (out / "examples.jsonl").read_bytes()
    with pytest.raises(InputError, match="not empty: give another folder with --out, or --replace"):
        run("anthropic-evals", file, "--out", out, "--seed", 5)
    assert (out / "examples.jsonl").read_bytes() == before
    run("anthropic-evals", json_lines(tmp_path / "y.jsonl", STATEMENTS), "--out", out, "--seed", 5, "--replace")
    assert (out / "examples.jsonl").read_bytes() != before and not (out / "skipped.jsonl").exists()
    assert (out / "my notes.md").read_text() == "keep me"
    with pytest.raises(InputError, match="is a file"):
        check_folder(out / "my notes.md", True)


def test_the_same_command_writes_the_same_bytes(tmp_path, file):
    for name in ("one", "two"):
        run("anthropic-evals", file, "--out", tmp_path / name)
    for name in FILES:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_nothing_is_written_where_nothing_can_be_used(tmp_path):
    with pytest.raises(InputError, match="none of 2 rows can be used: line 1: not valid JSON"):
        run("anthropic-evals", json_lines(tmp_path / "x.jsonl", ["{ ?", "{"]), "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_failure_while_writing_leaves_no_record_of_a_finished_import(tmp_path, file, monkeypatch):
    out = tmp_path / "out"
    made = imported("anthropic-evals", file)
    write(made, out)
    from engine.importing import folder as importing

    def full(path, _):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(importing, "replace_file", full)
    with pytest.raises(RunError, match="the disk is full"):
        write(made, out)
    assert "source.json" not in os.listdir(out) and not [name for name in os.listdir(out) if name.endswith(".tmp")]


@pytest.mark.skipif(os.name != "posix", reason="needs a pseudo-terminal")
@pytest.mark.parametrize("typed, written", [("n", False), ("y", True)])
def test_a_terminal_is_asked(tmp_path, file, typed, written):
    import pty

    ours, theirs = pty.openpty()
    os.write(ours, f"{typed}\n".encode())
    command = [sys.executable, "-m", "engine", "import", "anthropic-evals", str(file), "--out", str(tmp_path / "out")]
    done = subprocess.run(
        command, stdin=theirs, capture_output=True, text=True, timeout=120, check=False, env=child_environment()
    )
    os.close(ours)
    os.close(theirs)
    assert f"Write {tmp_path / 'out'}?" in done.stdout + done.stderr
    assert (tmp_path / "out").exists() == written and done.returncode == (0 if written else 1)


def test_the_schema_holds_for_what_is_written_and_refuses_what_is_refused(file):
    schema = json.loads(run("--schema").output)
    Draft202012Validator.check_schema(schema)
    valid = Draft202012Validator(schema).is_valid
    line = imported("anthropic-evals", file).lines[0].model_dump(mode="json", exclude_none=True)
    assert valid(line) and valid({name: line[name] for name in schema["required"]})
    assert set(schema["required"]) == {"prompt", "edited", "edit", "answer_a", "answer_b"}
    said = [{"role": "user", "content": "So?"}]
    assert valid(line | {"prompt": said, "spans": [[0, 0, 2]]})
    for wrong in (
        {"prompt": ""},
        {"prompt": []},
        {"prompt": [{"role": "tool", "content": "So?"}]},
        {"split": "test"},
        {"more": 1},
        {"spans": [[1]]},
        {"metadata": "x"},
    ):
        assert not valid(line | wrong)
    assert all(about.get("description") for about in schema["properties"].values())


def test_what_is_missing_on_the_command_line_is_said(tmp_path):
    with pytest.raises(InputError, match="give FORMAT"):
        run()
    with pytest.raises(InputError, match="format: Input should be 'anthropic-evals', 'xstest'"):
        run("xtest", tmp_path / "x")
    with pytest.raises(InputError, match="--speakers needs a text file"):
        run("anthropic-evals", tmp_path / "x", "--speakers", tmp_path / "none")
    (tmp_path / "who").write_text("A stranger\nAda")
    with pytest.raises(InputError, match="'A stranger' is what replaces a speaker"):
        run("anthropic-evals", json_lines(tmp_path / "x", STATEMENTS), "--speakers", tmp_path / "who", "--dry-run")
    with pytest.raises(InputError, match="60 hints for each question need as many speakers"):
        run("anthropic-evals", tmp_path / "x", "--hints", 60, "--dry-run")


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_refuses_a_missing_file(tmp_path, form):
    with pytest.raises(InputError, match="no such"):
        read(spec_of({"format": form, "file": str(tmp_path / "no such/x y/z")}))


def test_names_and_texts_from_data_are_made_safe():
    assert default_name("/data/my file (2).jsonl") == "my-file-2"
    assert default_name("owner/name") == "name" and default_name("...") == "imported"
    assert printable("a\x1b[31mb\nc\u202e") == "a�[31mb\nc�"


@pytest.mark.parametrize(
    ("models", "expected"),
    [
        (
            ["EleutherAI/pythia-160m@step3000", "EleutherAI/pythia-160m@step143000"],
            [("pythia_160m--step3000", "step3000", 3000), ("pythia_160m--step143000", "step143000", 143000)],
        ),
        (
            ["Qwen/Qwen3-0.6B", "Qwen/Qwen3-0.6B+me/my-adapter"],
            [("Qwen3_0.6B--base", None, 0), ("Qwen3_0.6B--my_adapter", None, 1)],
        ),
        (["before.gguf", "after.gguf"], [("model--before", None, 0), ("model--after", None, 1)]),
        (["a/same", "b/same"], [("model--same", None, 0), ("model--same-1", None, 1)]),
    ],
)
def test_models_are_written_into_the_spec(tmp_path, file, models, expected, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("before.gguf", "after.gguf"):
        (tmp_path / name).touch()
    given = [part for model in models for part in ("--model", model)]
    done = run("anthropic-evals", file, "--out", "deep/out", *given)
    assert done.exit_code == 0
    spec = load_spec(tmp_path / "deep" / "out" / "spec.yaml")
    assert [(c.name, c.revision, c.step) for c in spec.checkpoints] == expected
    assert "FILL IN" not in (tmp_path / "deep" / "out" / "spec.yaml").read_text()
    if models[0].endswith(".gguf"):
        assert [c.path for c in spec.checkpoints] == [str(tmp_path / model) for model in models]
    assert [c.adapter for c in spec.checkpoints][1] == ("me/my-adapter" if "+" in models[1] else None)


@pytest.mark.parametrize("model", ["a@", "a+", "@b"])
def test_a_model_that_can_not_be_meant(tmp_path, file, model):
    with pytest.raises(InputError, match="MODEL, ID@REVISION or MODEL"):
        run("anthropic-evals", file, "--out", tmp_path / "out", "--model", model)
    assert not (tmp_path / "out").exists()
