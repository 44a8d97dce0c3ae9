"""Activation patching: put hidden states of the run on x' into the run on x, and measure behavior and explanation.

Method: Vig et al. 2020, "Investigating Gender Bias in Language Models Using Causal Mediation Analysis"; Meng et al.
2022, "Locating and Editing Factual Associations in GPT". A patch replaces the residual stream after one block, at some
positions. Its effect is the score of the patched run minus the score of the run on x. Its share is that effect divided
by the score on x' minus the score on x.

Alignment (x and x' may differ in length): the common beginning and the common end of the two rows of tokens are aligned
one to one. The tokens between them are *the edit*. Edits of equal length (a mask, some replacements) are aligned token
by token. Otherwise every token of the edit in x gets the mean state of the edit in x'. If the edit in x' is empty (a
deletion), it gets the state of the token before the edit, which hides the deleted text from all later tokens. Positions
before the edit have the same states in both runs, so patching them does nothing in a causal model. Only positions of
the prompt are patched: later tokens of an answer, or a question after it, have seen the unpatched states below.

Cost: two forwards for each example, and one for each layer and group of positions, in batches. All patches of an
example share its unpatched runs.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from engine.config import InputError
from engine.model.alike import in_kinds, kind_of
from engine.model.batch_size import rows_a_batch
from engine.model.batching import common_prefix, log_odds_terms
from engine.model.checkpoints import Checkpoint
from engine.model.forward import Ask, Read, forward, visiting
from engine.model.tokens import Tokens

Positions = tuple[int, ...]


MOST_AT_ONCE = 16
"""Most examples whose states are held in memory together."""
LEAST_ROWS = 8
"""Rows of a full batch that allow for one more example at once. An example needs a hundred rows or so."""


@dataclass(frozen=True)
class Patch:
    """States [len(positions), width] to write into one row of a batch after block `layer` (0: the embeddings)."""

    row: int
    layer: int
    positions: Positions
    states: Tensor


@contextmanager
def patched(model: Any, patches: Sequence[Patch]) -> Iterator[None]:
    """Context in which every forward of the model runs with these patches. The hooks are removed on every exit.

    The last layer is patched after the final norm, where `forward.forward` reads it. States are written in place into
    the output of a block, before anything else reads it.
    """
    by_layer: dict[int, list[Patch]] = defaultdict(list)
    for patch in patches:
        by_layer[patch.layer].append(patch)

    def write(layer: int, hidden: Tensor) -> None:
        own = by_layer[layer]
        rows = torch.tensor([patch.row for patch in own for _ in patch.positions], device=hidden.device)
        positions = torch.tensor([p for patch in own for p in patch.positions], device=hidden.device)
        hidden[rows, positions] = torch.cat([patch.states for patch in own]).to(hidden)

    with visiting(model, by_layer, write):
        yield


@dataclass(frozen=True)
class Alignment:
    """For each position of x, the positions of x' whose mean state replaces it."""

    sources: tuple[Positions, ...]
    """Positions in x' for each position of x; a single one if the two are aligned one to one."""
    edit: tuple[int, int]
    """Half-open range of positions of x that the edit touches; empty if the edit only adds tokens."""
    exact: bool
    """True if all positions are aligned one to one. Then patching all of them at a layer gives the run on x'."""


def align(x: Sequence[int], edited: Sequence[int]) -> Alignment:
    """Align the tokens of x [n] and x' [m]. If common beginning and common end overlap, the beginning is kept whole."""
    n, m = len(x), len(edited)
    start = common_prefix(x, edited)
    end = min(common_prefix(x[::-1], edited[::-1]), min(n, m) - start)
    inside = tuple(range(start, m - end)) or (max(start - 1, 0),)  # a deletion: the token before it
    token_by_token = n == m
    middle = [(i,) if token_by_token else inside for i in range(start, n - end)]
    sources = [(i,) for i in range(start)] + middle + [(i + m - n,) for i in range(n - end, n)]
    return Alignment(tuple(sources), (start, n - end), token_by_token)


@dataclass(frozen=True)
class Readout:
    """Numbers read from one forward over the prompt's tokens followed by `tail`.

    Either the sum of signed log-probabilities `terms` (position, token, sign), or `from_state` ([rows, width] →
    [rows, k]) of the state of `layer` at the prompt's last position.
    """

    tail: Positions = ()
    terms: Sequence[tuple[int, int, float]] = ()
    layer: int = 0
    from_state: Callable[[np.ndarray], np.ndarray] | None = None


ScoreOf = Callable[[Tokens], Sequence[Readout]]
"""A score of a prompt in a clean or patched run: the sum of its readouts, k numbers (mostly one)."""


