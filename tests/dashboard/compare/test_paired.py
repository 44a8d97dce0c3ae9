"""Two runs on shared examples: differences are paired, and what is not shared is not compared."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from dashboard.compare.paired import compare, in_both, pair_runs, with_numbers
from dashboard.reading import chosen, data
from dashboard.selection import on_screen
from tests.browser.server import link_samples
from tests.dashboard.app import Open, said
from tests.dashboard.reading.test_agreement import rows as some_rows
from tests.synthetic_run import write_run


def frame(noise: float = 0.0, n: int = 300) -> pd.DataFrame:
    rows = some_rows(n)
    rows["explanation"] += noise * np.random.default_rng(0).standard_normal(n)
    error = (rows["explanation"] - rows["effect_current"]).abs()
    return rows.assign(error=error, example_id=[f"{i:016x}" for i in range(n)])


def shared(first: pd.DataFrame, second: pd.DataFrame) -> pd.DataFrame:
    return with_numbers(in_both(first, second))


def test_a_run_does_not_differ_from_itself():
    found = compare(shared(frame(), frame()), draws=100)
    assert found is not None and found.same_effects and found.explanations.value == pytest.approx(1)
    for one in found.numbers.values():
        assert one.difference.value == pytest.approx(0) and one.difference.low == pytest.approx(0)
    assert found.errors.value == 0 and found.nearer == 0


def test_a_noisier_run_is_told_apart_by_pairing():
    found = compare(shared(frame(), frame(noise=1.0)), draws=200)
    own = found.numbers["self"]
    assert own.difference.low > 0.1
    assert found.errors.high < 0 and found.nearer > 0.5
    assert own.first.value - own.second.value == pytest.approx(own.difference.value)


def test_pairing_narrows_the_interval():
    """Two runs with the same errors but a little: the difference is sharper than either number."""
    found = compare(shared(frame(), frame(noise=0.05)), draws=200)
    own = found.numbers["self"]
    assert own.difference.high - own.difference.low < 0.3 * (own.first.high - own.first.low)


def test_only_shared_examples_count():
    other = frame()
    other["example_id"] = [f"other{i}" for i in range(200)] + list(other["example_id"][200:])
    assert len(shared(frame(), other)) == 100
    assert compare(shared(frame(), other.iloc[:200])) is None


def test_more_shared_examples_than_are_measured_are_sampled(tmp_path, monkeypatch):
    first, second = (write_run(tmp_path / name, prompts=60, checkpoints=2) for name in ("first", "second"))
    setting = data.Setting("gpt2--step-0100", "ridge", "frozen")
    monkeypatch.setattr(on_screen, "MEASURED", 12)
    pairing = pair_runs(first, second, setting, setting, "test_heldout", None)
    assert len(pairing.rows) == pairing.examples > 12
    assert pairing.found.n == 12
    assert pairing.rows["explanation"].tolist() == pairing.rows["explanation_2"].tolist()


def test_what_is_not_testable_says_so_and_a_moved_rho_is_told_apart(tmp_path, opened: Open):
    """The first run at its target, where the two models' unseen answers are the same, the second later on."""
    write_run(tmp_path / "first", prompts=120, checkpoints=3)
    write_run(tmp_path / "second", prompts=120, checkpoints=3)
    start, last = "gpt2--step-0000", "gpt2--step-0200"
    app = opened(tmp_path, "compare", run="first", second="second", checkpoint=start, checkpoint2=last)
    table = next(t.value for t in app.dataframe if "number" in t.value).set_index("number")
    unseen = table.loc["Unseen"]
    assert unseen["first: first"] == unseen["first − second, paired"] == "not testable"
    assert unseen["second: second"] != "not testable"
    assert "Target–current ρ is higher in the first run (+" in said(app).replace("\\", "")


def test_labels_that_are_all_noisy_have_a_best_setting():
    setting = {"explainer": "verbal", "regime": "online", "edit": "cue", "mode": "direct", "chosen": True}
    absent = dict.fromkeys(("position", "layer", "penalty", "cv"))
    rows = pd.DataFrame({"step": [0, 100], "noise_kind": "shuffle", "noise": 0.5} | setting | absent)
    assert chosen.best(rows)["step"].tolist() == [0, 100]


def test_two_runs_of_sentences_share_examples_and_both_have_lines(tmp_path, opened: Open):
    link_samples(tmp_path, "verbal-sycophancy*")
    app = opened(tmp_path, "compare", run="verbal-sycophancy", second="verbal-sycophancy-noise")
    text = said(app)
    assert "explained examples, but both explain themselves in words" in text
    assert "share no explained examples" not in text
    figure = json.loads(app.get("plotly_chart")[-1].proto.spec)
    lines = {trace["name"].split(" (")[0] for trace in figure["data"] if trace.get("name")}
    assert {"Self, first", "Self, second"} <= lines
    assert "exact match" in figure["layout"]["yaxis"]["title"]["text"]
