"""The page Mechanism by Streamlit's own harness: maps and words of a patched run, an empty one, one example."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from dashboard.mechanism import maps as mechanism
from dashboard.mechanism.view import agreement_sentence, by_control
from dashboard.reading.data import content_hash
from dashboard.runs.run_export import as_zip
from dashboard.runs.run_import import import_run
from dashboard.selection import on_screen
from engine.config import PatchingSpec
from engine.patching import maps as patch_maps
from engine.patching.stage import parts_of, patch_run
from engine.runs.store import Run
from engine.runs.verify import verify
from tests.dashboard.app import Open, checked, said
from tests.synthetic_run import write_run
from tests.tiny_models import build

SAMPLES = Path(__file__).parents[3] / "sample_runs"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`patched` with maps, `bare` without any; both have their checkpoints beside them."""
    folder = tmp_path_factory.mktemp("mechanism")
    for name in ("patched", "bare"):
        path = write_run(folder / name, prompts=40, checkpoints=2, layers=(1, 2), width=32, hidden=name == "patched")
        for step in range(2):
            build("gpt2", path / "checkpoints" / f"step-{step}", seed=step)
    patch_run(folder / "patched", PatchingSpec(examples=6, bootstrap=200, split="train", device="cpu"))
    return folder


def test_maps_agreement_and_controls_are_those_of_the_run(opened: Open, runs: Path) -> None:
    app = opened(runs, "mechanism", run="patched")
    assert not app.error and len(app.get("plotly_chart")) == 2  # maps, agreement: other tabs are not computed
    run = Run.open(runs / "patched")
    rows = run.read_table(parts_of("gpt2--step-0100")[1]).to_pandas()
    own = rows[rows["control"].isna()].iloc[0]
    assert f"r = {own['r']:+.2f}".replace("-", "−") in said(app)
    agreement, restored = (next(t.value for t in app.dataframe if name in t.value) for name in ("draws", "region"))
    np.testing.assert_allclose(sorted(agreement["r"].dropna()), sorted(rows["r"].dropna()))
    maps = run.read_table(parts_of("gpt2--step-0100")[0]).to_pandas()
    cell = maps[(maps["layer"] == 1) & (maps["region"] == patch_maps.ALL)]
    share = (cell["behavior"] * cell["effect"]).sum() / (cell["effect"] ** 2).sum()
    shown = restored[(restored["layer"] == 1) & (restored["region"] == patch_maps.ALL)]
    assert shown["behavior"].iloc[0] == pytest.approx(share, abs=1e-5)


def test_a_checkpoint_without_maps_shows_another_and_says_so(opened: Open, runs: Path) -> None:
    app = opened(runs, "mechanism", run="patched", checkpoint="gpt2--step-0000", edit="replace_speaker")
    assert "Maps were made of" in said(app) and not app.error


def test_maps_of_a_models_own_words_say_what_they_are_of(opened: Open) -> None:
    app = opened(SAMPLES, "mechanism", run="verbal-sycophancy")
    assert "the model would rather say" in said(app) and "Both maps correlate by" in said(app)
    assert "probes on shuffled labels" not in said(app), "a control that these maps do not have"
    app = opened(SAMPLES, "mechanism", run="verbal-sycophancy-noise")
    assert "kept no weights to patch" in said(app) and any(c.value == "patching: {}" for c in app.code)


def test_a_run_without_maps_says_how_to_make_them(opened: Open, runs: Path) -> None:
    assert "coupling patch" in said(opened(runs, "mechanism", run="bare"))
    assert "keeps no hidden states" in said(opened(runs, "mechanism", run="bare", part="example"))


@pytest.mark.parametrize("run", ["patched", "bare"])
def test_one_example_is_patched_on_demand(opened: Open, runs: Path, run: str) -> None:
    app = opened(runs, "mechanism", run=run, part="example")
    before = len(app.get("plotly_chart"))
    checked(app.button(key="patch_example").click().run())
    assert not app.error, app.error[0].value
    assert len(app.get("plotly_chart")) == before + 1
    table = next(t.value for t in app.dataframe if "token" in t.value)
    assert ("explanation" in table) == (run == "patched")
    assert table["layer"].max() == 3
    *above, last = table[table["layer"] == 3].sort_values("position")["behavior"]
    np.testing.assert_allclose(above, 0, atol=1e-4)
    assert abs(last) > 1e-4