def behavior_score(checkpoint: Checkpoint) -> ScoreOf:
    """f = log p(answer a) − log p(answer b), in nats."""
    kind = kind_of(checkpoint.model)

    def score(tokens: Tokens) -> list[Readout]:
        return [
            Readout(tail, terms) for tail, terms in log_odds_terms(len(tokens.prompt), tokens.answers, kind).items()
        ]

    return score


def probe_score(layer: int, says: Callable[[np.ndarray], np.ndarray]) -> ScoreOf:
    """The explanation of a probe that reads `layer` at the prompt's last position: says [n, width] → [n] or [n, k].

    For many linear probes, return the states themselves and multiply the effects by the weights.
    """
    return lambda tokens: [Readout(layer=layer, from_state=says)]


def words_score(checkpoint: Checkpoint, question: str, text_a: str, text_b: str) -> ScoreOf:
    """log p(text a) − log p(text b) after the prompt and a question, in nats, for explanations in words.

    The tokens of question and text are appended to those of the prompt, so the prompt's positions do not move. Raises
    InputError if a text has no tokens of its own after the question.
    """

    def tokens_of(text: str) -> Positions:
        return tuple(checkpoint.tokenizer(text, add_special_tokens=False)["input_ids"])

    asked, a, b = tokens_of(question), tokens_of(question + text_a), tokens_of(question + text_b)
    n = len(asked)
    if a[:n] != asked or b[:n] != asked or n in (len(a), len(b)):
        raise InputError(f"patching: {text_a!r} and {text_b!r} must begin with tokens of their own after {question!r}")

    kind = kind_of(checkpoint.model)

    def score(tokens: Tokens) -> list[Readout]:
        terms = log_odds_terms(len(tokens.prompt) + n, (a[n:], b[n:]), kind)
        return [Readout((*asked, *tail), own) for tail, own in terms.items()]

    return score


@dataclass(frozen=True)
class Pair:
    """An example to patch: x, x', and the groups of positions of x that are patched together, by name."""

    x: Tokens
    edited: Tokens
    groups: Mapping[str, Positions]


@dataclass(frozen=True)
class Patched:
    """The effect of patching one example on each score."""

    clean: dict[str, np.ndarray]
    """Score of the run on x, [k]."""
    edited: dict[str, np.ndarray]
    """Score of the run on x', [k]."""
    effects: dict[str, np.ndarray]
    """Score of the patched run − score of the clean run, [layers, groups, k]."""
    differs: np.ndarray
    """True if the patch changes any state, bool [layers, groups]; otherwise the effect is 0."""


Run = tuple[tuple[int, ...], Tokens, tuple[int, Positions, Tensor] | None]
"""A key, the prompt, and its patch: layer, positions and states."""


def patch_pairs(
    checkpoint: Checkpoint,
    pairs: Sequence[Pair],
    scores: Mapping[str, ScoreOf],
    layers: Sequence[int],
    *,
    batch_size: int = 64,
    at_once: int = MOST_AT_ONCE,
    known: Sequence[Patched] = (),
    told: Callable[[list[Patched], int], None] | None = None,
) -> list[Patched]:
    """Patch each group of positions at each layer (0: embeddings … n_layers: after the final norm) in turn.

    Groups of one example may overlap; an empty group has no effect. `at_once` examples are held in memory together.
    `known` are results of the first pairs, from an earlier call. `told` gets the new
    results, and the tokens that were read for them.
    """
    resolved = [checkpoint.layer(layer) for layer in layers]
    out = list(known)
    for start in range(len(out), len(pairs), at_once):
        new, tokens = _patch(checkpoint, pairs[start : start + at_once], scores, resolved, batch_size)
        out += new
        if told:
            told(new, tokens)
    return out


