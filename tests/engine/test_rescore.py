"""A stored run scored anew equals the run as it was made; one of an earlier version gets what it lacks."""

from __future__ import annotations

import json
import shutil

import pandas as pd
import pytest

from engine import pipeline
from engine.config import InputError
from engine.records import METRICS
from engine.rescore import ADDED, BEFORE, KEY, PART, rescore
from engine.runs.store import Run
from engine.runs.verify import verify
from engine.spec_files import load_spec
from tests.tiny_run import examples, write_spec


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run with 216 examples: enough in each split to test what is known of the unseen answer."""
    folder = tmp_path_factory.mktemp("rescore")
    spec = write_spec(folder, explainers={"folds": 2, "kinds": ["ridge", "linear"], "steps": 20})
    (folder / "data.jsonl").write_text("".join(json.dumps(line) + "\n" for line in examples(questions=9)))
    return pipeline.make_run(load_spec(spec), folder / "run").path


@pytest.fixture
def run(made, tmp_path):
    return shutil.copytree(made, tmp_path / "run")


def metrics(path, part=PART) -> pd.DataFrame:
    return Run.open(path).read_table(part).to_pandas()


def as_version_1(path) -> None:
    """Make a run look as version 1 wrote it: without the added columns, with the old words and the old number."""
    with Run.extend(path) as run:
        old = run.read_table(PART).drop_columns(sorted(ADDED - {"verdict_coupling"}))
        words = ["holds" if v else None for v in old["verdict_coupling"].to_pylist()]
        at = old.schema.get_field_index("verdict_coupling")
        run.write_table(PART, old.set_column(at, "verdict_coupling", [words]))
        run.manifest["format_version"] = 1
        run.finish()


def test_scoring_anew_changes_nothing(run):
    before = metrics(run)
    rescore(run)
    pd.testing.assert_frame_equal(metrics(run, BEFORE), before)
    after = metrics(run)
    pd.testing.assert_frame_equal(after[list(KEY)], before[list(KEY)])
    single = (before["explainer"] == "ridge").to_numpy()  # of several seeds only the mean explanation is stored
    pd.testing.assert_frame_equal(after[single], before[single], atol=2e-3, rtol=0)
    assert verify(run) == []
    shown = before[single & before["control"].isna() & (before["noise"] == 0) & (before["split"] == "test_heldout")]
    assert shown["unseen"].notna().any() and shown["verdict_unseen"].notna().any()


def test_a_run_of_version_1_gets_what_it_lacks(run):
    new = metrics(run)
    as_version_1(run)
    assert any("coupling rescore" in problem for problem in verify(run))
    rescore(run)
    assert Run.open(run).manifest["format_version"] == 2 and verify(run) == []
    after = metrics(run)
    assert after.columns.tolist() == METRICS.names and "holds" not in set(after["verdict_coupling"])
    kept = [name for name in METRICS.names if name not in ADDED]
    pd.testing.assert_frame_equal(after[kept], new[kept])
    leads = new["verdict_unseen"].notna() & (new["explainer"] == "ridge")
    assert leads.any() and (after.loc[leads, "verdict_unseen"] == new.loc[leads, "verdict_unseen"]).all()
    noisy = after["noise"] > 0
    assert noisy.any() and after.loc[noisy, ["unseen", "verdict_coupling"]].isna().all(axis=None)


def test_killed_between_its_writes_it_can_be_called_again(run):
    before = Run.open(run).read_table(PART)
    with Run.extend(run) as writing:
        writing.write_table(BEFORE, before)
        writing.drop(PART)
    rescore(run)
    assert len(metrics(run)) == len(before) and verify(run) == []


def test_an_unfinished_run_is_refused(run):
    manifest = json.loads((run / "run.json").read_text()) | {"status": "running"}
    (run / "run.json").write_text(json.dumps(manifest))
    with pytest.raises(InputError, match="interrupted"):
        rescore(run)
