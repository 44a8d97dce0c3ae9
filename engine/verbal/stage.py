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
import pyarrow.compute as pc

from engine.config import CheckpointSpec
from engine.progress import Progress, TokenMeter
from engine.runs.observed import Observed
from engine.runs.store import Run
from engine.runs.weights import folder_of
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
    from engine.training.dialogues import check_dialogues
    from engine.verbal.drift import sampler
    from engine.verbal.train import Trainer

    labels = labels_of(observed)
    texts = _texts(observed, spec.checkpoints[0])
    tokenizer = texts.checkpoint.tokenizer
    saved = {c.step: c for c in spec.checkpoints if c.trained}
    if spec.verbal.drift and spec.verbal.drift.dialogues:
        check_dialogues(texts.checkpoint, read_dialogues(Path(spec.verbal.drift.dialogues)))
    drift = sampler(spec, tokenizer, observed.examples["entity"].iloc[labels.rows], texts.checkpoint.chat)
    model, material = texts.checkpoint.model, texts.material(labels)
    trainer = Trainer(model, material, spec.verbal, steps=max(saved), seed=spec.seed, drift=drift)

    def on_step(done: int) -> None:
        if done in saved:
            trainer.save(tokenizer, folder_of(record.path, saved[done].name))

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
    from engine.model.of_run import load_of_run

    return Texts(observed.examples, observed.spec, load_of_run(observed.record, checkpoint, observed.spec.device))


def _control(observed: Observed, name: str, asking: TokenMeter) -> Texts:
    """A control: a model trained on the same labels and nothing else. How far it is stands beside `asking`.

    An untrained copy learns with all its weights: an adapter on random weights would learn nothing.
    """
    from engine.verbal.train import Trainer

    spec, labels = observed.spec, labels_of(observed)
    assert spec.verbal is not None
    untrained = {"name": f"{spec.checkpoints[0].family}--untrained", "untrained": True}
    which = spec.checkpoints[0].model_copy(update=untrained) if name == "small_lm" else spec.other_model
    assert which is not None
    texts = _texts(observed, which)
    alone = spec.verbal.model_copy(update={"beta": 0.0, "drift": None, "schedule": "concurrent"})
    if name == "small_lm":
        alone = alone.model_copy(update={"lora": None})
    labels_first = spec.verbal.schedule == "labels_first"
    steps = spec.verbal.label_steps if labels_first else max(c.step for c in spec.checkpoints)
    trainer = Trainer(texts.checkpoint.model, texts.material(labels), alone, steps=steps, seed=spec.seed)

    def told(stage: str, done: int, total: int) -> None:
        asking.note = f"training {stage}: {done / total:.0%}" if done < total else ""
        asking.tell()

    meter = TokenMeter(told, name, steps)
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
    done = [table for name in names for table in _tables(record, name)]
    meter = TokenMeter(
        progress,
        "explaining in words",
        len(rows) * len(names),
        tokens=sum(pc.sum(table["tokens"]).as_py() or 0 for table in done if "tokens" in table.column_names),
        done=sum(map(len, done)),
    )
    for name, who in names.items():
        if record.has(said_part(name)):
            continue
        texts = _control(observed, who, meter) if isinstance(who, str) else _texts(observed, who)
        words, tokens = _saying(record, name, texts, rows, meter)
        table = {"row": pa.array(rows), "text": pa.array(words), "tokens": pa.array(tokens)}
        record.write_table(said_part(name), pa.table(table))
        record.adopt({}, without=[*_batches(record, name), control_part(name)])


def _saying(record: Run, name: str, texts: Texts, rows: np.ndarray, meter: TokenMeter) -> tuple[list[str], list[int]]:
    """The words about examples [rows], and their tokens; batches of them are saved about every half a minute."""
    from engine.training.state import Clock

    clock = Clock()
    saved = [table.to_pylist() for table in _tables(record, name)]
    known: dict[int, dict[str, Any]] = {said["number"]: said for of_one in saved for said in of_one}
    new: list[dict[str, Any]] = []

    def save() -> None:
        part = f"said/{name}/{len(_batches(record, name)):05d}.parquet"
        record.write_table(part, pa.Table.from_pylist(new))

    def on_batch(words: dict[int, str], tokens: int) -> None:
        # The tokens of a batch are told at its first row.
        counts = [tokens] + [0] * (len(words) - 1)
        made = {n: {"number": n, "text": words[n], "tokens": t} for n, t in zip(words, counts, strict=True)}
        known.update(made)
        new.extend(made.values())
        if clock.due():
            clock.save(save)
            new.clear()
        meter.add(len(words), tokens)

    words = texts.say(rows, known={n: said["text"] for n, said in known.items()}, on_batch=on_batch)
    return words, [known[n]["tokens"] for n in range(len(rows))]


def _batches(record: Run, name: str) -> list[str]:
    """The parts with the words of a checkpoint that is not done."""
    return sorted(part for part in record.parts if part.startswith(f"said/{name}/"))


def _tables(record: Run, name: str) -> list[pa.Table]:
    """The words that are saved of a checkpoint: all of them, or batches."""
    parts = [said_part(name)] if record.has(said_part(name)) else _batches(record, name)
    return [record.read_table(part) for part in parts if record.has(part)]


def drop_parts(observed: Observed) -> None:
    """Remove the parts that were only needed to make the run."""
    record, spec = observed.record, observed.spec
    record.adopt({}, without=[part for part in record.parts if part.startswith(("said/", "verbal/"))])
    if spec.verbal and not spec.verbal.keep_checkpoints:
        shutil.rmtree(record.path / "checkpoints", ignore_errors=True)
