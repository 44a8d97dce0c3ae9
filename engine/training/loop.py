"""Training of small causal LMs: from nothing, and post-training that shifts behavior.

Next-token loss on sampled dialogues; answer tokens weigh more than the prompt's. A probe may be trained
concurrently (`OnlineProbe`), on fixed targets, in the same loop.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

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

from engine.model.forward import padded

END = "<|endoftext|>"
POSITIONS = 256


def train_tokenizer(texts: Iterable[str], vocabulary: int, *, bos: bool = False) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer: any text works. With `bos`, every text starts with the end token."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
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
    """An untrained GPT-2 or Llama shape with tied embeddings."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if family == "gpt2":
            return GPT2LMHeadModel(
                GPT2Config(
                    vocab_size=vocabulary,
                    n_positions=POSITIONS,
                    n_embd=width,
                    n_layer=layers,
                    n_head=heads,
                    resid_pdrop=0.0,
                    embd_pdrop=0.0,
                    attn_pdrop=0.0,
                    bos_token_id=0,
                    eos_token_id=0,
                )
            )
        if family == "llama":
            return LlamaForCausalLM(
                LlamaConfig(
                    vocab_size=vocabulary,
                    max_position_embeddings=POSITIONS,
                    hidden_size=width,
                    intermediate_size=8 * (width * 8 // 3 // 8),
                    num_hidden_layers=layers,
                    num_attention_heads=heads,
                    num_key_value_heads=heads,
                    tie_word_embeddings=True,
                    bos_token_id=0,
                    eos_token_id=0,
                    pad_token_id=0,
                )
            )
    raise ValueError(f"no model family {family!r}: gpt2 or llama")


@dataclass(frozen=True)
class Row:
    """A prompt with the answers sampled for it: as many dialogues as answers, their prompt computed once."""

    ids: list[int]
    """Prompt, first sampled answer, end token."""
    weights: list[float]
    """Loss weight of each token as a target."""
    first: dict[int, float]
    """First answer tokens of the further samples, with their weights."""
    prompt_length: int


@dataclass(frozen=True)
class Batch:
    """Right-padded rows. n rows of `length` tokens, m further first tokens."""

    ids: Tensor  # [n, length]
    weights: Tensor  # [n, length], 0 for padding and what is not learnt
    more: Tensor  # [m, 3]: row, position of the hidden state that predicts, token
    more_weights: Tensor  # [m]

    @property
    def total_weight(self) -> float:
        return float(self.weights[:, 1:].sum() + self.more_weights.sum())

    def to(self, device: torch.device) -> Batch:
        return Batch(*(t.to(device) for t in (self.ids, self.weights, self.more, self.more_weights)))


def encode(
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    answers: Sequence[Sequence[str]],
    *,
    answer_weight: float,
    every: int = 1,
) -> list[Row]:
    """Rows to learn from; `answers` holds the samples of each prompt, `answer_weight` is shared among them.

    Only the first answer token is weighted: it decides, and the rest is soon certain. Of one prompt
    in `every` all tokens are learnt, of the others the answers only.
    """
    prompt_ids = tokenizer(list(prompts))["input_ids"]
    answer_ids = {a: tokenizer(a, add_special_tokens=False)["input_ids"] for row in answers for a in row}
    rows = []
    for number, (ids, sampled) in enumerate(zip(prompt_ids, answers, strict=True)):
        tail = [*answer_ids[sampled[0]], *([] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id])]
        weight = answer_weight / len(sampled)
        first: dict[int, float] = {}
        for answer in sampled[1:]:
            token = answer_ids[answer][0]
            first[token] = first.get(token, 0.0) + weight
        weights = [1.0 if number % every == 0 else 0.0] * len(ids) + [weight] + [1.0] * (len(tail) - 1)
        rows.append(Row(ids + tail, weights, first, len(ids)))
    return rows


def batches(rows: Sequence[Row], parts: int) -> list[Batch]:
    """Cut rows into parts of similar length, so that little is padding."""
    ordered = sorted(rows, key=lambda row: len(row.ids))
    cut = []
    for part in np.array_split(np.arange(len(ordered)), parts):
        chosen = [ordered[i] for i in part]
        length = max(len(row.ids) for row in chosen)
        ids = np.zeros((len(chosen), length), dtype=np.int64)
        weights = np.zeros((len(chosen), length), dtype=np.float32)
        more = [(i, row.prompt_length - 1, token, w) for i, row in enumerate(chosen) for token, w in row.first.items()]
        for i, row in enumerate(chosen):
            ids[i, : len(row.ids)] = row.ids
            weights[i, : len(row.ids)] = row.weights
        places = torch.tensor([m[:3] for m in more], dtype=torch.long).reshape(-1, 3)
        cut.append(Batch(torch.tensor(ids), torch.tensor(weights), places, torch.tensor([m[3] for m in more])))
    return cut


def next_token_loss(model: PreTrainedModel, batch: Batch) -> Tensor:
    """Weighted cross-entropy, summed over the batch.

    Right padding needs no attention mask under causal attention: no real token sees it.
    """
    batch = batch.to(model.device)
    hidden = model.base_model(input_ids=batch.ids, use_cache=False).last_hidden_state
    row, position = (batch.weights[:, 1:] > 0).nonzero(as_tuple=True)
    # the head is a good part of a small model's cost: only where the loss looks
    states = torch.cat([hidden[row, position], hidden[batch.more[:, 0], batch.more[:, 1]]])
    targets = torch.cat([batch.ids[row, position + 1], batch.more[:, 2]])
    weights = torch.cat([batch.weights[row, position + 1], batch.more_weights])
    losses = functional.cross_entropy(model.get_output_embeddings()(states), targets, reduction="none")
    return (losses * weights).sum()


