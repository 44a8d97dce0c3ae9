"""Every path through the engine gives the same numbers as one full row at a time, and takes the work it says."""

from __future__ import annotations

from functools import partial
from itertools import cycle
from unittest.mock import patch

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import BloomConfig, BloomForCausalLM, Phi3Config, Phi3ForCausalLM

from engine.config import CheckpointSpec, InputError
from engine.model import counterfactuals, forward
from engine.model.batching import Text, shared_plan
from engine.model.checkpoints import Checkpoint
from engine.model.counterfactuals import score_texts
from engine.model.forward import ForwardError, can_share
from tests import reference
from tests.engine.model.test_behavior import checkpoint
from tests.tiny_models import LAYERS, SHAPES, UNSHARED, WINDOW, tokenizer

TOLERANCE = 1e-5
VOCABULARY = 100
ALL_LAYERS = tuple(range(LAYERS + 1))

tokens = st.integers(1, VOCABULARY)
answer = st.lists(tokens, min_size=1, max_size=3).map(tuple)


@st.composite
def edited(draw, prompt: tuple[int, ...]) -> tuple[int, ...]:
    """One to three edits at once, each deleting, inserting, replacing, or nothing at all; anywhere."""
    result = list(prompt)
    for _ in range(draw(st.integers(0, 3))):
        start = draw(st.one_of(st.just(0), st.just(len(result)), st.integers(0, len(result))))
        stop = draw(st.integers(start, min(len(result), start + 5)))
        result[start:stop] = draw(st.lists(tokens, max_size=3))
    return tuple(result) or prompt


@st.composite
def groups(draw) -> list[list[Text]]:
    drawn = []
    head = draw(st.sampled_from([(), tuple(range(1, 13))]))  # long enough to be shared by the prompts
    for _ in range(draw(st.integers(1, 3))):
        prompt = head + tuple(draw(st.lists(tokens, min_size=1, max_size=18)))
        answers = (draw(answer), draw(answer))
        texts = []
        for text in [prompt, *(draw(edited(prompt)) for _ in range(draw(st.integers(0, 4))))]:
            some = st.lists(st.integers(0, len(text) - 1), min_size=1, max_size=4, unique=True)
            reads = [(len(text) - 1,), *draw(st.lists(some.map(sorted).map(tuple), max_size=2))]
            texts.append(Text(text, answers, tuple(reads)))
        drawn.append(texts)
    return drawn


def by_the_book(model, texts: list[Text]) -> tuple[np.ndarray, np.ndarray]:
    f = [reference.log_odds(model, text.prompt, text.answers) for text in texts]
    states = []
    for text in texts:
        layers = reference.all_hidden(model, text.prompt)
        states += [layers[:, list(positions)].mean(1) for positions in text.reads]
    return np.array(f), np.array(states)


@pytest.mark.parametrize("shape", [*SHAPES, *UNSHARED])
@settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(drawn=groups(), batch_size=st.integers(1, 8))
def test_all_paths_give_the_same_numbers(shape, drawn, batch_size):
    model = checkpoint(shape)
    texts = [text for group in drawn for text in group]
    f, states = by_the_book(model, texts)
    longest = max(len(text.prompt) + max(map(len, text.answers)) - 1 for text in texts)
    paths = ["auto", "full"] if can_share(model.model, longest) else ["auto", "full", "shared"]
    for path in paths:
        scored = score_texts(model, drawn, ALL_LAYERS, batch_size=batch_size, path=path)
        np.testing.assert_allclose(scored.log_probs[:, 0] - scored.log_probs[:, 1], f, atol=TOLERANCE)
        np.testing.assert_allclose(scored.states, states, atol=TOLERANCE)
        if path == "full":
            assert scored.report.rows <= scored.report.forwards * batch_size * longest


def edits(rng: np.random.Generator, n: int, length: int, k: int, first: float) -> list[list[Text]]:
    """n prompts, each with k single-token replacements at places drawn from [first · length, length)."""
    drawn = []
    for _ in range(n):
        prompt = rng.integers(1, VOCABULARY, length)
        group = [prompt]
        for place in rng.integers(int(first * length), length, k):
            other = prompt.copy()
            other[place] = (other[place] % VOCABULARY) + 1
            group.append(other)
        drawn.append([Text(tuple(map(int, row)), ((1,), (2,))) for row in group])
    return drawn


