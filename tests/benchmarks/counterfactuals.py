"""Effects of single-token edits: shared prefixes beside full rows, captum, shap and inseq, on the same model and edits.

A random Llama of width 256 with 4 layers and a vocabulary of 8,000; prompts of 256 tokens with 16 edits each. An edit
replaces one token by a filler; its place is drawn from the whole prompt ("uniform") or its last quarter. All sides
score the same next token after the same rows; the answers are log-probabilities in nats.
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
from tests.benchmarks.side_by_side import NOT_TIMED, attempt, cost, fastest, row, same_threads, side_by_side

VOCABULARY, LENGTH, EDITS, PROMPTS = 8000, 256, 16, 4
FILLER, ANSWER, OTHER, FIRST_WORD = 1, 2, 3, 10
BATCH = 16
TOLERANCE = 1e-5
PLACES = {"uniform": 0.0, "last quarter": 0.75}
GOALS = {"uniform": 1.5, "last quarter": 4.0}
Problem = list[tuple[np.ndarray, np.ndarray]]
"""(prompt [length], places [edits]) of each prompt."""


@functools.cache
def model() -> LlamaForCausalLM:
    shape = {"hidden_size": 256, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 1024}
    config = LlamaConfig(
        vocab_size=VOCABULARY, **shape, max_position_embeddings=2 * LENGTH, bos_token_id=5, eos_token_id=4
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return LlamaForCausalLM(config).eval().requires_grad_(False)


def checkpoint() -> Checkpoint:
    return Checkpoint(model(), words(), CheckpointSpec(name="llama--random", path="-"), torch.device("cpu"))


@functools.cache
def words() -> Any:
    """A tokenizer with one word for each token, for peers that want text."""
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


def problem(
    places: str, prompts: int = PROMPTS, length: int = LENGTH, edits: int = EDITS, vocabulary: int = VOCABULARY
) -> Problem:
    """Random prompts, none with a token twice, and the places of their edits."""
    rng = np.random.default_rng(0)
    first = int(PLACES[places] * length)
    drawn = []
    for _ in range(prompts):
        prompt = rng.choice(np.arange(FIRST_WORD, vocabulary), length, replace=False)
        drawn.append((prompt, np.sort(rng.choice(np.arange(first, length), edits, replace=False))))
    return drawn


def rows_of(prompt: np.ndarray, places: np.ndarray) -> np.ndarray:
    """The prompt and its edited rows [1 + edits, length]."""
    rows = np.repeat(prompt[None], 1 + len(places), 0)
    rows[np.arange(1, len(rows)), places] = FILLER
    return rows


def texts(rows: np.ndarray, answers: tuple[int, ...] = (ANSWER, OTHER)) -> list[Text]:
    """Rows [n, length] as the engine takes them, each with answers of one token."""
    return [Text(tuple(row), tuple((answer,) for answer in answers)) for row in rows.tolist()]


def ours(given: Problem) -> tuple[np.ndarray, Any]:
    """log p of the answer [prompts, 1 + edits], and the engine's report of its work."""
    scored = score_texts(checkpoint(), [texts(rows_of(*g)) for g in given], batch_size=BATCH, path="shared")
    return scored.log_probs[:, 0].reshape(len(given), -1), scored.report


@torch.inference_mode()
def last_log_probs(rows: np.ndarray | torch.Tensor) -> np.ndarray:
    """log p of the answer after each of the rows [n, length], logits at the last position only: [n]."""
    logits = model()(input_ids=torch.as_tensor(rows), logits_to_keep=1, use_cache=False).logits[:, -1]
    return logits.log_softmax(-1)[:, ANSWER].numpy()


def batched(given: Problem, size: int) -> np.ndarray:
    """Full rows in batches of one prompt's rows: log p of the answer [prompts, 1 + edits]."""
    found = [last_log_probs(some) for g in given for some in torch.tensor(rows_of(*g)).split(size)]
    return np.concatenate(found).reshape(len(given), -1)


def captum_ablation(
    network: LlamaForCausalLM, given: Problem, at_once: int, score: Callable[[torch.Tensor], torch.Tensor]
) -> np.ndarray:
    """FeatureAblation, the edited tokens its features, full logits: score(x) − score(x') [prompts, edits].

    score: of logits at the last position [rows, vocabulary], a number for each row.
    """
    from captum.attr import FeatureAblation

    out = []
    for prompt, places in given:
        row = torch.tensor(prompt, device=network.device)

        def ablated(kept: torch.Tensor, row: torch.Tensor = row, places: np.ndarray = places) -> torch.Tensor:
            ids = row.repeat(len(kept), 1)
            ids[:, places] = torch.where(kept > 0, ids[:, places], FILLER)
            return score(network(input_ids=ids, use_cache=False).logits[:, -1])

        with torch.inference_mode():
            kept = torch.ones(1, len(places), device=network.device)
            out.append(FeatureAblation(ablated).attribute(kept, baselines=0.0, perturbations_per_eval=at_once)[0])
    return torch.stack(out).double().cpu().numpy()


