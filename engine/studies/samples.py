"""The sample checkpoints and runs: tiny models that learn the worlds' rules from sampled dialogues.

`build` makes all of it from nothing and resumes a build that was stopped. It does not train a checkpoint again if the
manifest (`training.json`, written last) records the same settings. The two tasks train side by side in one process and
one thread each, so the weights do not depend on the number of cores.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from queue import Empty
from typing import Any

import numpy as np

from engine import SAMPLES
from engine.config import CheckpointSpec, InputError, PatchingSpec, PromptCounts, TaskSpec
from engine.progress import Progress, silent
from engine.records import Behavior, examples_table
from engine.spec_files import load_spec
from engine.tasks import FACTORS, task_examples
from engine.tasks.worlds import Rule, WorldName, check_world, draw_rules, sample_dialogues
from engine.verbal.drift import LEARN_PROMPT_OF
from engine.workers.local import one_thread

MANIFEST = "training.json"
WORLDS = "worlds.json"
"""What was measured of a task's worlds, beside their checkpoints."""
REBUILD = ".rebuild"
"""File that stands in the folder during a rebuild; it holds the seed."""
SPECS = SAMPLES / "specs"
TASKS = tuple(FACTORS)
SHAPE = {"width": 88, "layers": 4, "heads": 4}
VOCABULARY = {"gpt2": 768, "llama": 704}
BATCH_SIZE = 256
"""Rows that are measured at once: another number gives other last digits."""
STAGES = 6
"""Checkpoints of the trajectory after θ0; the rules turn by 15 degrees from one to the next."""
PRETRAINING_STEPS = {"gpt2": 2000, "llama": 1600}
STAGE_STEPS = 400
PASSED_THROUGH = f"gpt2--step-{STAGE_STEPS:04d}"
"""The first stage is trained and not kept: its behavior hardly differs from θ0 (ρ ≈ 0.96)."""
WORLD_STEPS: dict[WorldName, int] = {"cue": 600, "shared": 500}
"""Further worlds whose last checkpoints are trained from θ0, and their training steps."""
CHECKED = PromptCounts(train=1, validation=1, test_heldout=1000, test_iid=600)
"""Prompts on which a world is checked."""
PROMPTS_A_STEP = 64
ANSWERS_A_PROMPT = 16
PATCHED = {task: (factors.headline_edit, "delete_cue") for task, factors in FACTORS.items()}
"""Edits with patching maps in the main runs: the chosen edit, which leaves most tokens in their places, and another."""
ANSWER_WEIGHT = 30.0
RATE = {"pretraining": 1e-2, "post-training": 5e-3}


@dataclass(frozen=True)
class Job:
    """One checkpoint to train, from nothing or from another saved checkpoint."""

    name: str
    family: str
    world: WorldName
    progress: float
    """Share of the way from the first rule to the last."""
    steps: int
    step: int
    """Training step since θ0 at its end."""
    start: str | None = None
    shape: dict[str, int] | None = None
    """None: SHAPE."""

    @property
    def rate(self) -> float:
        return RATE["post-training" if self.start else "pretraining"]


def jobs() -> list[Job]:
    """The checkpoints of one task: a trajectory, the last checkpoints of other worlds, another family's θ0."""
    first = Job("gpt2--step-0000", "gpt2", "independent", 0.0, PRETRAINING_STEPS["gpt2"], 0)
    plan = [first]
    for stage in range(1, STAGES + 1):
        step = stage * STAGE_STEPS
        name = f"gpt2--step-{step:04d}"
        plan.append(Job(name, "gpt2", "independent", stage / STAGES, STAGE_STEPS, step, plan[-1].name))
    plan.append(Job("llama--step-0000", "llama", "independent", 0.0, PRETRAINING_STEPS["llama"], 0))
    for world, steps in WORLD_STEPS.items():
        plan.append(Job(f"gpt2--{world}-{steps:04d}", "gpt2", world, 1.0, steps, steps, first.name))
    return plan


def _manifest(task: str, seed: int, job: Job) -> dict[str, Any]:
    return {
        "task": task,
        "seed": seed,
        **asdict(job),
        "shape": job.shape or SHAPE,
        "vocabulary": VOCABULARY[job.family],
        "prompts": job.steps * PROMPTS_A_STEP,
        "answers_a_prompt": ANSWERS_A_PROMPT,
        "learning_rate": job.rate,
    }


