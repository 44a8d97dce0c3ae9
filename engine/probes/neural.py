"""Linear and mlp explainers by Adam on squared error, many replicates trained at once.

A replicate is one column of targets with its own weights, weight decay and (optionally) training rows. Seeds, noise
levels, weight decays and folds are all trained as replicates. They read the same mini-batches, so the first layer of R
replicates is one matrix product.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from engine.stats.correlation import as_columns


class Ensemble(nn.Module):
    """R explainers h ↦ [rows, R] as one module, differentiable in its input too.

    `linear`: h·w + b. `mlp`: relu(h·W + b)·v + c with `width` hidden units. Buffers standardise the inputs [rows, d]
    and scale the outputs (nats). They change nothing until `standardize` sets them.
    """

    def __init__(self, kind: str, inputs: int, replicates: int, width: int, generator: torch.Generator) -> None:
        super().__init__()
        self.kind, self.replicates, self.width = kind, replicates, width if kind == "mlp" else 1

        def uniform(shape: tuple[int, ...], fan_in: int) -> nn.Parameter:
            bound = 1 / math.sqrt(fan_in)
            return nn.Parameter((torch.rand(shape, generator=generator) * 2 - 1) * bound)

        self.first = uniform((inputs, replicates * self.width), inputs)
        self.first_bias = nn.Parameter(torch.zeros(replicates * self.width))
        if kind == "mlp":
            self.second = uniform((replicates, width), width)
            self.second_bias = nn.Parameter(torch.zeros(replicates))
        self.input_mean, self.input_scale = nn.Buffer(torch.zeros(inputs)), nn.Buffer(torch.ones(inputs))
        self.target_mean, self.target_scale = nn.Buffer(torch.zeros(replicates)), nn.Buffer(torch.ones(replicates))

    def standardize(self, x: Tensor, y: Tensor, rows: Tensor | None = None) -> None:
        """Set the scales from inputs [n, d] and targets [n, R]; rows [n, R], bool: each replicate's training rows."""
        self.input_mean.copy_(x.mean(0))
        self.input_scale.copy_(_scale(x.var(0, correction=0)))
        weight = torch.ones_like(y) if rows is None else rows.to(y.dtype)
        total = weight.sum(0).clamp(min=1)
        mean = (weight * y).sum(0) / total
        self.target_mean.copy_(mean)
        self.target_scale.copy_(_scale((weight * (y - mean) ** 2).sum(0) / total))

    def network(self, x: Tensor) -> Tensor:
        """Standardised inputs [rows, d] to standardised outputs [rows, R]."""
        hidden = torch.addmm(self.first_bias, x, self.first)
        if self.kind == "linear":
            return hidden
        hidden = hidden.relu().view(len(x), self.replicates, self.width)
        return (hidden * self.second).sum(-1) + self.second_bias

    def forward(self, x: Tensor) -> Tensor:
        """Explanations [rows, R] in nats, of hidden states [rows, d]."""
        return self.network((x - self.input_mean) / self.input_scale) * self.target_scale + self.target_mean


def _tensor(a: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(a, dtype=np.float32))


def _scale(variance: Tensor) -> Tensor:
    return torch.where(variance > 1e-12, variance, 1.0).sqrt()


class NeuralExplainers:
    """An Ensemble with its optimiser and generator, so that training can continue (the online regime)."""

    def __init__(
        self,
        kind: str,
        inputs: int,
        replicates: int,
        *,
        weight_decays: float | Sequence[float] = 0.0,
        width: int = 64,
        learning_rate: float = 3e-3,
        batch: int = 256,
        seed: int = 0,
    ) -> None:
        """weight_decays, one or [R]: factor of ‖weights‖² / 2 in each replicate's loss. Biases are not decayed."""
        self.generator = torch.Generator().manual_seed(seed)
        self.ensemble = net = Ensemble(kind, inputs, replicates, width, self.generator)
        self.batch = batch
        decay = torch.as_tensor(weight_decays, dtype=torch.float32).expand(replicates)
        self.decayed = [(net.first, decay.repeat_interleave(net.width))] if (decay > 0).any() else []
        if self.decayed and kind == "mlp":
            self.decayed.append((net.second, decay[:, None]))
        self.adam = torch.optim.Adam(net.parameters(), lr=learning_rate, fused=True)
        self.started = False

    def train(self, x: np.ndarray, y: np.ndarray, steps: int, rows: np.ndarray | None = None) -> NeuralExplainers:
        """Run `steps` of Adam on X [n, d], Y [n, R] (nats). rows [n, R], bool: the training rows of each replicate.

        The first call sets the scales; later calls keep them. Raises ValueError for targets of another shape.
        """
        net = self.ensemble
        inputs, targets = _tensor(x), _tensor(as_columns(y))
        if targets.shape != (len(inputs), net.replicates):
            raise ValueError(f"targets have shape {tuple(targets.shape)}, not ({len(inputs)}, {net.replicates})")
        mask = None if rows is None else _tensor(rows)
        if not self.started:
            net.standardize(inputs, targets, mask)
            self.started = True
        inputs = (inputs - net.input_mean) / net.input_scale
        targets = (targets - net.target_mean) / net.target_scale
        for chosen in self._batches(len(inputs), steps):
            error = (net.network(inputs[chosen]) - targets[chosen]) ** 2
            if mask is None:
                loss = error.mean(0).sum()
            else:
                own = mask[chosen]
                loss = ((error * own).sum(0) / own.sum(0).clamp(min=1)).sum()
            self.adam.zero_grad()
            loss.backward()
            for weights, decay in self.decayed:  # Adam's own option takes one factor for all replicates
                assert weights.grad is not None
                weights.grad.addcmul_(weights.detach(), decay)
            self.adam.step()
        return self

    def _batches(self, n: int, steps: int) -> Iterator[Tensor]:
        """Row numbers of each batch, over shuffled epochs. A last piece shorter than half a batch is skipped."""
        done = 0
        while done < steps:
            for piece in torch.randperm(n, generator=self.generator).split(self.batch):
                if done < steps and (2 * len(piece) >= self.batch or len(piece) == n):
                    done += 1
                    yield piece

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Explanations [n, R] in nats, float64."""
        with torch.inference_mode():
            return self.ensemble(_tensor(x)).numpy().astype(np.float64)
