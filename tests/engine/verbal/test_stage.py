"""Runs of self-explanation: what they hold, that they resume where they were stopped, and which specs are refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from engine import pipeline
from engine.config import CheckpointSpec, InputError, RunSpec, SpecError
from engine.model.checkpoints import load
from engine.records import CLAIMS, METRICS
from engine.runs.observed import Observed
from engine.runs.report import report
from engine.runs.store import Run
from engine.runs.verify import verify
from engine.spec_files import load_spec, parse_spec, resolve_paths
from engine.training import state
from engine.training.adversary import HeldTexts
from engine.verbal import say, stage
from engine.verbal.labels import Answers
from engine.verbal.texts import Texts, evaluated, labels_of
from engine.verbal.train import Trainer
from tests.tiny_models import build
from tests.tiny_run import examples, write_spec

STEPS = (4, 8)
FIRST_SEED = 17
"""Seed of random weights whose answer changes in about half of the examples."""


def verbal_spec(folder: Path, name: str = "tiny", steps: tuple[int, ...] = STEPS, **verbal: object) -> RunSpec:
    """The tiny run as a run of self-explanation, with dialogues that drift."""
    if not (folder / "first").exists():
        build("gpt2", folder / "first", seed=FIRST_SEED)
    lines = [json.dumps({"prompt": line["prompt"], "answer": line["answer_a"]}) + "\n" for line in examples()]
    (folder / "dialogues.jsonl").write_text("".join(lines))
    given = {"name": "gpt2--step-0000", "path": "first", "step": 0}
    trained = [{"name": f"gpt2--step-{s:04d}", "trained": True, "step": s} for s in steps]
    section = {"drift": {"dialogues": "dialogues.jsonl", "prompts_a_step": 4}, "prompts_a_step": 8} | verbal
    return load_spec(write_spec(folder, name, checkpoints=[given, *trained], verbal=section))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("verbal")


@pytest.fixture(scope="module")
def finished(base: Path) -> Path:
    return pipeline.make_run(verbal_spec(base, controls=["small_lm"]), base / "finished").path


def test_an_untrained_copy_learns_with_all_its_weights(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained, run = [], Trainer.run

    def noted(self: Trainer, *args: object) -> None:
        trained.append(all(p.requires_grad for p in self.model.parameters()))
        run(self, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(Trainer, "run", noted)
    pipeline.make_run(verbal_spec(base, "lora", (1,), lora={"rank": 2}, controls=["small_lm"]), base / "with-lora")
    assert trained == [False, True]


def stopped(spec: RunSpec, out: Path, stage: str, share: float) -> None:
    """Interrupt a run when a stage reports that this share of it is done."""

    def stop(name: str, done: int, total: int) -> None:
        if name == stage and done >= share * total:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pipeline.make_run(spec, out, progress=stop)
    assert Run.open(out).state == "interrupted"


def test_a_run_is_sound_and_has_the_known_columns(finished: Path) -> None:
    assert verify(finished) == []
    content = report(finished)
    assert set(content["rows"][0]) == set(METRICS.names) - {"control"}
    assert {r["explainer"] for r in content["rows"]} == {"verbal"}
    assert {r["condition"] for r in content["rows"]} == {"β 1, concurrent"}
    controls = "copy contrary consistency text_only output_text small_lm null".split()
    assert {r["control"] for r in content["controls"]} == set(controls)
    run = Run.open(finished)
    assert run.manifest["notes"]["verbal"]["labels"] > 20
    assert not [p for p in run.parts if p.startswith(("said/", "verbal/", "hidden/"))]


def test_the_target_agrees_with_itself(finished: Path) -> None:
    rows = [r for r in report(finished)["rows"] if r["checkpoint"] == "gpt2--step-0000"]
    assert {r["self"] for r in rows if r["metric"] == "label_agreement"} == {1.0}
    for row in [r for r in rows if r["metric"] in ("exact_match", "content_match", "has_changed_f1")]:
        assert (row["self"], row["gap"]) == (row["orig"], 0)
        if row["metric"] == "exact_match":
            assert {row[f"verdict_{claim}"] for claim in CLAIMS} == {"not testable"}
            assert row["unseen"] is None and row["why_not"] and row["why_not_outputs"]


def test_every_explanation_is_kept_as_words_of_balanced_examples(finished: Path) -> None:
    run = Run.open(finished)
    table = run.read_table("explanations.parquet").to_pandas()
    observed = Observed(run, run.spec)
    rows = evaluated(observed)
    assert len(table) == len(rows) * (1 + len(STEPS))
    changed = Answers.of(observed.behavior(observed.target)).changed
    for split, own in observed.examples.iloc[rows].groupby("split"):
        every = observed.rows("delete_cue", str(split))
        natural, share = changed[every].mean(), changed[own.index.to_numpy()].mean()
        assert 0.4 <= share <= 0.6, split
        assert len(own) == len(every) or not 0.4 <= natural <= 0.6, "only what is too common is cut down"
    assert table["text"].str.startswith("Without that I would answer").all()
    assert table["explanation"].isna().all()


def test_trained_checkpoints_load_as_any_other(finished: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(finished / "checkpoints" / "gpt2--step-0008")
    first = AutoModelForCausalLM.from_pretrained(finished.parent / "first")
    words = AutoTokenizer.from_pretrained(finished / "checkpoints" / "gpt2--step-0008")
    assert words("yes").input_ids
    assert not torch.equal(model.get_input_embeddings().weight, first.get_input_embeddings().weight)


@pytest.mark.parametrize("seconds", [30.0, 0.0], ids=["state of a checkpoint", "state of every step"])
def test_what_was_stopped_goes_on_as_if_it_had_not_been(
    base: Path, finished: Path, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    monkeypatch.setattr(state, "SECONDS", seconds)
    monkeypatch.setattr(say, "ROWS_AT_ONCE", 4)
    spec, out = verbal_spec(base, controls=["small_lm"]), base / f"stopped-{seconds}"
    stopped(spec, out, "explanation training", 0.7)
    assert (stage.STATE in Run.open(out).parts) == (seconds == 0)
    for share in (0.4, 0.6, 0.9):
        stopped(spec, out, "explaining in words", share)
    assert seconds or [part for part in Run.open(out).parts if part.startswith("said/") and part.count("/") == 2]
    one, other = Run.open(finished), pipeline.make_run(spec, out)
    for part in ("metrics.parquet", "explanations.parquet", "behavior/gpt2--step-0008.parquet"):
        assert one.parts[part]["sha256"] == other.parts[part]["sha256"], part


def test_weights_need_not_be_kept_and_probes_may_stand_beside(base: Path) -> None:
    out = pipeline.make_run(
        verbal_spec(base, "both", probes=True, keep_checkpoints=False, drift=None), base / "both"
    ).path
    assert verify(out) == []
    assert not (out / "checkpoints").exists()
    assert {r["explainer"] for r in report(out)["rows"]} == {"ridge", "verbal"}


def test_labels_first_then_drift(base: Path) -> None:
    out = base / "after"
    pipeline.make_run(verbal_spec(base, "after", schedule="labels_first", label_steps=4, noise=0.5, labels=12), out)
    rows = [r for r in report(out)["rows"] if r["metric"] == "exact_match"]
    settings = {(r["condition"], r["regime"], r["noise_kind"], r["noise"]) for r in rows}
    assert settings == {("β 1, drift after, 12 labels", "frozen", "shuffle", 0.5)}
    stale = {r["step"]: r["self_minus_stale"] for r in rows if r["split"] == "test_heldout"}
    assert stale[4] == 0, "the comparison is with the words of that very step"
    assert None not in stale.values()


def test_an_adversary_holds_the_words_while_behavior_drifts(base: Path) -> None:
    def held_spec(weight: float, name: str) -> RunSpec:
        drift = {"dialogues": "dialogues.jsonl", "prompts_a_step": 4, "hold_words": weight}
        return verbal_spec(base, name, (4, 40), schedule="labels_first", label_steps=4, learning_rate=1e-2, drift=drift)

    def moved(weight: float, name: str) -> float:
        """Root mean square change of log p a token of the labels while behavior drifted."""
        run = pipeline.make_run(held_spec(weight, name), base / name)
        observed = Observed(run, run.spec)
        said = []
        for trained in run.spec.checkpoints[1:]:
            folder = run.path / "checkpoints" / trained.name
            own = load(CheckpointSpec(name="gpt2--own", path=str(folder)), device="cpu")
            rows = Texts(observed.examples, observed.spec, own).material(labels_of(observed)).labels
            held = HeldTexts([row.ids[: row.learn] for row in rows], [row.ids[row.learn :] for row in rows])
            with torch.no_grad():
                said.append(held.says(own.model, range(len(rows))))
        return float((said[1] - said[0]).square().mean().sqrt())

    assert moved(10.0, "held") < 0.3 * moved(0.0, "free")
    rows = report(base / "held")["rows"]
    assert {r["condition"] for r in rows} == {"β 1, drift after, words held"}
    stopped(held_spec(10.0, "held"), base / "held-again", "explanation training", 0.5)
    again = pipeline.make_run(held_spec(10.0, "held"), base / "held-again")
    assert again.parts["metrics.parquet"]["sha256"] == Run.open(base / "held").parts["metrics.parquet"]["sha256"]


def test_labels_of_another_family_and_a_low_rank_adapter(base: Path) -> None:
    pytest.importorskip("peft")
    build("llama", base / "other", seed=3)
    target = {"name": "llama--step-0000", "path": "other"}
    data = json.loads(verbal_spec(base, "cross", lora={"rank": 2}).model_dump_json())
    data |= {"target": target, "other_model": target | {"name": "llama--other"}}
    data["verbal"]["controls"] = ["other_model"]
    out = base / "cross"
    pipeline.make_run(resolve_paths(parse_spec(data, base / "spec.yaml", RunSpec), base), out)
    assert verify(out) == []
    rows = report(out)["rows"]
    assert {r["condition"] for r in rows} == {"β 1, concurrent, labels of llama, LoRA rank 2"}
    assert {r["target"] for r in rows} == {"llama--step-0000"}
    first = AutoModelForCausalLM.from_pretrained(base / "first")
    adapter = str(out / "checkpoints" / "gpt2--step-0008")
    merged = load(CheckpointSpec(name="gpt2--own", path=str(base / "first"), adapter=adapter), device="cpu").model
    assert torch.equal(first.transformer.wte.weight, merged.transformer.wte.weight), "adapters leave embeddings alone"
    moved = merged.transformer.h[0].attn.c_attn.weight - first.transformer.h[0].attn.c_attn.weight
    assert 0 < torch.linalg.matrix_rank(moved, rtol=1e-3) <= 2


# -- bad input ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"drift": {}}, "either a world or a file"),
        ({"drift": {"world": "cue", "dialogues": "d.jsonl"}}, "either a world or a file"),
        ({"drift": {"world": "cue"}}, "only the built-in tasks"),
        ({"drift": None, "schedule": "labels_first"}, "needs a drift"),
        ({"schedule": "labels_first", "label_steps": 5}, "a trained checkpoint must have that step"),
        ({"controls": ["other_model"]}, "needs other_model"),
        ({"noise": 1.5}, "less than or equal to 1"),
        ({"labels": 1}, "greater than or equal to 2"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(base: Path, changes: dict, said: str) -> None:
    with pytest.raises(SpecError, match=said) as told:
        verbal_spec(base, "bad", **changes)
    assert "\n" not in str(told.value)


def test_only_what_trains_has_trained_checkpoints(base: Path) -> None:
    data = json.loads(verbal_spec(base).model_dump_json())
    with pytest.raises(SpecError, match="marked `trained: true`"):
        parse_spec(data | {"verbal": None}, Path("s"), RunSpec)
    with pytest.raises(SpecError, match=r"use verbal\.drift"):
        parse_spec(data | {"post_training": {"dialogues": "x"}}, Path("s"), RunSpec)


@pytest.mark.parametrize(
    ("verbal", "said"),
    [
        ({"edits": ["delete_hat"]}, "no example has the edit 'delete_hat'"),
        ({"drift": {"dialogues": "absent.jsonl"}}, "no such file"),
        ({"lora": {"modules": ["no_such_layer"]}}, "verbal.lora.modules"),
    ],
)
def test_what_can_not_be_run_says_why(base: Path, verbal: dict, said: str) -> None:
    out = base / "failed"
    shutil.rmtree(out, ignore_errors=True)
    with pytest.raises(InputError, match=said):
        pipeline.make_run(verbal_spec(base, "failed", **verbal), out)
    assert Run.open(out).state == "failed"
