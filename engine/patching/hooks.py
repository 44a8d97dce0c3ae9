"""Activation patching: hidden states of the run on x' put into the run on x, and what that does to behavior and
explanation.

Method: Vig et al. 2020, "Investigating Gender Bias in Language Models Using Causal Mediation Analysis"; Meng et al.
2022, "Locating and Editing Factual Associations in GPT". A patch replaces the residual stream after one block, at some
positions; what a patch restores is the score of the patched run less that of the run on x, and its share of the score
on x' less that on x.

Alignment (x and x' may differ in length): the common beginning and the common end of the two rows of tokens are
aligned one to one, and what lies between is *the edit*. Equally long edits (a mask, some replacements) are aligned
token by token; else every token of the edit in x gets the mean state of the edit in x'; where nothing is left of it
in x' (a deletion) the state of the token before it, which hides what the edit said from all later tokens. Positions
before the edit have the same states in both runs, so patching them does nothing in a causal model. Only positions of
the prompt are patched: further tokens of an answer, or a question after it, have seen the unpatched states below.

Cost: two forwards an example, and one for each layer and group of positions, in batches; the unpatched runs are shared
by all patches of an example.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from engine.model.batching import Text, common_prefix, row_tails
from engine.model.checkpoints import Checkpoint
from engine.model.forward import Ask, Read, forward, padded, visiting
from engine.model.tokens import Tokens

ROWS_AT_ONCE = 64

Positions = tuple[int, ...]


# -- hooks -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Patch:
    """States [len(positions), width] for one row of a batch, put in after block `layer` (0: the embeddings)."""

    row: int
    layer: int
    positions: Positions
    states: Tensor


@contextmanager
def patched(model: Any, patches: Sequence[Patch]) -> Iterator[None]:
    """While open, every forward of the model runs with these patches; its hooks are removed whatever happens.

    The last layer is patched after the final norm, where `forward.forward` reads it. States are written in place into
    what a block gives to the next, before anything else reads it.
    """

    def place(own: Sequence[Patch]) -> tuple[Tensor, Tensor, Tensor]:
        rows = torch.tensor([patch.row for patch in own for _ in patch.positions])
        positions = torch.tensor([p for patch in own for p in patch.positions])
        return rows, positions, torch.cat([patch.states for patch in own])

    layers = {patch.layer for patch in patches}
    places = {layer: place([patch for patch in patches if patch.layer == layer]) for layer in layers}

    def write(layer: int, hidden: Tensor) -> None:
        rows, positions, states = places[layer]
        hidden[rows.to(hidden.device), positions.to(hidden.device)] = states.to(hidden)

    with visiting(model, layers, write):
        yield


# -- alignment ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Alignment:
    """Which states of x' stand for each position of x: their mean is put in."""

    sources: tuple[Positions, ...]
    """Positions in x' for each position of x; one, where the two are aligned one to one."""
    edit: tuple[int, int]
    """Half-open range of positions of x that the edit touches; empty where it only adds."""
    exact: bool
    """Whether all positions are aligned one to one: then patching all of them at a layer gives the run on x'."""

    def new_states(self, edited: Tensor) -> Tensor:
        """What is put into x, [n, width], from the states of x' [m, width]."""
        return torch.stack([edited[list(source)].mean(0) for source in self.sources])


def align(x: Sequence[int], edited: Sequence[int]) -> Alignment:
    """Align the tokens of x [n] and x' [m]; the common beginning goes before the common end where they overlap."""
    n, m = len(x), len(edited)
    start = common_prefix(x, edited)
    end = min(common_prefix(x[::-1], edited[::-1]), min(n, m) - start)
    inside = tuple(range(start, m - end))
    if not inside:
        inside = (max(start - 1, 0),)  # a deletion: what stands before it
    token_by_token = n == m
    middle = [(i,) if token_by_token else inside for i in range(start, n - end)]
    sources = [(i,) for i in range(start)] + middle + [(i + m - n,) for i in range(n - end, n)]
    return Alignment(tuple(sources), (start, n - end), token_by_token)


# -- scores ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Reading:
    """What one forward gives, of the prompt's tokens followed by `tail`: the sum of signed log-probabilities (position,
    token, sign), or `from_state` ([rows, width] → [rows, k]) of the state of `layer` at the prompt's last position."""

    tail: Positions = ()
    terms: tuple[tuple[int, int, float], ...] = ()
    layer: int | None = None
    from_state: Callable[[np.ndarray], np.ndarray] | None = None