def captum_llm(given: Problem) -> np.ndarray:
    """LLMAttribution around FeatureAblation, the whole sequence at once, never its (wrong) cached outputs."""
    from captum.attr import FeatureAblation, LLMAttribution, TextTokenInput

    out = []
    for prompt, places in given:
        other = [int(t) for i, t in enumerate(prompt) if i not in set(places.tolist())]
        given_text = TextTokenInput(text_of(prompt), words(), baselines=FILLER, skip_tokens=other)
        method = LLMAttribution(FeatureAblation(model()), words())
        options = {"forward_in_tokens": False, "use_cached_outputs": False}
        with torch.inference_mode():
            out.append(method.attribute(given_text, target=torch.tensor([ANSWER]), **options).seq_attr)
    return torch.stack(out).numpy()


def shap_permutation(given: Problem, at_once: int) -> tuple[np.ndarray, list[np.ndarray]]:
    """shap's permutation explainer, the edited tokens its features.

    Returns log p of all rows that it asked for, in its order, and these rows, an array for each prompt.
    """
    from shap import maskers
    from shap.explainers import Permutation

    out, asked = [], []
    for prompt, places in given:
        rows: list[np.ndarray] = []

        def score(kept: np.ndarray, prompt: np.ndarray = prompt, places: np.ndarray = places, rows: list = rows) -> Any:
            ids = np.repeat(prompt[None], len(kept), 0)
            ids[:, places] = np.where(kept > 0, ids[:, places], FILLER)
            rows.append(ids)
            out.append(last_log_probs(ids))
            return out[-1]

        features = np.ones((1, len(places)))
        explainer = Permutation(score, maskers.Independent(np.zeros_like(features), max_samples=1), seed=0)
        explainer(features, max_evals=2 * len(places) + 1, batch_size=at_once, silent=True)
        asked.append(np.concatenate(rows))
    return np.concatenate(out), asked


def effects(log_probs: np.ndarray) -> np.ndarray:
    """log p(x) − log p(x') [prompts, edits], the sign that ablation methods give."""
    return log_probs[:, :1] - log_probs[:, 1:]


def work_limit(given: Problem) -> float:
    """Tokens of full rows over the cost model L + Σ Sᵢ of shared prefixes: the largest possible gain."""
    exact = sum(len(prompt) + int((len(prompt) - at).sum()) for prompt, at in given)
    return sum(len(prompt) * (1 + len(at)) for prompt, at in given) / exact


def work_row(places: str) -> dict[str, Any]:
    """Tokens computed, padding counted, against the cost model. Deterministic."""
    given = problem(places, prompts=16)
    log_probs, report = ours(given)
    apart = float(np.abs(log_probs - batched(given, 17)).max())
    limit = work_limit(given)
    columns = {"limit": limit, "note": "padding counted", "unit": "tokens", **NOT_TIMED}
    naive = sum(len(prompt) * (1 + len(at)) for prompt, at in given)
    name, counts = f"tokens computed, {places} edits, against naive", ([report.tokens], [naive])
    return row(name, *counts, 0.95 * limit, apart, TOLERANCE, **columns)


def rows() -> list[dict[str, Any]]:
    """Measured rows of the benchmark table."""
    out = [work_row(places) for places in PLACES]
    for places in PLACES:
        given = problem(places)
        size = fastest((1, 2, 4, 8, 17), lambda s, g=given: batched(g[:1], s), repetitions=3)
        peers = {"one row a forward, logits_to_keep=1": 1, f"batched naive, best batch size ({size})": size}
        options = {"goal": GOALS[places], "limit": work_limit(given), "tolerance": TOLERANCE, "repetitions": 5}
        for name, s in peers.items():
            sides = (lambda _, g=given: ours(g)[0]), (lambda _, g=given, s=s: batched(g, s))
            out.append(side_by_side(f"wall time, {places} edits: {name}", *sides, **options))
    return out + peer_rows(problem("uniform", prompts=2))


