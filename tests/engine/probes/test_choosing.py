"""A sweep gives the same choice whole, in parts, and by other processes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from engine.probes import choosing
from engine.probes.choosing import choose
from engine.probes.probe import Probe
from engine.progress import silent
from engine.runs.kept import Kept
from engine.runs.observed import Observed
from engine.runs.store import Run, RunError
from engine.workers.local import HERE, Processes
from tests.engine.probes.test_stage import measured_run, spec


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return measured_run(tmp_path_factory.mktemp("runs") / "by-hand", spec(kinds=["ridge"]))


def chosen(run: Run, workers=HERE) -> list[Probe]:
    return choose(Observed(run, run.spec), silent, workers, Kept(run, ()))


def test_one_probe_for_each_place_and_one_headline(run: Run):
    probes = chosen(run)
    assert len({p.place for p in probes}) == len(probes) == 8, "two edits, two modes, two layers"
    assert [p.place.layer for p in probes if p.chosen] == [2] and sum(p.best for p in probes) == 4


@pytest.mark.parametrize("in_parts", [False, True])
def test_other_processes_choose_the_same(run: Run, in_parts: bool, monkeypatch: pytest.MonkeyPatch):
    if in_parts:  # the parts are planned here; a worker does those that it is given
        monkeypatch.setattr(choosing, "BLOCK", 64)
        monkeypatch.setattr(choosing, "SMALLER", 1)
    items = list(choosing._asked(Observed(run, run.spec)))
    assert (len(items) > 8) == in_parts
    for own, other in zip(chosen(run), chosen(run, Processes(2)), strict=True):
        assert (own.place, own.penalty, own.best, own.chosen) == (other.place, other.penalty, other.best, other.chosen)
        assert own.cv == pytest.approx(other.cv, abs=1e-9)


def test_a_part_is_read_from_the_files_that_hold_it(run: Run, tmp_path: Path):
    """The hidden states of other rows may be damaged: a worker doesn't read them."""
    record = Run.create(tmp_path / "parts", run.spec, provenance={})
    record.write_table("examples.parquet", run.read_table("examples.parquet"))
    name, states = run.spec.checkpoints[0].name, run.hidden(run.spec.checkpoints[0].name, 2)
    for number, some in enumerate(np.split(states, [300, 500])):
        record.write_arrays(f"hidden/{name}/{number:05d}.safetensors", {"last.2": some})
    for within in ((0, 300), (299, 301), (300, 500), (450, 700), (0, len(states))):
        np.testing.assert_array_equal(record.hidden(name, 2, within=within), states[slice(*within)])
    (record.path / f"hidden/{name}/00001.safetensors").write_bytes(b"damaged")
    np.testing.assert_array_equal(record.hidden(name, 2, within=(500, 700)), states[500:700])
    with pytest.raises(RunError, match="damaged"):
        record.hidden(name, 2, within=(0, 301))
