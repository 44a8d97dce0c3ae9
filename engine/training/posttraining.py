"""The run's own post-training: checkpoints that drift, with an explainer trained beside them on fixed targets.

The explainer is first trained at the first checkpoint. In the loop it takes one step for every step of the base model,
on the current hidden states and always on the same targets. Its gradient stops at the hidden states or, if the spec
says so, flows into the base model. With `lora` an adapter is trained instead of all weights. Some dialogues are held
out, and the loss on them is measured at each checkpoint. A state is saved about every half a minute, from which a
stopped training goes on; the result is that of an unbroken one.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from engine.config import ConcurrentSpec, InputError
from engine.progress import Progress, TokenMeter
from engine.runs.observed import EVALUATED, Observed, concurrent_part
from engine.runs.report import LOSSES, losses_in_words
from engine.runs.store import Run
from engine.runs.weights import folder_of
from engine.tasks.from_file import read_dialogues

DONE = "post_training"
STATE = "post_training/state.safetensors"
STAGE = "post-training"


def post_train(observed: Observed, progress: Progress) -> None:
    """Train and save the checkpoints marked `trained`, and the concurrent explainer's explanations at each of them.

    Behavior at the target must have been measured before. Raises InputError for dialogues that can't be used.
    """
    record, spec = observed.record, observed.spec
    post = spec.post_training
    if post is None or record.manifest["notes"].get(DONE):
        record.adopt({}, without=[STATE])  # killed between the end of the training and this
        return
    import torch

    from engine.model.adapters import add_lora, put_on
    from engine.model.of_run import load_of_run
    from engine.model.saving import save_trained
    from engine.training.dialogues import check_dialogues, encode_dialogues, held_out
    from engine.training.loop import train
    from engine.training.state import Arrays, Clock, restore_numpy, state_of_numpy, under, within

    first, adapted = spec.checkpoints[0], None
    bare = first.model_copy(update={"adapter": None}) if spec.trains_its_adapter else first
    start = load_of_run(record, bare, spec.device)
    model, tokenizer = start.model.requires_grad_(True), start.tokenizer
    if spec.trains_its_adapter:
        adapted = put_on(model, str(first.adapter), trainable=True)
    elif post.lora:
        adapted = add_lora(model, post.lora, spec.seed, "post_training.lora")
    every = read_dialogues(Path(post.dialogues))
    check_dialogues(start, every)
    dialogues, held = held_out(every, post.validation, np.random.default_rng([spec.seed, 11]))
    rng, tokens = np.random.default_rng([spec.seed, 7]), 0

    def rows_of(chosen: list[tuple[str, str]]) -> Any:
        prompts, answers = zip(*chosen, strict=True)
        said = [[answer] for answer in answers]
        of_answers, of_prompts = post.answer_weight, post.prompt_weight
        return encode_dialogues(
            tokenizer, prompts, said, answer_weight=of_answers, prompt_weight=of_prompts, chat=start.chat
        )

    def sample(_: int) -> Any:
        nonlocal tokens
        rows = rows_of([dialogues[i] for i in rng.integers(len(dialogues), size=post.prompts_a_step)])
        tokens += sum(len(row.ids) for row in rows)
        return rows

    saved = {c.step: c for c in spec.checkpoints if c.trained}
    state = record.read_arrays(STATE) if record.has(STATE) else None
    concurrent = _Concurrent(observed, post.concurrent, start, state is not None) if post.concurrent else None
    losses = _Losses(record, {"training": rows_of(dialogues[: len(held)]), "validation": rows_of(held)} if held else {})
    if state is None:
        losses.measure(model, start.name)
    else:
        restore_numpy(rng, state["sample"])
        tokens = int(state["tokens"][0])
        if concurrent:
            concurrent.probe.load(within("probe:", state))
    done_before = int(state["step"][0]) if state is not None else 0
    meter, clock = TokenMeter(progress, STAGE, max(saved), tokens=tokens, done=done_before), Clock()

    def on_step(done: int, _: float) -> None:
        if done not in saved:
            return
        model.eval()
        save_trained(model, adapted, post.lora, tokenizer, folder_of(record.path, saved[done].name))
        if concurrent:
            concurrent.write(model, saved[done].name)
        losses.measure(model, saved[done].name)
        model.train()

    def on_state(done: int, of_model: Callable[[], Arrays]) -> None:
        if done < max(saved) and clock.due():
            beside: Arrays = {"sample": state_of_numpy(rng), "tokens": np.array([tokens])}
            beside |= under("probe:", concurrent.probe.state()) if concurrent else {}
            clock.save(lambda: record.write_arrays(STATE, of_model() | beside))
        meter.note = losses.in_words
        meter.add(1, tokens - meter.tokens)

    probe = concurrent.probe if concurrent else None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(spec.seed)
        train(
            model,
            sample,
            steps=max(saved),
            learning_rate=post.learning_rate,
            optimizer="adamw" if post.lora else post.optimizer,
            probe=probe,
            on_step=on_step,
            resume=state,
            on_state=on_state,
        )
    layer = concurrent.layer if concurrent else None
    record.note(**{DONE: {"steps": max(saved), "layer": layer, "held_out": len(held) or None}})
    record.adopt({}, without=[STATE])


class _Losses:
    """The loss on dialogues that are held out, beside that on as many that are trained on, noted at each checkpoint."""

    def __init__(self, record: Run, rows: dict[str, Any]):
        """rows: kind of loss → rows of `encode_dialogues`; empty: nothing is measured."""
        self._record, self._rows = record, rows

    def measure(self, model: Any, checkpoint: str) -> None:
        from engine.training.dialogues import mean_loss

        if self._rows:
            now = {kind: mean_loss(model, rows) for kind, rows in self._rows.items()}
            self._record.note(**{LOSSES: self._record.manifest["notes"].get(LOSSES, {}) | {checkpoint: now}})

    @property
    def in_words(self) -> str:
        """The last losses: `loss 1.23, held out 1.45`; empty: there are none."""
        found = list(self._record.manifest["notes"].get(LOSSES, {}).values())
        return losses_in_words(found[-1]) if found else ""


class _Concurrent:
    """An `OnlineProbe` on the run's training examples of one edit, which explains the evaluated examples."""

    def __init__(self, observed: Observed, concurrent: ConcurrentSpec, start: Any, resumed: bool):
        """Train the explainer at the first checkpoint and store its explanations; the model does not change.

        `resumed`: it was trained before, and its state is put back by the caller.
        """
        import torch

        from engine.model.behavior import tokenised
        from engine.training.online_probe import OnlineProbe

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
        if not resumed:
            for _ in range(observed.spec.explainers.steps):
                self.probe.step(start.model)
            self.write(start.model, start.name)
        self.probe.flow = concurrent.gradient == "flowing"

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
