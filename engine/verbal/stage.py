"""The self-explanation stages of a run: train and save the checkpoints, then ask each of them.

Training goes on from its last state, and asking from the last batch of words; both are saved about every half a minute.
At every checkpoint a sentence is compared (`tables.judge`) with the behavior that the run measured, as for probes.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from engine.config import CheckpointSpec
from engine.progress import Progress, TokenMeter, silent
from engine.runs.observed import Observed
from engine.runs.store import Run
from engine.tasks.from_file import read_dialogues
from engine.verbal.tables import judge, said_part
from engine.verbal.texts import Texts, evaluated, labels_of

__all__ = ["ask", "drop_parts", "judge", "train"]

STATE = "verbal/state.safetensors"
DONE = "verbal"


def train(observed: Observed, progress: Progress) -> None:
    """Train and save the checkpoints marked `trained`. The behavior of the target must have been measured."""
    record, spec = observed.record, observed.spec
    if spec.verbal is None or record.manifest["notes"].get(DONE):
        record.adopt({}, without=[STATE])  # killed between the end of the training and this
        return
    from engine.model.checkpoints import save
    from engine.training.loop import check_dialogues
    from engine.verbal.drift import sampler
    from engine.verbal.train import Trainer

    labels = labels_of(observed)
    texts = _texts(observed, spec.checkpoints[0])
    tokenizer = texts.checkpoint.tokenizer
    saved = {c.step: c for c in spec.checkpoints if c.trained}
    if spec.verbal.drift and spec.verbal.drift.dialogues:
        check_dialogues(texts.checkpoint, read_dialogues(Path(spec.verbal.drift.dialogues)))
    drift = sampler(spec, tokenizer, observed.examples["entity"].iloc[labels.rows])
    model, material = texts.checkpoint.model, texts.material(labels)
    trainer = Trainer(model, material, spec.verbal, steps=max(saved), seed=spec.seed, drift=drift)

    def on_step(done: int) -> None:
        if done in saved:
            save(trainer.plain(), tokenizer, Path(saved[done].path))

    meter = TokenMeter(progress, "explanation training", trainer.steps)
    _train(record, trainer, STATE, on_step, meter)
    about = {
        "labels": len(labels.rows),
        "labels_changed": round(float(labels.changed.mean()), 4),
        "labels_agree_with_target": round(labels.agreement, 4),
    }
    record.note(**{DONE: about})
    record.adopt({}, without=[STATE])


def _train(
    record: Run, trainer: Any, part: str, on_step: Callable[[int], None], meter: TokenMeter, *, last: bool = False
) -> None:
    """Train to the end, from the state in `part` if there is one; saved there now and then, with `last` also last."""
    from engine.training.state import Clock

    if record.has(part):
        trainer.load(record.read_arrays(part))
        meter.add(trainer.step, trainer.tokens)
    clock = Clock()

    def stepped(done: int) -> None:
        on_step(done)
        if clock.due() if done < trainer.steps else last:
            clock.save(lambda: record.write_arrays(part, trainer.state()))
        meter.add(1, trainer.tokens - meter.tokens)

    trainer.run(stepped)


def _texts(observed: Observed, checkpoint: CheckpointSpec) -> Texts:
    from engine.model.checkpoints import load

    return Texts(observed, load(checkpoint, device=observed.spec.device, dtype="float32"))


def _control(observed: Observed, name: str) -> Texts:
    """A control: a model trained on the same labels and nothing else."""
    from engine.verbal.train import Trainer

    spec, labels = observed.spec, labels_of(observed)
    assert spec.verbal is not None
    untrained = {"name": f"{spec.checkpoints[0].family}--untrained", "untrained": True}
    which = spec.checkpoints[0].model_copy(update=untrained) if name == "small_lm" else spec.other_model
    assert which is not None
    texts = _texts(observed, which)
    alone = spec.verbal.model_copy(update={"beta": 0.0, "drift": None, "schedule": "concurrent"})
    labels_first = spec.verbal.schedule == "labels_first"
    steps = spec.verbal.label_steps if labels_first else max(c.step for c in spec.checkpoints)
    trainer = Trainer(texts.checkpoint.model, texts.material(labels), alone, steps=steps, seed=spec.seed)
    meter = TokenMeter(silent, name, steps)
    _train(observed.record, trainer, control_part(name), lambda _: None, meter, last=True)
    trainer.model.eval()
    return texts


def control_part(name: str) -> str:
    """The part that holds the state of a control's training until its words are known."""
    return f"verbal/{name}.safetensors"


def ask(observed: Observed, progress: Progress) -> None:
    """Write the explanations of every checkpoint, and of every control's model, for the evaluated examples."""
    record, spec = observed.record, observed.spec
    assert spec.verbal is not None
    rows = evaluated(observed)
    asked: list[CheckpointSpec | str] = [*spec.checkpoints, *spec.verbal.controls]
    names = {who if isinstance(who, str) else who.name: who for who in asked}
    told = record.manifest["notes"].get("words_tokens", {})
    done = {name: len(rows) if record.has(said_part(name)) else len(_said(record, name)) for name in names}
    meter = TokenMeter(
        progress, "explaining in words", len(rows) * len(names), tokens=sum(told.values()), done=sum(done.values())
    )
    for name, who in names.items():
        if record.has(said_part(name)):
            continue
        texts = _control(observed, who) if isinstance(who, str) else _texts(observed, who)
        words = _saying(record, name, texts, rows, meter)
        record.write_table(said_part(name), pa.table({"row": pa.array(rows), "text": pa.array(words)}))
        record.adopt({}, without=[p for p in record.parts if p.startswith(f"said/{name}/") or p == control_part(name)])


def _saying(record: Run, name: str, texts: Texts, rows: np.ndarray, meter: TokenMeter) -> list[str]:
    """The words about examples [rows]; batches of them are saved about every half a minute."""
    from engine.training.state import Clock

    clock, new, tokens = Clock(), dict[int, str](), 0
    known = _said(record, name)

    def save() -> None:
        part = f"said/{name}/{len([p for p in record.parts if p.startswith(f'said/{name}/')]):05d}.parquet"
        record.write_table(part, pa.table({"number": pa.array(list(new)), "text": pa.array(list(new.values()))}))
        told = record.manifest["notes"].get("words_tokens", {})
        record.note(words_tokens=told | {name: told.get(name, 0) + tokens})

    def on_batch(words: dict[int, str], of_batch: int) -> None:
        nonlocal tokens
        new.update(words)
        tokens += of_batch
        if clock.due():
            clock.save(save)
            new.clear()
            tokens = 0
        meter.add(len(words), of_batch)

    return texts.say(rows, known=known, on_batch=on_batch)


def _said(record: Run, name: str) -> dict[int, str]:
    """Words that were saved before a stop, by the number of the asked row."""
    tables = [record.read_table(p) for p in sorted(record.parts) if p.startswith(f"said/{name}/") and record.has(p)]
    return {n: text for table in tables for n, text in zip(*table.to_pydict().values(), strict=True)}


def drop_parts(observed: Observed) -> None:
    """Remove the parts that were only needed to make the run."""
    record, spec = observed.record, observed.spec
    for part in [p for p in record.parts if p.startswith("said/")]:
        record.drop(part)
    if spec.verbal and not spec.verbal.keep_checkpoints:
        shutil.rmtree(record.path / "checkpoints", ignore_errors=True)
