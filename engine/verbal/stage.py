"""The self-explanation stages of a run: train and save the checkpoints, then ask each of them.

Training resumes from the last saved step, asking from the last checkpoint asked. At every checkpoint a sentence is
compared (`tables.judge`) with the behavior that the run measured, as for probes.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa

from engine.config import CheckpointSpec
from engine.progress import Progress
from engine.runs.observed import Observed
from engine.tasks.from_file import read_dialogues
from engine.verbal.labels import Labels
from engine.verbal.tables import judge, said_part
from engine.verbal.texts import Texts, evaluated, labels_of

__all__ = ["ask", "drop_parts", "judge", "train"]

STATE = "verbal/state.safetensors"
DONE = "verbal"


def train(observed: Observed, progress: Progress) -> None:
    """Train and save the checkpoints marked `trained`. The behavior of the target must have been measured."""
    record, spec = observed.record, observed.spec
    if spec.verbal is None or record.manifest["notes"].get(DONE):
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
    drift = sampler(spec, tokenizer, observed.examples["entity"].iloc[labels.rows], texts.checkpoint.chat)
    model, material = texts.checkpoint.model, texts.material(labels)
    trainer = Trainer(model, material, spec.verbal, steps=max(saved), seed=spec.seed, drift=drift)
    if record.has(STATE):
        trainer.load(record.read_arrays(STATE))

    def on_step(done: int) -> None:
        progress("explanation training", done, max(saved))
        if done in saved:
            save(trainer.plain(), tokenizer, Path(saved[done].path))
            if done < max(saved):
                record.write_arrays(STATE, trainer.state())

    trainer.run(on_step)
    about = {
        "labels": len(labels.rows),
        "labels_changed": round(float(labels.changed.mean()), 4),
        "labels_agree_with_target": round(labels.agreement, 4),
    }
    record.note(**{DONE: about})
    if STATE in record.parts:
        record.drop(STATE)


def _texts(observed: Observed, checkpoint: CheckpointSpec) -> Texts:
    from engine.model.of_run import load_of_run

    return Texts(observed, load_of_run(observed.record, checkpoint, observed.spec.device))


def say_control(observed: Observed, labels: Labels, name: str, rows: np.ndarray) -> list[str]:
    """Explanations of examples [rows] by a control: a model trained on the same labels and nothing else."""
    from engine.verbal.train import Trainer

    spec = observed.spec
    assert spec.verbal is not None
    untrained = {"name": f"{spec.checkpoints[0].family}--untrained", "untrained": True}
    which = spec.checkpoints[0].model_copy(update=untrained) if name == "small_lm" else spec.other_model
    assert which is not None
    texts = _texts(observed, which)
    alone = spec.verbal.model_copy(update={"beta": 0.0, "drift": None, "schedule": "concurrent"})
    labels_first = spec.verbal.schedule == "labels_first"
    steps = spec.verbal.label_steps if labels_first else max(c.step for c in spec.checkpoints)
    Trainer(texts.checkpoint.model, texts.material(labels), alone, steps=steps, seed=spec.seed).run()
    return texts.say(rows)


def ask(observed: Observed, progress: Progress) -> None:
    """Write the explanations of every checkpoint, and of every control's model, for the evaluated examples."""
    record, spec = observed.record, observed.spec
    assert spec.verbal is not None
    rows = evaluated(observed)
    asked: list[CheckpointSpec | str] = [*spec.checkpoints, *spec.verbal.controls]
    for done, who in enumerate(asked):
        progress("explaining in words", done, len(asked))
        name = who if isinstance(who, str) else who.name
        if record.has(said_part(name)):
            continue
        if isinstance(who, str):
            words = say_control(observed, labels_of(observed), who, rows)
        else:
            words = _texts(observed, who).say(rows)
        record.write_table(said_part(name), pa.table({"row": pa.array(rows), "text": pa.array(words)}))
    progress("explaining in words", len(asked), len(asked))


def drop_parts(observed: Observed) -> None:
    """Remove the parts that were only needed to make the run."""
    record, spec = observed.record, observed.spec
    for part in [p for p in record.parts if p.startswith("said/")]:
        record.drop(part)
    if spec.verbal and not spec.verbal.keep_checkpoints:
        shutil.rmtree(record.path / "checkpoints", ignore_errors=True)
