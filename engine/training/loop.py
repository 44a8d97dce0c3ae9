"""Training of small causal LMs: from nothing, and post-training that shifts behavior.

The loss is the next-token loss on sampled dialogues; answer tokens weigh more than the prompt's. A probe
(`OnlineProbe`) can be trained on fixed targets in the same loop.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from torch import Tensor, nn
from torch.nn import functional
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

from engine.config import InputError
from engine.model.alike import Kind, any_rows, kind_of
from engine.model.chat import Chat
from engine.model.checkpoints import Checkpoint
from engine.model.forward import chosen_logits, last_states, padded
from engine.model.tokens import TokenError, encode
from engine.training.state import Arrays, numbers, restore, state_of

END = "<|endoftext|>"
POSITIONS = 256
ROWS_AT_ONCE = 256
"""Prompts in one forward where all of them are read."""


def train_tokenizer(texts: Iterable[str], vocabulary: int, *, bos: bool = False) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer, which can encode any text. With `bos`, every text starts with the end token."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, special_tokens=[END], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    if bos:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{END} $A", pair=f"{END} $A {END} $B", special_tokens=[(END, tokenizer.token_to_id(END))]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=END, eos_token=END, pad_token=END, model_max_length=POSITIONS
    )


def new_model(family: str, vocabulary: int, *, width: int, layers: int, heads: int, seed: int) -> PreTrainedModel:
    """An untrained model with tied embeddings. `family`: gpt2 or llama."""
    sizes = {
        "vocab_size": vocabulary,
        "hidden_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "max_position_embeddings": POSITIONS,
        "bos_token_id": 0,
        "eos_token_id": 0,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if family == "gpt2":
            return GPT2LMHeadModel(GPT2Config(**sizes, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0))
        inner = 8 * (width * 8 // 3 // 8)
        config = LlamaConfig(**sizes, intermediate_size=inner, tie_word_embeddings=True, pad_token_id=0)
        return LlamaForCausalLM(config)


@dataclass(frozen=True)
class Dialogues:
    """A prompt with the answers sampled for it. The prompt is computed once for all of them."""

    ids: list[int]
    """Prompt, first sampled answer, end token."""
    weights: list[float]
    """Loss weight of each token as a target."""
    first: dict[int, float]
    """First tokens of the further answers, with their weights."""
    prompt_length: int


class DialogueBatch(NamedTuple):
    """n rows of `length` tokens, padded on the right, and m first tokens of further answers."""

    ids: Tensor  # [n, length]
    weights: Tensor  # [n, length], 0 for padding and for tokens without a loss
    more: Tensor  # [m, 3]: row, position of the hidden state that predicts, token
    more_weights: Tensor  # [m]

    @property
    def total_weight(self) -> float:
        return float(self.weights[:, 1:].sum() + self.more_weights.sum())


def encode_dialogues(
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    answers: Sequence[Sequence[str]],
    *,
    answer_weight: float,
    every: int = 1,
    chat: Chat | None = None,
) -> list[Dialogues]:
    """Training rows, one for each prompt. `answers` holds the samples of each prompt, which share `answer_weight`.

    They hold the tokens on which f is measured (`tokens.encode`), then the end token. Only the first answer token gets
    the weight, because it decides the rest. One prompt in `every` is trained on all its tokens; the others on their
    answers only. Raises InputError for a dialogue without tokens to learn or to learn from.
    """
    try:
        encoded = encode(tokenizer, prompts, answers, chat=chat, offsets=False)
    except TokenError as error:
        why, number = error.args
        raise InputError(f"{_named(prompts[number], answers[number][0])}: {why}") from None
    end = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
    rows = []
    for number, tokens in enumerate(encoded):
        tail = [*tokens.answers[0], *end]
        weight = answer_weight / len(tokens.answers)
        first: dict[int, float] = {}
        for token, *_ in tokens.answers[1:]:
            first[token] = first.get(token, 0.0) + weight
        n = len(tokens.prompt)
        weights = [1.0 if number % every == 0 else 0.0] * n + [weight] + [1.0] * (len(tail) - 1)
        rows.append(Dialogues([*tokens.prompt, *tail], weights, first, n))
    return rows


def check_dialogues(checkpoint: Checkpoint, dialogues: Sequence[tuple[str, str]]) -> None:
    """Raise InputError for the first (prompt, answer) that the model can't be trained on, before any training."""
    most, known = checkpoint.max_positions, checkpoint.model.get_input_embeddings().num_embeddings
    for at in range(0, len(dialogues), ROWS_AT_ONCE):
        prompts, answers = zip(*dialogues[at : at + ROWS_AT_ONCE], strict=True)
        said = [[answer] for answer in answers]
        rows = encode_dialogues(checkpoint.tokenizer, prompts, said, answer_weight=1.0, chat=checkpoint.chat)
        for prompt, answer, row in zip(prompts, answers, rows, strict=True):
            if most and len(row.ids) > most:
                why = f"takes {len(row.ids)} tokens, {checkpoint.name} reads at most {most}: shorten it"
                raise InputError(f"{_named(prompt, answer)}: {why}")
            if max(row.ids) >= known:
                why = f"has a token without an embedding in {checkpoint.name}: tokenizer and model differ"
                raise InputError(f"{_named(prompt, answer)}: {why}")


