"""The overview's first sentences, from the metrics of the last checkpoint that can be tested."""

from __future__ import annotations

import pandas as pd
import pytest

from dashboard.overview.in_short import in_short

LAST = {
    "checkpoint": "end",
    "target": "start",
    "step": 300,
    "explainer": "ridge",
    "self": 0.6,
    "orig": 0.1,
    "gap": 0.5,
    "gap_high": 0.7,
    "orig_low": -0.1,
    "verdict_coupling": "shown",
    "unseen": 0.4,
    "verdict_unseen": "shown",
}
START = LAST | {"checkpoint": "start", "step": 0, "verdict_coupling": "not testable"}
LATER = LAST | {"checkpoint": "later", "step": 900, "verdict_coupling": "not testable"}


def told(rule: float = 0.2, rule_gap: float = 0.1, **changes: object) -> str:
    rows = pd.DataFrame([START, LAST | changes, LATER])
    of_rule = {"checkpoint": "end", "self": rule, "gap": rule_gap}
    controls = pd.DataFrame([of_rule | {"control": control} for control in ("output", "copy")])
    return in_short(rows, controls)


def test_what_is_shown_is_read_at_the_last_checkpoint_that_can_be_tested() -> None:
    text = told()
    assert text.startswith("At step 300, the explanations agree more with the model as it is now (0.60, where 1")
    assert "than with the old labels (0.10)" in text and "less (0.20)." in text and "do know something" in text


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"verdict_coupling": "not shown"}, "it is not shown that the explanations follow"),
        ({"verdict_coupling": "reversed", "gap_high": -0.2, "orig_low": 0.3}, "repeat the old labels"),
        ({"verdict_unseen": "not shown"}, "not shown that the explanations know more"),
        ({"rule": 0.6}, "But a simple rule, which takes the model's present answer with its sign turned"),
        ({"rule_gap": 0.5}, "less (0.20), but its gap to the old labels is as large"),
        ({"explainer": "verbal"}, "60% of sentences right"),
        ({"explainer": "verbal", "rule": 0.7}, "copies the model's present answer"),
        ({"verdict_coupling": "not testable"}, "cannot tell"),
    ],
)
def test_each_result_has_its_own_sentence(changes: dict, said: str) -> None:
    assert said in told(**changes)


def test_a_run_without_this_control_or_verdict_says_less() -> None:
    rows = pd.DataFrame([LAST | {"verdict_unseen": None}])
    assert (
        in_short(rows, pd.DataFrame(columns=["checkpoint", "control", "self", "gap"])).count(".") == 3
    )  # of two numbers


def test_checkpoints_where_it_is_not_shown_are_said_too() -> None:
    before = LAST | {"checkpoint": "before", "step": 100, "verdict_coupling": "not shown"}
    controls = pd.DataFrame(columns=["checkpoint", "control", "self", "gap"])
    text = in_short(pd.DataFrame([START, before, LAST]), controls)
    assert text.startswith("At step 300, but at none tested before it, the explanations agree more")
