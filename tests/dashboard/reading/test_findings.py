"""Words never say more than the intervals support."""

from collections.abc import Callable

import pandas as pd
import pytest

from dashboard.reading import chosen, findings
from engine.records import CLAIMS, INTERVALS


def row(step: int, **values: object) -> dict:
    """A metrics row; `name=(value, half width)` sets an estimate with its interval."""
    made: dict = {"checkpoint": f"m--{step}", "target": "m--0", "step": step, "explainer": "ridge", "control": None}
    made |= {"null_high": 0.1, **{f"verdict_{claim}": "not shown" for claim in CLAIMS}}
    made |= {f"{name}_{claim}": value for claim in CLAIMS for name, value in (("power", 0.45), ("detectable", 0.31))}
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
    rows = frame(row(0, self=(0.9, 0.05)), row(100, self=(0.7, 0.1), gap=(0.1, 0.05), verdict_coupling="shown"))
    better = row(100, control="output", self=(0.75, 0.1), gap=(0.3, 0.05))
    worse = row(100, control="output", self=(0.5, 0.1), gap=(0.02, 0.05))
    expected = {findings.quality: "agrees as well at step 100.", findings.coupling: "as large a gap at step"}
    for ask, words in expected.items():
        assert words in ask(rows, frame(better)).why and ask(rows, frame(better)).matched
        assert "−f(x) alone" not in ask(rows, frame(worse)).why and not ask(rows, frame(worse)).matched


@pytest.mark.parametrize(
    ("values", "answer", "settled"),
    [
        ({"gap": (0.5, 0.6)}, "Not shown", None),  # a verdict is needed, not a number
        ({"gap": (0.5, 0.6), "verdict_coupling": "shown"}, "Yes, at the later checkpoint", True),
        (
            {"gap": (-0.2, 0.05), "orig": (0.5, 0.1), "verdict_coupling": "excluded"},
            "No: they repeat the labels",
            False,
        ),
        ({"gap": (-0.2, 0.05), "orig": (0.0, 0.1), "verdict_coupling": "excluded"}, "No: coupling is excl", False),
        ({"gap": (-0.2, 0.05), "orig": (-0.5, 0.1), "verdict_coupling": "reversed"}, "No: coupling is excl", False),
        ({"gap": (0.0, 0.02), "verdict_coupling": "not testable"}, "Not testable in this run", None),
        ({"gap": (0.3, 0.02), "verdict_coupling": None}, "Not tested in this run", None),
    ],
)
def test_coupling_is_what_the_verdict_says(values: dict, answer: str, settled: bool | None) -> None:
    found = findings.coupling(frame(row(0), row(100, **values)), NO_CONTROLS)
    assert found.answer.startswith(answer) and found.settled is settled


@pytest.mark.parametrize(("ask", "name"), [(findings.coupling, "gap"), (findings.unseen, "unseen")])
def test_an_interval_above_0_without_a_verdict_is_explained(ask: Callable[..., findings.Finding], name: str) -> None:
    wide, narrow = (ask(frame(row(0), row(100, **{name: (0.5, width)})), NO_CONTROLS) for width in (0.6, 0.1))
    assert "checkpoint alone" not in wide.why and "checkpoint alone lies above 0" in narrow.why


def test_the_target_itself_counts_for_nothing() -> None:
    trivial = row(0, gap=(0.0, 0.0), verdict_coupling="shown", verdict_unseen="shown")
    assert findings.coupling(frame(trivial), NO_CONTROLS).settled is None
    assert findings.unseen(frame(trivial), NO_CONTROLS).settled is None


SHOWN = {"unseen": (0.4, 0.1), "verdict_unseen": "shown", "over_unseen": "output,text_only"}


@pytest.mark.parametrize(
    ("values", "answer", "settled"),
    [
        (SHOWN, "Yes, at the later checkpoint", True),
        (SHOWN | {"over_unseen": None}, "Yes, at the later checkpoint, over no control", True),
        (SHOWN | {"verdict_unseen": "not shown"}, "Not shown", None),
        (SHOWN | {"verdict_unseen": "not testable"}, "Not testable in this run", None),
        (SHOWN | {"verdict_unseen": "excluded"}, "No: nothing beyond the outputs", False),
        (SHOWN | {"verdict_unseen": "reversed"}, "No: nothing beyond the outputs", False),
        (SHOWN | {"verdict_unseen": None}, "Not tested in this run", None),
    ],
)
def test_the_unseen_run_is_known_where_the_verdict_says_so(values: dict, answer: str, settled: bool | None) -> None:
    found = findings.unseen(frame(row(0), row(100, **values)), NO_CONTROLS)
    assert found.answer == answer and found.settled is settled
    assert found.number == "Unseen +0.40 [+0.30, +0.50] at step 100"