def _named(prompt: str, answer: str) -> str:
    return f"dialogue {prompt[:60]!r} → {answer[:60]!r}"


def dialogue_batches(rows: Sequence[Dialogues], parts: int, kind: Kind = any_rows) -> list[DialogueBatch]:
    """Cut rows into at most `parts` batches of rows of one kind and of similar length, so that there is little padding.
    Each kind of rows that the model treats differently (`alike.kind_of`) is cut by itself."""
    of_kind: dict[Hashable, list[Dialogues]] = {}
    for row in sorted(rows, key=lambda row: len(row.ids)):
        of_kind.setdefault(kind(len(row.ids)), []).append(row)
    cut = []
    for ordered in of_kind.values():
        for part in np.array_split(np.arange(len(ordered)), min(parts, len(ordered))):
            cut.append(_dialogue_batch([ordered[i] for i in part]))
    return cut


def _dialogue_batch(chosen: Sequence[Dialogues]) -> DialogueBatch:
    ids, weights = (padded([getattr(row, name) for row in chosen]) for name in ("ids", "weights"))
    more = [(i, row.prompt_length - 1, token) for i, row in enumerate(chosen) for token in row.first]
    more_weights = torch.tensor([weight for row in chosen for weight in row.first.values()])
    return DialogueBatch(ids, weights, torch.tensor(more, dtype=torch.long).reshape(-1, 3), more_weights)


def next_token_loss(model: PreTrainedModel, batch: DialogueBatch) -> Tensor:
    """Weighted cross-entropy of the log-probabilities that the model gives when it is measured, summed over the batch.

    Right padding needs no attention mask in a causal model, because no real token sees it.
    """
    batch = DialogueBatch(*(tensor.to(model.device) for tensor in batch))
    row, position = (batch.weights[:, 1:] > 0).nonzero(as_tuple=True)

    def where_needed(states: Tensor) -> Tensor:
        return torch.cat([states[row, position], states[batch.more[:, 0], batch.more[:, 1]]])

    logits = chosen_logits(model, batch.ids, where_needed)
    targets = torch.cat([batch.ids[row, position + 1], batch.more[:, 2]])
    weights = torch.cat([batch.weights[row, position + 1], batch.more_weights])
    return (functional.cross_entropy(logits, targets, reduction="none") * weights).sum()


def in_chunks(values_of: Callable[[Sequence[int]], Tensor], n: int) -> Tensor:
    """`values_of(rows)` of the rows 0 to n, computed without gradients for ROWS_AT_ONCE rows at a time."""
    with torch.no_grad():
        return torch.cat([values_of(range(n)[i : i + ROWS_AT_ONCE]) for i in range(0, n, ROWS_AT_ONCE)])


@dataclass
class OnlineProbe:
    """An explainer trained beside the base model: from hidden states to fixed targets, by squared error.

    Its input is the hidden state of one layer at the last prompt position, standardised once before training. It is a
    linear map or a small MLP. With `flow` the gradient reaches the base model; otherwise it stops at the hidden state.
    """

    prompts: Sequence[Sequence[int]]
    """Token ids of x, from the training split."""
    targets: Tensor  # [n], effects in nats, from the target checkpoint, never updated
    layer: int
    kind: Literal["linear", "mlp"] = "linear"
    hidden_units: int = 64
    learning_rate: float = 3e-3
    batch: int = 128
    weight: float = 1.0
    """Weight of the probe's loss beside the language model's, if the gradient flows."""
    flow: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        self.generator = torch.Generator().manual_seed(self.seed)
        self.head: nn.Module | None = None

    def states(self, model: PreTrainedModel, prompts: Sequence[Sequence[int]]) -> Tensor:
        """h(x) at the last position of prompts (token ids), [prompts, width]."""
        return last_states(model, prompts, self.layer).float().cpu()

    def start(self, model: PreTrainedModel) -> None:
        """Fix the standardisation and draw the head."""
        states = in_chunks(lambda rows: self.states(model, [self.prompts[row] for row in rows]), len(self.prompts))
        self.centre, self.spread = states.mean(0), states.std(0) + 1e-6
        self.shift, self.scale = self.targets.mean(), self.targets.std() + 1e-6
        self._draw_head(states.shape[1])

    def _draw_head(self, width: int) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            mlp, units = self.kind == "mlp", self.hidden_units
            inner = [nn.Linear(width, units), nn.GELU()] if mlp else []
            self.head = nn.Sequential(*inner, nn.Linear(units if mlp else width, 1))
        self.optimizer = torch.optim.Adam(self.head.parameters(), lr=self.learning_rate)

    def step(self, model: PreTrainedModel) -> float:
        """Train the head on one batch; a flowing gradient is added to the model's. Returns the loss."""
        if self.head is None:
            self.start(model)
        rows = torch.randint(len(self.prompts), (self.batch,), generator=self.generator)
        with torch.set_grad_enabled(self.flow):
            states = self.states(model, [self.prompts[row] for row in rows.tolist()])
        wanted = (self.targets[rows] - self.shift) / self.scale
        loss = functional.mse_loss(self._standard(states), wanted)
        self.optimizer.zero_grad()
        (self.weight * loss).backward()
        self.optimizer.step()
        return loss.item()

    def state(self) -> Arrays:
        """All that a training that was stopped needs to go on; `load` puts it back."""
        assert self.head is not None
        fixed = {"centre": self.centre, "spread": self.spread, "shift": self.shift, "scale": self.scale}
        out = {name: numbers(value) for name, value in fixed.items()} | state_of(self.head, [self.optimizer])
        return out | {"generator": self.generator.get_state().numpy()}

    def load(self, state: Mapping[str, np.ndarray]) -> None:
        fixed = {name: torch.from_numpy(state[name].copy()) for name in ("centre", "spread", "shift", "scale")}
        self.centre, self.spread = fixed["centre"], fixed["spread"]
        self.shift, self.scale = fixed["shift"].reshape(()), fixed["scale"].reshape(())
        self._draw_head(len(self.centre))
        assert self.head is not None
        restore(self.head, [self.optimizer], state)
        self.generator.set_state(torch.from_numpy(state["generator"].copy()))

    def _standard(self, states: Tensor) -> Tensor:
        assert self.head is not None
        return self.head((states - self.centre) / self.spread)[:, 0]

    def explain(self, states: np.ndarray) -> np.ndarray:
        """Explanations in nats for hidden states [n, width] of this layer."""
        with torch.no_grad():
            standard = self._standard(torch.as_tensor(states, dtype=torch.float32))
        return (standard * self.scale + self.shift).numpy()


