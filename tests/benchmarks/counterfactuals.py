"""Effects of single-token edits: shared prefixes beside full rows, captum and inseq, on the same model and edits.

A random Llama of width 256 with 4 layers and a vocabulary of 8,000; prompts of 256 tokens with 16 edits each, every
edit one token replaced by the same filler, its place drawn from the whole prompt ("uniform") or its last quarter. All
sides score the same next token after the same rows; the answers are log-probabilities in nats.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from engine.config import CheckpointSpec
from engine.model.batching import Text
from engine.model.checkpoints import Checkpoint
from engine.model.counterfactuals import score_texts
from tests.benchmarks.side_by_side import failed, row, same_threads, seconds, side_by_side

VOCABULARY, LENGTH, EDITS, PROMPTS = 8000, 256, 16, 4
FILLER, ANSWER, OTHER = 1, 2, 3
FIRST_WORD = 10
BATCH = 16
TOLERANCE = 1e-5
PLACES = {"uniform": 0.0, "last quarter": 0.75}
GOALS = {"uniform": 1.5, "last quarter": 4.0}


@functools.cache
def model() -> LlamaForCausalLM:
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=256,
        num_hidden_layers=4,
        num_attention_heads=4,
        intermediate_size=1024,
        max_position_embeddings=2 * LENGTH,
        bos_token_id=5,
        eos_token_id=4,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return LlamaForCausalLM(config).eval().requires_grad_(False)


def checkpoint() -> Checkpoint:
    return Checkpoint(model(), words(), CheckpointSpec(name="llama--random", path="-"), torch.device("cpu"))


@functools.cache
def words() -> Any:
    """A tokenizer with one word a token, for peers that want text."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    plain = Tokenizer(models.WordLevel({word(i): i for i in range(VOCABULARY)}, unk_token=word(0)))
    plain.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    specials = {"unk_token": word(0), "pad_token": word(FILLER), "eos_token": word(4), "bos_token": word(5)}
    return PreTrainedTokenizerFast(tokenizer_object=plain, **specials)


def word(token: int) -> str:
    return f"w{token}" if token >= FIRST_WORD else f"<{token}>"


def text_of(tokens: np.ndarray) -> str:
    return " ".join(word(int(token)) for token in tokens)


def problem(places: str, prompts: int = PROMPTS, length: int = LENGTH, edits: int = EDITS, seed: int = 0) -> list:
    """(prompt [length], places [edits]) of each prompt; no token stands twice in a prompt."""
    rng = np.random.default_rng(seed)
    first = int(PLACES[places] * length)
    drawn = []
    for _ in range(prompts):
        prompt = rng.choice(np.arange(FIRST_WORD, VOCABULARY), length, replace=False)
        drawn.append((prompt, np.sort(rng.choice(np.arange(first, length), edits, replace=False))))
    return drawn


def rows_of(prompt: np.ndarray, places: np.ndarray) -> np.ndarray:
    """The prompt and its edited rows [1 + edits, length]."""
    rows = np.repeat(prompt[None], 1 + len(places), 0)
    rows[np.arange(1, len(rows)), places] = FILLER
    return rows


def ours(given: list, path: Any = "shared") -> tuple[np.ndarray, Any]:
    """log p of the answer [prompts, 1 + edits]."""
    groups = [[Text(tuple(row), ((ANSWER,), (OTHER,))) for row in rows_of(*g).tolist()] for g in given]
    scored = score_texts(checkpoint(), groups, batch_size=BATCH, path=path)
    return scored.log_probs[:, 0].reshape(len(given), -1), scored.report


@torch.inference_mode()
def one_row_a_forward(given: list) -> np.ndarray:
    return batched(given, 1)


@torch.inference_mode()
def batched(given: list, size: int) -> np.ndarray:
    """Full rows in batches of one prompt's rows, logits at the last position only."""
    out = []
    for g in given:
        for some in torch.tensor(rows_of(*g)).split(size):
            logits = model()(input_ids=some, logits_to_keep=1, use_cache=False).logits[:, -1]
            out.append(logits.log_softmax(-1)[:, ANSWER])
    return torch.cat(out).reshape(len(given), -1).numpy()


def best_batch(given: list) -> int:
    """The batch size that serves the batched peer best."""
    with same_threads():
        times = {
            size: min(seconds(lambda s=size: batched(given[:1], s))[1] for _ in range(3)) for size in (1, 2, 4, 8, 17)
        }
    return min(times, key=times.__getitem__)


