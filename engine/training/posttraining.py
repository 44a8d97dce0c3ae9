"""The run's own post-training: checkpoints that drift, with an explainer trained beside them on fixed targets.

The explainer starts as one trained at the first checkpoint. In the loop it takes one step for every step of the base
model, on that moment's hidden states and always on the same targets; its gradient stops at the hidden states or,
if asked, flows on into the base model. A training that was stopped begins anew; it is seeded, so it ends the same.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np

from engine.config import ConcurrentSpec, InputError
from engine.progress import Progress
from engine.runs.observed import EVALUATED, Observed, concurrent_part
from engine.tasks.from_file import read_dialogues

DONE = "post_training"


def post_train(observed: Observed, progress: Progress) -> None:
    """Train and save the checkpoints marked `trained`, and what the concurrent explainer says at each of them.

    Behavior at the target must have been measured. Raises InputError for dialogues that can't be used.
    """
    record, spec = observed.record, observed.spec
    post = spec.post_training
    if post is None or record.manifest["notes"].get(DONE):
        return
    import torch

    from engine.model.checkpoints import load
    from engine.training.loop import encode, train

    start = load(spec.checkpoints[0], device=spec.device, dtype="float32")
    model, tokenizer = start.model.requires_grad_(True), start.tokenizer
    dialogues = read_dialogues(Path(post.dialogues))
    rng = np.random.default_rng([spec.seed, 7])

    def sample(_: int) -> Any:
        chosen = [dialogues[i] for i in rng.integers(len(dialogues), size=post.prompts_a_step)]
        prompts, answers = zip(*chosen, strict=True)
        return encode(tokenizer, prompts, [[a] for a in answers], answer_weight=post.answer_weight)

    saved = {c.step: c for c in spec.checkpoints if c.trained}
    concurrent = _Concurrent(observed, post.concurrent, start) if post.concurrent else None
    if concurrent:
        concurrent.warm_up(model, spec.explainers.steps)
        record.write_arrays(concurrent_part(spec.checkpoints[0].name), concurrent.say(model))

    def on_step(done: int, _: float) -> None:
        progress("post-training", done, max(saved))
        if done in saved:
            folder = Path(saved[done].path)
            shutil.rmtree(folder, ignore_errors=True)
            model.save_pretrained(folder)
            tokenizer.save_pretrained(folder)
            if concurrent:
                record.write_arrays(concurrent_part(saved[done].name), concurrent.say(model))

    probe = concurrent.probe if concurrent else None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(spec.seed)
        train(model, sample, steps=max(saved), learning_rate=post.learning_rate, probe=probe, on_step=on_step)
    record.note(**{DONE: {"steps": max(saved), "layer": concurrent.layer if concurrent else None}})


class _Concurrent:
    """An `OnlineProbe` on the run's training examples of one edit, and what it says of the evaluated ones."""

    def __init__(self, observed: Observed, concurrent: ConcurrentSpec, start: Any):
        import torch

        from engine.training.loop import OnlineProbe

        train, self.rows = observed.rows(concurrent.edit, "train"), observed.rows(concurrent.edit, *EVALUATED)
        if len(train) < 2:
            raise InputError(f"post_training.concurrent.edit: no training example has the edit {concurrent.edit!r}")
        prompts = observed.examples["prompt"].to_numpy()
        effects = observed.behavior(observed.target).effect
        self.layer = start.layer(concurrent.layer)
        self.device = next(start.model.parameters()).device
        self._asked = start.tokenizer(list(prompts[self.rows]))["input_ids"]
        self.probe = OnlineProbe(
            prompts=start.tokenizer(list(prompts[train]))["input_ids"],
            targets=torch.tensor(effects[train], dtype=torch.float32),
            layer=self.layer,
            kind=concurrent.kind,
            hidden_units=observed.spec.explainers.width,
            learning_rate=concurrent.learning_rate,
            weight=concurrent.weight,
            flow=concurrent.gradient == "flowing",
            seed=observed.spec.seed,
        )

    def warm_up(self, model: Any, steps: int) -> None:
        """Train the explainer at the first checkpoint; the model stands still."""
        flow, self.probe.flow = self.probe.flow, False
        for _ in range(steps):
            self.probe.step(model)
        self.probe.flow = flow

    def say(self, model: Any) -> dict[str, np.ndarray]:
        """Explanations [evaluated rows of the edit], nats, at this moment."""
        import torch

        states = []
        with torch.inference_mode():
            for start in range(0, len(self._asked), 256):
                states.append(self._states(model, self._asked[start : start + 256]))
        return {"explanation": self.probe.explain(np.concatenate(states)).astype(np.float32)}

    def _states(self, model: Any, prompts: list[list[int]]) -> np.ndarray:
        mine, self.probe.prompts = self.probe.prompts, prompts
        try:
            return self.probe.states(model, range(len(prompts))).numpy()
        finally:
            self.probe.prompts = mine
