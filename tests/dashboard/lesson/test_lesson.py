"""The lesson: which runs tell it, its numbers, and words that change with the numbers; then each step on the page."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from dashboard.charts import learn
from dashboard.lesson import measures, quiz, roles, words
from dashboard.lesson.measures import Contest, Move, Stillness
from dashboard.lesson.roles import Moved, Told
from dashboard.reading.agreement import Estimate
from dashboard.reading.data import RunEntry
from dashboard.selection import on_screen

ROOT = Path(__file__).parents[3]
SAMPLES = ROOT / "sample_runs"
ROW = {
    "checkpoint": "m--step-0200", "target": "m--step-0000", "step": 200, "self": 0.7, "self_low": 0.6, "self_high": 0.8,
    "orig": 0.2, "orig_low": 0.0, "orig_high": 0.3, "gap": 0.5, "gap_low": 0.3, "gap_high": 0.7, "null_low": -0.3,
    "null_high": 0.3, "target_current": 0.1, "verdict_coupling": "holds", "verdict_counterfactual": "inconclusive",
    "counterfactual_gap": 0.1, "counterfactual_gap_low": -0.1, "counterfactual_gap_high": 0.3, "change_tracking": 0.2,
    "change_tracking_low": 0.1, "change_tracking_high": 0.3,
}  # fmt: skip
CONTROLS = pd.DataFrame({"checkpoint": [], "control": [], "gap": [], "self": [], "step": []})


def rows(**last: object) -> pd.DataFrame:
    first = {**ROW, "checkpoint": "m--step-0000", "step": 0, "verdict_coupling": "not testable"}
    return pd.DataFrame([first, {**ROW, **last}])


def told(key: str, moved: tuple[float, float, float], **changes: object) -> Told:
    base = Told(
        RunEntry(key, Path(key), "complete", None, "", "sycophancy"), "ridge", "frozen", "test_heldout", "delete_cue",
        ("m--step-0000", "m--step-0100"), True, None, Moved(*moved, 100), 0.1,
    )  # fmt: skip
    return replace(base, **changes)


STORY, NULL, LOOKALIKE = (1.5, 1.5, 1.5), (1.0, 1.0, 0.2), (1.3, 0.1, 1.1)


# Which run tells what


def test_roles_go_by_what_moved_not_by_names() -> None:
    runs = [told("a", STORY), told("b", NULL), told("c", LOOKALIKE)]
    cast = roles.cast(runs, "sycophancy", {})
    assert {role: t and t.key for role, t in cast.items()} == {"story": "a", "null": "b", "lookalike": "c"}


def test_a_run_named_for_a_world_that_moved_otherwise_comes_last_and_does_not_fit() -> None:
    misnamed = told("named", STORY, world="shared")
    found = roles.candidates([misnamed, told("sound", NULL)], "null")
    assert [t.key for t in found] == ["sound", "named"]
    assert not misnamed.fits("null")
    assert "does not do what this step needs" in words.role_contradicted("null", 1.5, 1.5, 1.5)


def test_no_run_no_role_and_a_foreign_target_is_no_story() -> None:
    runs = [told("foreign", STORY, own_target=False), told("single", STORY, checkpoints=("m--step-0000",))]
    assert set(roles.cast(runs, "sycophancy", {}).values()) == {None}
    assert roles.cast(runs, "sycophancy", {"story": "foreign"})["story"] is runs[0]  # asked for by hand


def test_the_task_with_most_roles_then_the_clearest_lookalike_comes_first() -> None:
    def of(task: str, *moves: tuple[float, float, float], gap: float) -> list[Told]:
        entry = RunEntry(task, Path(task), "complete", None, "", task)
        return [told(task, m, entry=entry, gap=gap) for m in moves]

    assert roles.tasks([*of("few", STORY, gap=0.9), *of("all", STORY, NULL, LOOKALIKE, gap=0.0)])[0] == "all"
    both = [*of("dim", NULL, LOOKALIKE, gap=-0.1), *of("clear", NULL, LOOKALIKE, gap=0.4)]
    assert roles.tasks(both) == ["clear", "dim"]


# Numbers


def frame(n: int = 400, seed: int = 0, **columns: np.ndarray) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    f, f_edited = rng.normal(size=n), rng.normal(size=n)
    made = {
        "example_id": [f"e{i}" for i in range(n)], "group": [f"g{i % 40}" for i in range(n)],
        "cue": [f"c{i % 20}" for i in range(n)], "entity": [f"t{(i // 20) % 20}" for i in range(n)],
        "f_target": f, "f_current": f, "f_edited_target": f_edited, "f_edited_current": f_edited,
    }  # fmt: skip
    made |= columns
    for who in ("target", "current"):
        made.setdefault(f"effect_{who}", made[f"f_edited_{who}"] - made[f"f_{who}"])
    made.setdefault("explanation", made["effect_current"])
    return pd.DataFrame(made)


def shared_world(seed: int = 1) -> pd.DataFrame:
    """f(x) and f(x') move by the same amount."""
    start, push = frame(), np.random.default_rng(seed).normal(size=400)
    return frame(f_current=start["f_target"] + push, f_edited_current=start["f_edited_target"] + push)


def test_stillness_measures_each_quantity_with_an_interval() -> None:
    last = shared_world()
    still = measures.stillness(last, frame(explanation=last["effect_target"]))
    assert still["f"].spread.value == pytest.approx(float((last.f_current - last.f_target).std(ddof=0)))
    assert still["f"].spread.low < still["f"].spread.value < still["f"].spread.high
    assert still["effect"].spread.value == pytest.approx(0, abs=1e-9)
    assert still["effect"].kept.value == pytest.approx(1)
    assert (still.n, still.n_groups) == (400, 40)
    assert words.stood_still(still).answer == "still"


def test_how_far_the_effect_moved_is_said_and_not_that_it_stood_still() -> None:
    still = measures.stillness(shared_world(), frame())
    moved = f"{still['effect'].spread.value:.2f} against {still['f'].spread.value:.2f} nats"
    assert f"hardly moves: by {moved}" in words.effect_held(still, True)
    assert "hardly moves" not in words.effect_held(still, False) and moved in words.effect_held(still, False)


def test_an_explanation_that_moves_in_the_null_world_is_told_of() -> None:
    last = shared_world()
    restless = last.assign(explanation=np.random.default_rng(5).normal(size=400))
    reveal = words.stood_still(measures.stillness(restless, frame()))
    assert reveal.answer == "moved" and not reveal.as_told
    assert "should have stood still, and did not" in reveal.sentence


def test_the_output_alone_looks_coupled_where_only_f_of_x_moved() -> None:
    rng = np.random.default_rng(3)
    cue = frame(f_current=2 * rng.normal(size=400))
    contest = measures.contest(cue.assign(explanation=-cue.f_current))
    assert contest.output_gap == contest.gap
    assert contest.gap_difference.value == 0
    assert words.output_alone(contest).answer == "looks"
    assert contest.output_self.value == pytest.approx(np.corrcoef(-cue.f_current, cue.effect_current)[0, 1])


@pytest.mark.parametrize("n", [0, 1, 2])
def test_too_few_examples_have_no_numbers(n: int) -> None:
    few = frame().head(n)
    assert measures.contest(few).gap.value is None
    assert measures.stillness(few, few)["f"].spread.value is None
    assert measures.correlation(few, "f_target", "f_current").value is None
    assert words.stood_still(measures.stillness(few, few)).answer == words.UNDECIDED
    assert words.output_alone(measures.contest(few)).answer == words.UNDECIDED


def test_examples_to_read_aloud_turn_the_answer_over_and_one_does_nothing() -> None:
    base = frame(60, f_target=np.linspace(-2, 2, 60)).assign(prompt="short")
    base.loc[0, ["prompt", "effect_target"]] = ["long " * 200, 9.0]
    picked = measures.readable(base)
    assert 2 <= len(picked) <= measures.SHOWN_EXAMPLES and picked.example_id.is_unique
    assert "e0" not in set(picked.example_id)
    best = picked.iloc[0]
    assert np.sign(best.f_target) != np.sign(best.f_target + best.effect_target)
    assert abs(picked.effect_target.iloc[1]) == base.effect_target.iloc[1:].abs().min()
    assert measures.readable(base.head(0)).empty


# Words, conditional on numbers


def e(low: float, high: float) -> Estimate:
    return Estimate((low + high) / 2, low, high)


@pytest.mark.parametrize(
    ("effect", "answer"), [(2.0, "more"), (-2.0, "less"), (0.1, "same"), (-0.2, "same"), (0.25, "more")]
)
def test_one_examples_answer(effect: float, answer: str) -> None:
    assert words.edit_effect(effect, "yes", 0.25).answer == answer


@pytest.mark.parametrize(
    ("low", "high", "answer", "as_told"),
    [(-0.2, 0.2, "moved", True), (0.6, 0.9, "moved", True), (0.97, 0.99, "hardly", False), (0.9, 0.99, "open", False)],
)
def test_drift_is_only_told_of_where_the_interval_says_so(low: float, high: float, answer: str, as_told: bool) -> None:
    reveal = words.drifted(e(low, high), "step 9")
    assert (reveal.answer, reveal.as_told) == (answer, as_told)


@pytest.mark.parametrize(
    ("change", "answer"),
    [
        ({}, "self"),
        ({"verdict_coupling": "reverses", "gap_low": -0.7, "gap_high": -0.3}, "orig"),
        ({"verdict_coupling": "inconclusive"}, "open"),
        ({"verdict_coupling": "absent", "gap_low": -0.02, "gap_high": 0.02}, "open"),
        ({"verdict_coupling": "holds", "self": 0.1, "self_low": -0.1, "orig_low": -0.2}, "neither"),
        ({"verdict_coupling": None, "gap": np.nan, "gap_low": np.nan, "gap_high": np.nan}, "open"),
    ],
)
def test_whom_the_explanation_follows_goes_by_the_verdict(change: dict, answer: str) -> None:
    assert words.followed(rows(**change), CONTROLS).answer == answer


def test_an_inconclusive_last_checkpoint_says_where_it_does_hold() -> None:
    three = pd.concat([rows(), pd.DataFrame([{**ROW, "step": 300, "checkpoint": "m--step-0300"}])])
    three.iloc[2, three.columns.get_loc("verdict_coupling")] = "inconclusive"
    reveal = words.followed(three, CONTROLS)
    assert reveal.answer == "open" and "holds at step 200" in reveal.sentence


def test_a_story_without_a_later_checkpoint_has_nothing_to_follow() -> None:
    assert words.followed(rows().head(1), CONTROLS).headline == "Nothing to follow"


def test_a_weak_explainer_is_called_weak() -> None:
    weak = words.learned({**ROW, "self": 0.35, "self_low": 0.1})
    assert not weak.as_told and "knows little" in weak.sentence
    good = words.learned({**ROW, "self": 0.9, "self_low": 0.8, "target": ROW["checkpoint"]})
    assert good.as_told and "Self and Orig are one" in good.sentence


def test_noise_that_costs_something_and_noise_that_can_not_be_told() -> None:
    noisy = {**ROW, "noise": 0.5, "noise_kind": "shuffle"}
    assert "can't be told" in words.noise(ROW, {**noisy, "self": 0.65, "self_low": 0.55, "self_high": 0.75})
    assert "cost something" in words.noise(ROW, {**noisy, "self": 0.3, "self_low": 0.2, "self_high": 0.4})


def still(kept: Estimate, excess: Estimate) -> Stillness:
    moves = tuple(Move(name, e(0.1, 0.3), kept) for name in ("f", "f_edited", "effect", "explanation"))
    return Stillness(100, 20, moves, excess)


@pytest.mark.parametrize(("low", "high", "answer"), [(0.1, 0.4, "moved"), (-0.02, 0.04, "still"), (-0.1, 0.4, "open")])
def test_the_null_says_what_the_paired_interval_says(low: float, high: float, answer: str) -> None:
    assert words.stood_still(still(e(0.9, 0.99), e(low, high))).answer == answer


def test_a_small_gap_in_the_null_world_is_no_merit_and_hides_a_loss() -> None:
    last = {**ROW, "gap": 0.01, "gap_low": -0.03, "gap_high": 0.04, "target_current": 0.98}
    before = {**ROW, "self": 0.9, "self_low": 0.85, "self_high": 0.95}
    said = words.null_gap(before, last)
    assert "±0.20" in said and "Self fell" in said
    assert "no change can be told" in words.null_gap(ROW, last)
    assert "Self rose" in words.null_gap({**ROW, "self": 0.2, "self_low": 0.1, "self_high": 0.3}, last)


def contest(output_gap: Estimate, gap: Estimate, self_difference: Estimate, gap_difference: Estimate) -> Contest:
    return Contest(100, 20, e(0.5, 0.7), e(0.4, 0.6), gap, output_gap, self_difference, gap_difference)


def test_the_lookalike_contradicted_is_said_to_be() -> None:
    open_ = contest(e(-0.2, 0.3), e(-0.2, 0.3), e(-0.1, 0.1), e(-0.1, 0.1))
    assert words.output_alone(open_).answer == words.UNDECIDED
    against = contest(e(-0.5, -0.2), e(0.2, 0.5), e(0.1, 0.3), e(0.1, 0.3))
    assert words.output_alone(against).answer == "not" and not words.output_alone(against).as_told
    assert "larger than that of −f(x)" in words.against_output(against)
    plain = words.against_output(contest(e(0.3, 0.6), e(-0.2, 0.2), e(-0.3, -0.1), e(-0.5, -0.1)))
    assert "can't be told from 0" in plain and "−f(x) is better, by +0.20 [+0.10, +0.30]" in plain


def test_a_predicted_number_is_compared_with_the_interval() -> None:
    assert "inside the interval" in words.guess_against(0.5, e(0.4, 0.6), "r")
    assert "too high" in words.guess_against(0.9, e(0.4, 0.6), "r")
    assert "too low" in words.guess_against(-0.9, e(0.4, 0.6), "r")
    assert "not defined" in words.guess_against(0.1, Estimate(None), "r")


def test_a_show_of_hands_is_counted_against_the_numbers() -> None:
    labels = {"a": "A", "b": "B"}
    assert words.votes_against({"a": 3, "b": 1}, "a", labels).startswith("3 of 4 hands (75%)")
    assert "none of the answers" in words.votes_against({"a": 3, "b": 1}, words.UNDECIDED, labels)
    assert words.votes_against({"a": 0, "b": 0}, "a", labels) == ""


def test_the_quiz_goes_by_the_numbers() -> None:
    def answers(*control: object) -> dict[str, str]:
        return {s.key: s.reveal.answer for s in quiz.statements(rows(), CONTROLS, *control)}

    looks = contest(e(0.3, 0.6), e(0.2, 0.5), e(-0.1, 0.1), e(-0.1, 0.1))
    sound = answers(still(e(0.9, 1), e(-0.01, 0.01)), looks)
    assert sound == {"right": "not", "knows": "not", "output": "may", "still": "may", "aware": "not"}
    nothing = contest(e(-0.3, 0.6), e(0.2, 0.5), e(-0.1, 0.1), e(-0.1, 0.1))
    other = answers(still(e(0.9, 1), e(0.2, 0.3)), nothing)
    assert other["output"] == "not" and other["still"] == "not"
    assert set(answers(None, None)) == {"right", "knows", "aware"}
    made = quiz.statements(rows(), CONTROLS, None, None)
    assert quiz.score({"right": "not", "knows": "may"}, made) == "1 of 2 answered as the numbers do."
    assert quiz.score({}, made) == ""


# Figures


def test_figures_carry_their_numbers_in_large_type_without_hovering() -> None:
    figures = [
        learn.answers(-1.0, 2.0, "<b>yes</b>", "no"),
        learn.estimates([learn.Bar("<i>name</i>", (0.5, 0.4, 0.6))], x_title="r", guess=0.2, band=(-0.1, 0.1)),
        learn.over_steps(
            pd.DataFrame({"step": [0, 1], "self": [0.9, 0.5], "self_low": [0.8, 0.4], "self_high": [1, 0.6]}),
            [learn.Line("self", "Self", "#3B7DD8", "circle")], y_title="r", guess=0.3,
        ),
        learn.hands({"a": 2, "b": 1}, {"a": "A", "b": "B"}, "a"),
    ]  # fmt: skip
    for figure, needed in zip(figures, ("Δ = +3.00", "0.50 [0.40, 0.60]", "Self 0.50", "✓ measured"), strict=True):
        said = " ".join(str(a.text) for a in figure.layout.annotations)
        assert needed in said
        assert "<i>name" not in said and "<b>yes" not in said
        assert all(a.font.size >= 18 for a in figure.layout.annotations if a.text)
        assert all(trace.hoverinfo == "skip" for trace in figure.data)
    assert "Δ" not in " ".join(str(a.text) for a in learn.answers(-1.0, None, "yes", "no").layout.annotations)


# The page, step by step, on the sample runs

Open = Callable[..., AppTest]


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Open:
    def open_page(folder: Path, **parameters: str) -> AppTest:
        monkeypatch.setenv("COUPLING_RUNS", str(folder))
        app = AppTest.from_file(str(ROOT / "dashboard" / "app.py"), default_timeout=60)
        app.query_params.update(parameters)
        app.switch_page("../pages/learn.py")
        return app.run()

    return open_page


def said(app: AppTest) -> str:
    assert not app.exception, app.exception[0].stack_trace
    return "\n".join(el.proto.body for el in app.get("html"))


def reveal(app: AppTest) -> AppTest:
    return next(b for b in app.button if b.label == "Reveal").click().run()


@pytest.mark.parametrize("step", range(1, 8))
def test_every_step_hides_its_answer_and_reveals_it_with_numbers(opened: Open, step: int) -> None:
    app = opened(SAMPLES, step=str(step))
    before = said(app)
    assert 'class="reveal' not in before
    after = said(reveal(app))
    assert 'class="reveal' in after
    if step > 1:
        assert "[" in after and "groups" in after  # an interval and what it comes from
    assert app.title[0].value.startswith(f"{step}. ")
    assert app.query_params["step"] == str(step)


def test_the_null_says_how_far_the_effect_moved_above_the_figure_that_shows_it(opened: Open) -> None:
    app = opened(SAMPLES, step="5")
    table = next(t.value for t in app.dataframe if "moved, nats" in t.value).set_index("quantity")["moved, nats"]
    moved = f"{table['Δ, the effect']:.2f} against {table['f(x)']:.2f} nats"
    assert f"hardly moves: by {moved}" in said(app) and "stands still" not in said(app)


def test_the_sixth_step_has_one_name(opened: Open) -> None:
    app = opened(SAMPLES, step="6")
    assert "known positive" in app.title[0].value
    assert app.selectbox(key="option_lookalike_run").label == "Run of the known positive"
    assert "look-alike" not in said(reveal(app))


@pytest.mark.parametrize(("step", "run"), [("5", "sycophancy-shared"), ("6", "sycophancy-cue")])
def test_of_many_examples_a_sample_is_measured_and_said_to_be(
    opened: Open, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, step: str, run: str
) -> None:
    monkeypatch.setattr(on_screen, "MEASURED", 30)
    shutil.copytree(SAMPLES / run, tmp_path / run)  # what was measured elsewhere is remembered by its folder
    assert "n = 30, a seeded sample of" in said(reveal(opened(tmp_path, step=step)))


def test_predictions_are_kept_on_the_way_and_wiped_on_demand(opened: Open) -> None:
    app = opened(SAMPLES, step="4")
    next(b for b in app.button if b.label == "The model as it is now").click().run()
    app.button(key="forward").click().run()
    assert app.query_params["step"] == "5"
    app.button(key="back").click().run()
    assert "Predicted: “The model as it is now”" in said(reveal(app))
    app.button(key="wipe_step").click().run()
    assert "Predicted" not in said(app)


def test_a_hand_is_counted(opened: Open) -> None:
    app = opened(SAMPLES, step="5")
    app.number_input[0].set_value(12).run()
    app.number_input[1].set_value(4).run()
    assert "of 16 hands" in said(reveal(app))


def test_the_task_is_switched_and_its_runs_with_it(opened: Open) -> None:
    app = opened(SAMPLES, step="6", task="sycophancy")
    assert app.selectbox(key="option_lookalike_run").value == "sycophancy-cue"
    assert "run sycophancy-cue" in said(app)


def test_a_missing_run_is_named_in_words(opened: Open, tmp_path: Path) -> None:
    shutil.copytree(SAMPLES / "refusal", tmp_path / "only")
    for step, words_ in (("5", "world “shared”"), ("6", "world “cue”")):
        app = opened(tmp_path, step=step)
        assert words_ in app.info[0].value
    assert "Step 2" in said(reveal(opened(tmp_path, step="7")))


@pytest.mark.parametrize("step", ["0", "8", "x", "<script>", "1.5", ""])
def test_a_step_that_is_not_there_is_answered_in_words(opened: Open, step: str) -> None:
    app = opened(SAMPLES, step=step)
    assert app.title[0].value.startswith("1. ")
    assert "there is no step" in app.warning[0].value


def test_a_run_that_does_not_fit_its_role_is_said_not_to(opened: Open) -> None:
    app = opened(SAMPLES, step="5", task="refusal", null_run="refusal-cue")
    assert "does not do what this step needs" in app.warning[0].value
