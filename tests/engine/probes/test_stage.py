"""The explanation stage on a run whose behavior and hidden states are written by hand, so that answers are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from engine import pipeline
from engine.config import RunSpec
from engine.probes import stage
from engine.records import BEHAVIOR, CONTROLS, METRICS, Example, examples_table
from engine.runs import kept
from engine.runs.observed import Observed
from engine.runs.store import Run

STEPS = (0, 100, 200)
WIDTH = 12


def spec(**explainers) -> RunSpec:
    settings = {
        "kinds": ["ridge", "linear"],
        "modes": ["direct", "difference"],
        "regimes": ["frozen", "online", "refit"],
    }
    settings |= {"steps": 60, "online_steps": 5, "folds": 3, "headline_edits": ["delete_cue"]}
    return RunSpec.model_validate(
        {
            "name": "by-hand",
            "task": {"name": "sycophancy"},
            "checkpoints": [{"name": f"gpt2--step-{s}", "path": "somewhere", "step": s} for s in STEPS],
            "hidden": {"layers": [1, 2], "keep": "all"},
            "explainers": settings | explainers,
            "noise": {"levels": [0, 0.5, 1.0], "seeds": 2, "kinds": ["shuffle", "gaussian"]},
            "metrics": {"bootstrap": 200, "verdict_draws": 200},
        }
    )


def examples(rng: np.random.Generator, prompts: int = 700) -> pa.Table:
    splits = ["train", "validation", "test_heldout", "test_iid"]
    out = []
    for p in range(prompts):
        split = splits[rng.choice(4, p=[0.5, 0.1, 0.2, 0.2])]
        cue, entity = f"cue {rng.integers(20)}", f"entity {rng.integers(20)}"
        factors = (cue, split, cue, entity, {"cue": cue, "entity": entity})
        prompt, span = f"{cue}, {entity}, number {p}:", ((0, len(cue)),)
        for edit, left in (("delete_cue", ""), ("mask_cue", "___")):
            edited = prompt.replace(cue, left)
            out.append(Example("sycophancy", prompt, edited, edit, span, span, " yes", " no", *factors))
    return examples_table(out)


def measured_run(path: Path, spec: RunSpec, seed: int = 0) -> Run:
    """f(x) and f(x') drift independently; the last layer holds both of the current checkpoint, among noise."""
    rng = np.random.default_rng(seed)
    table = examples(rng)
    run = Run.create(path, spec, provenance={})
    run.write_table("examples.parquet", table)
    prompts = table["prompt_id"].to_numpy()
    n, n_prompts = len(prompts), prompts.max() + 1
    before, after = rng.standard_normal((2, 2, n_prompts))
    mixing = rng.standard_normal((4, WIDTH))
    names = [c.name for c in spec.checkpoints]
    for t, name in enumerate([*names, spec.control_model.name]):
        angle = np.pi / 4 * min(t, 2)
        f, edited = np.cos(angle) * before + np.sin(angle) * after
        drift = 0.02 * rng.standard_normal(n)
        columns = [table["example_id"], f[prompts], edited[prompts] + drift]
        run.write_table(f"behavior/{name}.parquet", pa.table(columns, names=BEHAVIOR.names).cast(BEHAVIOR))
        known = [f, edited, *rng.standard_normal((2, n_prompts))]
        if name not in names:  # another model knows nothing
            known = list(rng.standard_normal((4, n_prompts)))
        h = np.stack(known, axis=1) @ mixing + 0.1 * rng.standard_normal((n_prompts, WIDTH))
        noise = rng.standard_normal((n_prompts, WIDTH))
        arrays = {"last.1": noise.astype(np.float32), "last.2": h.astype(np.float32)}
        run.write_arrays(f"hidden/{name}/00000.safetensors", arrays)
        x = {
            "edited.last.1": noise[prompts] + drift[:, None],
            "edited.last.2": h[prompts] + (edited - f)[prompts][:, None],
        }
        run.write_arrays(f"hidden/{name}/examples-00000.safetensors", {k: v.astype(np.float32) for k, v in x.items()})
    return run


@pytest.fixture(scope="module")
def explained(tmp_path_factory) -> Run:
    path = tmp_path_factory.mktemp("runs") / "by-hand"
    run = measured_run(path, spec())
    pipeline.explain(Observed(run, run.spec))
    run.finish()
    return run


@pytest.fixture(scope="module")
def rows(explained) -> pd.DataFrame:
    return explained.read_table("metrics.parquet").to_pandas()


def headline(rows: pd.DataFrame, kind: str, regime: str, split: str = "test_heldout") -> pd.DataFrame:
    is_it = (rows.explainer == kind) & (rows.regime == regime) & (rows.split == split) & rows.chosen
    clean = (rows.noise == 0) & rows.control.isna()
    return rows[is_it & clean].sort_values("step")


def test_schema_and_no_nan(explained):
    table = explained.read_table("metrics.parquet")
    assert table.schema.equals(METRICS)
    for column in table.columns:
        if pa.types.is_floating(column.type):
            assert not np.isnan(column.drop_null().to_numpy()).any()


def test_one_setting_is_chosen_per_explainer(rows):
    chosen = rows[rows.chosen & rows.control.isna()]
    for _, own in chosen.groupby("explainer"):
        assert own[["edit", "mode", "position", "layer", "penalty"]].drop_duplicates().shape[0] == 1
    assert set(chosen["mode"]) == {"direct"}
    assert set(chosen["layer"]) == {2}, "the layer of noise was chosen"
    assert set(chosen["edit"]) == {"delete_cue"}, "only headline edits may be chosen"


@pytest.mark.parametrize(("kind", "regime"), [("ridge", "frozen"), ("linear", "frozen"), ("linear", "online")])
def test_an_explainer_that_reads_the_current_counterfactual_knows_the_unseen_run(rows, kind, regime):
    own = headline(rows, kind, regime)
    assert list(own.step) == list(STEPS)
    assert own.self.min() > 0.85
    last = own.iloc[-1]
    assert abs(last.target_current) < 0.2
    assert last.verdict_coupling == last.verdict_unseen == "shown"
    assert last.unseen_low > 0.3 and last.unseen_over_stale_low > 0.3
    assert set(last.over_unseen.split(",")) >= {"output", "output_text", "text_only", "other_model", "stale"}
    assert last.gap_p < 0.05 and last.unseen_p < 0.05
    assert last.null_low < 0 < last.null_high


def test_self_equals_orig_at_the_target(rows):
    first = rows[(rows.step == 0) & (rows.control.fillna("") != "null")]
    np.testing.assert_allclose(first.self, first.orig)
    assert set(headline(rows, "ridge", "frozen").iloc[:1].verdict_coupling) == {"not testable"}


def test_controls_stand_beside_the_chosen_ridge(rows):
    own = rows[(rows.explainer == "ridge") & (rows.regime == "frozen") & rows.chosen & rows.control.notna()]
    assert set(own.control) == set(CONTROLS)
    last = own[(own.step == STEPS[-1]) & (own.split == "test_heldout")].set_index("control")
    assert last.self["ceiling"] > 0.9
    assert last.self["difference"] > 0.9
    assert 0.5 < last.self["output"] < 0.85
    assert abs(last.self["stale"]) < 0.35
    assert abs(last.self["other_model"]) < 0.3
    assert np.isnan(last.unseen["output"]) and "says nothing beyond" in last.why_not["output"]
    assert abs(last.unseen["text_only"]) < 0.3 and abs(last.unseen["null"]) < 0.1


def test_noise_is_read_off_the_labels(rows):
    own = rows[(rows.explainer == "ridge") & (rows.regime == "frozen") & rows.chosen & rows.control.isna()]
    own = own[(own.step == 0) & (own.split == "test_iid")].set_index(["noise_kind", "noise"])
    assert own.noisy_clean["none", 0.0] == pytest.approx(1)
    assert 0.3 < own.noisy_clean["shuffle", 0.5] < 0.7
    assert own.self["shuffle", 0.5] > 0.8
    assert own.seeds["shuffle", 0.5] == 2
    assert abs(own.self["shuffle", 1.0]) < 0.8


def test_explanations_are_kept_for_every_evaluated_example(explained):
    table = explained.read_table("explanations.parquet").to_pandas()
    ids = explained.read_table("examples.parquet").to_pandas().set_index("example_id")
    split = ids.split.reindex(table.example_id.astype(str))
    assert "train" not in set(split)
    clean = table[table.control.isna() & (table.noise == 0) & (table.explainer == "ridge") & (table.regime == "frozen")]
    evaluated = (ids.split != "train").sum()
    assert len(clean) == evaluated * len(STEPS)
    assert {"output", "output_text"} <= set(table.control.dropna().astype(str))


def test_the_same_run_again_gives_the_same_bytes(explained, tmp_path):
    again = measured_run(tmp_path / "again", spec())
    pipeline.explain(Observed(again, again.spec))
    for part in ("metrics.parquet", "explanations.parquet"):
        assert again.parts[part]["sha256"] == explained.parts[part]["sha256"]


def test_a_run_stopped_again_and_again_repeats_no_work_and_gives_the_same_bytes(explained, tmp_path, monkeypatch):
    fitted = []
    explain_probe = stage.explain_probe
    monkeypatch.setattr(kept, "SECONDS", 0)
    monkeypatch.setattr(stage, "explain_probe", lambda *own: fitted.append(own[1:]) or explain_probe(*own))
    run, stops, told = measured_run(tmp_path / "stopped", spec()), 0, set()

    def stopping(name: str, done: int, total: int) -> None:
        if done and done % 5 == 0 and (name, done) not in told:
            told.add((name, done))
            raise KeyboardInterrupt

    while not run.has("metrics.parquet"):
        try:
            pipeline.explain(Observed(run, run.spec), stopping)
        except KeyboardInterrupt:
            stops += 1
    assert stops >= 4 and len(set(fitted)) == len(fitted)
    kept.drop_kept(run)
    assert not list(run.path.glob("kept/*")) and not [part for part in run.parts if part.startswith("kept/")]
    for part in ("metrics.parquet", "explanations.parquet"):
        assert run.parts[part]["sha256"] == explained.parts[part]["sha256"]
