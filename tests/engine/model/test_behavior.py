"""f and hidden states equal a one-row-at-a-time reference, whatever the model, the tokenizer and the batch."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

import numpy as np
import pytest

from engine.config import CheckpointSpec, HiddenSpec
from engine.model.behavior import BehaviorError, measure, tokenised
from engine.model.checkpoints import Checkpoint, load
from engine.model.tokens import TokenError, encode, span_positions
from engine.records import Example, examples_table, spans_of
from tests import reference
from tests.tiny_models import CONTEXT, LAYERS, build, tokenizer

TOLERANCE = 2e-5
PROMPTS = (
    "The capital of France is Paris. A professor says that it is Lyon. Is that right?",
    "Please, I need to know: yes or no?",
    "My friend believes otherwise, and she is quite sure. Is it so?",
)
CUT = ((0, 4), (12, 29), (20, 25), (30, 32))


@functools.cache
def checkpoint(shape: str, bos: bool = False, space_prefix: bool = False) -> Checkpoint:
    with tempfile.TemporaryDirectory() as folder:
        path = build(shape, Path(folder), bos=bos, space_prefix=space_prefix)
        return load(CheckpointSpec(name=f"{shape}--tiny", path=str(path)), "cpu")


def table(answers: tuple[str, str] = (" yes", " no"), prompts=PROMPTS):
    """Deletions at several places of every prompt, and one replacement."""
    examples = []
    for prompt in prompts:
        edits = [(prompt[:s] + prompt[t:], (s, t), (s, s)) for s, t in CUT]
        edits.append(("Whoever" + prompt[3:], (0, 3), (0, 7)))
        for edited, span, after in edits:
            examples.append(Example("t", prompt, edited, "delete_span", (span,), (after,), *answers, prompt, "train"))
    return examples_table(examples)


def expected_f(model: Checkpoint, text: str, answers: tuple[str, str]) -> float:
    (tokens,) = encode(model.tokenizer, [text], [answers])
    return reference.log_odds(model, tokens.prompt, tokens.answers)


@pytest.mark.parametrize("shape", ["gpt2", "llama", "qwen3", "gpt_neox"])
@pytest.mark.parametrize(("bos", "space_prefix"), [(False, False), (True, False), (False, True), (True, True)])
@pytest.mark.parametrize("answers", [(" yes", " no"), (" comply, of course", " I refuse"), (" yes", " yes, she is")])
def test_behavior_is_the_log_odds_of_the_answers(shape, bos, space_prefix, answers):
    model = checkpoint(shape, bos, space_prefix)
    examples = table(answers)
    measured = measure(model, examples, batch_size=4)
    for i in range(0, examples.num_rows, 4):
        row = examples.slice(i, 1).to_pylist()[0]
        assert measured.f[i] == pytest.approx(expected_f(model, row["prompt"], answers), abs=TOLERANCE)
        assert measured.f_edited[i] == pytest.approx(expected_f(model, row["edited"], answers), abs=TOLERANCE)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("shape", ["gpt2", "llama", "qwen3", "gpt_neox"])
def test_the_tokenizers_padding_side_and_the_batch_do_not_matter(shape, side):
    model = checkpoint(shape)
    answers = (" yes", " no, never")
    before = model.tokenizer.padding_side
    one_by_one = reference.behavior(model, PROMPTS, [answers] * len(PROMPTS))
    try:
        model.tokenizer.padding_side = side
        together = measure(model, table(answers), batch_size=len(PROMPTS), path="full").f
    finally:
        model.tokenizer.padding_side = before
    np.testing.assert_allclose(together, np.repeat(one_by_one, len(CUT) + 1), atol=TOLERANCE)


@pytest.mark.parametrize("shape", ["gpt2", "llama", "qwen3", "gpt_neox", "mamba"])
def test_hidden_states_are_those_of_transformers(shape):
    model, examples = checkpoint(shape), table()
    spec = HiddenSpec(layers=(0, 1, -1), positions=("last", "span"))
    measured = measure(model, examples, hidden=spec, examples_too=True, batch_size=3)
    assert set(measured.prompts) == {f"last.{layer}" for layer in (0, 1, LAYERS)}
    prompts = list(dict.fromkeys(examples["prompt"].to_pylist()))
    tokens = encode(model.tokenizer, prompts, [(" yes", " no")] * len(prompts))
    for layer in (0, 1, LAYERS):
        for prompt, state in zip(tokens, measured.prompts[f"last.{layer}"], strict=True):
            want = reference.hidden(model, prompt.prompt, [len(prompt.prompt) - 1], layer)
            np.testing.assert_allclose(state, want, atol=TOLERANCE)
    for i, row in enumerate(examples.to_pylist()):
        for text, spans, prefix in ((row["prompt"], row["spans"], ""), (row["edited"], row["edited_spans"], "edited.")):
            (t,) = encode(model.tokenizer, [text], [(" yes", " no")])
            positions = span_positions(t.offsets, spans_of(spans))
            want = reference.hidden(model, t.prompt, positions, 1)
            np.testing.assert_allclose(measured.examples[f"{prefix}span.1"][i], want, atol=TOLERANCE)
            if prefix:
                want = reference.hidden(model, t.prompt, [len(t.prompt) - 1], LAYERS)
                np.testing.assert_allclose(measured.examples[f"edited.last.{LAYERS}"][i], want, atol=TOLERANCE)


def test_only_what_is_asked_for_is_kept_in_the_dtype_asked_for():
    model, examples = checkpoint("gpt2"), table()
    assert measure(model, examples).prompts == {}
    few = measure(model, examples, hidden=HiddenSpec(layers=(-1,), dtype="float16"))
    assert few.examples == {} and few.prompts[f"last.{LAYERS}"].dtype == np.float16
    assert few.prompts[f"last.{LAYERS}"].shape == (len(PROMPTS), model.width)


def test_batch_size_is_found_and_progress_told():
    model, examples = checkpoint("gpt2"), table()
    seen: list[tuple[int, int]] = []
    measured = measure(model, examples, progress=lambda done, total: seen.append((done, total)))
    assert measured.report.batch_size >= 1 and seen[-1] == (examples.num_rows, examples.num_rows)
    assert [d for d, _ in seen] == sorted(d for d, _ in seen)
    again = measure(model, examples, batch_size=measured.report.batch_size)
    assert np.array_equal(measured.f, again.f) and np.array_equal(measured.f_edited, again.f_edited)


def test_what_cannot_be_measured_is_named():
    model = checkpoint("gpt2")
    long = table(prompts=("yes " * 200,))
    with pytest.raises(BehaviorError, match=rf"{long['example_id'][0].as_py()}: .*reads at most {CONTEXT}"):
        measure(model, long)
    with pytest.raises(BehaviorError, match="an answer has no tokens"):
        measure(model, table(answers=(" yes", "")))
    with pytest.raises(BehaviorError, match="no examples"):
        measure(model, table().slice(0, 0))
    with pytest.raises(BehaviorError, match="no token of the prompt is left"):
        tokenised(model, [""], [(" yes", " no")], ["first"])


def test_a_merge_across_the_boundary_belongs_to_the_answer():
    words = tokenizer()
    spaced, plain = encode(words, ["I am quite ", "I am quite"], [("sure", "right"), (" sure", " right")])
    assert spaced.answers == plain.answers, "one space, wherever it is written"
    assert spaced.prompt == plain.prompt
    both = encode(words, ["I am quite"], [(" sure", " sure, please")])[0]
    assert both.answers[1][: len(both.answers[0])] == both.answers[0] and len(both.prompt) == len(plain.prompt)


def test_span_positions():
    offsets = [(0, 0), (0, 3), (3, 7), (7, 8), (8, 12)]
    assert span_positions(offsets, [(4, 8)]) == (2, 3)
    assert span_positions(offsets, [(0, 1), (11, 20)]) == (1, 4)
    assert span_positions(offsets, [(7, 7)]) == (2,), "nothing there now: the token before the gap"
    assert span_positions(offsets, [(0, 0)]) == (0,)
    assert span_positions(offsets, []) == (4,)
    with pytest.raises(TokenError, match="use last"):
        span_positions((), [(0, 1)])
