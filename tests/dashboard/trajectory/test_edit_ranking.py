"""Within-prompt span ranking, against scipy and against the engine."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import kendalltau

from dashboard.reading import data
from dashboard.trajectory import edit_ranking
from engine.stats.faithfulness import span_ranking
from tests.synthetic_run import write_run


def rows(prompts: int = 60, edits: int = 4) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    n = prompts * edits
    effect = rng.normal(size=n)
    frame = pd.DataFrame({"prompt_id": np.arange(n) % prompts, "effect_current": effect})
    return frame.assign(
        explanation=effect + rng.normal(size=n), group=[f"g{i % prompts % 20}" for i in range(n)], cue=None, entity=None
    )


def test_tau_of_each_prompt_is_kendalls() -> None:
    frame = rows()
    found = edit_ranking.per_prompt(frame).set_index("prompt_id")["tau"]
    for prompt, mine in frame.groupby("prompt_id"):
        assert found[prompt] == pytest.approx(kendalltau(mine["explanation"], mine["effect_current"]).statistic)


def test_the_mean_is_the_engines_and_its_interval_holds_it() -> None:
    frame = rows()
    made = edit_ranking.mean_tau(frame)
    engine = span_ranking(frame["explanation"].to_numpy(), frame["effect_current"].to_numpy(), frame["prompt_id"])
    assert made["tau"] == pytest.approx(float(engine[0]))
    assert made["tau_low"] < made["tau"] < made["tau_high"]
    assert (made["n"], made["n_groups"]) == (60, 20)
    assert edit_ranking.mean_tau(frame.drop_duplicates("prompt_id")) == {}


def test_over_checkpoints_there_is_a_row_each(tmp_path: Path) -> None:
    path = write_run(tmp_path / "run", prompts=60, checkpoints=3)
    setting = data.Setting("gpt2--step-0100", "ridge", "frozen")
    found = edit_ranking.over_checkpoints(path, setting, "test_heldout")
    assert found["step"].tolist() == [0, 100, 200]
    assert found["tau"].between(-1, 1).all()
    assert edit_ranking.over_checkpoints(path, replace(setting, explainer="verbal"), "test_heldout").empty
