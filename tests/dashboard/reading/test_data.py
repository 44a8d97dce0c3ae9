"""Reads of runs, against the tables as written and against pandas."""

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dashboard.reading import data, example_rows
from dashboard.reading.slices import Slice
from engine.runs.store import Run, RunError
from tests.dashboard.app import examples
from tests.synthetic_run import write_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("runs") / "one", prompts=80, checkpoints=3)


SETTING = data.Setting("gpt2--step-0200", "ridge", "frozen")


def test_options_say_what_there_is(run: Path) -> None:
    found = data.options(run)
    assert found.target == "gpt2--step-0000"
    assert found.checkpoints == ("gpt2--step-0000", "gpt2--step-0100", "gpt2--step-0200")
    assert found.explainers == ("ridge", "mlp")
    assert found.regimes["ridge"] == ("frozen", "refit")
    assert found.noises[0] == ("none", 0.0) and ("shuffle", 0.5) in found.noises
    assert "train" not in found.splits
    assert set(found.columns) == {"group", "cue", "entity", "meta_topic", "meta_speaker"}


def test_metrics_filter_by_value_null_and_list(run: Path) -> None:
    rows = data.metrics(run, control=None, split="test_iid", regime=("frozen", "refit"), noise=0.5)
    assert rows.control.isna().all() and set(rows.split) == {"test_iid"}
    assert set(data.metrics(run, control="stale").control) == {"stale"}


def test_behavior_is_in_the_order_of_the_examples(run: Path) -> None:
    frame = data.behavior(run, "gpt2--step-0200")
    written = Run.open(run).read_table("examples.parquet").to_pandas()
    assert frame.example_id.tolist() == written.example_id.tolist()
    assert frame.row_number.tolist() == list(range(len(written)))
    now = Run.open(run).read_table("behavior/gpt2--step-0200.parquet").to_pandas()
    np.testing.assert_allclose(frame.effect_current, now.f_edited - now.f, rtol=1e-6)


def test_explanations_come_with_their_error_and_the_output(run: Path) -> None:
    frame = data.explanations(run, SETTING, split="test_heldout", edit="delete_cue")
    assert set(frame.split) == {"test_heldout"} and set(frame.edit) == {"delete_cue"}
    np.testing.assert_allclose(frame.output, -frame.f_current)
    np.testing.assert_allclose(frame.error, (frame.explanation - frame.effect_current).abs())
    assert frame.example_id.is_unique


def test_sorts_order_as_they_say(run: Path) -> None:
    def margin(frame: pd.DataFrame) -> pd.Series:
        return (frame.explanation - frame.effect_target).abs() - frame.error

    found = {sort: examples(run, SETTING, sort=sort) for sort in example_rows.SORTS}
    assert all(sorted(f.example_id) == sorted(data.explanations(run, SETTING).example_id) for f in found.values())
    assert found["order"].row_number.is_monotonic_increasing
    assert found["error"].error.is_monotonic_decreasing
    assert margin(found["nearest_current"]).is_monotonic_decreasing
    assert margin(found["nearest_target"]).is_monotonic_increasing
    assert (found["shift"].effect_current - found["shift"].effect_target).abs().is_monotonic_decreasing
    signs = np.sign(found["sign_flips"][["effect_target", "effect_current"]])
    assert (signs.effect_target != signs.effect_current).is_monotonic_decreasing


@pytest.mark.parametrize(
    "where",
    [
        Slice(text="ROME"),
        Slice(values={"meta_topic": ("history", "music")}),
        Slice(ranges={"effect_current": (-0.5, 1.0), "error": (None, 0.7)}),
        Slice(text="which city", values={"entity": ("Oslo",)}, ranges={"explanation": (0.0, None)}),
        Slice(text="'; DROP TABLE x; --"),
    ],
)
def test_a_slice_is_cut_from_all_examples(run: Path, where: Slice) -> None:
    every = examples(run, SETTING)
    texts = every.prompt + "\n" + every.edited
    inside = every[where.mask(every) & texts.str.contains(where.text, case=False, regex=False)]
    assert examples(run, SETTING, where=where).example_id.tolist() == inside.example_id.tolist()


