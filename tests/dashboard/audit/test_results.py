"""The blind queue, errors and agreement of reviewers, against plain computation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from dashboard.audit import log as audit
from dashboard.audit import queue as audit_queue
from dashboard.audit import results
from dashboard.audit.log import AuditLog, canonical_json
from tests.dashboard.audit.test_log import both

# The queue


@given(st.lists(st.sampled_from("abcd"), min_size=1, max_size=60), st.integers(1, 80), st.integers(0, 9))
@settings(max_examples=150, deadline=None)
def test_a_queue_is_seeded_stratified_and_without_repeats(names: list[str], items: int, seed: int) -> None:
    strata = pd.Categorical(names, categories=list("abcde"))
    queue = audit_queue.draw(strata, items, seed).tolist()
    assert len(queue) == len(set(queue)) == min(items, len(names))
    assert set(queue) <= set(range(len(names)))
    taken = {name: sum(names[i] == name for i in queue) for name in set(names)}
    least = min((n for name, n in taken.items() if n < names.count(name)), default=None)
    assert least is None or max(taken.values()) <= least + 1  # who gives less than another has no more to give
    assert audit_queue.draw(strata, items, seed).tolist() == queue
    assert set(queue) <= set(audit_queue.draw(strata, items + 5, seed).tolist())
    if items >= len(names):
        assert sorted(queue) == list(range(len(names)))


def test_other_seeds_give_other_queues_and_places_tell_no_stratum() -> None:
    strata = pd.Categorical(["a"] * 360 + ["b"] * 40)
    queues = [audit_queue.draw(strata, 40, seed) for seed in range(60)]
    assert len({tuple(q) for q in queues}) == 60
    rare = np.mean([q >= 360 for q in queues], axis=0)
    assert np.isclose(rare.mean(), 0.5)
    assert rare.min() > 0.2
    assert rare.max() < 0.8


def test_strata_are_quadrants_of_agreement() -> None:
    rows = pd.DataFrame(
        {
            "explanation": [1.0, 1.0, 1.0, 1.0, np.nan],
            "effect_current": [2.0, 2.0, -2.0, -2.0, 1.0],
            "effect_target": [2.0, -2.0, 2.0, -2.0, 1.0],
        }
    )
    assert list(audit_queue.strata(rows)) == list(audit_queue.STRATA)


def test_the_output_is_put_in_nats_by_the_train_split_at_the_target() -> None:
    rng = np.random.default_rng(0)
    f = rng.normal(size=60)
    frame = pd.DataFrame({"f_target": f, "effect_target": 0.5 - 2 * f, "split": "train", "edit": "delete_cue"})
    other = frame.assign(split="test_heldout", effect_target=9.0)
    elsewhere = frame.assign(edit="mask", effect_target=f)
    scale = audit_queue.output_scale(pd.concat([frame, other, elsewhere]), "delete_cue")
    assert scale is not None
    assert (scale.slope, scale.intercept) == pytest.approx((-2, 0.5))
    assert scale.n == 60
    assert scale.says(1.0) == pytest.approx(-1.5)
    assert audit_queue.output_scale(other, "delete_cue") is None
    assert audit_queue.output_scale(frame.assign(f_target=1.0), "delete_cue") is None


def test_how_far_apart_effects_must_lie() -> None:
    assert audit_queue.least_distance(np.array([0.1, -0.1])) == 0.25
    assert audit_queue.least_distance(10 * np.array([-1.0, 1.0])) == pytest.approx(1.0)


# What audits add up to


def verdicts(*columns: tuple[str, str]) -> pd.DataFrame:
    """("Ann", "ctnu") …: a letter an example, "-" for none."""
    names = {v[0]: v for v in audit.VERDICTS}
    return pd.DataFrame(
        [
            {"reviewer": who, "example_id": f"e{i}", "verdict": names[letter]}
            for who, letters in columns
            for i, letter in enumerate(letters)
            if letter != "-"
        ]
    )


def test_kappa_equals_the_computation_by_hand() -> None:
    # 20 examples: 8 both current, 5 both target, 3 Ann current and Bob target, 4 Ann target and Bob current.
    ann, bob = ("c" * 8 + "t" * 5 + "c" * 3 + "t" * 4 + "n-"), ("c" * 8 + "t" * 5 + "t" * 3 + "c" * 4 + "-u")
    (found,) = results.kappas(verdicts(("Ann", ann), ("Bob", bob)))
    observed, chance = 13 / 20, (11 * 12 + 9 * 8) / 400
    assert found.value == pytest.approx((observed - chance) / (1 - chance))
    assert (found.n, found.same) == (20, 13)
    assert found.low < found.value < found.high
    assert "only 20" in found.words


def test_the_interval_of_kappa_is_that_of_a_plain_bootstrap() -> None:
    rng = np.random.default_rng(1)
    a = rng.choice(list(audit.VERDICTS), 60)
    b = np.where(rng.random(60) < 0.6, a, rng.choice(list(audit.VERDICTS), 60))
    counts = pd.crosstab(a, b).reindex(index=list(audit.VERDICTS), columns=list(audit.VERDICTS)).to_numpy()
    interval = np.percentile(results.resampled_kappa(counts, 4_000), [2.5, 97.5])
    drawn = rng.integers(0, 60, (300, 60))
    plain = np.percentile([cohen_kappa_score(a[i], b[i], labels=list(audit.VERDICTS)) for i in drawn], [2.5, 97.5])
    assert interval == pytest.approx(plain, abs=0.06)
    assert results.cohen_kappa(counts) == pytest.approx(cohen_kappa_score(a, b))


def test_undefined_agreement_is_said_in_words() -> None:
    assert results.kappas(verdicts(("Ann", "cc--"), ("Bob", "--cc"))) == []
    (one,) = results.kappas(verdicts(("Ann", "c-"), ("Bob", "ct")))
    assert one.value is None
    assert "one shared example" in one.words
    (same,) = results.kappas(verdicts(("Ann", "cccc"), ("Bob", "cccc")))
    assert same.value is None
    assert "throughout" in same.words
    (shaky,) = results.kappas(verdicts(("Ann", "cct"), ("Bob", "cct")))
    assert shaky.value == 1
    assert shaky.low is None
    assert "undefined in" in shaky.words
    assert len(results.kappas(verdicts(("Ann", "ct"), ("Bob", "ct"), ("Cy", "tc")))) == 3


def test_errors_are_weighted_by_the_quadrants_sizes(tmp_path: Path) -> None:
    log = AuditLog(f"sqlite:///{tmp_path / 'a.sqlite'}")
    cases = (("rare", 1, 2), ("rare", 1, 4), ("common", 3, 1), ("common", 5, 1))
    for i, (stratum, explained, predicted) in enumerate(cases):
        shown = {"effect_current": 0.0, "explanation": float(explained), "output": -0.5, "stratum": stratum}
        both(log, example_id=f"e{i}", predicted=float(predicted), shown=canonical_json(shown))
    rows = results.judged(log.records(), "0" * 12, canonical_json({"explainer": "ridge"}))
    assert rows.auditor.tolist() == [2, 4, 1, 1]
    found = {m.name: m for m in results.mean_errors(rows, {"rare": 10, "common": 90})}
    assert found["the auditor"].value == pytest.approx(0.1 * 3 + 0.9 * 1)
    assert found["the explanation"].value == pytest.approx(0.1 * 1 + 0.9 * 4)
    assert found["−f(x), scaled"].value == pytest.approx(0.5)
    less = found["auditor less explanation"]
    assert less.value == pytest.approx(1.2 - 3.7)
    assert less.low <= less.value <= less.high
    assert less.n == 4
    lonely = results.mean_errors(rows.iloc[1:], {"rare": 10, "common": 90})
    assert lonely[0].low is None
    assert results.mean_errors(rows.iloc[:0], {}) == []