def is_built(folder: Path, task: str, seed: int, job: Job) -> bool:
    """Whether the checkpoint is complete and was made with exactly these settings."""
    return is_saved(folder / job.name, _manifest(task, seed, job))


def is_saved(folder: Path, manifest: dict[str, Any]) -> bool:
    """Whether `folder` holds a complete checkpoint with this manifest."""
    try:
        return json.loads((folder / MANIFEST).read_text()) == manifest
    except (OSError, ValueError):
        return False


def train_job(folder: Path, task: str, seed: int, job: Job, progress: Progress = silent) -> Path:
    """Train and save one checkpoint of a task; returns its folder. Skips a checkpoint that is built."""
    from engine.training.fresh import new_model, train_tokenizer

    target, rules = folder / job.name, draw_rules(FACTORS[task], seed, job.family)
    if is_built(folder, task, seed, job):
        return target
    if job.start:
        model, tokenizer = load_trainable(folder / job.start)
    else:
        dialogues = sample_dialogues(FACTORS[task], rules.start, np.random.default_rng([seed, 10]), 6000)
        texts = [prompt + sampled[0] for prompt, sampled in zip(*dialogues, strict=True)]
        tokenizer = train_tokenizer(texts, VOCABULARY[job.family], bos=job.family == "llama")
        model = new_model(job.family, len(tokenizer), **(job.shape or SHAPE), seed=seed)
    rng = np.random.default_rng([seed, *job.name.encode()])

    def on_step(done: int, _: float) -> None:
        progress(f"{task} {job.name}", done, job.steps)

    options = {"steps": job.steps, "learning_rate": job.rate, "on_step": on_step}
    train_on_rule(model, tokenizer, task, rules.at(job.world, job.progress), rng, **options)
    save(model, tokenizer, target, _manifest(task, seed, job))
    return target


