"""A new run: YAML, form, templates and data agree; what is wrong is said in words; the size is known beforehand."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from streamlit.testing.v1 import AppTest

from dashboard.runs import jobs, run_size
from dashboard.runs.spec_check import check
from dashboard.runs.spec_draft import free_name, put, template, to_yaml
from dashboard.selection.packed import pack
from engine import SAMPLES
from engine.config import CheckpointSpec, InputError
from engine.spec_files import load_spec, parse_yaml, resolve_paths
from tests.dashboard.app import Open, address, opened, said
from tests.synthetic_run import HOSTILE, write_run
from tests.tiny_run import examples, write_spec

__all__ = ["opened"]

SPECS = sorted(file for file in (SAMPLES / "specs").glob("*.yaml") if not file.stem.startswith("smollm2"))
"""Without those whose model and data `coupling real` fetches."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("spec")
    write_spec(path)
    return path


# -- data ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", SPECS, ids=lambda f: f.stem)
def test_a_sample_spec_becomes_a_draft_and_comes_out_equal(file: Path) -> None:
    runs = SAMPLES.parent / "runs"
    data = template(file, runs)
    spec, problems = check(parse_yaml(to_yaml(data)), runs)
    assert problems == []
    assert spec is not None
    assert resolve_paths(spec, runs) == load_spec(file)
    assert str(SAMPLES) not in to_yaml(data), "paths are relative"


def test_a_run_is_a_template_too(tmp_path: Path) -> None:
    run = write_run(tmp_path / "runs" / "alpha", prompts=8, checkpoints=2)
    (run / "checkpoints" / "step-0").mkdir(parents=True)
    data = template(run, tmp_path / "runs")
    assert data["checkpoints"][0]["path"] == "alpha/checkpoints/step-0"
    assert "metrics" not in data, "defaults are left out"
    for source in (tmp_path, tmp_path / "x.yaml"):
        (tmp_path / "x.yaml").write_text("name: 1: 2")
        with pytest.raises(InputError):
            template(source, tmp_path)


def test_permission_to_run_foreign_code_is_not_taken_over(tmp_path: Path) -> None:
    models = [{"name": f"gpt2--{i}", "path": "m", "trust_remote_code": True} for i in range(3)]
    given = {"name": "x", "task": {"name": "refusal"}, "checkpoints": models[:2], "other_model": models[2]}
    (tmp_path / "x.yaml").write_text(yaml.safe_dump(given))
    assert "trust" not in to_yaml(template(tmp_path / "x.yaml", tmp_path))


def test_a_free_name(tmp_path: Path) -> None:
    assert free_name("a", tmp_path / "absent") == "a"
    (tmp_path / "a").mkdir()
    (tmp_path / "a-2").mkdir()
    assert free_name("a", tmp_path) == "a-3"


