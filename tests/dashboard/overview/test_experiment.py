"""The overview's first sentences: whose labels, what was trained on them, what moved."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from dashboard.overview.experiment import in_sentences
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
    ("regime", "said"), [("frozen", "stays as it is"), ("refit", "trained anew"), ("online", "a little more")]
)
def test_what_was_trained_and_what_moved(regime: str, said: str) -> None:
    text = in_sentences(OPTIONS, "ridge", regime, ROWS)
    assert "a model at `start`" in text and "(ridge, a linear regression)" in text and said in text
    assert "by +0.25" in text and "step 300" in text


def test_labels_of_another_model_words_of_its_own_and_a_run_that_measured_no_change() -> None:
    assert "another model, `llama`" in in_sentences(replace(OPTIONS, target="llama"), "ridge", "frozen", ROWS)
    assert "**The model itself** learnt to say them" in in_sentences(OPTIONS, "verbal", "online", ROWS)
    unknown = ROWS.assign(target_current=np.nan)
    assert "was then trained further" in in_sentences(OPTIONS, "ridge", "frozen", unknown)
