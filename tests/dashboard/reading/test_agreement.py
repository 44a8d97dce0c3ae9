"""Agreement of explanations with effects: it knows whom an explanation follows, and says what can't be tested."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from dashboard.reading.agreement import agreement, by_edit


def rows(n: int = 400, follows: str = "current") -> pd.DataFrame:
    """Examples with random f, and explanations near the effects of one model."""
    rng = np.random.default_rng(0)
    f = {name: rng.standard_normal(n) for name in ("f_current", "f_edited_current", "f_target", "f_edited_target")}
    frame = pd.DataFrame(f)
    for who in ("current", "target"):
        frame[f"effect_{who}"] = frame[f"f_edited_{who}"] - frame[f"f_{who}"]
    frame["explanation"] = frame[f"effect_{follows}"] + 0.3 * rng.standard_normal(n)
    edits = np.where(np.arange(n) % 2, "a", "b")
    return frame.assign(group=[f"g{i // 4}" for i in range(n)], cue=None, entity=None, edit=edits)


@pytest.mark.parametrize(("follows", "sign"), [("current", 1), ("target", -1)])
def test_agreement_knows_whom_the_explanation_follows(follows: str, sign: int) -> None:
    found = agreement(rows(follows=follows), draws=100)
    assert found.why_not is None and sign * found.gap.value > 0.5
    assert (found.unseen.low > 0.3) == (follows == "current")
    assert found.null[0] < 0 < found.null[1] < max(found.self.value, found.orig.value)
    assert found.gap.low < found.gap.value < found.gap.high
    assert (found.n, found.n_groups, found.few) == (400, 100, False)


def test_reading_the_output_is_coupling_and_says_nothing_beyond_it() -> None:
    found = agreement(rows().assign(explanation=lambda f: -f["f_current"]), draws=100)
    assert found.gap.low > 0.3 and found.unseen.value is None
    assert found.why_not == "the explanations say nothing beyond this prompt's outputs"


def test_a_pair_that_cannot_be_told_apart_is_not_testable() -> None:
    frame = rows()
    same = {f"{name}_target": frame[f"{name}_current"] for name in ("f", "f_edited", "effect")}
    found = agreement(frame.assign(**same), draws=100)
    assert found.unseen.value is None and found.gap.value == pytest.approx(0)
    assert found.why_not == "f(x') follows from this prompt's outputs"


@pytest.mark.parametrize("n", [0, 1, 2, 5])
def test_tiny_slices_are_answered(n: int) -> None:
    found = agreement(rows().iloc[:n], draws=50)
    assert found.few and found.n == n


def test_each_kind_of_edit_stands_alone() -> None:
    assert {k: v.n for k, v in by_edit(rows(), draws=50).items()} == {"a": 200, "b": 200}