def test_shown_says_over_which_controls_and_what_holds_beyond_all_outputs() -> None:
    later = row(100, **SHOWN, primary=True, n_cues=48.0, n_entities=120.0)
    last = row(200, **SHOWN | {"over_unseen": None}, verdict_outputs="shown", unseen_p=0.005)
    found = findings.unseen(frame(row(0), later, last), NO_CONTROLS)
    assert found.answer == "Yes, at all 2 later checkpoints"
    assert "it exceeds −f(x) alone and text only at step 100; no control at step 200." in found.why
    assert "too: not shown (power 0.45 at 0.2; an effect of 0.31 would be shown in 80%) at step 100" in found.why
    assert "; shown at step 200." in found.why
    assert "Permutation p at step 200: 0.005." in found.why and "primary hypothesis" in found.why
    assert "48 cues × 120 entities" in found.why


def test_what_is_not_shown_is_said_with_its_power_and_what_is_not_testable_with_its_reason() -> None:
    open_one = row(100, unseen=(0.1, 0.3))
    no_run = row(200, verdict_unseen="not testable", why_not="f(x') follows from this prompt's outputs")
    silent = row(300, verdict_unseen="not testable", left=0.01, target_current=0.2)
    said = findings.unseen(frame(row(0), open_one, no_run, silent), NO_CONTROLS).why
    assert "Not shown (power 0.45 at 0.2; an effect of 0.31 would be shown in 80%) at step 100; not testable" in said
    reasons = "(f(x′) follows from this prompt's outputs and the explanations say nothing beyond the outputs)"
    assert f"not testable {reasons} at steps 200 and 300." in said
    alone = row(100, unseen=(0.3, 0.1), verdict_unseen="not testable")
    assert "(there is no reading of the target's" in findings.unseen(frame(row(0), alone), NO_CONTROLS).why
    few = row(100, verdict_outputs="not testable", why_not_outputs="the data have no factors (cue and entity)")
    assert "no factors" in findings.unseen(frame(row(0), few), NO_CONTROLS).why


def test_a_checkpoint_that_is_not_testable_does_not_headline() -> None:
    small = row(100, unseen=(0.1, 0.3), gap=(0.1, 0.05))
    large = row(
        200, unseen=(0.9, 0.01), gap=(0.8, 0.01), verdict_unseen="not testable", verdict_coupling="not testable"
    )
    assert findings.unseen(frame(row(0), small, large), NO_CONTROLS).number == "Unseen +0.10 [−0.20, +0.40] at step 100"
    assert findings.coupling(frame(row(0), small, large), NO_CONTROLS).number == "Gap +0.10 [+0.05, +0.15] at step 100"


def test_several_powers_are_a_range_and_the_same_verdict_is_not_said_twice() -> None:
    said = findings.unseen(frame(row(0), row(100), row(200, power_unseen=0.6)), NO_CONTROLS).why
    assert "(power 0.45 to 0.60 at 0.2; an effect of 0.31 would" in said
    assert "too: the same." in findings.unseen(frame(row(0), row(100)), NO_CONTROLS).why


def test_a_run_of_an_earlier_version_is_not_scored_yet() -> None:
    new = [f"{name}_{claim}" for claim in CLAIMS for name in ("verdict", "power", "detectable")]
    old = frame(row(0), row(100, gap=(0.5, 0.1))).drop(columns=[*new, "unseen"])
    old = old.assign(verdict_coupling="a word of that version")
    for ask in (findings.coupling, findings.unseen):
        found = ask(chosen.complete(old), NO_CONTROLS)
        assert found.settled is None and found.answer.startswith("Not scored yet")
        assert "coupling rescore" in found.sentence
    lost, said = chosen.coupling_lost(chosen.complete(old))
    assert lost is None and "not scored yet" in said
    rows = frame(row(0), row(100))
    assert chosen.complete(rows) is rows


def test_estimates_read_as_they_should() -> None:
    made = row(0, self=(0.5, 0.25), gap=(-0.125, 0.25))
    assert findings.estimate(made, "self") == "0.50 [0.25, 0.75]"
    assert findings.estimate(made, "gap") == "−0.12 [−0.38, +0.12]"
    assert findings.estimate(made, "direction") == "–"
    assert findings.places(frame(row(100))) == "step 100"
    assert findings.places(frame(row(100), row(200), row(300))) == "steps 100, 200 and 300"
