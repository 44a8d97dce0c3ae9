"""The lab: drafts, the explainer fitted again, and numbers that equal what the sample runs recorded."""

from __future__ import annotations

import base64
import json
import os
import random
import string
import subprocess
import sys
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dashboard.charts.examples import Arrow, arrows, sentence_bars
from dashboard.lab import address, measure, tables
from dashboard.lab import draft as lab
from dashboard.lab import text as lab_text
from dashboard.lab.draft import Draft
from dashboard.lab.measure import Question
from dashboard.lab.results import far_out
from dashboard.reading import data, models
from dashboard.refit import new_prompts
from dashboard.selection.packed import pack
from engine.config import InputError
from engine.studies import real
from tests.dashboard.app import examples
from tests.synthetic_run import write_run
from tests.tiny_models import build

SAMPLES = Path(__file__).parents[3] / "sample_runs"
TEXT = "My friend says yes. Is it true?\nAnswer:"


def test_marks_that_touch_become_one() -> None:
    draft = lab.marked(lab.marked(Draft(TEXT), (0, 2)), (10, 14))
    assert draft.marks == ((0, 2), (10, 14))
    draft = lab.marked(draft, (2, 11))
    assert draft.marks == ((0, 14),)
    assert lab.marked(draft, (5, 5)) == draft
    assert lab.marked(Draft(TEXT), (-3, 10_000)).marks == ((0, len(TEXT)),)


def texts(draft: Draft) -> list[str]:
    return [draft.prompt[start:end] for start, end in draft.marks]


def test_a_mark_moves_with_its_words_and_is_given_up_when_they_are_gone() -> None:
    draft = lab.marked(lab.marked(Draft(TEXT), (3, 9)), (20, 31))
    moved, lost = lab.with_prompt(draft, "Well. " + TEXT)
    assert texts(moved) == ["friend", "Is it true?"]
    assert moved.marks[0][0] == 9 and lost == ()
    kept, lost = lab.with_prompt(draft, TEXT.replace("friend", "enemy"))
    assert lost == ("friend",) and texts(kept) == ["Is it true?"]
    _, lost = lab.with_prompt(lab.marked(Draft("a b"), (0, 1)), "c a a")
    assert lost == ("a",)  # there twice: which of them is anybody's guess


@pytest.mark.parametrize("name", ["refusal", "sycophancy", "refusal-cue"])
def test_an_example_becomes_a_draft_that_gives_its_own_counterfactual(name: str) -> None:
    rows = pd.read_parquet(SAMPLES / name / "examples.parquet").groupby("edit").head(20)
    for row in rows.to_dict("records"):
        draft = lab.from_example(row)
        made = lab.edited(draft)
        assert made is not None and made.text == row["edited"]
        assert draft.edit == {"delete": "delete_span"}.get(row["edit"].split("_")[0], row["edit"].split("_")[0])
        assert lab.obstacles(draft) == []


def test_an_edit_that_no_rule_makes_is_taken_by_hand() -> None:
    spans = [{"start": 3, "end": 9}]
    row = {"prompt": TEXT, "edited": "Something else", "spans": spans, "edited_spans": spans}
    draft = lab.from_example(row | {"answer_a": " yes", "answer_b": " no"})
    assert draft.edit == lab.WRITTEN and lab.edited(draft).text == "Something else"


GOOD = lab.marked(Draft(TEXT, (" yes", " no")), (0, 19))


@pytest.mark.parametrize(
    ("draft", "words"),
    [
        (replace(GOOD, prompt=" \n ", marks=()), "prompt is empty"),
        (replace(GOOD, prompt="x" * 200_001, marks=()), "200,001 characters"),
        (replace(GOOD, answers=("", " no")), "Answer a is empty"),
        (replace(GOOD, answers=(" no", " no")), "are the same"),
        (replace(GOOD, edit="replace"), "text that replaces"),
        (lab.marked(GOOD, (0, len(TEXT))), "leaves nothing"),
        (replace(GOOD, edit="replace", value="x" * 200_001), "characters"),
        (replace(GOOD, marks=((5, 9999),)), "can't be made"),
    ],
)
def test_what_can_not_be_computed_is_said_in_words(draft: Draft, words: str) -> None:
    assert lab.obstacles(GOOD) == []
    assert any(words in line for line in lab.obstacles(draft))


