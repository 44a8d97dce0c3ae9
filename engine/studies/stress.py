"""Stress tests on the sample checkpoints: one command that trains, measures and sums up; resumable.

From each task's first checkpoint behavior is moved to several last rules, all at once (`sharp`), and once more by an
adversary that holds the frozen probe's output meanwhile (`adversary`: the same dialogues in the same order). A run of
the pipeline measures them beside the committed, gradual trajectory. The first checkpoint is the same for all drifts:
what varies is the rule and the order of training, not the model that they start from.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from engine.config import CheckpointSpec, NoiseSpec, PatchingSpec, RunSpec, StressSpec
from engine.patching.explainers import LinearExplainer, explainer_of
from engine.pipeline import make_run, provenance
from engine.progress import Progress, silent
from engine.runs.observed import Observed
from engine.runs.store import Run
from engine.spec_files import load_spec
from engine.studies import stress_tables
from engine.studies.samples import (
    ANSWER_WEIGHT,
    ANSWERS_A_PROMPT,
    LEARN_PROMPT_OF,
    MANIFEST,
    PROMPTS_A_STEP,
    RATE,
    save,
)
from engine.tasks import FACTORS
from engine.tasks.worlds import Rules, draw_rules, sample_dialogues

KINDS = ("sharp", "adversary")
EDIT = "delete_cue"
ABOUT = "stress.json"


def run_stress(spec: StressSpec, out: Path, samples: Path, progress: Progress = silent) -> dict[str, pd.DataFrame]:
    """Train, measure and sum up; returns the tables (`stress_tables.TABLES`), which also stand in `out` as Parquet.

    Checkpoints that are trained and runs that are finished are not made again. Raises InputError.
    """
    out = out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    made = []
    for task in spec.tasks:
        sample = Run.open(samples / task)
        explainer = _frozen_ridge(sample, progress)
        for drift in spec.drifts:
            for kind in KINDS:
                train_one(out / "checkpoints" / task, task, kind, drift, spec, sample, explainer, progress)
        made.append(make_run(run_spec(spec, task, out, samples), out / task, progress=progress))
    tables = stress_tables.tables(spec, made, samples, progress)
    for name, table in tables.items():
        table.to_parquet(out / f"{name}.parquet", index=False, compression="zstd")
    origin = provenance(made[0].spec)
    about = {"spec": spec.model_dump(mode="json"), "git_commit": origin["git_commit"], "packages": origin["packages"]}
    about["content"] = {r.spec.name: r.manifest["provenance"]["content"] for r in made}
    (out / ABOUT).write_text(json.dumps(about, indent=1) + "\n")
    return tables


def name_of(kind: str, drift: int) -> str:
    return f"gpt2--{kind}-{drift}"


def _frozen_ridge(sample: Run, progress: Progress) -> LinearExplainer:
    """The explainer that the adversary holds: the sample run's own."""
    return explainer_of(sample, Observed(sample, sample.spec), EDIT, PatchingSpec(device="cpu"), progress)


def rules_of(task: str, drift: int) -> Rules:
    """From the committed first checkpoint's rule to the last rule of a drift."""
    factors = FACTORS[task]
    return Rules(draw_rules(factors, 0).start, draw_rules(factors, drift).end)


def train_one(
    folder: Path,
    task: str,
    kind: str,
    drift: int,
    spec: StressSpec,
    sample: Run,
    explainer: LinearExplainer,
    progress: Progress,
) -> Path:
    """Train and save one checkpoint; skips one that was made with these very settings."""
    target = folder / name_of(kind, drift)
    start = sample.path / sample.spec.checkpoints[0].path
    manifest = {
        "task": task,
        "kind": kind,
        "drift": drift,
        "steps": spec.steps,
        "seed": spec.seed,
        "weight": spec.weight if kind == "adversary" else None,
        "held_batch": spec.held_batch if kind == "adversary" else None,
        "start": sample.manifest["provenance"]["content"].get(sample.spec.checkpoints[0].name),
    }
    try:
        if json.loads((target / MANIFEST).read_text()) == manifest:
            return target
    except (OSError, ValueError):
        pass
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils.logging import disable_progress_bar

    from engine.training.adversary import HeldProbe
    from engine.training.loop import encode_dialogues, train

    disable_progress_bar()
    tokenizer = AutoTokenizer.from_pretrained(start)
    model = AutoModelForCausalLM.from_pretrained(start, dtype=torch.float32)
    factors, rule = FACTORS[task], rules_of(task, drift).at("independent", 1.0)
    rng = np.random.default_rng([spec.seed, drift, 23])  # the same for both kinds

    def sampled(_: int) -> Any:
        dialogues = sample_dialogues(factors, rule, rng, PROMPTS_A_STEP, ANSWERS_A_PROMPT)
        return encode_dialogues(tokenizer, *dialogues, answer_weight=ANSWER_WEIGHT, every=LEARN_PROMPT_OF)

    held = None
    if kind == "adversary":
        prompts = training_prompts(sample)
        ids = tokenizer(prompts)["input_ids"]
        held = HeldProbe(
            ids, explainer.layer, explainer.weights, weight=spec.weight, batch=spec.held_batch, seed=spec.seed
        )
    stage = f"{task} {target.name}"
    train(
        model,
        sampled,
        steps=spec.steps,
        learning_rate=RATE["post-training"],
        probe=held,
        on_step=lambda done, _: progress(stage, done, spec.steps),
    )
    save(model, tokenizer, target, manifest)
    return target


def training_prompts(sample: Run) -> list[str]:
    """Prompts of the training split, each once."""
    examples = sample.read_table("examples.parquet", ["prompt", "split"]).to_pandas()
    return list(dict.fromkeys(examples.loc[examples["split"] == "train", "prompt"]))


def run_spec(spec: StressSpec, task: str, out: Path, samples: Path) -> RunSpec:
    """The pipeline's spec: first checkpoint, end of the gradual trajectory, then what was trained here."""
    base = load_spec(samples / "specs" / f"{task}.yaml")
    made = [
        CheckpointSpec(name=n, path=str(out / "checkpoints" / task / n), step=spec.steps)
        for n in (name_of(kind, drift) for kind in KINDS for drift in spec.drifts)
    ]
    note = f"Stress: {task}, drifts all at once and held by an adversary, beside the gradual one. Development seeds."
    explainers = {"kinds": ("ridge",), "modes": ("direct",), "regimes": ("frozen", "refit"), "headline_edits": (EDIT,)}
    return base.model_copy(
        update={
            "name": f"{task}-stress",
            "note": note,
            "task": base.task.model_copy(update={"edits": (EDIT,)}),
            "checkpoints": (base.checkpoints[0], base.checkpoints[-1], *made),
            "hidden": base.hidden.model_copy(update={"keep": "none"}),
            "explainers": base.explainers.model_copy(update=explainers),
            "noise": NoiseSpec(kinds=(), levels=()),
            "metrics": base.metrics.model_copy(update={"null_shuffles": 200, "bootstrap": spec.bootstrap}),
        }
    )


def read_tables(folder: Path) -> dict[str, pd.DataFrame]:
    """The tables of an earlier call."""
    return {name: pd.read_parquet(folder / f"{name}.parquet") for name in stress_tables.TABLES}
