"""What a stopped run keeps comes back as it was, and nothing else can be kept."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from engine.runs import kept
from engine.runs.kept import Kept, packed, unpacked
from engine.runs.store import Run, RunError
from tests.engine.runs.test_store import a_spec


@dataclass(frozen=True)
class Thing:
    name: str
    values: dict[tuple[str, int], np.ndarray]


THING = Thing("<x>", {("a", 1): np.arange(3.0), ("b", 2): np.ones((0, 2), np.float32)})


def test_values_come_back_as_they_were() -> None:
    given = {"one": [THING, None, True, 1, 0.1, math.nan, np.float64(0.3)], "two": (1, {"a": [np.array([True])]})}
    back = unpacked(packed(given), {"Thing": Thing})
    thing, *plain = back["one"]
    assert thing.name == "<x>" and list(thing.values) == [("a", 1), ("b", 2)]
    for key, values in THING.values.items():
        assert thing.values[key].dtype == values.dtype and np.array_equal(thing.values[key], values)
    assert plain[:4] == [None, True, 1, 0.1] and math.isnan(plain[4]) and plain[5] == 0.3
    assert back["two"][0] == 1 and back["two"][1]["a"][0].dtype == bool
    with pytest.raises(TypeError, match="object can't be kept"):
        packed({"a": object()})


def test_results_are_written_now_and_then_and_found_by_the_next(tmp_path: Path, monkeypatch) -> None:
    run = Run.create(tmp_path / "run", a_spec(), provenance={})
    first = Kept(run, (Thing,))
    first.put("soon", THING)
    assert not run.parts, "nothing is written before its time"
    monkeypatch.setattr(kept, "SECONDS", 0)
    first.put("later", 2)
    assert len(run.parts) == 1
    first.made("last", lambda: [3])
    again = Kept(run, (Thing,))
    assert again.made("soon", lambda: pytest.fail("made again")).name == "<x>"
    assert (again.get("later"), again.get("last"), "never" in again) == (2, [3], False)
    first_part, *others = sorted(run.parts)
    (run.path / first_part).unlink()
    fewer = Kept(run, (Thing,))
    fewer.put("new", 4)
    assert "soon" not in fewer and Kept(run, (Thing,)).get("new") == 4 and Kept(run, (Thing,)).get("last") == [3]
    damaged = others[0]
    run.write_arrays(damaged, {"tree": np.frombuffer(b'{"of": "os"}', np.uint8)})
    with pytest.raises(RunError, match="is damaged: remove it"):
        Kept(run, (Thing,))
    deep = np.frombuffer(b"[" * 100_000, np.uint8)
    run.write_arrays(damaged, {"tree": deep, "names": np.frombuffer(b'["soon"]', np.uint8)})
    with pytest.raises(RunError, match="is damaged: remove it"):
        Kept(run, (Thing,)).get("soon")
    kept.drop_kept(run)
    assert not run.parts and not list((tmp_path / "run" / "kept").glob("*"))
