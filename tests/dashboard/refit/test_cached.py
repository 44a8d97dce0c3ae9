"""The live refit at a run's own setting is the run's own result: curve, null, ceiling and every explanation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dashboard.reading import chosen, data
from dashboard.refit import cached, missing
from engine import pipeline
from engine.runs.observed import Observed
from tests.engine.probes.test_stage import measured_run, spec

SPLIT, EDIT = "test_heldout", "delete_cue"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = spec(kinds=["ridge"], modes=["direct"], regimes=["frozen", "refit"])
    record = measured_run(tmp_path_factory.mktemp("live") / "run", config)
    pipeline.explain(Observed(record, config))
    record.finish()
    return record.path


def case(run: Path, regime: str) -> cached.RefitCase:
    return cached.RefitCase(run, "gpt2--step-200", regime, EDIT, SPLIT, data.stamp(run))


@pytest.mark.parametrize("kind", ["shuffle", "gaussian"])
@pytest.mark.parametrize("regime", ["frozen", "refit"])
def test_live_equals_precomputed(run: Path, regime: str, kind: str):
    about = {"explainer": "ridge", "regime": regime, "split": SPLIT, "checkpoint": "gpt2--step-200", "edit": EDIT}
    stored = chosen.best(data.metrics(run, control=None, **about))
    first = stored.iloc[0]
    at = case(run, regime)
    size = len(cached.rows(at)[0])
    found = cached.refit(at, cached.Sliders(kind, 0.5, int(first["layer"]), float(first["penalty"]), size, seeds=2))
    stored = stored[(stored["noise_kind"] == kind) | (stored["noise"] == 0)]
    both = stored.merge(found.curve, on="noise", suffixes=("", "_live"))
    assert len(both) == 3
    for name in ("self", "orig", "noisy_clean"):
        np.testing.assert_allclose(both[f"{name}_live"], both[name], atol=1e-5)
    np.testing.assert_allclose(found.null, (first["null_low"], first["null_high"]), atol=1e-5)
    if regime == "frozen":
        top = data.metrics(run, control="ceiling", checkpoint="gpt2--step-200", split=SPLIT, edit=EDIT)
        assert found.ceiling == pytest.approx(top["self"].iloc[0], abs=1e-5)


@pytest.mark.parametrize("noise", [("none", 0.0), ("gaussian", 0.5)])
def test_refitted_explanations_are_the_stored_ones(run: Path, noise: tuple[str, float]):
    setting = data.Setting("gpt2--step-200", "ridge", "frozen", *noise)
    stored = data.explanations(run, setting, SPLIT, EDIT)
    again, how = missing.rows(run, setting, SPLIT, EDIT, None)
    both = stored.merge(again, on="example_id", suffixes=("", "_again"))
    assert len(both) == len(stored) == len(again) > 0 and "Refitted" in how
    np.testing.assert_allclose(both["explanation_again"], both["explanation"], atol=1e-3)  # stored in milli-nats


def test_another_layer_is_another_explanation(run: Path):
    setting = data.Setting("gpt2--step-200", "ridge", "frozen")
    layers = [missing.rows(run, setting, SPLIT, None, layer)[0] for layer in (1, 2)]
    assert [set(frame["layer"]) for frame in layers] == [{1}, {2}]
    assert set(layers[0]["edit"]) == {"delete_cue", "mask_cue"}
    assert not np.allclose(layers[0]["explanation"], layers[1]["explanation"])


@pytest.mark.parametrize(("explainer", "regime", "layer"), [("mlp", "frozen", None), ("ridge", "frozen", 9)])
def test_what_can_not_be_refitted_is_empty(run: Path, explainer: str, regime: str, layer: int | None):
    setting = data.Setting("gpt2--step-200", explainer, regime)
    frame, how = missing.rows(run, setting, SPLIT, EDIT, layer)
    assert frame.empty and how == ""


def test_flips_are_listed_with_the_largest_change_first(run: Path):
    _, test = cached.rows(case(run, "frozen"))
    before = np.ones(len(test))
    before[2] = 0
    after = before.copy()
    after[[1, 3]] = -0.5, -2
    found = cached.flips(test, before, after)
    assert found["example_id"].tolist() == test["example_id"].iloc[[3, 1]].tolist()