# -- problems --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("place", "value", "problem"),
    [
        (("name",), None, "name: fill this in"),
        (("name",), "a b", "name: use letters, digits"),
        (("task", "name"), "sycofancy", "task, name: should be 'sycophancy'"),
        (("task", "path"), None, "from_file needs it"),
        (("task", "path"), "absent.jsonl", "task, path: no such file"),
        (("checkpoints",), [], "checkpoints: needs at least one"),
        (("checkpoints", 0, "name"), None, "checkpoint 1, name: fill this in"),
        (("checkpoints", 0, "name"), "gpt2", "family--name"),
        (("checkpoints", 0, "path"), None, "checkpoint 1: 'gpt2--step-0000' needs a path"),
        (("checkpoints", 0, "path"), "./absent", "checkpoint 1: no model here (no config.json)"),
        (("checkpoints", 1, "adapter"), "./first", "checkpoint 2: no model here (no adapter_config.json)"),
        (("checkpoints", 1, "name"), "gpt2--step-0000", "twice"),
        (("hidden", "layers"), ["two"], "hidden, layer 1: should be a valid integer"),
        (("hidden", "layers"), [7], "has 3 layers"),
        (("noise", "levels"), [0, 1.5], "noise, level 2: should be less than or equal to 1"),
        (("metrics", "bootstrap"), 5, "metrics, bootstrap: should be greater than or equal to 200 (it is 5)"),
        (("metrics", "bootstap"), 500, "metrics, bootstap: no such option"),
        (("device",), "gpu", "should match"),
        (("post_training",), {}, "post training, dialogues: fill this in"),
        (("post_training",), {"dialogues": "data.jsonl"}, "marked `trained: true`"),
    ],
)
def test_what_is_wrong_is_said(folder: Path, place: tuple, value: object, problem: str) -> None:
    data = template(folder / "spec.yaml", folder)
    assert check(data, folder)[1] == []
    put(data, place, value)
    spec, problems = check(data, folder)
    assert spec is None
    assert len(problems) == 1, "each mistake is said once"
    assert problem in problems[0]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_values_are_only_reported(folder: Path, text: str) -> None:
    for place in (("name",), ("task", "name"), ("task", "path"), ("checkpoints", 0, "name"), ("device",)):
        data = template(folder / "spec.yaml", folder)
        put(data, place, text)
        spec, problems = check(data, folder)
        assert spec is None and problems


def test_yaml_keeps_what_it_does_not_know(folder: Path) -> None:
    data = parse_yaml("colour: red\nname: x\n")
    assert to_yaml(data).splitlines() == ["name: x", "colour: red"]
    assert "colour: no such option: check its spelling, or remove it" in check(data, folder)[1]


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
    assert "at most 13,000 examples of 3,250 prompts" in run_size.described(found)
    unknown = sample.model_copy(update={"checkpoints": (CheckpointSpec(name="a--b", path="hub/id"),)})
    assert run_size.size(unknown).hidden_bytes is None
    assert "not known here" in run_size.described(run_size.size(unknown))


# -- the page --------------------------------------------------------------------------------------


@pytest.fixture
def form(folder: Path, opened: Open, monkeypatch: pytest.MonkeyPatch) -> Iterator[AppTest]:
    """The section New run, started from the tiny spec; a run that it starts is only noted in `started`."""
    monkeypatch.setattr(
        jobs, "start", lambda spec, runs, trusted: started.append(spec.name) or jobs.Job(runs, "x", runs, 0)
    )
    started.clear()
    yield opened(folder, "runs", section="new", **{"from": "spec spec"})


started: list[str] = []


def written(app: AppTest) -> dict:
    assert not app.exception, app.exception[0].stack_trace
    return yaml.safe_load(app.text_area(key="spec_yaml").value)


def test_form_and_text_are_one_draft(form: AppTest) -> None:
    assert written(form)["task"] == {"name": "from_file", "path": "data.jsonl"}
    form.text_input(key="spec.name").input("mine").run()
    form.multiselect(key="spec.explainers.kinds").set_value(["ridge", "mlp"]).run()
    form.multiselect(key="spec.noise.levels").set_value(["0", "0.3"]).run()
    form.multiselect(key="spec.task.edits").set_value(["delete_cue"]).run()
    form.number_input(key="spec.checkpoints.1.step").set_value(7).run()
    form.button(key="add").click().run()
    form.button(key="remove.0").click().run()
    now = written(form)
    assert (now["name"], now["explainers"]) == ("mine", {"folds": 2, "kinds": ["ridge", "mlp"]})
    assert (now["noise"]["levels"], now["task"]["edits"]) == ([0.0, 0.3], ["delete_cue"])
    assert now["checkpoints"] == [{"name": "gpt2--step-0100", "path": "second", "step": 7}, {}]
    form.multiselect(key="spec.task.edits").set_value([]).run()
    assert "edits" not in written(form)["task"], "a default is left out"
    form.text_area(key="spec_yaml").input("name: typed  # a remark\ncheckpoints: 7\nnoise: x\n").run()
    assert form.text_area(key="spec_yaml").value.startswith("name: typed  # a remark")
    assert form.text_input(key="spec.name").value == "typed"
    assert "problems to fix" in said(form)
    form.multiselect(key="spec.noise.kinds").set_value(["flip"]).run()
    form.button(key="add").click().run()
    assert written(form) == {"name": "typed", "checkpoints": [{}], "noise": {"kinds": ["flip"]}}
    form.text_area(key="spec_yaml").input("name: [").run()
    assert "line 1" in said(form)
    assert not [w for w in form.text_input if w.key == "spec.name"], "there is nothing that a form could show"


