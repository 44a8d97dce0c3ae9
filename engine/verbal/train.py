"""Fine-tuning on fixed explanation labels, with a KL term that holds the answers, and with drift beside or after it.

The loss of a step is

    cross-entropy of the explanations + β · KL(answers at the start ‖ answers now), on x and on x' + weight · drift

where "the start" is the first checkpoint, before any training: what the regulariser of the paper holds (in a run whose
labels come from another model, that is still the model's own behavior). An adversary (`drift.hold_words`) adds a
penalty on what the drift does to the words (`adversary.HeldTexts`). What is drawn in a step depends on the seed
and the step's number alone, so that a training that was stopped goes on as if it had not been.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from engine.config import InputError, LoraSpec, VerbalSpec
from engine.training.adversary import HeldTexts
from engine.training.loop import dialogue_batches, next_token_loss, optimizers_of
from engine.verbal.drift import Sample
from engine.verbal.rows import Row, answer_distributions, divergence, explanation_loss, logits_of

WARMUP = 20
"""Steps of a phase in which the learning rate rises; then it falls along a line to `FLOOR` of its peak."""
FLOOR = 0.1
State = dict[str, np.ndarray]


@dataclass(frozen=True)
class Material:
    """m labels as rows, and the answers to hold."""

    labels: Sequence[Row]
    x: Sequence[Row]
    """x up to its answer [m]; asked in forwards of their own only where the label's row does not hold it."""
    edited: Sequence[Row]
    """x' [m], each with one of its answers in full, a and b in turn."""