@pytest.mark.parametrize("first", [0.0, 0.75])
def test_work_is_within_five_percent_of_the_cost_model(first):
    drawn = edits(np.random.default_rng(0), n=16, length=256, k=16, first=first)
    report = score_texts(checkpoint("llama"), drawn, batch_size=16, path="shared").report
    limit = 0
    for group in drawn:
        x = np.array(group[0].prompt)
        rows = {text.prompt for text in group[1:]} - {group[0].prompt}
        limit += len(x) + sum(len(x) - int(np.argmax(np.array(row) != x)) for row in rows)
    assert limit <= report.tokens <= limit / 0.95
    assert report.path == "shared"


def behind_heads(drawn: list[list[Text]], *heads: tuple[int, ...]) -> list[list[Text]]:
    """The same texts, each group's behind one of the heads, in turns."""
    return [
        [Text(head + text.prompt, text.answers, ((len(head + text.prompt) - 1,),)) for text in group]
        for head, group in zip(cycle(heads), drawn, strict=False)
    ]


@pytest.mark.parametrize("k", [0, 3])
@pytest.mark.parametrize("shape", ["llama", "gpt2"])
def test_a_head_of_all_prompts_is_computed_once(shape, k):
    """Few-shot examples in front of all prompts, half as many in front of every other one."""
    rng = np.random.default_rng(7)
    head = tuple(map(int, rng.integers(1, VOCABULARY, 36)))
    drawn = behind_heads(edits(rng, n=24, length=20, k=k, first=0.5), head, head[:18])
    model = checkpoint(shape)
    full, auto = (score_texts(model, drawn, ALL_LAYERS, batch_size=8, path=path) for path in ("full", "auto"))
    np.testing.assert_allclose(auto.log_probs, full.log_probs, atol=TOLERANCE)
    np.testing.assert_allclose(auto.states, full.states, atol=TOLERANCE)
    nodes = {text.prompt[:n] for group in drawn for text in group for n in range(1, len(text.prompt) + 1)}
    assert auto.report.path == "shared" and len(nodes) <= auto.report.tokens <= len(nodes) / 0.85


@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_sharing_across_prompts_changes_no_number(data):
    """However prompts are spread over calls, and in whatever order, f and states stay the same."""
    drawn = data.draw(groups())
    model = checkpoint("llama")
    whole = score_texts(model, drawn, ALL_LAYERS, batch_size=4, path="shared")
    own = partial(shared_plan, across=False)
    with patch.object(counterfactuals, "shared_plan", own):
        apart = score_texts(model, drawn, ALL_LAYERS, batch_size=4, path="shared")
    alone = [score_texts(model, [group], ALL_LAYERS, batch_size=4, path="shared") for group in drawn]
    order = data.draw(st.permutations(range(len(drawn))))
    moved = score_texts(model, [drawn[i] for i in order], ALL_LAYERS, batch_size=4, path="shared")
    for name in ("log_probs", "states"):
        one = getattr(whole, name)
        np.testing.assert_allclose(getattr(apart, name), one, atol=TOLERANCE)
        np.testing.assert_allclose(np.concatenate([getattr(a, name) for a in alone]), one, atol=TOLERANCE)
        sizes = [len(g) if name == "log_probs" else sum(len(t.reads) for t in g) for g in drawn]
        parts = np.split(one, np.cumsum(sizes)[:-1])
        np.testing.assert_allclose(np.concatenate([parts[i] for i in order]), getattr(moved, name), atol=TOLERANCE)


@pytest.mark.parametrize("path", ["full", "shared"])
def test_logits_of_a_batch_are_bounded(path, monkeypatch):
    """Long answers after last-token edits: few tokens a row, and most of them asked about."""
    answers = (tuple(range(1, 7)), tuple(range(11, 17)))
    one = edits(np.random.default_rng(5), n=4, length=32, k=8, first=0.95)
    drawn = [[Text(text.prompt, answers) for text in group] for group in one]
    model, made = checkpoint("llama"), []
    real = forward._kept_positions

    def seen(rows, asks):
        keep, columns = real(rows, asks)
        made.append((rows, len(keep[0])))
        return keep, columns

    monkeypatch.setattr(forward, "_kept_positions", seen)
    want = score_texts(model, drawn, batch_size=16, path=path)
    assert max(rows * width for rows, width in made) > 60
    made.clear()
    monkeypatch.setattr(counterfactuals, "MOST_LOGITS", 60 * model.model.config.vocab_size)
    scored = score_texts(model, drawn, batch_size=16, path=path)
    assert max(rows * width for rows, width in made) <= 60
    assert scored.report.forwards > want.report.forwards and scored.report.rows == want.report.rows
    np.testing.assert_allclose(scored.log_probs, want.log_probs, atol=TOLERANCE)
    made.clear()
    monkeypatch.setattr(counterfactuals, "MOST_LOGITS", 1)
    assert score_texts(model, drawn, batch_size=16, path=path).report.forwards == len(made), "a row is never split"
    assert {rows for rows, _ in made} == {1}


