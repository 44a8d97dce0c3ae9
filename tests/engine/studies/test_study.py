"""Studies: seeds are gathered, gone on with, and summed up as what they are."""

from __future__ import annotations

import json

import pandas as pd
import pytest
from scipy import stats
from typer.testing import CliRunner

from engine.__main__ import app
from engine.config import InputError
from engine.studies import study
from tests.synthetic_run import write_run


def rows(seed: int, gap: float, noise_kind: str = "none", noise: float = 0.0) -> pd.DataFrame:
    """Two checkpoints of one run, as a finished seed leaves them."""
    setting = {"run": "sycophancy", "explainer": "ridge", "regime": "frozen", "split": "test_heldout"}
    setting |= {"noise_kind": noise_kind, "noise": noise}
    numbers = {"self": 0.8, "orig": 0.8 - gap, "self_minus_stale": 0.1, "unseen": 0.2}
    verdicts = {"verdict_coupling": "shown", "verdict_unseen": "not shown"}
    base = setting | numbers | verdicts | {"chosen": True, "control": None, "seed": seed}
    steps = {"checkpoint": ["gpt2--step-0000", "gpt2--step-0100"], "step": [0, 100]}
    return pd.DataFrame(base | steps | {"gap": [0.0, gap], "target_current": [1.0, 0.5]})


def test_seeds_that_are_done_are_gathered_and_not_made_again(tmp_path, monkeypatch):
    monkeypatch.setattr(study, "_one_seed", lambda *_: pytest.fail("a seed that is done was made again"))
    for seed, gap in ((0, 0.1), (1, 0.3)):
        rows(seed, gap).to_parquet(tmp_path / f"seed-{seed}.parquet")
    spec = study.StudySpec(name="two", seeds=(0, 1))
    table = study.run_study(spec, tmp_path, tmp_path)
    assert set(table["seed"]) == {0, 1}
    assert (tmp_path / study.METRICS_FILE).exists()
    last = study.summary(table).set_index("checkpoint").loc["gpt2--step-0100"]
    assert last["gap"] == pytest.approx(0.2)
    assert (last["gap_low"], last["gap_high"]) == pytest.approx(stats.t.interval(0.95, 1, 0.2, 0.1)), "two seeds: wide"
    assert last["verdict_coupling"] == "2× shown"
    assert last["verdict_unseen"] == "2× not shown" and last["verdict_outputs"] == "–"
    text = study.markdown(table)
    assert "| sycophancy, step-0100 | ridge, frozen | +0.50 |" in text
    assert text.splitlines()[-1].endswith("| 2× not shown | – | – |"), "what was not measured is a dash"


def test_a_half_run_study_says_so_and_names_worlds_that_did_not_move_as_designed(tmp_path):
    spec = tmp_path / "two.study.yml"
    spec.write_text("name: two\nseeds: [3, 4]\n")
    command = ["study", "--quiet", str(spec), "--out", str(tmp_path), "--done"]
    asked = CliRunner().invoke(app, command)
    assert isinstance(asked.exception, InputError) and "no seed of the study two is done" in str(asked.exception)
    rows(3, 0.1).to_parquet(tmp_path / "seed-3.parquet")
    worlds = {"sycophancy": {"gpt2--cue-0600": {"as_designed": False}, "gpt2--step-0400": {"as_designed": None}}}
    (tmp_path / "seed-3.worlds.json").write_text(json.dumps(worlds))
    said = CliRunner().invoke(app, command)
    assert said.exit_code == 0
    assert "1 of 2 seeds: 3. Half run" in said.output
    assert "Not as designed: sycophancy gpt2--cue-0600, seed 3." in said.output
    assert "| sycophancy, step-0100 | ridge, frozen |" in said.output
    assert not (tmp_path / study.METRICS_FILE).exists(), "the page takes this file as the sign of a whole study"


def test_what_was_measured_of_a_seeds_worlds_stays(tmp_path, monkeypatch):
    run = write_run(tmp_path / "samples" / "sycophancy", prompts=40)
    worlds = {"gpt2--cue-0600": {"as_designed": False}, "gpt2--shared-0500": {"as_designed": True}}
    for task in study.TASKS:
        home = tmp_path / "samples" / "checkpoints" / task
        home.mkdir(parents=True)
        (home / study.WORLDS).write_text(json.dumps({"seed": 0, "worlds": worlds if task == "refusal" else {}}))
    monkeypatch.setattr(study, "finished_runs", lambda _: [run])
    spec = study.StudySpec(name="one", seeds=(0,))
    found = study.run_study(spec, tmp_path / "out", tmp_path / "samples")
    said = study.seeds_in_words(spec, tmp_path / "out", found)
    assert said == "1 of 1 seeds: 0. Not as designed: refusal gpt2--cue-0600, seed 0."


def test_levels_of_noise_are_summed_up_apart_and_printed_when_asked():
    kinds = {0.1: ("none", 0.0), 0.2: ("shuffle", 0.5), 0.3: ("flip", 0.5)}
    table = pd.concat([rows(0, gap, *kind) for gap, kind in kinds.items()])
    assert len(study.markdown(table).splitlines()) == 3
    printed = study.markdown(table, every_noise=True).splitlines()[2:]
    assert [line.split(" | ")[2] for line in printed] == ["none", "shuffle 0.5", "flip 0.5"]
    assert ["+0.10" in printed[0], "+0.20" in printed[1], "+0.30" in printed[2]] == [True] * 3


@pytest.mark.parametrize("text", ["seeds: []\nname: x", "name: x\nseeds: [0]\nsed: 1", "name: [", "seeds: [0]"])
def test_a_spec_that_is_wrong_is_refused(tmp_path, text):
    path = tmp_path / "study.yml"
    path.write_text(text)
    with pytest.raises(InputError, match=r"study\.yml"):
        study.load_study(path)