def peer_rows(given: Problem) -> list[dict[str, Any]]:
    """captum, shap and inseq on uniform edits; a peer that is missing or breaks is a failed row."""

    def mine(_: int) -> np.ndarray:
        return effects(ours(given)[0])

    def captum(given: Problem, at_once: int) -> np.ndarray:
        return captum_ablation(model(), given, at_once, lambda logits: logits.log_softmax(-1)[:, ANSWER])

    def ablation_row() -> dict[str, Any]:
        at_once = fastest((1, 4, EDITS), lambda size: captum(given[:1], size))
        note = f"perturbations_per_eval={at_once}, its best"
        return side_by_side(ablation, mine, lambda _: captum(given, at_once), goal=2.3, note=note, **options)

    options = {"tolerance": TOLERANCE, "repetitions": 5}
    ablation = "wall time: captum FeatureAblation, full logits"
    llm = "wall time: captum LLMAttribution(forward_in_tokens=False)"
    shap = "wall time: the forwards of shap's permutation explainer, logits_to_keep=1"
    out = [
        attempt(ablation, 2.3, ablation_row),
        attempt(llm, 2.2, lambda: side_by_side(llm, mine, lambda _: captum_llm(given), goal=2.2, **options)),
        attempt(shap, None, lambda: shap_row(given, shap)),
    ]
    return out + [inseq_row(*case) for case in ((LENGTH, 1, 2, 1), (LENGTH // 2, 1, 2, 2), (LENGTH, 16, 1, 1))]


def shap_row(given: Problem, name: str) -> dict[str, Any]:
    """Forwards of the rows that shap asks for, ours beside its own; no goal: its masks share little."""
    at_once = fastest((1, 4, EDITS), lambda size: shap_permutation(given[:1], size))
    with same_threads():
        _, asked = shap_permutation(given, at_once)
    groups = [texts(np.concatenate([g[0][None], rows]), (ANSWER,)) for g, rows in zip(given, asked, strict=True)]
    firsts = np.cumsum([0, *(len(group) for group in groups[:-1])])

    def mine(_: int) -> np.ndarray:
        return np.delete(score_texts(checkpoint(), groups, batch_size=BATCH, path="shared").log_probs[:, 0], firsts)

    note = f"{sum(map(len, asked))} rows, several tokens masked in each; batch_size={at_once}, its best"
    options = {"goal": None, "tolerance": TOLERANCE, "repetitions": 5, "note": note}
    return side_by_side(name, mine, lambda _: shap_permutation(given, at_once)[0], **options)


def inseq_row(length: int, window: int, answers: int, tokens: int) -> dict[str, Any]:
    """Every window of a prompt occluded in turn, for `answers` answers of `tokens` tokens. f takes two answers.

    For single tokens f is one pass of inseq's, and shared prefixes can save half of it at most: no goal. Longer answers
    differ in their rows, and each is a pass of its own.
    """
    from tests.benchmarks.inseq_occlusion import in_one_pass, ours_everywhere, prepare

    goal = 5.0 if tokens > 1 else None
    given = [[ANSWER + a + answers * t for t in range(tokens)] for a in range(answers)]
    what = {1: "one answer", 2: "f of two answers"}[answers] + (f" of {tokens} tokens" if tokens > 1 else " of a token")
    how = "in one pass" if in_one_pass(given) else "which it runs once an answer" if answers > 1 else "alone"
    name = f"wall time: inseq occlusion, {what}, {how}; prompt of {length}, windows of {window}"

    def measure() -> dict[str, Any]:
        ((prompt, _),) = problem("uniform", prompts=1, length=length)
        said = [[word(token) for token in answer] for answer in given]
        occlusion = prepare(model(), words(), text_of(prompt), said, window)
        filler = int(words().unk_token_id)

        def mine(_: int) -> np.ndarray:
            return ours_everywhere(checkpoint(), prompt, filler, given, window, BATCH)

        repetitions = 5 if window > 1 else 3
        return side_by_side(name, mine, lambda _: occlusion(), goal=goal, tolerance=TOLERANCE, repetitions=repetitions)

    return attempt(name, goal, measure)


def growth() -> list[dict[str, Any]]:
    """How cost grows with prompts, edits and lengths (uniform edits), beside the batched peer."""
    usual = {"prompts": 2, "edits": 8, "length": 128}
    out = []
    for axis, values in {"length": (64, 128, 256, 512), "edits": (2, 8, 32), "prompts": (2, 4, 8)}.items():
        for value in values:
            given = problem("uniform", **(usual | {axis: value}))
            out.append(cost(axis, value, lambda g=given: ours(g), lambda g=given: batched(g, 8)))
    return out
