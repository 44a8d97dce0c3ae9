"""The page Study: what it counts as a study, what it averages, and what it says of one that is half run."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from dashboard.study.cells import FILE, last_rows, read, studies, summary
from dashboard.study.figure import small_multiples
from engine.runs.store import RunError
from tests.dashboard.app import Open, said


def table(*cells: tuple[str, int, float]) -> pd.DataFrame:
    """Metrics of cells (setting, seed, gap), each at two checkpoints."""
    shared = {"task": "sycophancy", "world": None, "control": None, "explainer": "ridge", "regime": "frozen"}
    shared |= {"metric": "pearson", "chosen": True, "split": "test_heldout", "verdict_coupling": "shown"}
    shared |= {"power_coupling": 0.25, "self": 0.5}
    return pd.DataFrame(
        shared | {"cell": f"{name}-{seed}", "setting": name, "seed": seed, "step": step, "gap": gap * step / 100}
        for name, seed, gap in cells
        for step in (0, 100)
    )


@pytest.fixture
def half(tmp_path: Path) -> Path:
    folder = tmp_path / "studies" / "mine"
    folder.mkdir(parents=True)
    table(("a", 0, 0.2), ("a", 1, 0.4), ("<b>*b*</b>", 0, 0.1)).to_parquet(folder / FILE)
    return tmp_path


def test_the_last_checkpoint_of_each_cell_is_averaged_over_seeds() -> None:
    rows = last_rows(table(("a", 0, 0.2), ("a", 1, 0.4), ("b", 0, 0.1)))
    assert set(rows["step"]) == {100} and len(rows) == 3
    found = summary(rows).set_index("setting")
    assert found.loc["a", "gap"] == pytest.approx(0.3)
    assert list(found["missing"]) == [0, 1]
    assert found.loc["a", "verdict_coupling"] == "2× shown" and found.loc["a", "power_coupling"] == 0.25


def test_the_map_has_every_seed_and_every_mean() -> None:
    rows = last_rows(table(("a", 0, 0.2), ("a", 1, 0.4), ("b", 0, 0.1)))
    seeds, means = small_multiples(rows, summary(rows)).data[2:4]
    assert list(seeds.x) == [0.2, 0.4, 0.1]
    assert list(means.x) == pytest.approx([0.3, 0.1])


def test_a_half_run_study_is_labelled_so_and_its_text_is_escaped(half: Path, opened: Open) -> None:
    assert list(studies([half])) == ["studies/mine"]
    app = opened(half, "study")
    assert "1 of 2 settings have fewer seeds" in said(app)
    assert "<b>" not in app.get("plotly_chart")[0].proto.spec
    assert app.dataframe[0].value["Coupling"][0] == "2× shown (power 0.25)"


def test_a_run_is_no_study_and_a_damaged_one_is_named(half: Path) -> None:
    (half / "studies" / "mine" / "run.json").write_text("{}")
    assert not studies([half])
    pd.DataFrame({"cell": ["x"]}).to_parquet(half / FILE)
    with pytest.raises(RunError, match="lacks the columns"):
        read(half)
    (half / FILE).write_bytes(b"PAR1")
    with pytest.raises(RunError, match="can't be read"):
        read(half)
