"""Two runs on shared examples: differences are paired, and what is not shared is not compared."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from dashboard.compare import compare, shared
from tests.test_refit import rows as some_rows


def frame(seed: int = 0, noise: float = 0.0, n: int = 300) -> pd.DataFrame:
    rows = some_rows(n)
    rng = np.random.default_rng(seed)
    rows["explanation"] = rows["explanation"] + noise * rng.standard_normal(n)
    rows["error"] = (rows["explanation"] - rows["effect_current"]).abs()
    rows["example_id"] = [f"{i:016x}" for i in range(n)]
    return rows


def test_a_run_does_not_differ_from_itself():
    found = compare(shared(frame(), frame()), draws=100)
    assert found is not None and found.same_effects and found.explanations.value == pytest.approx(1)
    for one in found.numbers:
        assert one.difference.value == pytest.approx(0) and one.difference.low == pytest.approx(0)
    assert found.errors.value == 0 and found.nearer == 0


def test_a_noisier_run_is_told_apart_by_pairing():
    found = compare(shared(frame(), frame(noise=1.0)), draws=200)
    numbers = {c.name: c for c in found.numbers}
    assert numbers["self"].difference.low > 0.1
    assert found.errors.high < 0 and found.nearer > 0.5
    assert numbers["self"].first.value - numbers["self"].second.value == pytest.approx(numbers["self"].difference.value)


def test_pairing_narrows_the_interval():
    """Two runs with the same errors but a little: the difference is sharper than either number."""
    found = compare(shared(frame(), frame(noise=0.05)), draws=200)
    own = next(c for c in found.numbers if c.name == "self")
    assert own.difference.high - own.difference.low < 0.3 * (own.first.high - own.first.low)


def test_only_shared_examples_count():
    other = frame()
    other["example_id"] = [f"other{i}" for i in range(200)] + list(other["example_id"][200:])
    assert len(shared(frame(), other)) == 100
    assert compare(shared(frame(), other.iloc[:200])) is None
