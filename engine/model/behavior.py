"""Behavior f, effects and hidden states of examples at a checkpoint.

f = log p(answer a) − log p(answer b) given the prompt, in nats, each answer the sum over its tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from engine.config import HiddenSpec, InputError
from engine.model.checkpoints import Checkpoint
from engine.model.counterfactuals import ForwardPath, Report, Text, score_texts
from engine.model.tokens import TokenError, Tokens, encode, span_positions
from engine.records import spans_of

FLOAT16_MAX = 65504.0


class BehaviorError(InputError):
    """Examples that can't be measured at a checkpoint. The message says in one line which, why and how to fix it."""


@dataclass(frozen=True)
class Measured:
    """Results of n examples, in their order, and of their p distinct prompts, in order of first use."""

    f: np.ndarray
    """float32 [n], nats"""
    f_edited: np.ndarray
    """float32 [n]"""
    prompts: dict[str, np.ndarray]
    """"last.<layer>" → [p, width]; empty if no hidden states were asked for."""
    examples: dict[str, np.ndarray]
    """"edited.last.<layer>", "span.<layer>", "edited.span.<layer>" → [n, width], as asked for."""
    report: Report


def measure(
    checkpoint: Checkpoint,
    examples: pa.Table,
    *,
    hidden: HiddenSpec | None = None,
    examples_too: bool = False,
    batch_size: int | None = None,
    halved: int = 0,
    path: ForwardPath = "auto",
    trial: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Measured:
    """Behavior at x and x', and with `hidden` the hidden states of x at the last prompt token.

    `examples_too` adds the hidden states of x' and, if `hidden.positions` has "span", the mean over the edited span in
    x and in x'. `progress` gets (done, total) examples.

    Raises BehaviorError for an example that can't be tokenised, exceeds the model's context, or gets no finite f.
    """
    if examples.num_rows == 0:
        raise BehaviorError(f"{checkpoint.name}: there are no examples to measure")
    n = examples.num_rows
    layers = tuple(dict.fromkeys(checkpoint.layer(layer) for layer in hidden.layers)) if hidden else ()
    spans_too = hidden is not None and examples_too and "span" in hidden.positions
    groups, texts, reads = _plan(checkpoint, examples.to_pydict(), hidden is not None, examples_too, spans_too)
    told = (lambda done, total: progress(n * done // total, n)) if progress else None
    options = {"batch_size": batch_size, "halved": halved, "path": path, "trial": trial, "progress": told}
    scored = score_texts(checkpoint, groups, layers, **options)  # type: ignore[arg-type]

    f_x, f_edited = (scored.log_probs[:, 0] - scored.log_probs[:, 1]).astype(np.float32)[texts]
    bad = np.flatnonzero(~np.isfinite(f_x) | ~np.isfinite(f_edited))
    if len(bad):
        name, why = examples["example_id"][bad[0]].as_py(), "broken weights, or a dtype too small: try dtype: float32"
        raise BehaviorError(f"example {name}: {checkpoint.name} gives no finite f (as for {len(bad)} examples): {why}")
    prompts: dict[str, np.ndarray] = {}
    per_example: dict[str, np.ndarray] = {}
    for at, layer in enumerate(layers):
        states = scored.states[:, at]
        if hidden and hidden.dtype == "float16":
            if np.abs(states).max(initial=0.0) > FLOAT16_MAX:
                why = f"hidden states of layer {layer} are too large for float16: set hidden.dtype: float32"
                raise BehaviorError(f"{checkpoint.name}: {why}")
            states = states.astype(np.float16)
        for name, numbers in reads.items():
            (prompts if name == "last" else per_example)[f"{name}.{layer}"] = states[numbers]
    return Measured(f_x, f_edited, prompts, per_example, scored.report)


def _plan(
    checkpoint: Checkpoint, rows: dict, last: bool, edited_last: bool, spans: bool
) -> tuple[list[list[Text]], np.ndarray, dict[str, np.ndarray]]:
    """Texts in groups (one for each prompt with its answers), the numbers of each example's x and x' [2, n], and the
    numbers of the hidden states: "last" of each distinct prompt [p], others of each example [n]."""
    names = rows["example_id"]
    answers = list(zip(rows["answer_a"], rows["answer_b"], strict=True))
    originals = tokenised(checkpoint, rows["prompt"], answers, names, offsets=spans)
    edited = tokenised(checkpoint, rows["edited"], answers, names, offsets=spans)
    members: dict[tuple[str, ...], list[int]] = {}
    for i, prompt in enumerate(rows["prompt"]):
        members.setdefault((prompt, *answers[i]), []).append(i)

    groups: list[list[Text]] = []
    texts, span_reads = np.zeros((2, len(names)), int), np.zeros(len(names), int)
    of_prompt: dict[str, int] = {}
    number = 0
    for (prompt, *_), group in members.items():
        x = originals[group[0]]
        reads: dict[tuple[int, ...], int] = {(len(x.prompt) - 1,): 0} if last else {}
        edited_reads: list[list[tuple[int, ...]]] = []
        for i in group:
            edited_reads.append([(len(edited[i].prompt) - 1,)] if last and edited_last else [])
            if spans:
                span_reads[i] = reads.setdefault(_span(checkpoint, x, rows["spans"][i]), len(reads))
                edited_reads[-1].append(_span(checkpoint, edited[i], rows["edited_spans"][i]))
        groups.append([Text(x.prompt, x.answers, tuple(reads))])
        groups[-1] += [
            Text(edited[i].prompt, edited[i].answers, tuple(own)) for i, own in zip(group, edited_reads, strict=True)
        ]
        of_prompt.setdefault(prompt, number)
        texts[0, group], texts[1, group] = number, number + 1 + np.arange(len(group))
        number += 1 + len(group)

    first_read = np.cumsum([0, *(len(text.reads) for group in groups for text in group)])
    first_x, first_edited = first_read[texts]
    found = {"last": first_read[list(of_prompt.values())]} if last else {}
    if last and edited_last:
        found["edited.last"] = first_edited
    if spans:
        found |= {"span": first_x + span_reads, "edited.span": first_edited + 1}
    return groups, texts, found


def tokenised(
    checkpoint: Checkpoint,
    prompts: Sequence[str],
    answers: Sequence[tuple[str, str]],
    names: Sequence[str],
    *,
    offsets: bool = True,
) -> list[Tokens]:
    """Prompts with their answers as the checkpoint reads them. Raises BehaviorError that names the one that fails."""
    try:
        encoded = encode(checkpoint.tokenizer, prompts, answers, chat=checkpoint.chat, offsets=offsets)
    except TokenError as error:
        raise BehaviorError(f"example {names[error.args[1]]}: {error.args[0]}") from None
    limit = checkpoint.max_positions
    known = checkpoint.model.get_input_embeddings().num_embeddings
    for name, tokens in zip(names, encoded, strict=True):
        length = len(tokens.prompt) + max(map(len, tokens.answers)) - 1  # the last token of an answer is never read
        if limit and length > limit:
            raise BehaviorError(
                f"example {name}: prompt and answer take {length} tokens, {checkpoint.name} reads at most {limit}: "
                "shorten it, or leave it out"
            )
        if max(*tokens.prompt, *(t for answer in tokens.answers for t in answer)) >= known:
            raise BehaviorError(
                f"example {name}: has a token without an embedding in {checkpoint.name}: tokenizer and model differ"
            )
    return encoded


def _span(checkpoint: Checkpoint, tokens: Tokens, spans: list[dict]) -> tuple[int, ...]:
    try:
        return span_positions(tokens.offsets, spans_of(spans))
    except TokenError as error:
        raise BehaviorError(f"{checkpoint.name}: {error}") from None
