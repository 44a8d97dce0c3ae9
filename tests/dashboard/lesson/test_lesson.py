"""The lesson: which runs tell it, its numbers, and words that change with the numbers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dashboard.charts import learn, style
from dashboard.lesson import measures, quiz, roles, words
from dashboard.lesson.measures import Contest, Move, Stillness
from dashboard.lesson.roles import LessonRun, Movement
from dashboard.reading.agreement import Estimate
from dashboard.reading.data import RunEntry


def e(low: float, high: float) -> Estimate:
    return Estimate((low + high) / 2, low, high)


def interval(name: str, value: float, low: float, high: float) -> dict[str, float]:
    """Columns of a row of metrics."""
    return {name: value, f"{name}_low": low, f"{name}_high": high}


ROW: dict = {"checkpoint": "m--step-0200", "target": "m--step-0000", "step": 200, "target_current": 0.1}
ROW |= {
    "explainer": "ridge",
    "verdict_coupling": "shown",
    "verdict_unseen": "not shown",
    "verdict_outputs": "not shown",
    "null_low": -0.3,
    "null_high": 0.3,
}
ROW |= interval("self", 0.7, 0.6, 0.8) | interval("orig", 0.2, 0.0, 0.3) | interval("gap", 0.5, 0.3, 0.7)
ROW |= interval("unseen", 0.1, -0.1, 0.3) | interval("unseen_over_stale", 0.2, 0.1, 0.3)
CONTROLS = pd.DataFrame({"checkpoint": [], "control": [], "gap": [], "self": [], "step": []})


def rows(**last: object) -> pd.DataFrame:
    first = {**ROW, "checkpoint": "m--step-0000", "step": 0, "verdict_coupling": "not testable"}
    return pd.DataFrame([first, {**ROW, **last}])


Moves = tuple[float, float, float]
STORY, NULL, LOOKALIKE = (1.5, 1.5, 1.5), (1.0, 1.0, 0.2), (1.3, 0.1, 1.1)


def lesson_run(key: str, moved: Moves, task: str = "sycophancy", **changes: object) -> LessonRun:
    entry = RunEntry(key, Path(key), "complete", None, "", task)
    steps, moves = ("m--step-0000", "m--step-0100"), Movement(*moved, 100)
    run = LessonRun(entry, "stamp", "ridge", "frozen", "test_heldout", "delete_cue", steps, True, moves, 0.1)
    return replace(run, **changes)


# Which run tells what


def test_roles_go_by_what_moved_not_by_names() -> None:
    runs = [lesson_run("a", STORY), lesson_run("b", NULL), lesson_run("c", LOOKALIKE)]
    best = {role: roles.candidates(runs, role)[0].key for role in roles.ROLES}
    assert best == {"story": "a", "null": "b", "lookalike": "c"}
    assert [r.key for r in roles.candidates(runs, "story")] == ["a", "b", "c"]
    longer = lesson_run("d", NULL, checkpoints=("m--step-0000", "m--step-0100", "m--step-0200"))
    assert [r.key for r in roles.candidates([*runs, longer], "null")] == ["d", "b"]


def test_a_foreign_target_or_a_single_checkpoint_is_no_story() -> None:
    runs = [lesson_run("foreign", STORY, own_target=False), lesson_run("single", STORY, checkpoints=("m--step-0000",))]
    assert [roles.candidates(runs, role) for role in roles.ROLES] == [[], [], []]


def test_the_task_with_most_roles_then_the_clearest_lookalike_comes_first() -> None:
    def of(task: str, *moves: Moves, gap: float) -> list[LessonRun]:
        return [lesson_run(task, m, task, gap=gap) for m in moves]

    assert roles.tasks([*of("few", STORY, gap=0.9), *of("all", STORY, NULL, LOOKALIKE, gap=0.0)])[0] == "all"
    both = [*of("dim", NULL, LOOKALIKE, gap=-0.1), *of("clear", NULL, LOOKALIKE, gap=0.4)]
    assert roles.tasks(both) == ["clear", "dim"]


# Numbers


def frame(n: int = 400, seed: int = 0, **columns: np.ndarray) -> pd.DataFrame:
    rng, i = np.random.default_rng(seed), np.arange(n)
    f, f_edited = rng.normal(size=n), rng.normal(size=n)
    made = pd.DataFrame({"f_target": f, "f_current": f, "f_edited_target": f_edited, "f_edited_current": f_edited})
    for name, code in (("example_id", i), ("group", i % 40), ("cue", i % 20), ("entity", (i // 20) % 20)):
        made[name] = [f"{name}{c}" for c in code]
    made = made.assign(**columns)
    for who in ("target", "current"):
        made[f"effect_{who}"] = made[f"f_edited_{who}"] - made[f"f_{who}"]
    return made if "explanation" in made else made.assign(explanation=made["effect_current"])


def shared_world(seed: int = 1) -> pd.DataFrame:
    """f(x) and f(x') move by the same amount."""
    start, push = frame(), np.random.default_rng(seed).normal(size=400)
    return frame(f_current=start["f_target"] + push, f_edited_current=start["f_edited_target"] + push)


def test_stillness_measures_each_quantity_with_an_interval() -> None:
    last = shared_world()
    still = measures.stillness(last, frame(explanation=last["effect_target"]))
    f, effect = still.moves["f"], still.moves["effect"]
    assert f.spread.value == pytest.approx(float((last.f_current - last.f_target).std(ddof=0)))
    assert f.spread.low < f.spread.value < f.spread.high
    assert (effect.spread.value, effect.kept.value) == (pytest.approx(0, abs=1e-9), pytest.approx(1))
    assert (still.n, still.n_groups) == (400, 40)
    assert words.stood_still(still).answer == "still"


def test_the_output_alone_looks_coupled_where_only_f_of_x_moved() -> None:
    cue = frame(f_current=2 * np.random.default_rng(3).normal(size=400))
    contest = measures.contest(cue.assign(explanation=-cue.f_current))
    assert contest.output_gap == contest.gap
    assert contest.gap_difference.value == 0
    assert words.output_alone(contest).answer == "looks"
    assert contest.output_self.value == pytest.approx(np.corrcoef(-cue.f_current, cue.effect_current)[0, 1])


@pytest.mark.parametrize("n", [0, 1, 2])
def test_too_few_examples_have_no_numbers(n: int) -> None:
    few = frame().head(n)
    contest, still = measures.contest(few), measures.stillness(few, few)
    assert contest.gap.value is None and still.moves["f"].spread.value is None
    assert measures.correlation(few, "f_target", "f_current").value is None
    assert words.stood_still(still).answer == words.output_alone(contest).answer == words.UNDECIDED


def test_examples_to_read_aloud_turn_the_answer_over_and_one_does_nothing() -> None:
    base = frame(60, f_target=np.linspace(-2, 2, 60)).assign(prompt="short")
    base.loc[0, ["prompt", "effect_target"]] = ["long " * 200, 9.0]
    picked = measures.readable(base)
    assert 2 <= len(picked) <= measures.SHOWN_EXAMPLES and picked.example_id.is_unique
    assert "example_id0" not in set(picked.example_id)
    best = picked.iloc[0]
    assert np.sign(best.f_target) != np.sign(best.f_target + best.effect_target)
    assert abs(picked.effect_target.iloc[1]) == base.effect_target.iloc[1:].abs().min()
    assert measures.readable(base.head(0)).empty


# Words, conditional on numbers


@pytest.mark.parametrize(
    ("effect", "answer"), [(2.0, "more"), (-2.0, "less"), (0.1, "same"), (-0.2, "same"), (0.25, "more")]
)
def test_one_examples_answer(effect: float, answer: str) -> None:
    assert words.edit_effect(effect, "yes", 0.25).answer == answer


@pytest.mark.parametrize(
    ("low", "high", "answer", "as_expected"),
    [(-0.2, 0.2, "moved", True), (0.6, 0.9, "moved", True), (0.97, 0.99, "hardly", False), (0.9, 0.99, "open", False)],
)
def test_drift_is_only_told_of_where_the_interval_says_so(
    low: float, high: float, answer: str, as_expected: bool
) -> None:
    reveal = words.drifted(e(low, high), "step 9")
    assert (reveal.answer, reveal.as_expected) == (answer, as_expected)


@pytest.mark.parametrize(
    ("change", "answer"),
    [
        ({}, "self"),
        ({"verdict_coupling": "excluded", "gap_low": -0.7, "gap_high": -0.3, "orig_low": 0.1}, "orig"),
        ({"verdict_coupling": "not shown"}, "open"),
        ({"verdict_coupling": "excluded", "gap_low": -0.02, "gap_high": 0.02}, "open"),
        ({"verdict_coupling": "not scored"}, "open"),
        ({"verdict_coupling": "shown", "self": 0.1, "self_low": -0.1, "orig_low": -0.2}, "neither"),
        ({"verdict_coupling": None, **interval("gap", np.nan, np.nan, np.nan)}, "open"),
    ],
)
def test_whom_the_explanation_follows_goes_by_the_verdict(change: dict, answer: str) -> None:
    assert words.followed(rows(**change)).answer == answer


def test_an_undecided_last_checkpoint_says_its_power_and_where_coupling_is_shown() -> None:
    last = {**ROW, "step": 300, "checkpoint": "m--step-0300", "verdict_coupling": "not shown", "power_coupling": 0.4}
    last |= interval("gap", 0.1, -0.1, 0.3)
    reveal = words.followed(pd.concat([rows(), pd.DataFrame([last])]))
    assert reveal.answer == "open" and "is shown at step 200" in reveal.sentence
    assert "would be shown in 40%" in reveal.sentence
    assert words.followed(rows().head(1)).headline == "Nothing to follow"


def test_a_weak_explainer_is_called_weak() -> None:
    weak = words.learned({**ROW, "self": 0.35, "self_low": 0.1})
    assert not weak.as_expected and "knows little" in weak.sentence
    good = words.learned({**ROW, "self": 0.9, "self_low": 0.8, "target": ROW["checkpoint"]})
    assert good.as_expected and "Self and Orig are one" in good.sentence


def still(excess: Estimate) -> Stillness:
    return Stillness(100, 20, dict.fromkeys(measures.PAIRS, Move(e(0.1, 0.3), e(0.9, 0.99))), excess)


@pytest.mark.parametrize(("low", "high", "answer"), [(0.1, 0.4, "moved"), (-0.02, 0.04, "still"), (-0.1, 0.4, "open")])
def test_the_null_says_what_the_paired_interval_says(low: float, high: float, answer: str) -> None:
    assert words.stood_still(still(e(low, high))).answer == answer


def test_a_small_gap_in_the_null_world_is_no_merit_and_hides_a_loss() -> None:
    last = {**ROW, **interval("gap", 0.01, -0.03, 0.04), "target_current": 0.98}
    said = words.null_gap({**ROW, **interval("self", 0.9, 0.85, 0.95)}, last)
    assert "±0.20" in said and "Self fell" in said
    assert "no change can be told" in words.null_gap(ROW, last)
    assert "Self rose" in words.null_gap({**ROW, **interval("self", 0.2, 0.1, 0.3)}, last)


def contest(output_gap: Estimate, gap: Estimate, self_difference: Estimate, gap_difference: Estimate) -> Contest:
    return Contest(100, 20, e(0.5, 0.7), e(0.4, 0.6), gap, output_gap, self_difference, gap_difference)


OPEN = contest(e(-0.2, 0.3), e(-0.2, 0.3), e(-0.1, 0.1), e(-0.1, 0.1))
LOOKS = contest(e(0.3, 0.6), e(0.2, 0.5), e(-0.1, 0.1), e(-0.1, 0.1))


def test_the_lookalike_contradicted_is_said_to_be() -> None:
    assert words.output_alone(OPEN).answer == words.UNDECIDED
    against = contest(e(-0.5, -0.2), e(0.2, 0.5), e(0.1, 0.3), e(0.1, 0.3))
    assert words.output_alone(against).answer == "not" and not words.output_alone(against).as_expected
    assert "larger than that of −f(x)" in words.against_output(against)
    plain = words.against_output(contest(e(0.3, 0.6), e(-0.2, 0.2), e(-0.3, -0.1), e(-0.5, -0.1)))
    assert "can't be told from 0" in plain and "−f(x) is better, by +0.20 [+0.10, +0.30]" in plain


@pytest.mark.parametrize(
    ("guess", "measured", "said"),
    [
        (0.5, e(0.4, 0.6), "inside the interval"),
        (0.9, e(0.4, 0.6), "too high"),
        (-0.9, e(0.4, 0.6), "too low"),
        (0.1, Estimate(None), "not defined"),
    ],
)
def test_a_predicted_number_is_compared_with_the_interval(guess: float, measured: Estimate, said: str) -> None:
    assert said in words.guess_against(guess, measured, "r")


def test_a_show_of_hands_is_counted_against_the_numbers() -> None:
    labels = {"a": "A", "b": "B"}
    assert words.votes_against({"a": 3, "b": 1}, "a", labels).startswith("3 of 4 hands (75%)")
    assert "none of the answers" in words.votes_against({"a": 3, "b": 1}, words.UNDECIDED, labels)
    assert words.votes_against({"a": 0, "b": 0}, "a", labels) == ""


def test_the_quiz_goes_by_the_numbers() -> None:
    def answers(*control: object) -> dict[str, str]:
        return {s.key: s.answer for s in quiz.statements(rows(), CONTROLS, *control)}

    sound = answers(still(e(-0.01, 0.01)), LOOKS)
    assert sound == {"right": "not", "knows": "not", "output": "may", "still": "may", "aware": "not"}
    other = answers(still(e(0.2, 0.3)), OPEN)
    assert other["output"] == "not" and other["still"] == "not"
    assert set(answers(None, None)) == {"right", "knows", "aware"}
    made = quiz.statements(rows(), CONTROLS, None, None)
    assert quiz.score({"right": "not", "knows": "may"}, made) == "1 of 2 answered as the numbers do."
    assert quiz.score({}, made) == ""


def test_figures_carry_their_numbers_in_large_type_without_hovering() -> None:
    steps = pd.DataFrame({"step": [0, 1], "self": [0.9, 0.5], "self_low": [0.8, 0.4], "self_high": [1, 0.6]})
    line, bar = learn.Line("self", "Self", style.CURRENT), learn.Bar("<i>name</i>", (0.5, 0.4, 0.6))
    figures = {
        "Δ = +3.00": learn.answers(-1.0, 2.0, "<b>yes</b>", "no"),
        "0.50 [0.40, 0.60]": learn.estimates([bar], x_title="r", guess=0.2),
        "Self 0.50": learn.over_steps(steps, [line], y_title="r", guess=0.3),
        "✓ measured": learn.hands({"a": 2, "b": 1}, {"a": "A", "b": "B"}, "a"),
    }
    for needed, figure in figures.items():
        said = " ".join(str(a.text) for a in figure.layout.annotations)
        assert needed in said
        assert "<i>name" not in said and "<b>yes" not in said
        assert all(a.font.size >= 18 for a in figure.layout.annotations if a.text)
        assert all(trace.hoverinfo == "skip" for trace in figure.data)
    assert "Δ" not in " ".join(str(a.text) for a in learn.answers(-1.0, None, "yes", "no").layout.annotations)