def test_one_example_whatever_its_split(run: Path) -> None:
    written = Run.open(run).read_table("examples.parquet").to_pandas()
    trained = written[written.split == "train"].iloc[0]
    row = example_rows.example(run, SETTING, trained.example_id)
    assert row is not None and row["prompt"] == trained.prompt and pd.isna(row["explanation"])
    assert example_rows.example(run, SETTING, "nothing") is None
    explained = written[written.split == "test_iid"].iloc[0].example_id
    assert set(example_rows.controls(run, SETTING, explained)) >= {"output", "stale", "ceiling"}


def test_nearer_knows_when_it_can_not_tell() -> None:
    assert example_rows.nearer(0.9, target=0.0, current=1.0) == "current"
    assert example_rows.nearer(0.1, target=0.0, current=1.0) == "target"
    assert example_rows.nearer(5.0, target=0.0, current=0.2) == "undecidable"
    assert example_rows.nearer(None, target=0.0, current=1.0) == "no number"


def test_hidden_states_by_prompt(run: Path) -> None:
    assert data.hidden(run, "gpt2--step-0100", 4).shape == (80, 16)
    with pytest.raises(RunError, match="layers kept"):
        data.hidden(run, "gpt2--step-0100", 3)


def test_a_changed_run_is_read_again(tmp_path: Path) -> None:
    path = write_run(tmp_path / "changing", prompts=20, checkpoints=2)
    before, hashed = len(data.metrics(path)), data.content_hash(path)
    shutil.rmtree(path)
    write_run(path, prompts=20, checkpoints=3)
    assert len(data.metrics(path)) > before
    assert data.content_hash(path) != hashed


def test_broken_and_foreign_folders_are_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sound = write_run(tmp_path / "a" / "same", prompts=10, checkpoints=2)
    write_run(tmp_path / "b" / "same", prompts=10, checkpoints=2, finish=False)
    for name, text in (("cut", (sound / "run.json").read_text()[:200]), ("foreign", '{"a": 1}')):
        (tmp_path / name).mkdir()
        (tmp_path / name / "run.json").write_text(text)
    monkeypatch.setenv("COUPLING_RUNS", os.pathsep.join([str(tmp_path), str(tmp_path / "absent")]))
    found = {entry.key: entry for entry in data.runs()}
    assert {key: entry.state for key, entry in found.items()} == {
        "a/same": "complete",
        "b/same": "interrupted",
        f"{tmp_path.name}/cut": "unreadable",
        f"{tmp_path.name}/foreign": "unreadable",
    }
    assert "damaged" in (found[f"{tmp_path.name}/cut"].problem or "")


def test_a_cut_off_table_is_one_line(tmp_path: Path) -> None:
    path = write_run(tmp_path / "damaged", prompts=20, checkpoints=2)
    table = path / "metrics.parquet"
    table.write_bytes(table.read_bytes()[:100])
    with pytest.raises(RunError) as caught:
        data.options(path)
    assert "\n" not in str(caught.value)
    (path / "explanations.parquet").unlink()
    with pytest.raises(RunError, match="no explanations"):
        data.explanations(path, SETTING)


def test_looking_needs_no_torch() -> None:
    root = Path(__file__).parents[3]
    files = [file for part in ("dashboard", "pages") for file in (root / part).rglob("*.py")]
    nodes = [node for file in files for node in ast.parse(file.read_text()).body]
    found = [node for node in nodes if isinstance(node, ast.Import | ast.ImportFrom)]
    imports = sorted({ast.unparse(node) for node in found if getattr(node, "module", "") != "__future__"})
    script = [*imports, "import sys", "assert not {'torch', 'transformers', 'captum'} & set(sys.modules)"]
    done = subprocess.run([sys.executable, "-c", "\n".join(script)], cwd=root, capture_output=True, text=True)
    assert len(imports) > 100 and done.returncode == 0, done.stderr