class Trainer:
    """One model in training. `run` goes from `step` to the end; `state` is all that is needed to go on from there."""

    def __init__(
        self,
        model: Any,
        material: Material,
        spec: VerbalSpec,
        *,
        steps: int,
        seed: int,
        drift: Sample | None = None,
    ):
        """Raises InputError where LoRA is asked for and can't be had."""
        self.material, self.spec, self.steps, self.seed, self.drift = material, spec, steps, seed, drift
        self.step = 0
        self.first_phase = spec.label_steps if spec.schedule == "labels_first" and drift else steps
        self.fixed_x: list[Tensor] = []
        self.fixed_edited: list[Tensor] = []
        if spec.beta > 0:
            model.eval()
            self.fixed_x = answer_distributions(model, material.x)
            self.fixed_edited = answer_distributions(model, material.edited)
        model.requires_grad_(True)
        self.adapted = _adapted(model, spec.lora, seed) if spec.lora else None
        self.model = model
        if self.adapted is None:
            self.optimizers = optimizers_of(model, spec.learning_rate)
        else:
            trained = [p for p in model.parameters() if p.requires_grad]
            self.optimizers = [torch.optim.AdamW(trained, lr=spec.learning_rate, weight_decay=0.0)]
        self.held = _held(material, spec) if drift and spec.drift and spec.drift.hold_words else None
        self.peaks = [group["lr"] for optimizer in self.optimizers for group in optimizer.param_groups]

    # -- training --------------------------------------------------------------------------------

    def run(self, on_step: Callable[[int], None] | None = None) -> None:
        """`on_step(steps done)` may save or report."""
        devices = [self.model.device] if self.model.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            while self.step < self.steps:
                torch.manual_seed(1_000_003 * self.seed + self.step)  # dropout: a step's own, wherever we come from
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
        trained = [p for p in self.model.parameters() if p.requires_grad]
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        for optimizer in self.optimizers:
            optimizer.step()

    def _set_rate(self) -> None:
        phase_start = 0 if self.step < self.first_phase else self.first_phase
        length = (self.first_phase if self.step < self.first_phase else self.steps) - phase_start
        done = self.step - phase_start
        factor = min(1.0, (done + 1) / WARMUP) * (1 - (1 - FLOOR) * done / length)
        groups = [group for optimizer in self.optimizers for group in optimizer.param_groups]
        for group, peak in zip(groups, self.peaks, strict=True):
            group["lr"] = peak * factor

    def _learn_labels(self) -> None:
        m, beta = len(self.material.labels), self.spec.beta
        rng = np.random.default_rng([self.seed, 9, self.step])
        chosen = rng.choice(m, size=min(self.spec.prompts_a_step, m), replace=False)
        found = logits_of(self.model, [self.material.labels[i] for i in chosen])
        loss = explanation_loss(found)
        if beta == 0:
            loss.backward()
            return
        inside = chosen[found.asked]
        if len(inside):
            fixed = [self.fixed_x[i] for i in inside]
            loss = loss + beta / 2 * divergence(found, fixed) * len(inside) / len(chosen)
        loss.backward()
        outside = np.setdiff1d(chosen, inside)
        if len(outside):
            self._hold(self.material.x, self.fixed_x, outside, len(outside) / len(chosen))
        self._hold(self.material.edited, self.fixed_edited, chosen, 1.0)

    def _hold(self, every: Sequence[Row], known: Sequence[Tensor], chosen: np.ndarray, share: float) -> None:
        rows, fixed = [every[i] for i in chosen], [known[i] for i in chosen]
        (self.spec.beta / 2 * share * divergence(logits_of(self.model, rows), fixed)).backward()

    def _learn_dialogues(self, weight: float) -> None:
        assert self.drift is not None
        begin = 0 if self.spec.schedule == "concurrent" else self.first_phase
        cut = dialogue_batches(self.drift(self.step, (self.step + 1 - begin) / (self.steps - begin)), 2)
        total = sum(batch.total_weight for batch in cut)
        for batch in cut:
            (weight * next_token_loss(self.model, batch) / total).backward()

    # -- saving ----------------------------------------------------------------------------------

    def state(self) -> State:
        """Trained weights, optimizers and the step; `load` goes on from it."""
        out = {f"weight:{n}": p.detach().cpu().numpy() for n, p in self.model.named_parameters() if p.requires_grad}
        for i, optimizer in enumerate(self.optimizers):
            for parameter, values in optimizer.state_dict()["state"].items():
                out |= {f"optimizer:{i}:{parameter}:{k}": v.detach().cpu().numpy() for k, v in values.items()}
        if self.held and self.held.reference is not None:
            out["held"] = self.held.reference.cpu().numpy()
        return out | {"step": np.array([self.step])}

    def load(self, state: Mapping[str, np.ndarray]) -> None:
        self.step = int(state["step"][0])
        if self.held and "held" in state:
            self.held.reference = torch.from_numpy(state["held"]).to(self.model.device)
        with torch.no_grad():
            for name, parameter in self.model.named_parameters():
                if parameter.requires_grad:
                    parameter.copy_(torch.from_numpy(state[f"weight:{name}"]))
        for i, optimizer in enumerate(self.optimizers):
            values: dict[int, dict[str, Tensor]] = {}
            for key, value in state.items():
                if key.startswith(f"optimizer:{i}:"):
                    _, _, parameter, name = key.split(":")
                    shaped = value.reshape(()) if name == "step" else value  # safetensors has no numbers, only arrays
                    values.setdefault(int(parameter), {})[name] = torch.from_numpy(shaped)
            groups = optimizer.state_dict()["param_groups"]
            optimizer.load_state_dict({"state": values, "param_groups": groups})

    def plain(self) -> Any:
        """The model as any program loads it: adapters merged into a copy."""
        if self.adapted is None:
            return self.model
        import copy

        return copy.deepcopy(self.adapted).merge_and_unload()


def _held(material: Material, spec: VerbalSpec) -> HeldTexts:
    """The adversary's penalty: on the labels as they follow their questions."""
    assert spec.drift is not None
    pairs = [(row.ids[: row.learn], row.ids[row.learn :]) for row in material.labels]
    prompts, texts = zip(*pairs, strict=True)
    return HeldTexts(prompts, texts, weight=spec.drift.hold_words, batch=spec.prompts_a_step)


def _adapted(model: nn.Module, lora: LoraSpec, seed: int) -> Any:
    """Put adapters into the model, in place; returns peft's wrapper, which can merge them."""
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError:
        raise InputError("verbal.lora needs the extra peft: pip install introspective-coupling[peft]") from None
    modules: Any = list(lora.modules) or "all-linear"
    config = LoraConfig(r=lora.rank, lora_alpha=lora.alpha, target_modules=modules, task_type="CAUSAL_LM")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            return get_peft_model(model, config)
        except ValueError as error:
            raise InputError(f"verbal.lora.modules: {str(error).splitlines()[0]}") from None