def test_a_run_starts_once_its_examples_can_be_made(form: AppTest, folder: Path) -> None:
    (folder / "bad.jsonl").write_text('{"prompt": "x"}\n')
    form.text_input(key="spec.task.path").input("bad.jsonl").run()
    form.button(key="start").click().run()
    assert "line 1" in form.error[0].value
    assert not started
    form.text_input(key="spec.task.path").input("data.jsonl").run()
    form.text_input(key="spec.name").input("two words").run()
    assert form.button(key="start").disabled
    form.text_input(key="spec.name").input("mine").run()
    form.button(key="start").click().run()
    assert started == ["mine"]
    assert "section" not in form.query_params, "back to the list"


def test_a_changed_draft_survives_a_reload_and_goes_with_a_link(form: AppTest, folder: Path, opened: Open) -> None:
    assert "draft" not in form.query_params, "the spec that it starts from is link enough"
    form.text_input(key="spec.name").set_value("passed-on").run()
    link = address(form)
    again = opened(folder, "runs", **link)
    assert written(again) == written(form) and written(again)["name"] == "passed-on"
    again.selectbox(key="option_from").set_value("empty").run()
    assert "draft" not in again.query_params and written(again).get("name") != "passed-on"
    del form.query_params["draft"]  # as Back does
    assert written(form.run())["name"] != "passed-on"
    for bad in ("%", "x" * 5_000, pack(["no", "text"])):
        told = opened(folder, "runs", **(link | {"draft": str(bad)}))
        assert any("no spec that can be read" in w.value for w in told.warning)
        assert written(told)["name"] != "passed-on"


def test_how_prompts_are_read_is_chosen_in_the_form(form: AppTest) -> None:
    form.selectbox(key="spec.chat.mode").select("off").run()
    form.text_input(key="spec.chat.system").input("Be brief.").run()
    assert written(form)["chat"] == {"mode": "off", "system": "Be brief."}
    text = form.text_area(key="spec_yaml").value.split("chat:")[0]
    form.text_area(key="spec_yaml").input(f"{text}\nchat: on\n").run()
    assert form.selectbox(key="spec.chat.mode").value == "on", "YAML reads on as true"
    form.selectbox(key="spec.chat.mode").select("auto").run()
    assert "chat" not in written(form)


def test_what_a_run_will_take_is_said_and_nothing_is_written(folder: Path, opened: Open) -> None:
    app = opened(folder, "runs", section="new", **{"from": "spec spec"})
    before = sorted(folder.rglob("*"))
    app.button(key="forecast").click().run(timeout=120)
    assert "| behavior gpt2--step-0100 |" in said(app) and "nothing was written" in said(app)
    assert sorted(folder.rglob("*")) == before
    (folder / "empty.jsonl").write_text("\n")
    app.text_input(key="spec.task.path").input("empty.jsonl").run()
    app.button(key="forecast").click().run(timeout=120)
    assert "empty.jsonl: is empty" in app.error[0].value.replace("\\", "")


def test_a_gguf_file_is_a_model(folder: Path) -> None:
    data = template(folder / "spec.yaml", folder)
    (folder / "model.gguf").write_bytes(b"GGUF")
    put(data, ("checkpoints", 0, "path"), "model.gguf")
    assert check(data, folder)[1] == []