def test_a_value_that_was_typed_is_no_mask() -> None:
    made = lab.edited(replace(GOOD, edit="mask", value="A stranger"))
    assert made is not None and made.text.startswith("___ ___ ___ ___ Is it")


def test_what_is_odd_but_possible_is_remarked() -> None:
    assert lab.remarks(GOOD) == []
    assert "no counterfactual" in lab.remarks(replace(GOOD, marks=()))[0]
    assert "changes nothing" in lab.remarks(replace(GOOD, edit=lab.WRITTEN, written=TEXT))[0]
    assert "without a space" in lab.remarks(replace(GOOD, prompt=TEXT + " so", answers=("yes", " no")))[0]


def test_the_explainer_named_is_the_one_used() -> None:
    assert "explainer of that kind of edit is used" in lab.explainer_remark("delete_cue", "delete_cue")
    assert "predicts the effect of that edit" in lab.explainer_remark("mask_asker", "delete_cue")
    assert "no explainer was trained on it" in lab.explainer_remark(None, "delete_cue")


def test_an_example_of_the_run_is_not_called_unlike_the_run() -> None:
    own = far_out("step-0", known=True)
    assert "among the 1% farthest out of the run's own" in own and "unlike" not in own
    assert "unlike the run's" in far_out("step-0", known=False)


def test_marks_are_drawn_escaped_and_long_texts_cut() -> None:
    text = "<b>bold</b> \u202e and & " + "x" * 10_000
    html = lab_text.highlighted(text, lab.marked(Draft(text), (0, 11)).marks)
    assert "<mark>&lt;b&gt;bold&lt;/b&gt;</mark>" in html
    assert "\u202e" not in html
    assert len(html) < 8_000 and "more characters" in html
    before, after = lab_text.about_the_change("a" * 50_000 + "X" + "b" * 50_000, "a" * 50_000 + "YY" + "b" * 50_000)
    assert "aX" in before and "aYYb" in after
    assert max(len(before), len(after)) < 4_000
    assert lab_text.about_the_change("same", "same") == ("same", "same")


@pytest.mark.parametrize("draft", [GOOD, replace(GOOD, edit=lab.WRITTEN, written="שלום 🙂 \ud800"), Draft()])
def test_a_draft_goes_through_a_link(draft: Draft) -> None:
    packed = address.parameter(draft)
    assert packed is not None and set(packed) <= {*string.ascii_letters, *string.digits, "-", "_"}
    assert address.draft_of(packed) == draft


def test_what_no_link_holds_is_refused() -> None:
    noise = "".join(random.Random(0).choices(string.ascii_letters, k=9_000))
    assert address.parameter(Draft(noise)) is None
    values = [[], "x", [1] * 7, ["p", "a", "b", "no edit", "", "", []], ["p", "a", "b", "mask", "", "", [[0, "1"]]]]
    bad = [pack(value) for value in values]
    whole = address.parameter(GOOD)
    assert whole is not None
    bomb = base64.urlsafe_b64encode(zlib.compress(b"[" * 10_000_000, 9)).decode()
    deep = base64.urlsafe_b64encode(zlib.compress(b"[" * 900_000, 9)).decode()
    for text in [*bad, "", "%%", "é", whole[:-8], "x" * 5_000, bomb, deep]:
        with pytest.raises(ValueError):
            address.draft_of(str(text))


# With models


TINY = ("gpt2--step-0000", "gpt2--step-0100")


def question(path: Path, prompt: str, edited: str | None = None, checkpoints=TINY, **more) -> Question:
    answers = more.get("answers", (" yes", " no"))
    return Question(path, data.stamp(path), checkpoints, prompt, edited, answers, more.get("explainer"))


