"""In bfloat16 and float16 x and x′ are computed alike, and sharing prefixes changes no more than rounding does."""

from __future__ import annotations

import numpy as np
import pytest

from engine.config import CheckpointSpec
from engine.model.batching import Text
from engine.model.checkpoints import load
from engine.model.counterfactuals import AGREEMENT, score_texts
from engine.model.tokens import encode
from tests.tiny_models import build

X = "The capital of France is Paris. A professor says that it is Lyon. Is that right?"
EDITED = "The capital of France is Paris. Is that right?"


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("shape", ["gpt2", "llama", "gemma"])
def test_equal_texts_have_equal_f_and_sharing_is_rounding(shape, dtype, tmp_path, monkeypatch):
    exact, rounded = (
        load(CheckpointSpec(name="a--b", path=str(build(shape, tmp_path)), step=0), "cpu", d)
        for d in ("float32", dtype)
    )
    encoded = encode(rounded.tokenizer, [X, X, EDITED], [(" yes", " no")] * 3)
    x, same, edited = (Text(one.prompt, one.answers) for one in encoded)

    def f(model, group, path="auto"):
        scored = score_texts(model, [group], batch_size=8, path=path)
        return np.subtract(*np.asarray(scored.log_probs).reshape(-1, 2).T), scored.report.path

    (one, other), _ = f(rounded, [x, same])
    assert one == other
    (of_x, of_edited), path = f(rounded, [x, edited])
    full, _ = f(rounded, [x, edited], "full")
    limit = AGREEMENT[rounded.model.dtype]
    assert path == "shared"
    assert max(abs(of_x - full[0]), abs(of_edited - full[1])) <= 2 * limit
    in_float32, _ = f(exact, [x, edited], "full")
    assert 0 < np.abs(full - in_float32).max() < limit
    monkeypatch.setitem(AGREEMENT, rounded.model.dtype, -1.0)
    beyond, path = f(rounded, [x, edited])
    assert path.startswith("full: sharing changed a log-probability") and (beyond == full).all()