def test_rows_on_both_sides_of_a_change_of_rotary_embedding_never_meet():
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "hidden_size": 32, "intermediate_size": 48}
    sizes = heads | {"vocab_size": len(tokenizer()), "num_hidden_layers": 2, "max_position_embeddings": 64}
    limit = {"original_max_position_embeddings": 16}
    rope = {"rope_type": "longrope", "rope_theta": 10000.0, "short_factor": [1.0] * 4, "long_factor": [8.0] * 4} | limit
    config = Phi3Config(**sizes, **limit, sliding_window=None, pad_token_id=0, rope_parameters=rope)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Phi3ForCausalLM(config).eval()
        for weight in model.parameters():
            if weight.ndim > 1:
                torch.nn.init.normal_(weight, std=0.3)
    given = Checkpoint(model, None, CheckpointSpec(name="phi3--tiny", path="-"), torch.device("cpu"))
    rng = np.random.default_rng(6)
    short, long = edits(rng, n=1, length=16, k=3, first=0.5), edits(rng, n=1, length=18, k=3, first=0.5)
    for drawn, path in ((short, "shared"), (short + long, "full: its rotary embedding")):
        scored = score_texts(given, drawn, batch_size=8)
        f, _ = by_the_book(given, [text for group in drawn for text in group])
        np.testing.assert_allclose(scored.log_probs[:, 0] - scored.log_probs[:, 1], f, atol=TOLERANCE)
        assert scored.report.path.startswith(path)


def test_a_model_whose_blocks_cannot_be_found_is_refused_in_one_line():
    model = checkpoint("gpt2").model
    blocks = model.transformer.h
    try:
        model.transformer.h = blocks[0]
        with pytest.raises(InputError, match="gpt2: its blocks can't be found"):
            forward.model_blocks(model)
    finally:
        model.transformer.h = blocks


def test_what_a_model_lacks_is_named():
    bloom = BloomForCausalLM(BloomConfig(vocab_size=64, hidden_size=16, n_layer=1, n_head=2))
    assert "position_ids" in can_share(bloom, 4)


def test_duplicates_are_run_once():
    model = checkpoint("gpt2")
    one = Text((5, 6, 7), ((1,), (2,)))
    other = Text((5, 6, 8), ((1,), (2,)))
    scored = score_texts(model, [[one, other, one, other], [other, one]], batch_size=4)
    assert scored.report.rows == 2
    assert len(set(scored.log_probs[:, 0].tolist())) == 2


def test_answers_that_part_cost_their_own_tokens_only():
    one = edits(np.random.default_rng(4), n=4, length=64, k=8, first=0.0)
    two = [[Text(text.prompt, ((1, 2), (3, 4))) for text in group] for group in one]
    short, long = (score_texts(checkpoint("llama"), drawn, batch_size=16, path="shared").report for drawn in (one, two))
    texts = sum(len({text.prompt for text in group}) for group in two)
    # A second token of the first answer, then the prompt's last token again with the second answer.
    assert long.rows == 2 * texts and short.tokens < long.tokens <= short.tokens + 3 * texts + 64


