"""Fine-tuning on fixed explanation labels, with a KL term that holds the answers, and with drift beside or after it.

The loss of a step is

    cross-entropy of the explanations + β · KL(answers at the start ‖ answers now), on x and on x' + weight · drift

where "the start" is the first checkpoint, before any training, as in the paper's regulariser. If the labels come from
another model, the KL term still holds the model's own behavior. An adversary (`drift.hold_words`) adds a penalty on the
drift's effect on the words (`adversary.HeldTexts`). The random draws of a step depend only on the seed and the step's
number, so a training that was stopped resumes with the same results.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from engine.config import VerbalSpec
from engine.model.adapters import add_lora
from engine.model.alike import kind_of
from engine.model.saving import save_trained
from engine.training.adversary import HeldTexts
from engine.training.dialogues import next_token_loss, room_of, step_batches
from engine.training.loop import optimizers_of
from engine.training.state import restore, state_of
from engine.verbal.drift import Sample
from engine.verbal.rows import TokenRow, answer_distributions, divergence, explanation_loss, logits_of

WARMUP = 20
"""Steps of a phase in which the learning rate rises; then it falls linearly to FLOOR of its peak."""
FLOOR = 0.1


@dataclass(frozen=True)
class Material:
    """m labels as rows, and the answers to hold."""

    labels: Sequence[TokenRow]
    x: Sequence[TokenRow]
    """x up to its answer [m]; run in forwards of their own only where the label's row does not hold the answer."""
    edited: Sequence[TokenRow]
    """x' [m], each with one of its answers in full, a and b in turn."""


class Trainer:
    """One model in training. `run` trains from `step` to the end; `state` holds all that is needed to resume there."""

    def __init__(
        self, model: Any, material: Material, spec: VerbalSpec, *, steps: int, seed: int, drift: Sample | None = None
    ):
        """Raises InputError if the spec asks for LoRA and it can't be used."""
        self.material, self.spec, self.steps, self.seed, self.drift = material, spec, steps, seed, drift
        self.step = self.tokens = 0
        self.first_phase = spec.label_steps if spec.schedule == "labels_first" and drift else steps
        if spec.beta > 0:
            model.eval()
            self.fixed_x = answer_distributions(model, material.x)
            self.fixed_edited = answer_distributions(model, material.edited)
        model.requires_grad_(True)
        self.adapted = add_lora(model, spec.lora, seed, "verbal.lora") if spec.lora else None
        self.model = model
        self.optimizers = optimizers_of(model, spec.learning_rate, "adamw" if spec.lora else spec.optimizer)
        self.held = None
        if drift and spec.drift and spec.drift.hold_words:
            questions, words = zip(
                *((row.ids[: row.learn], row.ids[row.learn :]) for row in material.labels), strict=True
            )
            self.held = HeldTexts(questions, words, weight=spec.drift.hold_words, batch=spec.prompts_a_step)
        self.peaks = [group["lr"] for group in self._groups]

    @property
    def _trained(self) -> list[nn.Parameter]:
        return [p for p in self.model.parameters() if p.requires_grad]

    @property
    def _groups(self) -> list[dict[str, Any]]:
        return [group for optimizer in self.optimizers for group in optimizer.param_groups]

    def run(self, on_step: Callable[[int], None] | None = None) -> None:
        """Train to the end; `on_step(steps done)` may save or report."""
        devices = [self.model.device] if self.model.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            while self.step < self.steps:
                torch.manual_seed(1_000_003 * self.seed + self.step)  # for dropout: the same after a resume
                self.model.train()
                self._one_step()
                self.step += 1
                self.model.eval()
                if on_step is not None:
                    on_step(self.step)

    def _one_step(self) -> None:
        labelling = self.step < self.first_phase
        self._set_rate()
        self.model.zero_grad()
        if labelling:
            self._learn_labels()
        drifting = self.drift is not None and (not labelling or self.spec.schedule == "concurrent")
        if drifting and self.spec.drift:
            self._learn_dialogues(self.spec.drift.weight)
        if self.held and not labelling:
            self.held.generator.manual_seed(1_000_003 * self.seed + self.step)
            self.held.step(self.model)
        torch.nn.utils.clip_grad_norm_(self._trained, 1.0)
        for optimizer in self.optimizers:
            optimizer.step()

    def _set_rate(self) -> None:
        first, last = (0, self.first_phase) if self.step < self.first_phase else (self.first_phase, self.steps)
        done = self.step - first
        factor = min(1.0, (done + 1) / WARMUP) * (1 - (1 - FLOOR) * done / (last - first))
        for group, peak in zip(self._groups, self.peaks, strict=True):
            group["lr"] = peak * factor

    def _learn_labels(self) -> None:
        m, beta = len(self.material.labels), self.spec.beta
        rng = np.random.default_rng([self.seed, 9, self.step])
        chosen = rng.choice(m, size=min(self.spec.prompts_a_step, m), replace=False)
        rows = [self.material.labels[i] for i in chosen]
        self.tokens += sum(len(row.ids) for row in rows)
        found = logits_of(self.model, rows)
        loss = explanation_loss(found)
        inside = chosen[found.with_pairs]
        if beta and len(inside):
            fixed = [self.fixed_x[i] for i in inside]
            loss = loss + beta / 2 * divergence(found, fixed) * len(inside) / len(chosen)
        loss.backward()
        if beta == 0:
            return
        outside = np.setdiff1d(chosen, inside)
        if len(outside):
            self._hold(self.material.x, self.fixed_x, outside, len(outside) / len(chosen))
        self._hold(self.material.edited, self.fixed_edited, chosen, 1.0)

    def _hold(self, every: Sequence[TokenRow], known: Sequence[Tensor], chosen: np.ndarray, share: float) -> None:
        rows, fixed = [every[i] for i in chosen], [known[i] for i in chosen]
        self.tokens += sum(len(row.ids) for row in rows)
        (self.spec.beta / 2 * share * divergence(logits_of(self.model, rows), fixed)).backward()

    def _learn_dialogues(self, weight: float) -> None:
        assert self.drift is not None
        begin = 0 if self.spec.schedule == "concurrent" else self.first_phase
        dialogues = self.drift(self.step, (self.step + 1 - begin) / (self.steps - begin))
        self.tokens += sum(len(row.ids) for row in dialogues)
        cut = step_batches(dialogues, room_of(self.model), kind_of(self.model))
        total = sum(batch.total_weight for batch in cut)
        for batch in cut:
            (weight * next_token_loss(self.model, batch) / total).backward()

    def state(self) -> dict[str, np.ndarray]:
        """Trained weights, optimizers and the step; `load` restores it."""
        out = state_of(self.model, self.optimizers)
        if self.held and self.held.reference is not None:
            out["held"] = self.held.reference.cpu().numpy()
        return out | {"step": np.array([self.step]), "tokens": np.array([self.tokens])}

    def load(self, state: Mapping[str, np.ndarray]) -> None:
        self.step, self.tokens = int(state["step"][0]), int(state.get("tokens", [0])[0])
        if self.held and "held" in state:
            self.held.reference = torch.from_numpy(state["held"]).to(self.model.device)
        restore(self.model, self.optimizers, state)

    def save(self, tokenizer: Any, folder: Path) -> None:
        """Save the model as it is now, or its adapter. Raises InputError."""
        save_trained(self.model, self.adapted, self.spec.lora, tokenizer, folder)
