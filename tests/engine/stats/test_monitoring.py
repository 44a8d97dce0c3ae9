"""Monitoring: shifts of slices against plain means, ROC areas against scikit-learn, detectors built by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from engine.stats import monitoring
from engine.stats.bootstrap import bootstrap_weights
from engine.stats.monitoring import Watched

N = 600


def world(seed: int = 0, sees: bool = True):
    """Slices that move or don't; the explainer sees it or not; f(x) drifts where effects do not."""
    rng = np.random.default_rng(seed)
    topic, speaker = rng.integers(10, size=N), rng.integers(3, size=N)
    examples = pd.DataFrame({"meta_topic": [f"t{t}" for t in topic], "meta_speaker": [f"s{s}" for s in speaker]})
    watched = []
    for step in range(3):
        moved, drift = rng.normal(size=10)[topic], rng.normal(size=10)[topic]
        measured = moved + 0.2 * rng.normal(size=N)
        predicted = (0.7 * moved if sees else 0.0) + 0.2 * rng.normal(size=N)
        watched.append(Watched(f"gpt2--step-{step}", predicted, measured, drift))
    resamples = bootstrap_weights(np.random.default_rng(1), 300, np.arange(N) % 60)
    return examples, watched, resamples


def test_shifts_are_means_over_slices():
    examples, watched, resamples = world()
    slices = monitoring.slices_of(examples)
    assert slices.names[0] == monitoring.EVERYTHING and len(slices.names) == 1 + 10 + 3
    found = monitoring.shifts(watched, slices, resamples).table
    assert len(found) == 3 * 14
    row = found[(found["checkpoint"] == "gpt2--step-1") & (found["value"] == "t3")].iloc[0]
    inside = examples["meta_topic"] == "t3"
    assert row["n"] == inside.sum()
    for name in monitoring.QUANTITIES:
        mean = getattr(watched[1], name)[inside].mean()
        assert row[name] == pytest.approx(mean)
        assert row[f"{name}_low"] < mean < row[f"{name}_high"]
    whole = found[found["column"] == "everything"]
    np.testing.assert_allclose(whole["measured"], [w.measured.mean() for w in watched])


def test_columns_with_a_value_a_row_or_a_single_one_are_no_slices():
    examples = pd.DataFrame(
        {"meta_id": [str(i) for i in range(N)], "meta_one": ["same"] * N, "topic": ["a", "b"] * 300}
    )
    assert monitoring.slices_of(examples).names == (monitoring.EVERYTHING,)
    few = pd.DataFrame({"meta_kind": ["rare"] * 19 + ["common"] * 81})
    assert monitoring.slices_of(few).names[1:] == (("kind", "common"),)


def test_area_is_scikit_learns_with_ties():
    rng = np.random.default_rng(0)
    score = rng.integers(6, size=(40, 30)).astype(float)
    event = rng.random((40, 30)) < 0.4
    expected = [roc_auc_score(e, s) for e, s in zip(event, score, strict=True)]
    np.testing.assert_allclose(monitoring.area(score, event), expected)
    assert np.isnan(monitoring.area(score[0], np.zeros(30, bool)))
    assert np.isnan(monitoring.area(score[0], np.ones(30, bool)))


def test_draws_are_of_slices_and_of_checkpoints():
    found = monitoring.shifts(*_two(world()))
    slices, checkpoints = 14, 3
    drawn = found.pairs.reshape(len(found.pairs), checkpoints, slices)
    assert found.pairs.min() >= 0 and found.pairs.max() == slices * checkpoints - 1
    np.testing.assert_array_equal(drawn % slices, np.broadcast_to(drawn[:, :1] % slices, drawn.shape))
    np.testing.assert_array_equal(drawn // slices, np.broadcast_to(drawn[:, :, :1] // slices, drawn.shape))
    assert len(np.unique(found.pairs, axis=0)) > 290


def test_an_explainer_that_sees_the_shift_detects_it_and_unrelated_drift_does_not():
    found = monitoring.detect(monitoring.shifts(*_two(world(sees=True))), 0.5)
    area, low, high = found.values["area"]
    assert area > 0.9 and low <= area <= high
    assert found.values["area_baseline"][0] < 0.8
    assert found.values["area_difference"][1] > 0
    assert found.values["r"][0] > 0.9 and found.values["slope"][0] == pytest.approx(1 / 0.7, rel=0.15)


def test_an_explainer_that_is_held_detects_nothing():
    found = monitoring.detect(monitoring.shifts(*_two(world(sees=False))), 0.5)
    area, low, high = found.values["area"]
    assert low < 0.5 < high and abs(area - 0.5) < 0.25


def test_a_curve_ends_where_it_should_and_has_the_area():
    found = monitoring.detect(monitoring.shifts(*_two(world())), 0.5)
    for name, key in (("predicted", "area"), ("drift", "area_baseline")):
        curve = found.curves[name]
        assert curve.iloc[0][["false_alarms", "detected"]].tolist() == [0, 0]
        assert curve.iloc[-1][["false_alarms", "detected"]].tolist() == [1, 1]
        assert np.trapezoid(curve["detected"], curve["false_alarms"]) == pytest.approx(found.values[key][0])


def test_without_events_there_is_no_area():
    found = monitoring.detect(monitoring.shifts(*_two(world())), 1e6)
    assert found.events == 0 and np.isnan(found.values["area"]).all() and not found.curves


def test_runs_are_pooled():
    one, two = (monitoring.shifts(*_two(world(seed))) for seed in (0, 1))
    both = monitoring.pooled([one, two])
    assert monitoring.detect(both, 0.5).pairs == len(one.table) + len(two.table)
    again = monitoring.detect(monitoring.pooled([one, one]), 0.5).values
    assert again["area"][0] == pytest.approx(monitoring.detect(one, 0.5).values["area"][0])
    assert again["area"][1:] == pytest.approx(monitoring.detect(one, 0.5).values["area"][1:])


def test_a_slice_that_draws_of_examples_leave_empty_keeps_its_interval():
    examples, watched, _ = world()
    by_topic = bootstrap_weights(np.random.default_rng(0), 300, examples["meta_topic"])
    found = monitoring.shifts(watched, monitoring.slices_of(examples), by_topic)
    assert np.isfinite(found.table[["measured_low", "measured_high"]]).all(axis=None)
    detected = monitoring.detect(found, 0.5)
    assert all(np.isfinite(v).all() for v in map(np.array, detected.values.values()))


def test_intervals_hold_their_estimates_however_few_the_examples():
    for seed in range(4):
        found = monitoring.shifts(*_two(world(seed, sees=seed % 2 == 0)))
        for value, low, high in monitoring.detect(found, 0.5).values.values():
            assert low <= value <= high


def test_changes_are_counted_from_the_first_checkpoint():
    rng = np.random.default_rng(0)
    names = ["a--0", "a--1", "a--2"]
    effects, f, said = ({n: rng.normal(size=30) for n in names} for _ in range(3))
    watched, slices = monitoring.watch(pd.DataFrame({"meta_x": ["p", "q"] * 15}), effects, f, said)
    assert [w.name for w in watched] == names[1:]
    np.testing.assert_allclose(watched[1].predicted, said["a--2"] - said["a--0"])
    np.testing.assert_allclose(watched[0].measured, effects["a--1"] - effects["a--0"])
    np.testing.assert_allclose(watched[0].drift, f["a--1"] - f["a--0"])
    assert slices.members.shape == (30, 1)


def _two(made):
    examples, watched, resamples = made
    return watched, monitoring.slices_of(examples), resamples