def captum_ablation(given: list, at_once: int) -> np.ndarray:
    """FeatureAblation, the edited tokens its features, full logits. log p(x) − log p(x') [prompts, edits]."""
    from captum.attr import FeatureAblation

    out = []
    for prompt, places in given:
        row = torch.tensor(prompt)

        def score(kept: torch.Tensor, row: torch.Tensor = row, places: np.ndarray = places) -> torch.Tensor:
            ids = row.repeat(len(kept), 1)
            ids[:, places] = torch.where(kept > 0, ids[:, places], FILLER)
            return model()(input_ids=ids, use_cache=False).logits[:, -1].log_softmax(-1)[:, ANSWER]

        with torch.inference_mode():
            kept = torch.ones(1, len(places))
            out.append(FeatureAblation(score).attribute(kept, baselines=0.0, perturbations_per_eval=at_once)[0])
    return torch.stack(out).numpy()


def captum_llm(given: list) -> np.ndarray:
    """LLMAttribution around FeatureAblation, the whole sequence at once, never its (wrong) cached outputs."""
    from captum.attr import FeatureAblation, LLMAttribution, TextTokenInput

    out = []
    for prompt, places in given:
        other = [int(t) for i, t in enumerate(prompt) if i not in set(places.tolist())]
        given_text = TextTokenInput(text_of(prompt), words(), baselines=FILLER, skip_tokens=other)
        method = LLMAttribution(FeatureAblation(model()), words())
        with torch.inference_mode():
            found = method.attribute(
                given_text, target=torch.tensor([ANSWER]), forward_in_tokens=False, use_cached_outputs=False
            )
        out.append(found.seq_attr)
    return torch.stack(out).numpy()


def shap_permutation(given: list, at_once: int) -> tuple[np.ndarray, list[np.ndarray]]:
    """shap's permutation explainer, the edited tokens its features: log p of all rows that it asked for, in its order,
    and these rows, a prompt each."""
    from shap import maskers
    from shap.explainers import Permutation

    out, asked = [], []
    for prompt, places in given:
        rows: list[np.ndarray] = []

        def score(kept: np.ndarray, prompt: np.ndarray = prompt, places: np.ndarray = places, rows: list = rows) -> Any:
            ids = np.repeat(prompt[None], len(kept), 0)
            ids[:, places] = np.where(kept > 0, ids[:, places], FILLER)
            with torch.inference_mode():
                logits = model()(input_ids=torch.tensor(ids), logits_to_keep=1, use_cache=False).logits[:, -1]
            found = logits.log_softmax(-1)[:, ANSWER].numpy()
            rows.append(ids)
            out.append(found)
            return found

        features = np.ones((1, len(places)))
        explainer = Permutation(score, maskers.Independent(np.zeros_like(features), max_samples=1), seed=0)
        explainer(features, max_evals=2 * len(places) + 1, batch_size=at_once, silent=True)
        asked.append(np.concatenate(rows))
    return np.concatenate(out), asked


def shap_row(given: list) -> dict[str, Any]:
    """Forwards of the rows that shap asks for, ours beside its own; no goal: its masks share little."""
    name = "wall time: the forwards of shap's permutation explainer, logits_to_keep=1"
    try:
        with same_threads():
            trial = {size: seconds(lambda s=size: shap_permutation(given[:1], s))[1] for size in (1, 4, EDITS)}
            at_once = min(trial, key=trial.__getitem__)
            _, asked = shap_permutation(given, at_once)
        groups = [
            [Text(tuple(row), ((ANSWER,),)) for row in np.concatenate([g[0][None], rows]).tolist()]
            for g, rows in zip(given, asked, strict=True)
        ]
        firsts = np.cumsum([0, *(len(group) for group in groups[:-1])])

        def mine(_: int) -> np.ndarray:
            return np.delete(score_texts(checkpoint(), groups, batch_size=BATCH, path="shared").log_probs[:, 0], firsts)

        count = sum(map(len, asked))
        note = f"{count} rows, several tokens masked in each; batch_size={at_once}, its best"
        return side_by_side(
            name, mine, lambda _: shap_permutation(given, at_once)[0],
            goal=None, tolerance=TOLERANCE, repetitions=5, note=note,
        )  # fmt: skip
    except Exception as error:
        return failed(name, None, repr(error))


def effects(log_probs: np.ndarray) -> np.ndarray:
    """log p(x) − log p(x') [prompts, edits], the sign that ablation methods give."""
    return log_probs[:, :1] - log_probs[:, 1:]


def work_row(places: str) -> dict[str, Any]:
    """Tokens computed, padding counted, against the cost model L + Σ Sᵢ. Deterministic."""
    given = problem(places, prompts=16)
    log_probs, report = ours(given)
    exact = sum(len(prompt) + int((len(prompt) - at).sum()) for prompt, at in given)
    apart = float(np.abs(log_probs - batched(given, 17)).max())
    limit = report.naive_tokens / exact
    name, note = f"tokens computed, {places} edits, against naive", "padding counted"
    counted = row(name, [report.tokens], [report.naive_tokens], 0.95 * limit, apart, TOLERANCE, limit, note)
    return counted | {"unit": "tokens", "threads": None, "deterministic": True}