def load_trainable(folder: Path) -> tuple[Any, Any]:
    """Model in float32 and tokenizer of a saved checkpoint."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return model, AutoTokenizer.from_pretrained(folder)


def train_on_rule(model: Any, tokenizer: Any, task: str, rule: Rule, rng: np.random.Generator, **options: Any) -> None:
    """Train in place on dialogues that follow a rule; `options` are those of `training.loop.train`."""
    from engine.training.dialogues import encode_dialogues
    from engine.training.loop import train

    def sample(_: int) -> Any:
        dialogues = sample_dialogues(FACTORS[task], rule, rng, PROMPTS_A_STEP, ANSWERS_A_PROMPT)
        return encode_dialogues(tokenizer, *dialogues, answer_weight=ANSWER_WEIGHT, every=LEARN_PROMPT_OF)

    train(model, sample, optimizer="muon", **options)


def save(model: Any, tokenizer: Any, target: Path, manifest: dict[str, Any]) -> None:
    """Save a checkpoint in bfloat16 into a fresh folder. The manifest of its settings is written last."""
    import torch
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    model.to(torch.bfloat16).save_pretrained(target)
    tokenizer.save_pretrained(target)
    (target / "generation_config.json").unlink(missing_ok=True)
    for file in target.iterdir():
        file.chmod(0o644)
    (target / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n")


def check_worlds(folder: Path, task: str, seed: int, plan: Sequence[Job]) -> Path:
    """Measure whether each post-training moved f(x), f(x') and the effect as designed; writes `worlds.json`."""
    from engine.model.behavior import measure
    from engine.model.checkpoints import load

    report = folder / WORLDS
    edit = FACTORS[task].headline_edit
    spec = TaskSpec.model_validate({"name": task, "prompts": CHECKED, "edits": [edit]})
    examples = examples_table(task_examples(spec))

    def behavior(job: Job) -> Behavior:
        checkpoint = CheckpointSpec(name=job.name, path=str(folder / job.name))
        measured = measure(load(checkpoint, device="cpu"), examples, batch_size=BATCH_SIZE)
        return Behavior(measured.f.astype(float), measured.f_edited.astype(float))

    start, *trained = [job for job in plan if job.family == "gpt2"]
    first = behavior(start)
    rows = {}
    for job in trained:
        check = asdict(check_world(job.world, first, behavior(job)))
        rows[job.name] = {"progress": job.progress, "step": job.step, **check}
        if job.progress < 1:  # on the way, nothing has to have moved far
            rows[job.name]["as_designed"] = None
    changed = float(np.mean((first.f > 0) != (first.f_edited > 0)))
    content = {"seed": seed, "edit": edit, "has_changed": changed, "worlds": rows}
    report.write_text(json.dumps(content, indent=1))
    return report


def run_specs(out: Path, task: str, seed: int = 0, *, verbal: bool = False) -> list[Path]:
    """The specs of a task's sample runs; with `verbal`, also those in which a model explains itself. If `out` has no
    specs, copies of the committed ones that name the seed are put there."""
    folder = out / "specs"
    if not folder.is_dir():
        folder.mkdir(parents=True)
        for source in SPECS.glob("*.yaml"):
            text = source.read_text(encoding="utf-8")
            (folder / source.name).write_text(text.replace("Seed 0", f"Seed {seed}"), encoding="utf-8")
    paths = sorted(path for path in folder.glob("*.yaml") if path.stem.split("-")[0] == task)
    return paths + (sorted(folder.glob(f"verbal-{task}*.yaml")) if verbal else [])


def _work(out: Path, task: str, seed: int, verbal: bool, messages: Any) -> None:
    """Build one task in a process of its own; the queue `messages` reports the progress and the folders."""
    from engine.patching.stage import patch_run
    from engine.pipeline import make_run

    one_thread()
    folder, plan = out / "checkpoints" / task, jobs()
    try:
        for job in plan:
            made = train_job(folder, task, seed, job, lambda *told: messages.put(("step", told)))
            messages.put(("ready", made))
        check_worlds(folder, task, seed, plan)
        for spec in map(load_spec, run_specs(out, task, seed, verbal=verbal)):
            messages.put(("ready", make_run(spec, out / spec.name).path))
        if seed == 0 and (out / task).is_dir():  # the committed runs show the maps; a study keeps only metrics
            patch_run(out / task, PatchingSpec(edits=PATCHED[task]))
        shutil.rmtree(folder / PASSED_THROUGH, ignore_errors=True)
    except InputError as error:
        messages.put(("failed", str(error)))
    except KeyboardInterrupt:
        pass


def clear(out: Path, seed: int, tasks: Sequence[str] = TASKS) -> None:
    """Remove what an earlier build left, unless it was a build of the same seed that was stopped."""
    mark = out / REBUILD
    if mark.is_file() and mark.read_text() == str(seed):
        return
    for task in tasks:
        shutil.rmtree(out / "checkpoints" / task, ignore_errors=True)
        for spec in run_specs(out, task, seed, verbal=True):
            shutil.rmtree(out / spec.stem, ignore_errors=True)
    mark.write_text(str(seed))


def build(out: Path, seed: int = 0, progress: Progress = silent, *, verbal: bool = True) -> Iterator[Path]:
    """Build everything from nothing: checkpoints into `out`/checkpoints/<task>/, then the runs of `out`/specs. Yields
    each folder when it is ready.

    Without `verbal`, the runs in which a model explains itself are left out. A build that was stopped resumes and keeps
    what it finished. One worker process builds each task. Raises InputError as the pipeline does.
    """
    out = out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    clear(out, seed)
    specs = sum(len(run_specs(out, task, seed, verbal=verbal)) for task in TASKS)
    plan = [(task, job) for task in TASKS for job in jobs()]
    all_steps = sum(job.steps for _, job in plan)
    home = out / "checkpoints"
    done = {f"{task} {job.name}": job.steps for task, job in plan if is_built(home / task, task, seed, job)}
    finished = 0
    context = get_context("spawn")
    messages = context.Queue()
    workers = [context.Process(target=_work, args=(out, t, seed, verbal, messages), daemon=True) for t in TASKS]
    for worker in workers:
        worker.start()
    try:
        while any(worker.is_alive() for worker in workers) or not messages.empty():
            try:
                kind, told = messages.get(timeout=0.5)
            except Empty:
                continue
            if kind == "failed":
                raise InputError(told)
            if kind == "step":
                done[told[0]] = told[1]
                progress("sample checkpoints, steps", sum(done.values()), all_steps)
                continue
            if told.parent == out:
                finished += 1
                progress("sample runs", finished, specs)
            yield told
        if any(worker.exitcode for worker in workers):
            raise InputError(f"{out}: a worker process was stopped; the same command resumes from there")
    finally:
        for worker in workers:
            worker.terminate()
            worker.join()
    (out / REBUILD).unlink()