Score = Callable[[Tokens], Sequence[Reading]]
"""What is scored in a run on a prompt, clean or patched: the sum of some readings, k numbers (mostly one)."""


def behavior(tokens: Tokens) -> list[Reading]:
    """The score f = log p(answer a) − log p(answer b), in nats."""
    return _log_odds(len(tokens.prompt), tokens.answers[0], tokens.answers[1])


def probe(layer: int, says: Callable[[np.ndarray], np.ndarray]) -> Score:
    """The explanation of a probe that reads layer `layer` at the prompt's last position: says [n, width] → [n] or
    [n, k]. For linear probes without number, let it give back the states and multiply the effects."""
    return lambda tokens: [Reading(layer=layer, from_state=says)]


def log_odds_of_texts(checkpoint: Checkpoint, question: str, text_a: str, text_b: str) -> Score:
    """log p(text a) − log p(text b) after the prompt and a question, in nats, for explanations in words.

    The tokens of question and text are appended to those of the prompt, so the prompt's positions stay as they are.
    """

    def tokens_of(text: str) -> Positions:
        return tuple(checkpoint.tokenizer(text, add_special_tokens=False)["input_ids"])

    asked, a, b = tokens_of(question), tokens_of(question + text_a), tokens_of(question + text_b)
    if a[: len(asked)] != asked or b[: len(asked)] != asked or len(asked) in (len(a), len(b)):
        raise ValueError(f"texts {text_a!r} and {text_b!r} must begin with tokens of their own after {question!r}")

    def score(tokens: Tokens) -> list[Reading]:
        first, shift = len(tokens.prompt) + len(asked), len(asked)
        readings = _log_odds(first, a[shift:], b[shift:])
        return [Reading((*asked, *reading.tail), reading.terms) for reading in readings]

    return score


def _log_odds(first: int, a: Positions, b: Positions) -> list[Reading]:
    """Readings of two continuations whose first token stands at position `first`."""
    tails = row_tails(Text((), (a, b)))
    terms: list[list[tuple[int, int, float]]] = [[] for _ in tails]
    for tokens, sign in ((a, 1.0), (b, -1.0)):
        serves = next(i for i, tail in enumerate(tails) if tail[: len(tokens) - 1] == tokens[:-1])
        terms[serves] += [(first - 1 + i, token, sign) for i, token in enumerate(tokens)]
    return [Reading(tail, tuple(own)) for tail, own in zip(tails, terms, strict=True) if own]


# -- patched runs ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Pair:
    """An example to patch: x, x', and the groups of positions of x that are patched together, by name."""

    x: Tokens
    edited: Tokens
    groups: Mapping[str, Positions]


@dataclass(frozen=True)
class Patched:
    """What patching one example does to each score."""

    clean: dict[str, np.ndarray]
    """Score of the run on x, [k]."""
    edited: dict[str, np.ndarray]
    """Score of the run on x', [k]."""
    effects: dict[str, np.ndarray]
    """Score of the patched run less that of the clean one, [layers, groups, k]."""
    differs: np.ndarray
    """Whether the states put in are others than those that were there, [layers, groups]; else the effect is 0."""


@dataclass(frozen=True)
class _Row:
    """One forward: tokens, what is patched in it, what is read, and the key under which its numbers are added up."""

    key: tuple[int, ...]
    tokens: Positions
    patch: tuple[int, Positions, Tensor] | None
    """layer, positions, states"""
    last: int
    """The prompt's last position."""
    readings: tuple[tuple[str, Reading], ...]
    """By the name of their score."""


def patch(
    checkpoint: Checkpoint,
    pairs: Sequence[Pair],
    scores: Mapping[str, Score],
    layers: Sequence[int],
    *,
    batch_size: int = ROWS_AT_ONCE,
    at_once: int = 16,
    progress: Callable[[int, int], None] | None = None,
) -> list[Patched]:
    """Patch each group of positions at each layer (0: embeddings … n_layers: after the final norm) in turn.

    Groups of one example may overlap; an empty one has no effect. `at_once` examples are held in memory together.
    `progress` gets (done, total) examples.
    """
    resolved = [checkpoint.layer(layer) for layer in layers]
    out: list[Patched] = []
    for start in range(0, len(pairs), at_once):
        out += _patch(checkpoint, pairs[start : start + at_once], scores, resolved, batch_size)
        if progress:
            progress(len(out), len(pairs))
    return out


