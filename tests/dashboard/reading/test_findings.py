"""Words never say more than the intervals support."""

import pandas as pd
import pytest

from dashboard.reading import findings
from engine.records import INTERVALS


def row(step: int, **values: object) -> dict:
    """A metrics row; `name=(value, half width)` sets an estimate with its interval."""
    made: dict = {"checkpoint": f"m--{step}", "target": "m--0", "step": step, "explainer": "ridge", "control": None}
    made |= {"null_high": 0.1, "verdict_coupling": "inconclusive", "verdict_counterfactual": "inconclusive"}
    made |= {f"{name}{end}": None for name in INTERVALS for end in ("", "_low", "_high")}
    for name, value in values.items():
        middle, half = value if isinstance(value, tuple) else (value, None)
        made |= {name: middle} | ({f"{name}_low": middle - half, f"{name}_high": middle + half} if half else {})
    return made


def frame(*rows: dict) -> pd.DataFrame:
    return pd.DataFrame(list(rows))


NO_CONTROLS = frame(row(0, control="output")).iloc[:0]


@pytest.mark.parametrize(
    ("estimate", "word"),
    [
        ((0.9, 0.05), "good"),
        ((0.9, 0.3), "fair"),
        ((0.5, 0.2), "weak"),
        ((0.15, 0.2), "not above chance"),
        ((0.09, 0.01), "not above chance"),  # inside the null band
    ],
)
def test_a_grade_goes_by_the_lower_end(estimate: tuple[float, float], word: str) -> None:
    assert findings.grade(row(0, self=estimate)) == word


def test_what_was_not_measured_is_not_graded() -> None:
    found = findings.quality(frame(row(0, self=(0.9, 0.05)), row(100)), NO_CONTROLS)
    assert "not measured" in found.answer
    assert found.settled is None


def test_the_output_is_named_where_it_does_as_well() -> None:
    rows = frame(row(0, self=(0.9, 0.05)), row(100, self=(0.7, 0.1), gap=(0.1, 0.05), verdict_coupling="holds"))
    better = row(100, control="output", self=(0.75, 0.1), gap=(0.3, 0.05))
    worse = row(100, control="output", self=(0.5, 0.1), gap=(0.02, 0.05))
    expected = {findings.quality: "agrees as well at step 100.", findings.coupling: "as large a gap at step"}
    for ask, words in expected.items():
        assert words in ask(rows, frame(better)).sentence
        assert "−f(x) alone" not in ask(rows, frame(worse)).sentence


@pytest.mark.parametrize(
    ("values", "answer", "settled"),
    [
        ({"gap": (0.5, 0.6)}, "Not established", None),  # a verdict is needed, not a number
        ({"gap": (0.5, 0.6), "verdict_coupling": "holds"}, "Coupled at the later checkpoint", True),
        ({"gap": (-0.2, 0.05), "verdict_coupling": "reverses"}, "No: they recite the target", False),
        ({"gap": (0.0, 0.02), "verdict_coupling": "absent"}, "No: the gap is absent", False),
    ],
)
def test_coupling_is_what_the_verdict_says(values: dict, answer: str, settled: bool | None) -> None:
    found = findings.coupling(frame(row(0), row(100, **values)), NO_CONTROLS)
    assert found.answer.startswith(answer) and found.settled is settled


def test_an_interval_above_0_without_a_verdict_is_explained() -> None:
    wide, narrow = (findings.coupling(frame(row(0), row(100, gap=(0.5, w))), NO_CONTROLS) for w in (0.6, 0.1))
    assert "shuffled labels" not in wide.sentence and "shuffled labels" in narrow.sentence


def test_the_target_itself_counts_for_nothing() -> None:
    trivial = row(0, gap=(0.0, 0.0), verdict_coupling="holds", verdict_counterfactual="holds")
    assert findings.coupling(frame(trivial), NO_CONTROLS).settled is None
    assert findings.counterfactual(frame(trivial), NO_CONTROLS).settled is None


HELD = {"counterfactual_gap": (0.2, 0.05), "change_tracking": (0.3, 0.05), "verdict_counterfactual": "holds"}

LOW = {"counterfactual_gap": (0.0, 0.1), "change_tracking": (0.1, 0.1)}


@pytest.mark.parametrize(
    ("mine", "control", "shown"),
    [
        (HELD, LOW, True),
        (HELD, {"counterfactual_gap": (0.18, 0.1), "change_tracking": (0.1, 0.1)}, False),
        (HELD, {"counterfactual_gap": (0.0, 0.1), "change_tracking": (0.28, 0.1)}, False),
        (HELD | {"change_tracking": (0.1, 0.2)}, LOW, False),
        (HELD | {"verdict_counterfactual": "inconclusive"}, LOW, False),
        (HELD | {"verdict_counterfactual": "not testable"}, LOW, False),
        (HELD, {}, False),
    ],
)
def test_the_counterfactual_is_said_only_clear_of_every_control(mine: dict, control: dict, shown: bool) -> None:
    found = findings.counterfactual(frame(row(0), row(100, **mine)), frame(row(100, control="stale", **control)))
    assert (found.settled is True) == shown
    assert found.answer.startswith("Yes") == shown


def test_ceiling_and_null_are_no_rivals() -> None:
    ceiling = row(100, control="ceiling", counterfactual_gap=(0.9, 0.01), change_tracking=(0.9, 0.01))
    controls = frame(ceiling, row(100, control="stale", **LOW))
    assert findings.counterfactual(frame(row(0), row(100, **HELD)), controls).settled is True


def test_estimates_read_as_they_should() -> None:
    made = row(0, self=(0.5, 0.25), gap=(-0.125, 0.25))
    assert findings.estimate(made, "self") == "0.50 [0.25, 0.75]"
    assert findings.estimate(made, "gap") == "−0.12 [−0.38, +0.12]"
    assert findings.estimate(made, "direction") == "–"
    assert findings.places(frame(row(100))) == "step 100"
    assert findings.places(frame(row(100), row(200), row(300))) == "steps 100, 200 and 300"