def rows() -> list[dict[str, Any]]:
    """Measured rows of the benchmark table."""
    out = [work_row(places) for places in PLACES]
    for places in PLACES:
        given = problem(places)
        size = best_batch(given)
        limit = work_limit(given)
        peers: tuple[tuple[str, Callable[[int], Any]], ...] = (
            ("one row a forward, logits_to_keep=1", lambda _, g=given: one_row_a_forward(g)),
            (f"batched naive, best batch size ({size})", lambda _, g=given, s=size: batched(g, s)),
        )
        for name, peer in peers:
            out.append(
                side_by_side(
                    f"wall time, {places} edits: {name}",
                    lambda _, g=given: ours(g)[0],
                    peer,
                    goal=GOALS[places],
                    limit=limit,
                    tolerance=TOLERANCE,
                    repetitions=5,
                )
            )
    out += peer_rows(problem("uniform", prompts=2))
    return out


def work_limit(given: list) -> float:
    exact = sum(len(prompt) + int((len(prompt) - at).sum()) for prompt, at in given)
    return sum(len(prompt) * (1 + len(at)) for prompt, at in given) / exact


def peer_rows(given: list) -> list[dict[str, Any]]:
    """captum and inseq on uniform edits; a peer that is missing or breaks is a failed row."""

    def ablation(_: int) -> np.ndarray:
        return captum_ablation(given, at_once)

    def mine(_: int) -> np.ndarray:
        return effects(ours(given)[0])

    out = []
    name, goal = "wall time: captum FeatureAblation, full logits", 2.3
    try:
        with same_threads():
            trial = {size: seconds(lambda s=size: captum_ablation(given[:1], s))[1] for size in (1, 4, EDITS)}
        at_once = min(trial, key=trial.__getitem__)
        note = f"perturbations_per_eval={at_once}, its best"
        out.append(side_by_side(name, mine, ablation, goal=goal, tolerance=TOLERANCE, repetitions=5, note=note))
    except Exception as error:
        out.append(failed(name, goal, repr(error)))
    name, goal = "wall time: captum LLMAttribution(forward_in_tokens=False)", 2.2
    try:
        out.append(side_by_side(name, mine, lambda _: captum_llm(given), goal=goal, tolerance=TOLERANCE, repetitions=5))
    except Exception as error:
        out.append(failed(name, goal, repr(error)))
    out.append(shap_row(given))
    return out + [inseq_row(*case) for case in ((LENGTH, 1, 2, 1), (LENGTH // 2, 1, 2, 2), (LENGTH, 16, 1, 1))]


def inseq_row(length: int, window: int, answers: int, tokens: int) -> dict[str, Any]:
    """Every window of a prompt occluded in turn; so many answers of so many tokens. f takes two answers.

    Of single tokens f is one pass of inseq's, and shared prefixes can save half of it at most: no goal. Longer answers
    part, and each is a pass of its own.
    """
    from tests.benchmarks.inseq_occlusion import in_one_pass, ours_everywhere, prepare

    goal = 5.0 if tokens > 1 else None
    given = [[ANSWER + a + answers * t for t in range(tokens)] for a in range(answers)]
    what = {1: "one answer", 2: "f of two answers"}[answers] + (f" of {tokens} tokens" if tokens > 1 else " of a token")
    how = "in one pass" if in_one_pass(given) else "which it runs once an answer" if answers > 1 else "alone"
    name = f"wall time: inseq occlusion, {what}, {how}; prompt of {length}, windows of {window}"
    try:
        ((prompt, _),) = problem("uniform", prompts=1, length=length)
        said = [[word(token) for token in answer] for answer in given]
        occlusion = prepare(model(), words(), text_of(prompt), said, window)
        filler = int(words().unk_token_id)
        return side_by_side(
            name,
            lambda _: ours_everywhere(checkpoint(), prompt, filler, given, window, BATCH),
            lambda _: occlusion(),
            goal=goal,
            tolerance=TOLERANCE,
            repetitions=5 if window > 1 else 3,
        )
    except Exception as error:
        return failed(name, goal, repr(error))


def growth() -> list[dict[str, Any]]:
    """Processor seconds of ours and of the batched peer as prompts, edits and lengths grow (uniform edits)."""
    usual = {"prompts": 2, "edits": 8, "length": 128}
    out = []
    for axis, values in {"length": (64, 128, 256, 512), "edits": (2, 8, 32), "prompts": (2, 4, 8)}.items():
        for value in values:
            given = problem("uniform", **(usual | {axis: value}))
            with same_threads():
                ours_seconds = min(seconds(lambda g=given: ours(g))[1] for _ in range(3))
                their_seconds = min(seconds(lambda g=given: batched(g, 8))[1] for _ in range(3))
            out.append({"axis": axis, "value": value, "ours": ours_seconds, "theirs": their_seconds})
    return out