@pytest.mark.parametrize(
    ("shape", "length", "why"),
    [
        ("mistral", WINDOW, "sliding window"),
        ("mistral", WINDOW // 2, ""),
        ("gpt_neo", WINDOW, "sliding window"),
        ("gpt_neo", WINDOW // 2, ""),
        ("mamba", 4, "no key-value cache"),
        ("lfm2", 4, "can't be sliced"),
        ("gpt2", 60, ""),
        ("gemma", 60, ""),
    ],
)
def test_models_whose_cache_cannot_be_sliced_fall_back_and_say_so(shape, length, why):
    model = checkpoint(shape)
    drawn = edits(np.random.default_rng(1), n=2, length=length, k=3, first=0.5)
    path = score_texts(model, drawn, batch_size=4).report.path
    assert path == "shared" if not why else path.startswith("full: ") and why in path
    if why:
        with pytest.raises(ForwardError, match=why):
            score_texts(model, drawn, batch_size=4, path="shared")


def test_a_model_on_which_sharing_goes_wrong_is_found_out(monkeypatch):
    monkeypatch.setattr(counterfactuals, "can_share", lambda *_, **__: "")
    drawn = edits(np.random.default_rng(1), n=2, length=40, k=3, first=0.8)
    wrong = score_texts(checkpoint("mistral"), drawn, batch_size=4, path="shared").log_probs
    right = score_texts(checkpoint("mistral"), drawn, batch_size=4)
    assert np.abs(wrong - right.log_probs).max() > 1e-3, "past its window, ragged starts are wrong"
    assert "on a trial" in right.report.path


@pytest.mark.parametrize("shape", ["mistral", "gpt_neo"])
def test_starts_far_apart_are_tried_though_the_first_group_has_none(shape, monkeypatch):
    """The first group fits into the window. Where starts lie far apart, columns beyond it are counted."""
    monkeypatch.setattr(counterfactuals, "can_share", lambda *_, **__: "")
    rng = np.random.default_rng(1)
    early = edits(rng, n=1, length=WINDOW // 2, k=2, first=0.5)
    drawn = early + edits(rng, n=2, length=40, k=3, first=0.8)
    assert score_texts(checkpoint(shape), early, batch_size=4).report.path == "shared"
    assert "on a trial" in score_texts(checkpoint(shape), drawn, batch_size=4).report.path


def test_a_model_on_which_sharing_breaks_takes_full_rows(monkeypatch):
    def broken(*_, **__):
        raise IndexError("a mask of other columns")

    drawn = edits(np.random.default_rng(1), n=2, length=20, k=3, first=0.5)
    monkeypatch.setattr(counterfactuals, "continue_prefixes", broken)
    assert (
        score_texts(checkpoint("gpt2"), drawn, batch_size=4).report.path
        == "full: sharing failed on a trial (IndexError)"
    )


def test_low_precision_scores_both_sides_of_an_effect_by_the_same_kernels():
    model = checkpoint("llama")
    try:
        model.model.to(torch.bfloat16)
        drawn = edits(np.random.default_rng(2), n=4, length=30, k=1, first=0.5)
        scored = score_texts(model, drawn, (0, LAYERS), batch_size=4, path="shared")
        starts = [int(np.argmax(np.array(x.prompt) != np.array(other.prompt))) for x, other in drawn]
        assert scored.report.rows == 8 and scored.report.forwards == 2
        assert scored.report.tokens == 4 * 30 + 8 * (30 - min(starts)), "each original goes on beside its edited text"
        assert np.isfinite(scored.log_probs).all() and (scored.log_probs < 0).all()
    finally:
        model.model.to(torch.float32)


def test_out_of_memory_halves_the_batch_with_a_message(monkeypatch, caplog):
    model, real = checkpoint("gpt2"), counterfactuals.forward

    def small_machine(network, rows, *rest, **more):
        if len(rows) > 3:
            raise torch.OutOfMemoryError("out of memory")
        return real(network, rows, *rest, **more)

    drawn = edits(np.random.default_rng(3), n=12, length=20, k=1, first=0.0)
    want = score_texts(model, drawn, batch_size=4, path="full").log_probs
    monkeypatch.setattr(counterfactuals, "forward", small_machine)
    scored = score_texts(model, drawn, batch_size=12, path="full")
    assert scored.report.batch_size == 3 and "out of memory" in caplog.text
    np.testing.assert_allclose(scored.log_probs, want, atol=TOLERANCE)
    assert scored.report.halved == 2
    assert score_texts(model, drawn, batch_size=12, halved=2, path="full").report.halved == 2, "known from before"
    monkeypatch.setattr(counterfactuals, "forward", lambda *_, **__: (_ for _ in ()).throw(MemoryError()))
    with pytest.raises(ForwardError, match="on one row of 20 tokens"):
        score_texts(model, drawn, batch_size=2, path="full")