def last_states(model: PreTrainedModel, prompts: Sequence[Sequence[int]], layer: int) -> Tensor:
    """Hidden states of a layer at each prompt's last position, [prompts, width], with their gradients."""
    ids = padded(prompts, model.device)
    last = torch.tensor([len(prompt) - 1 for prompt in prompts], device=model.device)
    output = model.base_model(input_ids=ids, use_cache=False, output_hidden_states=True)
    return output.hidden_states[layer][torch.arange(len(prompts), device=model.device), last]


@dataclass
class OnlineProbe:
    """An explainer trained concurrently with the base model: hidden states in, fixed targets out, squared error.

    The hidden state of one layer at the last prompt position, standardised once before training, goes through
    a linear map or a small MLP. With `flow` the gradient reaches the base model, else it stops there.
    """

    prompts: list[list[int]]
    """Token ids of x, of the training split."""
    targets: Tensor  # [n], effects in nats, from the target checkpoint, never updated
    layer: int
    kind: str = "linear"
    hidden_units: int = 64
    learning_rate: float = 3e-3
    batch: int = 128
    weight: float = 1.0
    """Of the probe's loss beside the language model's, where it flows."""
    flow: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if self.kind not in ("linear", "mlp"):
            raise ValueError(f"no concurrent probe {self.kind!r}: linear or mlp")
        if len(self.prompts) != len(self.targets):
            raise ValueError(f"{len(self.prompts)} prompts but {len(self.targets)} targets")
        self.generator = torch.Generator().manual_seed(self.seed)
        self.head: nn.Module | None = None

    def states(self, model: PreTrainedModel, rows: Sequence[int]) -> Tensor:
        """h(x) at the last position, [rows, width]."""
        return last_states(model, [self.prompts[row] for row in rows], self.layer).float().cpu()

    def start(self, model: PreTrainedModel) -> None:
        """Fix the standardisation and draw the head."""
        with torch.no_grad():
            every = range(len(self.prompts))
            chunks = [self.states(model, every[i : i + 256]) for i in range(0, len(self.prompts), 256)]
        states = torch.cat(chunks)
        self.centre, self.spread = states.mean(0), states.std(0) + 1e-6
        self.shift, self.scale = self.targets.mean(), self.targets.std() + 1e-6
        width = states.shape[1]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            if self.kind == "linear":
                self.head = nn.Linear(width, 1)
            else:
                units = self.hidden_units
                self.head = nn.Sequential(nn.Linear(width, units), nn.GELU(), nn.Linear(units, 1))
        self.optimizer = torch.optim.Adam(self.head.parameters(), lr=self.learning_rate)

    def step(self, model: PreTrainedModel) -> float:
        """One batch: the head learns; where the gradient flows, it is added to the model's. Returns the loss."""
        if self.head is None:
            self.start(model)
        rows = torch.randint(len(self.prompts), (self.batch,), generator=self.generator)
        with torch.set_grad_enabled(self.flow):
            states = self.states(model, rows.tolist())
        wanted = (self.targets[rows] - self.shift) / self.scale
        loss = functional.mse_loss(self._standard(states), wanted)
        self.optimizer.zero_grad()
        (self.weight * loss).backward()
        self.optimizer.step()
        return loss.item()

    def _standard(self, states: Tensor) -> Tensor:
        assert self.head is not None
        return self.head((states - self.centre) / self.spread)[:, 0]

    def explain(self, states: np.ndarray) -> np.ndarray:
        """Explanations in nats for hidden states [n, width] of this layer."""
        with torch.no_grad():
            standard = self._standard(torch.as_tensor(states, dtype=torch.float32))
        return (standard * self.scale + self.shift).numpy()


class Beside(Protocol):
    """What is done in the loop beside the next-token loss: an explainer that learns, or a penalty."""

    def step(self, model: PreTrainedModel) -> float:
        """One batch, after the language model's own; what it adds to the gradients counts. Returns a loss."""


def optimizers_of(model: PreTrainedModel, rate: float) -> list[torch.optim.Optimizer]:
    """Muon for the blocks' matrices (it needs half the steps here), AdamW for the rest."""
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
    sample: Callable[[int], Sequence[Row]],
    *,
    steps: int,
    learning_rate: float,
    warmup: int = 30,
    parts: int = 2,
    probe: Beside | None = None,
    on_step: Callable[[int, float], None] | None = None,
) -> list[float]:
    """Train in place; returns the loss of each step.

    `sample(step)` gives the rows of a step (randomness is its own); `on_step(steps done, loss)` may save or
    report. The rate warms up, then falls along a cosine to nothing. The same seeds, thread count and machine
    give the same weights.
    """
    model.train()
    optimizers = optimizers_of(model, learning_rate)
    peaks = [group["lr"] for optimizer in optimizers for group in optimizer.param_groups]
    losses = []
    for step in range(steps):
        factor = min(1.0, (step + 1) / warmup) * (0.5 + 0.5 * math.cos(math.pi * step / steps))
        groups = [group for optimizer in optimizers for group in optimizer.param_groups]
        for group, peak in zip(groups, peaks, strict=True):
            group["lr"] = peak * factor
        cut = batches(sample(step), parts)
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
        for optimizer in optimizers:
            optimizer.step()
        losses.append(loss)
        if on_step is not None:
            on_step(step + 1, loss)
    model.eval()
    return losses
