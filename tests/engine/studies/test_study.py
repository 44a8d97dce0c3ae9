"""Studies: seeds are gathered, gone on with, and summed up as what they are."""

from __future__ import annotations

import pandas as pd
import pytest
from scipy import stats

from engine.config import InputError
from engine.studies import study


def rows(seed: int, gap: float) -> pd.DataFrame:
    """Two checkpoints of one run, as a finished seed leaves them."""
    setting = {"run": "sycophancy", "explainer": "ridge", "regime": "frozen", "split": "test_heldout", "noise": 0.0}
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


@pytest.mark.parametrize("text", ["seeds: []\nname: x", "name: x\nseeds: [0]\nsed: 1", "name: [", "seeds: [0]"])
def test_a_spec_that_is_wrong_is_refused(tmp_path, text):
    path = tmp_path / "study.yml"
    path.write_text(text)
    with pytest.raises(InputError, match=r"study\.yml"):
        study.load_study(path)
