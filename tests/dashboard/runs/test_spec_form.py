"""The form knows every option of the spec classes; problems stand at their fields; YAML, templates and data agree."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import BaseModel

from dashboard.runs import run_size, spec_form
from dashboard.runs.spec_form import (
    as_data,
    at_or_below,
    check,
    free_name,
    from_yaml,
    get,
    named,
    put,
    template,
    to_yaml,
)
from dashboard.runs.spec_options import Option, options
from engine.__main__ import SAMPLES
from engine.config import CheckpointSpec, InputError, RunSpec, SpecError
from engine.spec_files import load_spec, resolve_paths
from tests.synthetic_run import HOSTILE, write_run
from tests.tiny_run import examples, write_spec

SPECS = sorted((SAMPLES / "specs").glob("*.yaml"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("spec")
    write_spec(path)
    return path


def every(model: type[BaseModel] = RunSpec) -> list[Option]:
    found = options(model)
    return found + [inner for option in found if option.model for inner in every(option.model)]


# -- options ---------------------------------------------------------------------------------------


def test_every_option_has_a_widget_and_words() -> None:
    found = every()
    assert len(found) > 60
    sections = {"explainers"}
    assert [o.name for o in found if not o.help and o.name not in sections and o.kind != "section"] == []


def test_what_an_option_is() -> None:
    by_name = {o.name: o for o in options(RunSpec)}
    assert (by_name["checkpoints"].kind, by_name["checkpoints"].model) == ("sections", CheckpointSpec)
    assert (by_name["target"].kind, by_name["target"].optional) == ("section", True)
    assert by_name["name"].required and not by_name["note"].required
    hidden = {o.name: o for o in every() if o.name in ("layers", "folds", "kinds", "penalties", "edits", "trained")}
    assert {name: o.kind for name, o in hidden.items()} == {
        "layers": "numbers", "folds": "whole", "kinds": "choices", "penalties": "numbers", "edits": "texts",
        "trained": "switch",
    }  # fmt: skip
    assert "at least 2" in hidden["folds"].help
    assert hidden["layers"].default == [-1]


# -- data ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", SPECS, ids=lambda f: f.stem)
def test_a_sample_spec_goes_into_the_form_and_comes_out_equal(file: Path) -> None:
    runs = SAMPLES.parent / "runs"
    data = template(file, runs)
    spec, problems = check(from_yaml(to_yaml(data)), runs)
    assert problems == {}
    assert spec is not None
    assert resolve_paths(spec, runs) == load_spec(file)
    assert str(SAMPLES) not in to_yaml(data), "paths are relative"


def test_a_run_is_a_template_too(tmp_path: Path) -> None:
    run = write_run(tmp_path / "runs" / "alpha", prompts=8, checkpoints=2)
    (run / "checkpoints" / "step-0").mkdir(parents=True)
    data = template(run, tmp_path / "runs")
    assert data["checkpoints"][0]["path"] == "alpha/checkpoints/step-0"
    assert "metrics" not in data, "what is as by default is not there"


def test_leave_to_run_foreign_code_is_not_taken_over(tmp_path: Path) -> None:
    models = [{"name": f"gpt2--{i}", "path": "m", "trust_remote_code": True} for i in range(2)]
    given = {
        "name": "x",
        "task": {"name": "refusal"},
        "checkpoints": models,
        "other_model": models[1] | {"name": "b--c"},
    }
    assert "trust" not in json.dumps(as_data(RunSpec.model_validate(given), tmp_path))


def test_put_and_get() -> None:
    data: dict = {}
    put(data, ("metrics", "bootstrap"), 300)
    put(data, ("checkpoints",), [{}])
    put(data, ("checkpoints", 0, "name"), "a--b")
    assert data == {"metrics": {"bootstrap": 300}, "checkpoints": [{"name": "a--b"}]}
    put(data, ("metrics", "bootstrap"), None)
    put(data, ("checkpoints", 0, "name"), None)
    assert data == {"checkpoints": [{}]}, "an empty section goes, a checkpoint stays"
    put(data, ("post_training",), {})
    put(data, ("post_training", "dialogues"), "x")
    put(data, ("post_training", "dialogues"), None)
    assert data["post_training"] == {}, "what was switched on stays on"
    data["hidden"] = "nonsense"
    put(data, ("hidden", "keep"), "none")
    assert data["hidden"] == {"keep": "none"}
    assert get({"a": [1]}, ("a", 5, "b")) is None


def test_names_of_places() -> None:
    assert named(("checkpoints", 1, "path")) == "checkpoint 2, path"
    assert named(("hidden", "layers", 0)) == "hidden, layer 1"
    assert named(("batch_size",)) == "batch size"


def test_a_free_name(tmp_path: Path) -> None:
    assert free_name("a", tmp_path / "absent") == "a"
    (tmp_path / "a").mkdir()
    (tmp_path / "a-2").mkdir()
    assert free_name("a", tmp_path) == "a-3"


# -- problems --------------------------------------------------------------------------------------


def good(folder: Path) -> dict:
    return template(folder / "spec.yaml", folder)


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        (("name",), None, "fill this in"),
        (("name",), "a b", "letters, digits"),
        (("task", "name"), "sycofancy", "should be 'sycophancy'"),
        (("task", "path"), None, "from_file needs it"),
        (("task", "path"), "absent.jsonl", "no such file"),
        (("checkpoints",), [], "needs at least one"),
        (("checkpoints", 0, "name"), None, "fill this in"),
        (("checkpoints", 0, "name"), "gpt2", "family--name"),
        (("checkpoints", 0, "path"), None, "needs a path"),
        (("checkpoints", 0, "path"), "./absent", "no config.json"),
        (("checkpoints", 1, "adapter"), "./first", "no adapter_config.json"),
        (("checkpoints", 1, "step"), -1, "greater than or equal to 0"),
        (("checkpoints", 1, "name"), "gpt2--step-0000", "twice"),
        (("hidden", "layers"), ["two"], "integer"),
        (("hidden", "layers"), [7], "has 3 layers"),
        (("explainers", "kinds"), [], "needs at least one"),
        (("noise", "levels"), [0, 1.5], "less than or equal to 1"),
        (("metrics", "bootstrap"), 5, "greater than or equal to 200 (it is 5)"),
        (("metrics", "bootstap"), 500, "no such option"),
        (("device",), "gpu", "should match"),
        (("post_training",), {}, "fill this in"),
        (("post_training",), {"dialogues": "data.jsonl"}, "marked `trained: true`"),
    ],
)
def test_what_is_wrong_is_said_at_its_field(folder: Path, place: tuple, value: object, said: str) -> None:
    data = good(folder)
    assert check(data, folder)[1] == {}
    put(data, place, value)
    spec, problems = check(data, folder)
    assert spec is None
    nearest = place if place[-1] != "name" or "twice" not in said else ("checkpoints",)
    assert any(said in line for line in at_or_below(problems, nearest)), problems


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_values_are_only_complained_of(folder: Path, text: str) -> None:
    for place in (("name",), ("task", "name"), ("task", "path"), ("checkpoints", 0, "name"), ("device",)):
        data = good(folder)
        put(data, place, text)
        spec, problems = check(data, folder)
        assert spec is None
        assert all(named(at) is not None for at in problems)


def test_examples_are_tried_before_the_start(folder: Path, tmp_path: Path) -> None:
    spec = check(good(folder), folder)[0]
    assert spec is not None
    assert spec_form.check_examples(spec, folder) == {}
    (tmp_path / "bad.jsonl").write_text('{"prompt": "x"}\n')
    bad = spec.model_copy(update={"task": spec.task.model_copy(update={"path": str(tmp_path / "bad.jsonl")})})
    assert "line 1" in spec_form.check_examples(bad, folder)["task",][0]


# -- YAML ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name: [", "line 1"),
        ("name: x\n\ttask: 1", "line 2"),
        ("- a", "a mapping"),
        ("just words", "a mapping"),
        ("", "a mapping"),
        ("1: 2", "a mapping"),
        ("a: !!python/object/apply:os.system [ls]", "not valid YAML"),
        ("a: &x [1]\nb: *x", "aliases"),
        ("a: 1\n" * 100_000, "at most"),
        ("[" * 5_000, "YAML"),
        ("x: \x00", "YAML"),
        ("when: 2026-13-45", "YAML"),
    ],
)
def test_yaml_that_can_not_be_read(text: str, said: str) -> None:
    with pytest.raises(SpecError) as caught:
        from_yaml(text)
    assert said in str(caught.value)
    assert len(str(caught.value).splitlines()) <= 2


def test_yaml_keeps_what_it_does_not_know(folder: Path) -> None:
    data = from_yaml("colour: red\nname: x\n")
    assert to_yaml(data).splitlines() == ["name: x", "colour: red"]
    assert "no such option" in check(data, folder)[1]["colour",][0]


# -- size ------------------------------------------------------------------------------------------


def test_the_size_of_a_run(folder: Path) -> None:
    spec = load_spec(folder / "spec.yaml")
    found = run_size.size(spec)
    assert found.examples == len(examples())
    assert found.prompts is None
    assert found.texts == 3 * found.examples, "two checkpoints and the control"
    assert found.hidden_bytes == 2 * found.examples * 2 * 4 * 32, "checkpoints × prompts × layers × float32 × width"
    assert run_size.layers(spec.checkpoints[0]) == 3
    sample = load_spec(SAMPLES / "specs" / "sycophancy.yaml")
    found = run_size.size(sample)
    assert found.prompts == 3250
    assert 0.9 < 12_209 / found.examples <= 1, "as many as the committed run has, and some that do not apply"
    assert "at most 13,000 examples of 3,250 prompts" in run_size.in_words(found)
    unknown = sample.model_copy(update={"checkpoints": (CheckpointSpec(name="a--b", path="hub/id"),)})
    assert run_size.size(unknown).hidden_bytes is None
    assert "not known here" in run_size.in_words(run_size.size(unknown))


def test_a_template_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("name: 1: 2")
    for source in (tmp_path / "x.yaml", tmp_path):
        with pytest.raises(InputError):
            template(source, tmp_path)
