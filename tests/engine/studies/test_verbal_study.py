"""Studies of self-explanation: what is varied, that a cell is made once, and that the table is what was measured."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml

from engine import SAMPLES
from engine.config import InputError
from engine.studies import samples, verbal_study
from engine.studies.study import load_study
from engine.studies.verbal_cells import Cell, VerbalStudySpec, cells, with_changes
from engine.studies.verbal_study import is_done
from engine.studies.verbal_tables import markdown
from engine.workers import local as workers
from engine.workers.local import HERE, Processes
from tests import apart
from tests.engine.test_pipeline import call
from tests.engine.verbal.test_stage import verbal_spec

SPECS = SAMPLES / "specs"


def study_file(folder: Path, **verbal: object) -> Path:
    verbal_spec(folder)
    section = {"base": ["spec.yaml"], "settings": [{"name": "free", "changes": {"verbal.beta": 0}}]} | verbal
    path = folder / "small.study.yml"
    path.write_text(yaml.safe_dump({"name": "small", "seeds": [0, 1], "verbal": section}))
    return path


def study_spec(folder: Path, **verbal: object) -> VerbalStudySpec:
    spec = load_study(study_file(folder, **verbal)).verbal
    assert spec
    return spec


def test_changes_reach_into_sections_and_leave_the_base_alone() -> None:
    base = {"verbal": {"beta": 1.0, "lora": None}, "name": "x"}
    out = with_changes(base, {"verbal.beta": 0, "verbal.lora.rank": 4, "seed": 3})
    assert out == {"verbal": {"beta": 0, "lora": {"rank": 4}}, "name": "x", "seed": 3}
    assert base["verbal"] == {"beta": 1.0, "lora": None}


def test_seeds_worlds_and_settings_are_crossed_in_order() -> None:
    spec = VerbalStudySpec.model_validate(
        {
            "base": ["verbal-sycophancy.yaml", "verbal-refusal.yaml"],
            "worlds": ["independent", "base"],
            "settings": [{"name": "one"}, {"name": "two", "changes": {"verbal.beta": 0}, "tasks": ["refusal"]}],
            "vary": {"verbal.learning_rate": [0.001, 0.01]},
        }
    )
    some = VerbalStudySpec.model_validate({"base": spec.base, "settings": [{"name": "one", "seeds": [4]}]})
    assert [c.seed for c in cells(some, (0, 4), SPECS)] == [4, 4]
    made = list(cells(spec, (0, 4), SPECS))
    assert len(made) == 2 * 2 * (2 + 1 + 2 + 2)
    assert list(dict.fromkeys(c.setting for c in made)) == ["one", "two", "learning_rate 0.001", "learning_rate 0.01"]
    assert len({c.name for c in made}) == len({c.digest for c in made}) == len(made)
    last, fresh = made[-1].spec, next(cells(spec.model_copy(update={"models": "fresh"}), (4,), SPECS)).spec
    drift, rules = last.verbal.drift, fresh.verbal.drift.rules_seed
    assert (drift.world, drift.seed, drift.rules_seed, rules) == ("base", 4, 0, 4)
    assert (last.seed, last.task.seed) == (4, 4)
    assert Path(last.checkpoints[0].path).is_dir()


@pytest.mark.parametrize(
    ("verbal", "said"),
    [
        ({"base": ["absent.yaml"]}, "absent.yaml: no such file"),
        ({"base": ["data.jsonl"]}, "a spec is a mapping"),
        ({"settings": [{"name": "x", "changes": {"verbal.betta": 1}}]}, r"unknown key 'verbal\.betta'"),
    ],
)
def test_what_makes_no_sense_is_refused(tmp_path: Path, verbal: dict, said: str) -> None:
    spec = study_spec(tmp_path, **verbal)
    (tmp_path / "data.jsonl").write_text("just text")
    with pytest.raises(InputError, match=said):
        list(cells(spec, (0,), tmp_path))


def test_a_base_without_the_section_and_two_names_alike_are_refused(tmp_path: Path) -> None:
    spec = study_spec(tmp_path)
    data = yaml.safe_load((tmp_path / "spec.yaml").read_text())
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(data | {"verbal": None}))
    with pytest.raises(InputError, match="has no section verbal"):
        list(cells(spec, (0,), tmp_path))
    with pytest.raises(InputError, match="same name"):
        study_spec(tmp_path, settings=[{"name": "x"}, {"name": "x"}])


def test_a_study_is_made_gone_on_with_and_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, out = study_file(tmp_path), tmp_path / "out"
    made: list[Cell] = []
    make = verbal_study._make

    def counted(spec, cell, folder, progress):
        made.append(cell)
        if len(made) == 2:
            raise KeyboardInterrupt
        return make(spec, cell, folder, progress)

    monkeypatch.setattr(verbal_study, "_make", counted)
    code, _, said = call(capsys, "study", path, "--out", out, "--quiet")
    assert code == 130 and "goes on from here" in said
    code, text, _ = call(capsys, "study", path, "--out", out, "--quiet")
    assert code == 0 and text.strip().endswith(str(out)) and "| free | from_file | 2 |" in text
    assert [c.seed for c in made] == [0, 1, 1], "the cell that was done is not made again"
    assert {p.name for p in out.iterdir()} == {"explanations.parquet", "metrics.parquet"}, "all else is gone"
    code, text, _ = call(capsys, "study", path, "--out", tmp_path / "elsewhere", "--quiet", "--done")
    assert code == 0 and "no cell is done yet" in text
    assert len(made) == 3, "only what is there"
    table = pd.read_parquet(out / "metrics.parquet")
    assert set(table["seed"]) == {0, 1}
    call(capsys, "study", path, "--out", out, "--quiet")
    assert len(made) == 3
    assert is_done(table, made[-1])
    assert not is_done(table.assign(digest="another"), made[-1]), "made from another spec"
    head = table[(table["seed"] == 0) & table["control"].isna() & (table["metric"] == "exact_match")]
    head = head[(head["split"] == "test_heldout") & (head["step"] == 8)]
    assert f"{head['self'].iloc[0]:+.2f}" in markdown(table[table["seed"] == 0], study_spec(tmp_path))


def test_sentences_match_the_scores_whatever_the_number_of_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "get_context", lambda _: apart.FORKS)
    spec, threads = study_spec(tmp_path), torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        one, two = (
            verbal_study.run_verbal_study(spec, (0, 1), tmp_path, tmp_path / str(n), workers=who)
            for n, who in ((1, HERE), (2, Processes(2)))
        )
    finally:
        torch.set_num_threads(threads)
    pd.testing.assert_frame_equal(one, two)
    said, other = (pd.read_parquet(tmp_path / str(n) / "explanations.parquet").astype(str) for n in (1, 2))
    pd.testing.assert_frame_equal(said, other)
    head = one[one["control"].isna() & (one["metric"] == "exact_match") & (one["split"] != "test_iid")]
    for row in head.to_dict("records"):
        own = said[
            (said[["cell", "checkpoint", "split"]] == [row["cell"], row["checkpoint"], row["split"]]).all(axis=1)
        ]
        assert len(own) == row["n"]
        assert (own["text"] == own["right"]).mean() == pytest.approx(row["self"])
        assert (own["text"] == own["label"]).mean() == pytest.approx(row["orig"])


def test_a_shape_trains_a_start_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples, "PRETRAINING_STEPS", {"gpt2": 2, "llama": 2})
    monkeypatch.setattr(samples, "PROMPTS_A_STEP", 4)
    small = {"name": "small", "shape": {"width": 16, "layers": 2}, "tasks": ["refusal"]}
    base = {"base": ["verbal-refusal.yaml"], "settings": [{"name": "given"}, small]}
    spec = VerbalStudySpec.model_validate(base)
    given, shaped = cells(spec, (1,), SPECS)
    assert given.digest != shaped.digest
    resolved = verbal_study._with_trained_models(spec, shaped, tmp_path, lambda *_: None)
    config = json.loads((Path(resolved.checkpoints[0].path) / "config.json").read_text())
    assert (config["n_embd"], config["n_layer"]) == (16, 2)
    assert "seed-0" in resolved.checkpoints[0].path, "what it has learnt is what the given one has"
    with pytest.raises(ValueError, match="not a multiple of heads"):
        VerbalStudySpec.model_validate({"base": ["x"], "settings": [small | {"shape": {"width": 17, "layers": 1}}]})


def test_the_committed_studies_can_be_read() -> None:
    for path in SPECS.glob("verbal*.study.yml"):
        spec = load_study(path)
        assert spec.verbal
        for cell in cells(spec.verbal, spec.seeds, SPECS):
            assert Path(cell.spec.checkpoints[0].path).is_dir() or spec.verbal.models == "fresh"
