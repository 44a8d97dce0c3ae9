"""The overview's first sentences: whose labels, what was trained on them, what moved."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from dashboard.overview.experiment import in_steps
from dashboard.reading.data import Options

OPTIONS = Options(
    target="start",
    checkpoints=("start", "end"),
    steps={"start": 0, "end": 300},
    explainers=("ridge",),
    regimes={"ridge": ("frozen",)},
    layers=(1,),
    edits=("cut",),
    noises=(("none", 0.0),),
    splits=("test_heldout",),
    columns=(),
)
ROWS = pd.DataFrame({"step": [0, 300], "target_current": [1.0, 0.25]})


@pytest.mark.parametrize(
    ("regime", "said"), [("frozen", "never changed"), ("refit", "trained anew"), ("online", "a little more")]
)
def test_what_was_trained_and_what_moved(regime: str, said: str) -> None:
    html = in_steps(OPTIONS, "ridge", regime, ROWS)
    assert "answer of <code>start</code>" in html and "A linear regression (ridge)" in html and said in html
    assert "by +0.25" in html and "step 300" in html and "target" in html and "hidden states" in html


def test_labels_of_another_model_words_of_its_own_and_a_run_that_measured_no_change() -> None:
    hostile = replace(OPTIONS, target="<b>llama")
    assert "another model, <code>&lt;b&gt;llama</code>" in in_steps(hostile, "ridge", "frozen", ROWS)
    assert "The model itself was trained to say these sentences" in in_steps(OPTIONS, "verbal", "online", ROWS)
    unknown = ROWS.assign(target_current=np.nan)
    assert "The model was trained further." in in_steps(OPTIONS, "ridge", "frozen", unknown)