def optimizers_of(model: PreTrainedModel, rate: float) -> list[torch.optim.Optimizer]:
    """Muon for the matrices in the blocks (it needs half the steps here), AdamW for the rest."""
    embeddings = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    matrices = [p for p in model.base_model.parameters() if p.ndim == 2 and id(p) not in embeddings]
    chosen = {id(p) for p in matrices}
    others = [p for p in model.parameters() if id(p) not in chosen]
    return [
        torch.optim.Muon(matrices, lr=rate, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, lr=0.3 * rate, betas=(0.9, 0.98), weight_decay=0.01, fused=True),
    ]


def train(
    model: PreTrainedModel,
    sample: Callable[[int], Sequence[Dialogues]],
    *,
    steps: int,
    learning_rate: float,
    warmup: int = 30,
    parts: int = 2,
    probe: Any = None,
    on_step: Callable[[int, float], None] | None = None,
    resume: Mapping[str, np.ndarray] | None = None,
    on_state: Callable[[int, Callable[[], Arrays]], None] | None = None,
) -> list[float]:
    """Train in place; returns the loss of each step that was made.

    `sample(step)` gives the rows of a step and has its own randomness. `probe` is an `OnlineProbe` or a penalty: its
    method `step(model)` is called once in each step and may add to the gradients. `on_step(steps done, loss)` may save
    or report. The learning rate warms up linearly, then falls to 0 along a cosine. The same seeds, thread count and
    machine give the same weights. `on_state(steps done, state)` may store what `state()` gives; a training that gets it
    as `resume` goes on from there as if it had not been stopped, if `sample` and `probe` are put back too.
    """

    def rate(step: int) -> float:
        return min(1.0, (step + 1) / warmup) * (0.5 + 0.5 * math.cos(math.pi * step / steps))

    model.train()
    optimizers = optimizers_of(model, learning_rate)
    schedules = [torch.optim.lr_scheduler.LambdaLR(optimizer, rate) for optimizer in optimizers]
    losses = []
    first = 0
    if resume is not None:
        first = int(resume["step"][0])
        torch.set_rng_state(torch.from_numpy(resume["torch"].copy()))
        restore(model, optimizers, resume)
        for schedule, optimizer in zip(schedules, optimizers, strict=True):
            schedule.load_state_dict(schedule.state_dict() | {"last_epoch": first, "_step_count": first + 1})
            for group, peak in zip(optimizer.param_groups, schedule.base_lrs, strict=True):
                group["lr"] = peak * rate(first)

    def state(done: int) -> Arrays:
        now = {"step": np.array([done]), "torch": torch.get_rng_state().numpy()}
        return now | state_of(model, optimizers)

    for step in range(first, steps):
        cut = dialogue_batches(sample(step), parts, kind_of(model))
        total = sum(batch.total_weight for batch in cut)
        model.zero_grad()
        loss = 0.0
        for batch in cut:
            part = next_token_loss(model, batch) / total
            part.backward()
            loss += part.item()
        if probe is not None:
            probe.step(model)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer, schedule in zip(optimizers, schedules, strict=True):
            optimizer.step()
            schedule.step()
        losses.append(loss)
        if on_step is not None:
            on_step(step + 1, loss)
        if on_state is not None:
            on_state(step + 1, partial(state, step + 1))
    model.eval()
    return losses
