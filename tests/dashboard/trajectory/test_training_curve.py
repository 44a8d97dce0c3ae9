"""An explainer trained again by the dashboard is the engine's, and is watched on the way."""

from pathlib import Path

import numpy as np
import pytest

from dashboard.reading import agreement, data
from dashboard.trajectory.training_curve import KEPT, Asked, curve, curves, scored, trained, training, watched_steps
from engine.config import ExplainerSpec
from engine.probes.regimes import explain
from engine.runs.store import RunError
from tests.synthetic_run import write_run

SPEC = ExplainerSpec(kinds=("linear", "mlp"), steps=60, width=8, batch=32)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("runs") / "alpha", prompts=160, checkpoints=3)


@pytest.mark.parametrize("total", [1, 2, 5, 40, 400, 10_000])
def test_steps_rise_from_one_to_the_last(total: int) -> None:
    steps = watched_steps(total)
    assert steps[0] == 1 and steps[-1] == total
    assert list(steps) == sorted(set(steps)) and len(steps) <= 9


@pytest.mark.parametrize("kind", ["linear", "mlp"])
def test_at_its_last_step_it_is_the_engines_explainer(kind: str) -> None:
    rng = np.random.default_rng(0)
    x, later = rng.normal(size=(96, 5)), rng.normal(size=(20, 5))
    y = x @ rng.normal(size=5)
    asked = Asked(Path(), kind, "delete_cue", "test_heldout", 4, weight_decay=1e-2)
    ((_, said),) = training(asked, x, y, {"later": later}, [SPEC.steps], SPEC, seed=4)
    engine = explain(
        kind, "frozen", [(x, later)], np.repeat(y[:, None], SPEC.seeds, axis=1), penalty=1e-2, spec=SPEC, seed=4
    )
    np.testing.assert_array_equal(said["later"], engine[0].mean(axis=1))


def test_faithfulness_rises_while_it_trains(run: Path) -> None:
    heard: list[float] = []
    rows = curve(Asked(run, "linear", "delete_cue", "test_heldout", 4, 1e-4), heard.append, draws=50)
    first = rows[rows["checkpoint"] == "gpt2--step-0000"].set_index("training_step")
    assert first["self"].iloc[-1] > first["self"].iloc[0] + 0.1
    assert (first["self"] == first["orig"]).all()  # at the target the two are one
    assert set(rows["checkpoint"]) == set(data.options(run).checkpoints)
    assert (rows["self_low"] <= rows["self"]).all()
    assert rows["n_groups"].min() > 1
    assert heard == sorted(heard) and heard[-1] == 1
    behavior = data.behavior(run, "gpt2--step-0200")
    assert rows["n"].iloc[0] == ((behavior["split"] == "test_heldout") & (behavior["edit"] == "delete_cue")).sum()


def test_the_last_curves_are_kept_for_every_session(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dashboard.trajectory.training_curve.curve", lambda asked, progress: asked)
    questions = [Asked(run, "linear", "delete_cue", "test_heldout", 4, float(i)) for i in range(KEPT + 3)]
    for asked in questions:
        assert trained(asked, "stamp", lambda share: None) is asked
    assert list(curves()) == [(asked, "stamp") for asked in questions[3:]]
    curves().clear()


def test_too_few_examples_are_said(run: Path) -> None:
    with pytest.raises(RunError, match="too few"):
        curve(Asked(run, "linear", "no such edit", "test_heldout", 4, 0.0), lambda share: None)


def test_scores_carry_intervals(run: Path) -> None:
    rows = data.explanations(run, data.Setting("gpt2--step-0200", "ridge", "frozen"), split="test_heldout")
    found = scored(rows, rows["explanation"].to_numpy(np.float64), agreement.resamples(rows, 400, 0))
    known = agreement.agreement(rows)
    assert (found["self"], found["self_low"], found["self_high"]) == pytest.approx(
        (known.self.value, known.self.low, known.self.high)
    )
    assert found["gap"] == pytest.approx(known.gap.value)