@pytest.mark.parametrize("name", ["refusal", "sycophancy"])
def test_untouched_examples_give_what_the_run_recorded(name: str) -> None:
    path = SAMPLES / name
    names = (data.options(path).target, data.options(path).checkpoints[-1])
    explainer = next(c for c in new_prompts.choices(path) if c.edit == "delete_cue")
    setting = data.Setting(names[1], "ridge", "frozen")
    rows = examples(path, setting, split="test_heldout", edit="delete_cue").head(3)
    for row in rows.to_dict("records"):
        answers = (row["answer_a"], row["answer_b"])
        asked = question(path, row["prompt"], row["edited"], names, answers=answers, explainer=explainer)
        result = measure.ask(asked, lambda _: None)
        f, explanation = tables.recorded_difference(result, row)
        assert f < 1e-4
        assert explanation is not None and explanation < 2e-3  # kept to a thousandth of a nat
        assert result.current.as_measured and result.current.unlike is not None


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with models, whose hidden states are as wide as those of the models."""
    path = write_run(tmp_path_factory.mktemp("lab") / "tiny", prompts=40, checkpoints=2, layers=(1, 2), width=32)
    for step in range(2):
        build("gpt2", path / "checkpoints" / f"step-{step}", seed=step)
    return path


def test_sentences_next_tokens_and_effects_are_those_of_the_model(tiny: Path) -> None:
    from tests.reference import behavior as log_odds

    steps: list[str] = []
    result = measure.ask(question(tiny, TEXT, TEXT[20:], explainer=new_prompts.choices(tiny)[0]), steps.append)
    assert any("step-0100" in line for line in steps)
    assert [TEXT[slice(*s)] for s in result.sentences] == ["My friend says yes.", "Is it true?", "Answer:"]
    for reading in result.readings:
        with models.model(tiny, reading.checkpoint) as checkpoint:
            texts = [TEXT, TEXT[20:], *lab.without_each(TEXT, result.sentences)]
            f = log_odds(checkpoint, texts, [(" yes", " no")] * len(texts))
        np.testing.assert_allclose([reading.f, reading.f_edited], f[:2], atol=1e-4)
        np.testing.assert_allclose(reading.sentence_effects, f[2:] - f[0], atol=1e-4)
        p = reading.next.probabilities
        assert p.shape == (2, len(reading.next.tokens))
        assert {"a", "b"} <= set(" and ".join(reading.next.answers).split(" and "))
        if not reading.next.shared:  # single tokens: their log-odds are f
            a, b = (reading.next.answers.index(name) for name in "ab")
            assert np.log(p[0, a] / p[0, b]) == pytest.approx(reading.f, abs=1e-3)
    table = tables.effects(result)
    assert table["Δ"].tolist() == pytest.approx([r.f_edited - r.f for r in result.readings])
    everything = tables.everything(result)
    assert {"f(x)", "Δ without this sentence"} <= set(everything["quantity"])
    assert set(everything["model"]) == {"target", "current"}


def test_a_prompt_longer_than_the_context_is_answered_in_words(tiny: Path) -> None:
    with pytest.raises(InputError, match=r"^your prompt: .* tokens, gpt2--step-0000 reads at most 128"):
        measure.ask(question(tiny, "word " * 20_000), lambda _: None)


@pytest.mark.parametrize("prompt", ["🙂🙂", "שלום עולם. مرحبا.", "bell \x07 \x00 \u202e end", "a", "e\u0301 \u200d"])
def test_unusual_text_gets_finite_numbers_without_a_counterfactual(tiny: Path, prompt: str) -> None:
    asked = question(tiny, prompt, checkpoints=(TINY[0], TINY[0]), answers=(" yes", " yes, sir"))
    result = measure.ask(asked, lambda _: None)
    assert np.isfinite(result.target.f) and result.target is result.current
    assert result.target.effect is None and result.target.next.shared >= 1
    assert tables.effects(result)["Model"].tolist() == ["target and current"]


def test_a_run_without_hidden_states_or_checkpoints_says_so(tmp_path: Path) -> None:
    path = write_run(tmp_path / "bare", prompts=30, checkpoints=2, hidden=False)
    assert new_prompts.choices(path) == []
    assert "keeps no hidden states" in new_prompts.why_none(path)
    line, fetched = models.missing(path, "gpt2--step-0000")
    assert fetched and "not on this disk" in line


def test_weights_that_a_run_trained_and_dropped_are_not_asked_for_in_a_folder() -> None:
    told = models.missing(SAMPLES / "verbal-sycophancy", "gpt2--step-0200")
    assert told is not None and not told[1]
    assert "keep_checkpoints" in told[0] and "Put the saved model there" not in told[0]


def test_the_model_of_the_real_runs_is_fetched_by_a_command(tmp_path: Path) -> None:
    path = write_run(tmp_path / "mine" / "bare", prompts=30, checkpoints=1, hidden=False)
    manifest = json.loads((path / "run.json").read_text())
    manifest["spec"]["checkpoints"][0]["path"] = f"../{real.MODELS}/{real.MODEL}"
    (path / "run.json").write_text(json.dumps(manifest))
    line, fetched = models.missing(path, "gpt2--step-0000")
    assert not fetched and f"coupling real --out {path.parent} downloads it" in line
    file = path.parent / real.MODELS / real.MODEL
    file.parent.mkdir(parents=True)
    file.touch()
    assert models.missing(path, "gpt2--step-0000") is None


def test_a_ridge_of_more_features_than_rows_has_the_same_leverage() -> None:
    from engine.probes.ridge import Ridge

    rng = np.random.default_rng(0)
    for n, width in ((30, 8), (8, 30)):
        x, new = rng.normal(size=(n, width)) + 3, rng.normal(size=(5, width))
        ridge = Ridge.fit(x)
        centred = x - x.mean(axis=0)
        inverse = np.linalg.inv(centred.T @ centred + 0.7 * np.eye(width))
        wanted = np.einsum("ni,ij,nj->n", new - ridge.mean, inverse, new - ridge.mean)
        np.testing.assert_allclose(new_prompts._leverages(ridge, new, 0.7), wanted, rtol=1e-8)


def test_the_pictures_hold_the_numbers() -> None:
    figure = arrows([Arrow(True, 1.0, 3.0, 1.5), Arrow(False, 0.5, None, None)])
    assert [list(t.x) for t in figure.data] == [[1.0, 3.0], [1.0, 2.5], [0.5]]
    bars = sentence_bars(["<b>x</b>", "y"], [("target", True, [1, -2]), ("current", False, [0, 3])])
    assert [list(t.x) for t in bars.data] == [[1, -2], [0, 3]]
    assert "<b>" not in str(bars.data[0].y)
    assert bars.data[0].marker.pattern.shape == "/"


# The page

PAGE = """
import sys
from streamlit.testing.v1 import AppTest
app = AppTest.from_file("dashboard/app.py", default_timeout=200)
app.query_params["run"] = "refusal"
app.run()
assert app.title[0].value and app.get("plotly_chart"), "the overview is not drawn"
assert "torch" not in sys.modules, "the overview imported torch"
app.switch_page("../pages/lab.py").run()
assert not app.exception, app.exception[0].stack_trace
assert app.text_area(key="lab_prompt").value, "no example to start from"
assert not app.button(key="lab_run").disabled
assert "torch" not in sys.modules, "torch was imported before Run"
app.button(key="lab_run").click().run()
assert not app.exception and not app.error, [*app.exception, *app.error]
assert "torch" in sys.modules
said = [c.value for c in app.caption if "This is example" in c.value]
assert not any("is unlike the run" in i.value for i in app.info), "an example of the run is not unlike its own"
assert said and "less than 0.0" in said[0] or "0.000" in said[0], said
app.text_area(key="lab_prompt").set_value("word " * 20_000).run()
app.button(key="lab_run").click().run()
assert "reads at most" in app.error[0].value
assert any("have changed" in i.value for i in app.info)
assert app.dataframe, "the last result is gone"
app.text_area(key="lab_prompt").set_value("").run()
assert app.button(key="lab_run").disabled
app.selectbox(key="lab_start").set_value("").run()
assert app.query_params.get("example") is None
app.button(key="lab_back").click().run()
assert not app.exception
"""


def test_the_page_imports_no_torch_before_run_and_keeps_its_results() -> None:
    root = SAMPLES.parent
    env = os.environ | {"COUPLING_RUNS": str(SAMPLES)}
    done = subprocess.run([sys.executable, "-c", PAGE], cwd=root, env=env, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-3000:]