def examples_at_once(checkpoint: Checkpoint, pairs: Sequence[Pair]) -> int:
    """How many examples to patch between two saves: fewer of a larger model, and of longer prompts."""
    longest = max((len(tokens.prompt) for pair in pairs for tokens in (pair.x, pair.edited)), default=1)
    return max(1, min(MOST_AT_ONCE, rows_a_batch(checkpoint.model, longest) // LEAST_ROWS))


def _patch(
    checkpoint: Checkpoint, pairs: Sequence[Pair], scores: Mapping[str, ScoreOf], layers: Sequence[int], batch_size: int
) -> tuple[list[Patched], int]:
    """The results of some pairs, and the tokens that were read for them, without the tails."""
    texts = [tokens for pair in pairs for tokens in (pair.x, pair.edited)]
    states = _states(checkpoint, [tokens.prompt for tokens in texts], layers, batch_size)
    runs: list[Run] = [((i,), tokens, None) for i, tokens in enumerate(texts)]
    differs = [np.zeros((len(layers), len(pair.groups)), dtype=bool) for pair in pairs]
    for i, pair in enumerate(pairs):
        alignment = align(pair.x.prompt, pair.edited.prompt)
        for at, layer in enumerate(layers):
            old, other = states[2 * i][:, at], states[2 * i + 1][:, at]
            new = torch.stack([other[list(source)].mean(0) for source in alignment.sources])
            changed = (new != old).any(1)
            changed[: alignment.edit[0]] = False  # equal but for rounding
            for g, positions in enumerate(pair.groups.values()):
                chosen = tuple(p for p in positions if changed[p])
                differs[i][at, g] = bool(chosen)
                if chosen:
                    runs.append(((i, at, g), pair.x, (layer, chosen, new[list(chosen)])))
    found = _scored(checkpoint, runs, scores, batch_size)
    results = []
    for i in range(len(pairs)):
        clean, edited = ({name: found[(2 * i + k,), name] for name in scores} for k in (0, 1))
        effects = {name: np.zeros((*differs[i].shape, len(clean[name]))) for name in scores}
        for name, effect in effects.items():
            for at, g in zip(*np.nonzero(differs[i]), strict=True):
                effect[at, g] = found[(i, int(at), int(g)), name] - clean[name]
        results.append(Patched(clean, edited, effects, differs[i]))
    return results, sum(len(tokens.prompt) for tokens in [*texts, *(tokens for _, tokens, _ in runs)])


def _states(checkpoint: Checkpoint, rows: Sequence[Positions], layers: Sequence[int], batch_size: int) -> list[Tensor]:
    """Hidden states of every position of each row, [length, layers, width] in fp32."""
    found: dict[int, Tensor] = {}
    for numbers in _batches(checkpoint, [len(row) for row in rows], batch_size):
        batch = [rows[i] for i in numbers]
        reads = [Read(i, (p,)) for i, tokens in enumerate(batch) for p in range(len(tokens))]
        _, states, _ = forward(checkpoint.model, batch, [], reads, layers)
        found |= dict(zip(numbers, torch.split(states, [len(tokens) for tokens in batch]), strict=True))
    return [found[i] for i in range(len(rows))]


def _batches(checkpoint: Checkpoint, lengths: Sequence[int], batch_size: int) -> Iterator[list[int]]:
    """Numbers of the rows of these lengths in batches of rows that the model treats alike."""
    for group in in_kinds(checkpoint.model, lengths):
        yield from (group[start : start + batch_size] for start in range(0, len(group), batch_size))


def _scored(
    checkpoint: Checkpoint, runs: Sequence[Run], scores: Mapping[str, ScoreOf], batch_size: int
) -> dict[tuple, np.ndarray]:
    """The scores [k] of all runs under (key, name). Each run needs one row of a forward for each different tail."""
    rows = []
    for key, tokens, patch in runs:
        by_tail: dict[Positions, list[tuple[tuple, Readout]]] = defaultdict(list)
        for name, score in scores.items():
            for readout in score(tokens):
                by_tail[readout.tail].append(((key, name), readout))
        last = len(tokens.prompt) - 1
        rows += [(tokens.prompt + tail, last, patch, readouts) for tail, readouts in by_tail.items()]
    rows.sort(key=lambda row: -len(row[0]))
    found: dict[tuple, np.ndarray] = defaultdict(lambda: np.zeros(1))
    for numbers in _batches(checkpoint, [len(row[0]) for row in rows], batch_size):
        ids, lasts, patches, readouts = zip(*(rows[i] for i in numbers), strict=True)
        wanted = [(key, i, readout) for i, own in enumerate(readouts) for key, readout in own]
        terms = [(key, sign, Ask(i, at, token)) for key, i, r in wanted for at, token, sign in r.terms]
        probes = [(key, i, checkpoint.layer(r.layer), r.from_state) for key, i, r in wanted if r.from_state]
        layers = sorted({layer for *_, layer, _ in probes})
        reads, asks = [Read(i, (lasts[i],)) for _, i, *_ in probes], [ask for *_, ask in terms]
        with patched(checkpoint.model, [Patch(i, *patch) for i, patch in enumerate(patches) if patch]):
            log_probs, states, _ = forward(checkpoint.model, ids, asks, reads, layers)
        for (key, sign, _), value in zip(terms, log_probs.double().tolist(), strict=True):
            found[key] = found[key] + sign * value
        for (key, _, layer, from_state), state in zip(probes, states, strict=True):
            says = from_state(state[layers.index(layer)].numpy()[None])
            found[key] = found[key] + np.asarray(says, dtype=np.float64).reshape(-1)
    return found