def test_the_map_of_an_example_ends_where_the_answer_is_said(runs: Path) -> None:
    run = Run.open(runs / "patched")
    row = run.read_table("examples.parquet").slice(3, 1).to_pylist()[0]
    found = mechanism.example_map(runs / "patched", "gpt2--step-0100", row)
    assert np.abs(found.behavior[-1, :-1]).max() < 1e-4 < abs(found.behavior[-1, -1])
    assert found.explanation is not None and found.probe_layer is not None and found.moved is not None
    assert found.explanation[found.probe_layer, -1] == pytest.approx(found.moved, abs=1e-4)
    assert set(found.groups) <= set(mechanism.GROUPS[1:])
    np.testing.assert_allclose(found.table()["behavior"], found.behavior.ravel())


def found(r: float, low: float, high: float, band: float) -> dict[str, dict[str, float]]:
    rows = [(None, r, low, high, None), ("beyond the output", 0.1, -0.1, 0.3, None)]
    rows += [(name, 0.0, -band, band, 200) for name in ("shuffled labels", "another example", "positions permuted")]
    return by_control(pd.DataFrame(rows, columns=["control", "r", "low", "high", "draws"]))


def test_words_say_no_more_than_the_controls_allow() -> None:
    assert "above the bands of all controls" in agreement_sentence(found(0.6, 0.5, 0.7, 0.3))
    doubtful = agreement_sentence(found(0.6, 0.5, 0.7, 0.55))
    assert "not clear of" in doubtful and "above the bands" not in doubtful
    assert "beyond f(x): +0.10 [−0.10, +0.30]" in doubtful


def test_monitoring_says_what_the_engine_computes(tmp_path: Path, opened: Open) -> None:
    path = write_run(tmp_path / "watched", prompts=500, checkpoints=3)
    app = opened(tmp_path, "mechanism", run="watched", event="0.25", part="monitoring")
    table = next(t.value for t in app.dataframe if "measured" in t.value)
    run = Run.open(path)
    examples = run.read_table("examples.parquet").to_pandas()
    first, last = (run.read_table(f"behavior/gpt2--step-{step}.parquet").to_pandas() for step in ("0000", "0200"))
    mine = (examples["split"] == "test_heldout") & (examples["edit"] == "delete_cue")
    topic = examples.loc[mine, "meta_topic"].iloc[0]
    inside = mine & (examples["meta_topic"] == topic)
    moved = (last["f_edited"] - last["f"] - first["f_edited"] + first["f"])[inside].mean()
    row = table[(table["checkpoint"] == "gpt2--step-0200") & (table["value"] == topic)].iloc[0]
    assert row["measured"] == pytest.approx(moved, abs=1e-4) and row["n"] == inside.sum()
    events = int((table["measured"].abs() > 0.25).sum())
    assert f"{events} of {len(table)} pairs" in said(app)


def test_many_examples_are_watched_by_a_sample(tmp_path: Path, opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(on_screen, "MEASURED", 25)
    write_run(tmp_path / "watched", prompts=200, checkpoints=3)
    app = opened(tmp_path, "mechanism", run="watched", part="monitoring")
    assert next(t.value for t in app.dataframe if "measured" in t.value)["n"].max() == 25
    assert "a seeded sample of 25 of the examples" in said(app)


def test_a_patched_run_travels_as_a_zip_and_keeps_its_permalinks(runs: Path, tmp_path: Path) -> None:
    with as_zip(runs / "patched") as file:
        brought = import_run(file, tmp_path)
    assert verify(brought) == [] and Run.open(brought).has(parts_of("gpt2--step-0100")[0])
    before = content_hash(brought)
    with Run.extend(brought) as run:
        run.drop(parts_of("gpt2--step-0100")[0])
        run.finish()
    assert content_hash(brought) == before, "maps are no part of what a permalink checks"


def test_a_run_without_a_ridge_is_not_told_to_make_maps(tmp_path: Path, opened: Open) -> None:
    path = write_run(tmp_path / "mlp", prompts=40, checkpoints=2)
    with Run.extend(path) as run:
        for part in ("metrics.parquet", "explanations.parquet"):
            table = run.read_table(part)
            run.write_table(part, table.filter(pc.equal(pc.cast(table["explainer"], "string"), "mlp")))
        run.finish()
    text = said(opened(tmp_path, "mechanism", run="mlp"))
    assert "need a frozen ridge" in text and "coupling patch" not in text


def test_explanations_in_words_are_not_watched(tmp_path: Path, opened: Open) -> None:
    path = write_run(tmp_path / "words", prompts=40, checkpoints=2, finish=True)
    with Run.extend(path) as run:
        table = run.read_table("explanations.parquet")
        at = table.schema.get_field_index("explanation")
        in_words = table.set_column(at, table.schema.field(at), pa.nulls(len(table), pa.float32()))
        run.write_table("explanations.parquet", in_words)
        run.finish()
    assert "There is nothing to watch" in said(opened(tmp_path, "mechanism", run="words", part="monitoring"))
