"""The run's own post-training: checkpoints that drift, with an explainer trained beside them on fixed targets.

The explainer is first trained at the first checkpoint. In the loop it takes one step for every step of the base model,
on the current hidden states and always on the same targets. Its gradient stops at the hidden states or, if the spec
says so, flows into the base model. A stopped training starts again from the beginning; it is seeded, so the result is
the same.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from engine.config import ConcurrentSpec, InputError
from engine.progress import Progress
from engine.runs.observed import EVALUATED, Observed, concurrent_part
from engine.tasks.from_file import read_dialogues

DONE = "post_training"


def post_train(observed: Observed, progress: Progress) -> None:
    """Train and save the checkpoints marked `trained`, and the concurrent explainer's explanations at each of them.

    Behavior at the target must have been measured before. Raises InputError for dialogues that can't be used.
    """
    record, spec = observed.record, observed.spec
    post = spec.post_training
    if post is None or record.manifest["notes"].get(DONE):
        return
    import torch

    from engine.model.checkpoints import save
    from engine.model.of_run import load_of_run
    from engine.training.loop import check_dialogues, encode_dialogues, train

    start = load_of_run(record, spec.checkpoints[0], spec.device)
    model, tokenizer = start.model.requires_grad_(True), start.tokenizer
    dialogues = read_dialogues(Path(post.dialogues))
    check_dialogues(start, dialogues)
    rng = np.random.default_rng([spec.seed, 7])

    def sample(_: int) -> Any:
        chosen = [dialogues[i] for i in rng.integers(len(dialogues), size=post.prompts_a_step)]
        prompts, answers = zip(*chosen, strict=True)
        said = [[answer] for answer in answers]
        return encode_dialogues(tokenizer, prompts, said, answer_weight=post.answer_weight, chat=start.chat)

    saved = {c.step: c for c in spec.checkpoints if c.trained}
    concurrent = _Concurrent(observed, post.concurrent, start) if post.concurrent else None

    def on_step(done: int, _: float) -> None:
        progress("post-training", done, max(saved))
        if done in saved:
            save(model, tokenizer, Path(saved[done].path))
            if concurrent:
                concurrent.write(model, saved[done].name)

    probe = concurrent.probe if concurrent else None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(spec.seed)
        train(model, sample, steps=max(saved), learning_rate=post.learning_rate, probe=probe, on_step=on_step)
    record.note(**{DONE: {"steps": max(saved), "layer": concurrent.layer if concurrent else None}})


class _Concurrent:
    """An `OnlineProbe` on the run's training examples of one edit, which explains the evaluated examples."""

    def __init__(self, observed: Observed, concurrent: ConcurrentSpec, start: Any):
        """Train the explainer at the first checkpoint and store its explanations; the model does not change."""
        import torch

        from engine.model.behavior import tokenised
        from engine.training.loop import OnlineProbe

        train, evaluated = observed.rows(concurrent.edit, "train"), observed.rows(concurrent.edit, *EVALUATED)
        if len(train) < 2:
            raise InputError(f"post_training.concurrent.edit: no training example has the edit {concurrent.edit!r}")

        def tokens(rows: np.ndarray) -> list[tuple[int, ...]]:
            """The prompts as measuring reads them."""
            part = observed.examples.iloc[rows]
            answers = list(zip(part["answer_a"], part["answer_b"], strict=True))
            names = list(part["example_id"])
            return [t.prompt for t in tokenised(start, list(part["prompt"]), answers, names, offsets=False)]

        effects = observed.behavior(observed.target).effect
        self.record, self.layer = observed.record, start.layer(concurrent.layer)
        self._asked = tokens(evaluated)
        self.probe = OnlineProbe(
            prompts=tokens(train),
            targets=torch.tensor(effects[train], dtype=torch.float32),
            layer=self.layer,
            kind=concurrent.kind,
            hidden_units=observed.spec.explainers.width,
            learning_rate=concurrent.learning_rate,
            weight=concurrent.weight,
            seed=observed.spec.seed,
        )
        for _ in range(observed.spec.explainers.steps):
            self.probe.step(start.model)
        self.probe.flow = concurrent.gradient == "flowing"
        self.write(start.model, start.name)

    def write(self, model: Any, checkpoint: str) -> None:
        """Store the explanations of the evaluated examples with the model as it is now, in nats."""
        import torch

        from engine.training.loop import in_chunks

        states = in_chunks(lambda rows: self.probe.states(model, [self._asked[r] for r in rows]), len(self._asked))
        explanation = self.probe.explain(states.numpy()).astype(np.float32)
        if not torch.isfinite(states).all():
            return  # the model diverged, which is said where it is measured
        if not np.isfinite(explanation).all():
            why = "says NaN or infinity: it diverged: lower post_training.concurrent.learning_rate"
            raise InputError(f"the explainer trained in the loop, at {checkpoint}, {why}")
        self.record.write_arrays(concurrent_part(checkpoint), {"explanation": explanation})