def _patch(
    checkpoint: Checkpoint, pairs: Sequence[Pair], scores: Mapping[str, Score], layers: Sequence[int], batch_size: int
) -> list[Patched]:
    texts = [tokens for pair in pairs for tokens in (pair.x, pair.edited)]
    states = _states(checkpoint, [tokens.prompt for tokens in texts], layers, batch_size)
    rows = [row for i, tokens in enumerate(texts) for row in _rows((i,), tokens, None, scores)]
    differs = [np.zeros((len(layers), len(pair.groups)), dtype=bool) for pair in pairs]
    for i, pair in enumerate(pairs):
        alignment = align(pair.x.prompt, pair.edited.prompt)
        for at, layer in enumerate(layers):
            old, new = states[2 * i][:, at], alignment.new_states(states[2 * i + 1][:, at])
            changed = (new != old).any(1)
            changed[: alignment.edit[0]] = False  # equal but for rounding
            for g, positions in enumerate(pair.groups.values()):
                chosen = tuple(p for p in positions if changed[p])
                differs[i][at, g] = bool(chosen)
                if chosen:
                    rows += _rows((i, at, g), pair.x, (layer, chosen, new[list(chosen)]), scores)
    found = _run(checkpoint, rows, batch_size)
    results = []
    for i in range(len(pairs)):
        clean, after = ({name: found[(2 * i + k,), name] for name in scores} for k in (0, 1))
        effects = {name: np.zeros((*differs[i].shape, len(clean[name]))) for name in scores}
        for name, effect in effects.items():
            for at, g in zip(*np.nonzero(differs[i]), strict=True):
                effect[at, g] = found[(i, int(at), int(g)), name] - clean[name]
        results.append(Patched(clean, after, effects, differs[i]))
    return results


def _states(checkpoint: Checkpoint, rows: Sequence[Positions], layers: Sequence[int], batch_size: int) -> list[Tensor]:
    """Hidden states of every position of each row, [length, layers, width] in fp32."""
    out: list[Tensor] = []
    for start in range(0, len(rows), batch_size):
        batch = rows[start : start + batch_size]
        reads = [Read(i, (p,)) for i, tokens in enumerate(batch) for p in range(len(tokens))]
        _, states, _ = forward(checkpoint.model, padded(batch, checkpoint.device), [], reads, layers, use_cache=False)
        out += torch.split(states, [len(tokens) for tokens in batch])
    return out


def _rows(
    key: tuple[int, ...], tokens: Tokens, patch: tuple[int, Positions, Tensor] | None, scores: Mapping[str, Score]
) -> Iterator[_Row]:
    """The forwards that all scores of one prompt need: one for each different tail."""
    wanted: dict[Positions, list[tuple[str, Reading]]] = {}
    for name, score in scores.items():
        for reading in score(tokens):
            wanted.setdefault(reading.tail, []).append((name, reading))
    for tail, readings in wanted.items():
        yield _Row(key, tokens.prompt + tail, patch, len(tokens.prompt) - 1, tuple(readings))


def _run(checkpoint: Checkpoint, rows: Sequence[_Row], batch_size: int) -> dict[tuple, np.ndarray]:
    """The scores [k] under (key, name)."""
    found: dict[tuple, np.ndarray] = {}

    def add(key: tuple, value: np.ndarray) -> None:
        found[key] = found[key] + value if key in found else value

    ordered = sorted(rows, key=lambda row: -len(row.tokens))
    for start in range(0, len(ordered), batch_size):
        batch = ordered[start : start + batch_size]
        wanted = [((row.key, name), i, reading) for i, row in enumerate(batch) for name, reading in row.readings]
        asks = [(key, sign, Ask(i, at, token)) for key, i, r in wanted for at, token, sign in r.terms]
        probes = [(key, i, r) for key, i, r in wanted if r.from_state is not None]
        layers = sorted({checkpoint.layer(r.layer or 0) for _, _, r in probes})
        patches = [Patch(i, *row.patch) for i, row in enumerate(batch) if row.patch is not None]
        reads = [Read(i, (batch[i].last,)) for _, i, _ in probes]
        ids = padded([row.tokens for row in batch], checkpoint.device)
        with patched(checkpoint.model, patches):
            log_probs, states, _ = forward(checkpoint.model, ids, [a for *_, a in asks], reads, layers, use_cache=False)
        for (key, sign, _), value in zip(asks, log_probs.double().tolist(), strict=True):
            add(key, np.array([sign * value]))
        for n, (key, _, reading) in enumerate(probes):
            state = states[n, layers.index(checkpoint.layer(reading.layer or 0))].numpy()
            said = reading.from_state(state[None]) if reading.from_state else np.zeros(1)
            add(key, np.asarray(said, dtype=np.float64).reshape(-1))
    return found
