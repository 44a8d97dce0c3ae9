"""`coupling patch`: maps are added to a finished run, which stays sound; it resumes, and refuses what it can't do."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from engine.__main__ import main
from engine.config import InputError, PatchingSpec
from engine.patching import explainers, hooks
from engine.patching import maps as patch_maps
from engine.patching import stage as mechanism
from engine.pipeline import make_run
from engine.progress import Tokens
from engine.runs.observed import Observed
from engine.runs.store import Run, RunError
from engine.runs.verify import verify
from engine.spec_files import load_spec
from engine.tasks import WORDINGS
from engine.training import state
from tests.engine.verbal.test_stage import verbal_spec
from tests.tiny_run import write_spec

SPEC = PatchingSpec(examples=5, bootstrap=200, split="train", device="cpu")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    make_run(load_spec(write_spec(folder, hidden={"layers": [1, -1], "keep": "prompts"})), folder / "run")
    mechanism.patch_run(folder / "run", SPEC)
    return folder / "run"


def test_the_run_stays_complete_and_sound_and_holds_maps_of_the_first_and_last_checkpoint(made):
    run = Run.open(made)
    assert run.state == "complete" and verify(made) == []
    assert not (made / ".lock").exists()
    for checkpoint in ("gpt2--step-0000", "gpt2--step-0100"):
        maps, agreement = (run.read_table(part).to_pandas() for part in mechanism.parts_of(checkpoint))
        assert maps["example_id"].nunique() == 5
        assert len(maps) == 5 * 4 * len(patch_maps.REGIONS)  # three blocks and the embeddings
        assert set(agreement["control"].dropna()) == set(patch_maps.CONTROLS)
        assert (agreement["n"] == 5).all() and (agreement["checkpoint"] == checkpoint).all()


def test_what_is_patched_is_what_the_run_measured(made):
    run = Run.open(made)
    observed = Observed(run, run.spec)
    for checkpoint in ("gpt2--step-0000", "gpt2--step-0100"):
        maps = run.read_table(mechanism.parts_of(checkpoint)[0]).to_pandas()
        recorded = dict(zip(observed.examples["example_id"], observed.behavior(checkpoint).effect, strict=True))
        for example, effect in maps.groupby("example_id", observed=True)["effect"].first().items():
            assert effect == pytest.approx(recorded[example], abs=1e-4)
        last = maps[(maps["layer"] == 3) & (maps["region"] == "last token")]
        np.testing.assert_allclose(last["behavior"], last["effect"], atol=2e-4)


def test_the_explanation_is_the_runs_own_frozen_ridge(made):
    run = Run.open(made)
    observed = Observed(run, run.spec)
    explainer = explainers.explainer_of(run, observed, "delete_cue", SPEC, lambda *_: None)
    stored = run.read_table("explanations.parquet").to_pandas()
    own = stored[stored["control"].isna() & (stored["explainer"] == "ridge") & (stored["noise"] == 0)]
    own = own[own["checkpoint"] == "gpt2--step-0100"].set_index("example_id")["explanation"]
    rows = np.flatnonzero(observed.examples["example_id"].isin(own.index))
    x = observed._state("gpt2--step-0100", "last", explainer.layer, rows)
    said, recorded = x @ explainer.weights, own[observed.examples["example_id"].iloc[rows]]
    np.testing.assert_allclose(said - said.mean(), recorded - recorded.mean(), atol=1e-3)
    assert explainer.null.shape == (len(explainer.weights), SPEC.shuffles)


def test_a_second_call_does_nothing_another_choice_replaces_and_one_cut_short_goes_on(made, monkeypatch):
    called = []
    real = mechanism._checkpoint
    monkeypatch.setattr(mechanism, "_checkpoint", lambda *a: called.append(a[2]) or real(*a))
    before = (made / "run.json").read_text()
    mechanism.patch_run(made, SPEC)
    assert not called and (made / "run.json").read_text() == before
    part = mechanism.parts_of("gpt2--step-0100")[1]
    hashes = Run.open(made).parts[part]["sha256"]
    with Run.extend(made) as run:
        run.drop(part)
    mechanism.patch_run(made, SPEC)
    assert called == ["gpt2--step-0100"] and Run.open(made).parts[part]["sha256"] == hashes
    called.clear()
    mechanism.patch_run(made, SPEC.model_copy(update={"checkpoints": ("gpt2--step-0000",)}))
    assert called == ["gpt2--step-0000"] and not Run.open(made).has(part)
    mechanism.patch_run(made, SPEC)
    assert verify(made) == []


def test_a_call_that_is_killed_goes_on_where_results_were_saved(made, tmp_path, monkeypatch):
    run = shutil.copytree(made.parent, tmp_path / "all") / "run"
    last = [p for name in ("gpt2--step-0000", "gpt2--step-0100") for p in mechanism.parts_of(name)]
    monkeypatch.setattr(hooks, "MOST_AT_ONCE", 2)  # the batches, and so the rounding, depend on it

    def dropped() -> None:
        with Run.extend(run) as opened:
            for part in last:
                opened.drop(part)

    dropped()
    mechanism.patch_run(run, SPEC)
    hashes = {part: Run.open(run).parts[part]["sha256"] for part in last}
    dropped()
    monkeypatch.setattr(state.Clock, "due", lambda _: True)
    calls, real = [], hooks._patch

    def killed_at_the_third(checkpoint, pairs, *rest):
        calls.append(len(pairs))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(checkpoint, pairs, *rest)

    monkeypatch.setattr(hooks, "_patch", killed_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        mechanism.patch_run(run, SPEC)
    assert verify(run) == [] and len(mechanism._saved(Run.open(run), "gpt2--step-0000")) == 2
    seen: dict[str, list] = {}
    mechanism.patch_run(run, SPEC, lambda stage, done, total: seen.setdefault(stage, []).append((done, total)))
    assert calls == [2, 2, 1, 1, 2, 2, 1], "what was saved is not made again"
    assert all(isinstance(total, Tokens) for stages in seen.values() for _, total in stages)
    begun = seen["patching gpt2--step-0000"]
    assert 0 < begun[0][0] < begun[-1][0] == begun[-1][1]
    assert {part: Run.open(run).parts[part]["sha256"] for part in last} == hashes
    assert verify(run) == [] and not list((run / "patching").glob("*/"))


def test_a_models_own_words_are_patched_as_its_run_is_made(tmp_path):
    spec = verbal_spec(tmp_path, keep_checkpoints=False)
    spec = spec.model_copy(update={"patching": SPEC.model_copy(update={"checkpoints": ("gpt2--step-0008",)})})
    run = make_run(spec, tmp_path / "run")
    assert verify(run.path) == [] and not (run.path / "checkpoints").exists()
    maps, agreement = (run.read_table(part).to_pandas() for part in mechanism.parts_of("gpt2--step-0008"))
    assert set(agreement["control"].dropna()) == set(patch_maps.CONTROLS) - {"shuffled labels"}
    assert (agreement["explainer"] == "verbal").all() and (agreement["probe_layer"] == 3).all()
    everywhere = maps[(maps["region"] == patch_maps.ALL) & maps["differs"]]
    assert (everywhere.loc[everywhere["layer"] < 3, "explanation"] != 0).any()
    assert (everywhere.loc[everywhere["layer"] == 3, "explanation"] == 0).all(), "nothing reads them after that"
    before = (run.path / "run.json").read_bytes()
    mechanism.patch_run(run.path, spec.patching)
    assert (run.path / "run.json").read_bytes() == before, "they are there"
    with pytest.raises(InputError, match="were not kept"):
        mechanism.patch_run(run.path, SPEC)
    assert verify(run.path) == [] and (run.path / "run.json").read_bytes() == before, "and others can't be made"


def test_words_in_a_chat_template_are_refused_with_what_to_do(made, monkeypatch):
    in_template = SimpleNamespace(chat=object())
    monkeypatch.setattr("engine.model.of_run.load_of_run", lambda *_: in_template)
    monkeypatch.setattr(explainers, "_in_words", lambda _: True)
    run = Run.open(made)
    with pytest.raises(InputError, match=r"^patching: .* in a chat template.*: make the run with chat: off"):
        explainers.load_checkpoint(run, run.spec.checkpoints[0].name, SPEC)


def test_the_words_score_is_what_the_model_would_rather_say(tmp_path):
    run = make_run(verbal_spec(tmp_path), tmp_path / "run")
    mechanism.patch_run(run.path, SPEC)
    maps = run.read_table(mechanism.parts_of("gpt2--step-0008")[0]).to_pandas()
    folder = run.path / "checkpoints" / "gpt2--step-0008"
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    examples = run.read_table("examples.parquet").to_pandas().set_index("example_id")
    question = WORDINGS["from_file"].question("delete_cue")

    def log_p(prompt: str, words: str) -> float:
        asked, said = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in (question, question + words))
        before = tokenizer(prompt)["input_ids"]
        ids = torch.tensor([[*before, *said]])
        log_probs = model(input_ids=ids).logits.log_softmax(-1)[0, :-1].gather(1, ids[0, 1:, None])[:, 0]
        return float(log_probs[len(before) + len(asked) - 1 :].sum())

    for identity, moved in maps.groupby("example_id", observed=True)["moved"].first().items():
        row = examples.loc[identity]
        x, edited = (log_p(row[c], " yes.") - log_p(row[c], " no.") for c in ("prompt", "edited"))
        assert edited - x == pytest.approx(moved, abs=2e-4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"checkpoints": ("gpt2--nowhere",)}, "has no current checkpoint"),
        ({"edits": ("nothing",)}, "has no frozen ridge for the edit 'nothing'"),
    ],
)
def test_what_the_run_does_not_have_is_said(made, changes, message):
    with pytest.raises(InputError, match=message):
        mechanism.patch_run(made, SPEC.model_copy(update=changes))


def test_an_unfinished_run_is_refused(tmp_path):
    with Run.create(tmp_path / "run", load_spec(write_spec(tmp_path)), provenance={"content": {}}):
        pass
    with pytest.raises(RunError, match="finish it first"):
        mechanism.patch_run(tmp_path / "run", SPEC)


def test_the_command(made, capsys, monkeypatch):
    arguments = ["--examples", "4", "--split", "train", "--device", "cpu", "--quiet"]
    monkeypatch.setattr("sys.argv", ["coupling", "patch", str(made), "--checkpoint", "gpt2--step-0100", *arguments])
    with pytest.raises(SystemExit) as stop:
        main()
    printed = capsys.readouterr().out.strip().splitlines()
    assert stop.value.code == 0 and printed[-1] == str(made)
    assert printed[2].startswith("| gpt2--step-0100, delete_cue | ") and len(printed) == 4
    assert json.loads((made / "run.json").read_text())["notes"]["patching"]["examples"] == 4
    monkeypatch.setattr("sys.argv", ["coupling", "patch", str(made), "--split", "tomorrow"])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 2
    assert "split" in capsys.readouterr().err


def test_a_run_without_hidden_states_is_read_again(tmp_path):
    tables = []
    for keep in ("none", "prompts"):
        make_run(load_spec(write_spec(tmp_path, hidden={"layers": [1, -1], "keep": keep})), tmp_path / keep)
        run = mechanism.patch_run(tmp_path / keep, SPEC.model_copy(update={"checkpoints": ("gpt2--step-0100",)}))
        tables.append(run.read_table(mechanism.parts_of("gpt2--step-0100")[0]).to_pandas())
    np.testing.assert_allclose(tables[0]["explanation"], tables[1]["explanation"], atol=1e-3)
    np.testing.assert_allclose(tables[0]["behavior"], tables[1]["behavior"], atol=1e-4)
