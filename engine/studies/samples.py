"""The sample checkpoints and runs: tiny models that learn the worlds' rules from sampled dialogues.

`build` makes all of it from nothing and goes on where it was stopped: a checkpoint whose manifest
(`training.json`, written last) says the same is not trained again. The two tasks train side by side,
one process and one thread each, so that the weights do not depend on the number of cores.
"""

from __future__ import annotations

import json
import os
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
from engine.tasks.worlds import WorldName, check_world, draw_rules, sample_dialogues

MANIFEST = "training.json"
WORLDS_REPORT = "worlds.json"
REBUILD = ".rebuild"
"""Stands in the folder while it is being rebuilt; holds the seed."""
SPECS = SAMPLES / "specs"
TASKS = tuple(FACTORS)
SHAPE = {"width": 88, "layers": 4, "heads": 4}
VOCABULARY = {"gpt2": 768, "llama": 704}
STAGES = 6
"""Checkpoints of the trajectory after θ0: the rules turn by 15 degrees from one to the next."""
PRETRAINING_STEPS = {"gpt2": 2000, "llama": 1600}
STAGE_STEPS = 400
PASSED_THROUGH = f"gpt2--step-{STAGE_STEPS:04d}"
"""The first stage is hardly apart from θ0 (ρ ≈ 0.96): it is trained, and not kept."""
WORLD_STEPS = {"cue": 600, "shared": 500, "base": 600, "rescale": 400, "unrelated": 300}
PROMPTS_A_STEP = 64
ANSWERS_A_PROMPT = 16
PATCHED = {"sycophancy": ("delete_cue", "replace_speaker"), "refusal": ("delete_cue", "replace_asker")}
"""The edits whose patching maps the main runs hold: the chosen one, and one that leaves most tokens in their places."""
ANSWER_WEIGHT = 30.0
LEARN_PROMPT_OF = 4
"""All tokens of one prompt in so many are learnt, of the others the answers."""
RATE = {"pretraining": 1e-2, "post-training": 5e-3}


@dataclass(frozen=True)
class Job:
    """One checkpoint to train, from nothing or from another as it was saved."""

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


def jobs(worlds: Sequence[WorldName] = ("cue", "shared")) -> list[Job]:
    """The checkpoints of one task: a trajectory, the last checkpoints of other worlds, another family's θ0."""
    first = Job("gpt2--step-0000", "gpt2", "independent", 0.0, PRETRAINING_STEPS["gpt2"], 0)
    plan = [first]
    for stage in range(1, STAGES + 1):
        step = stage * STAGE_STEPS
        name = f"gpt2--step-{step:04d}"
        plan.append(Job(name, "gpt2", "independent", stage / STAGES, STAGE_STEPS, step, plan[-1].name))
    plan.append(Job("llama--step-0000", "llama", "independent", 0.0, PRETRAINING_STEPS["llama"], 0))
    for world in worlds:
        steps = WORLD_STEPS[world]
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
        "learning_rate": RATE["post-training" if job.start else "pretraining"],
    }


def is_built(folder: Path, task: str, seed: int, job: Job) -> bool:
    """Whether the checkpoint is there, whole, and was made with these very settings."""
    try:
        return json.loads((folder / job.name / MANIFEST).read_text()) == _manifest(task, seed, job)
    except (OSError, ValueError):
        return False


def _tokenizer(task: str, seed: int, family: str) -> Any:
    from engine.training.loop import train_tokenizer

    factors = FACTORS[task]
    rng = np.random.default_rng([seed, 10])
    prompts, answers = sample_dialogues(factors, draw_rules(factors, seed, family).start, rng, 6000)
    texts = [prompt + sampled[0] for prompt, sampled in zip(prompts, answers, strict=True)]
    return train_tokenizer(texts, VOCABULARY[family], bos=family == "llama")


def train_job(folder: Path, task: str, seed: int, job: Job, progress: Progress = silent) -> Path:
    """Train and save one checkpoint of a task; returns its folder. Skips what is built."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils.logging import disable_progress_bar

    from engine.training.loop import encode_dialogues, new_model, train

    target = folder / job.name
    if is_built(folder, task, seed, job):
        return target
    disable_progress_bar()
    factors = FACTORS[task]
    if job.start:
        tokenizer = AutoTokenizer.from_pretrained(folder / job.start)
        model = AutoModelForCausalLM.from_pretrained(folder / job.start, dtype=torch.float32)
    else:
        tokenizer = _tokenizer(task, seed, job.family)
        model = new_model(job.family, len(tokenizer), **(job.shape or SHAPE), seed=seed)
    rule = draw_rules(factors, seed, job.family).at(job.world, job.progress)
    rng = np.random.default_rng([seed, *job.name.encode()])

    def sample(_: int) -> Any:
        dialogues = sample_dialogues(factors, rule, rng, PROMPTS_A_STEP, ANSWERS_A_PROMPT)
        return encode_dialogues(tokenizer, *dialogues, answer_weight=ANSWER_WEIGHT, every=LEARN_PROMPT_OF)

    rate = RATE["post-training" if job.start else "pretraining"]
    stage = f"{task} {job.name}"
    train(model, sample, steps=job.steps, learning_rate=rate, on_step=lambda done, _: progress(stage, done, job.steps))
    save(model, tokenizer, target, _manifest(task, seed, job))
    return target


def save(model: Any, tokenizer: Any, target: Path, manifest: dict[str, Any]) -> None:
    """Save a checkpoint in bfloat16 into a fresh folder; the manifest of its settings comes last."""
    import torch

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

    report = folder / WORLDS_REPORT
    counts = PromptCounts(train=1, validation=1, test_heldout=1000, test_iid=600)
    examples = examples_table(
        task_examples(TaskSpec.model_validate({"name": task, "prompts": counts, "edits": ["delete_cue"]}))
    )

    def behavior(job: Job) -> Behavior:
        spec = CheckpointSpec.model_validate({"name": job.name, "path": str(folder / job.name)})
        measured = measure(load(spec, device="cpu"), examples)
        return Behavior(measured.f.astype(float), measured.f_edited.astype(float))

    trained = [job for job in plan if job.family == "gpt2"]
    first, *others = [behavior(job) for job in trained]
    rows = {
        job.name: {"progress": job.progress, "step": job.step, **asdict(check_world(job.world, first, now))}
        for job, now in zip(trained[1:], others, strict=True)
    }
    for job in trained[1:]:
        if job.progress < 1:  # on the way there nothing has to have moved far
            rows[job.name]["as_designed"] = None
    changed = float(np.mean((first.f > 0) != (first.f_edited > 0)))
    report.write_text(
        json.dumps({"seed": seed, "edit": "delete_cue", "has_changed": changed, "worlds": rows}, indent=1)
    )
    return report


def run_specs(out: Path, task: str, seed: int = 0) -> list[Path]:
    """The specs of a task's sample runs; where `out` has none, copies of ours that name the seed."""
    folder = out / "specs"
    if not folder.is_dir():
        folder.mkdir(parents=True)
        for source in SPECS.glob("*.yaml"):
            text = source.read_text(encoding="utf-8")
            (folder / source.name).write_text(text.replace("Seed 0", f"Seed {seed}"), encoding="utf-8")
    return sorted(path for path in folder.glob("*.yaml") if path.stem.split("-")[0] == task)


def verbal_specs(out: Path, task: str) -> list[Path]:
    """The specs of a task's runs in which the model explains itself; `run_specs` has put them there."""
    return sorted((out / "specs").glob(f"verbal-{task}*.yaml"))


def _build_task(
    out: Path, task: str, seed: int, plan: Sequence[Job], runs: bool, verbal: bool, progress: Progress
) -> Iterator[Path]:
    folder = (out / "checkpoints" if runs else out) / task
    for job in plan:
        yield train_job(folder, task, seed, job, progress)
    if not runs:
        return
    from engine.patching.stage import patch_run
    from engine.pipeline import make_run

    check_worlds(folder, task, seed, plan)
    specs = run_specs(out, task, seed) + (verbal_specs(out, task) if verbal else [])
    for spec in map(load_spec, specs):
        yield make_run(spec, out / spec.name).path
    if seed == 0 and (out / task).is_dir():  # the committed runs show them; a study keeps metrics only
        patch_run(out / task, PatchingSpec(edits=PATCHED[task]))
    shutil.rmtree(folder / PASSED_THROUGH, ignore_errors=True)


def _work(out: Path, task: str, seed: int, plan: Sequence[Job], runs: bool, verbal: bool, messages: Any) -> None:
    """Everything of one task, in a process of its own; what happens is told in messages."""
    import torch

    torch.set_num_threads(1)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    try:
        for folder in _build_task(out, task, seed, plan, runs, verbal, lambda *told: messages.put(("step", told))):
            messages.put(("ready", str(folder)))
    except InputError as error:
        messages.put(("failed", str(error)))
    except KeyboardInterrupt:
        pass


def clear(out: Path, seed: int, tasks: Sequence[str]) -> None:
    """Remove what an earlier build left, unless that very build was stopped on its way."""
    mark = out / REBUILD
    if mark.is_file() and mark.read_text() == str(seed):
        return
    for task in tasks:
        shutil.rmtree(out / "checkpoints" / task, ignore_errors=True)
        for spec in run_specs(out, task, seed) + verbal_specs(out, task):
            shutil.rmtree(out / spec.stem, ignore_errors=True)
    mark.write_text(str(seed))


def build(
    out: Path,
    seed: int = 0,
    progress: Progress = silent,
    *,
    worlds: Sequence[WorldName] = ("cue", "shared"),
    tasks: Sequence[str] = TASKS,
    verbal: bool = True,
) -> Iterator[Path]:
    """From nothing: checkpoints into `out`/checkpoints/<task>/, then the runs of `out`/specs; yields each when ready.

    Without `verbal`, not those in which a model explains itself. A build that was stopped goes on: what it finished is
    left as it is. Raises InputError as the pipeline does.
    """
    out = out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    clear(out, seed, tasks)
    yield from _build(out, seed, progress, worlds, tasks, verbal=verbal)
    (out / REBUILD).unlink()


def _build(
    out: Path,
    seed: int,
    progress: Progress,
    worlds: Sequence[WorldName],
    tasks: Sequence[str],
    *,
    runs: bool = True,
    verbal: bool = False,
) -> Iterator[Path]:
    """One worker process for each task; its messages become progress and folders."""
    plan = jobs(worlds)
    specs = (
        sum(len(run_specs(out, task, seed)) + verbal * len(verbal_specs(out, task)) for task in tasks) if runs else 0
    )
    sizes = {f"{task} {job.name}": job.steps for task in tasks for job in plan}
    home = out / "checkpoints" if runs else out
    done = {f"{t} {j.name}": j.steps for t in tasks for j in plan if is_built(home / t, t, seed, j)}
    finished = 0
    context = get_context("spawn")
    messages = context.Queue()
    workers = [
        context.Process(target=_work, args=(out, task, seed, plan, runs, verbal, messages), daemon=True)
        for task in tasks
    ]
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
                progress("sample checkpoints, steps", sum(done.values()), sum(sizes.values()))
            else:
                folder = Path(told)
                if runs and folder.parent == out:
                    finished += 1
                    progress("sample runs", finished, specs)
                yield folder
        if any(worker.exitcode for worker in workers):
            raise InputError(f"{out}: a worker was stopped; the same command goes on from there")
    finally:
        for worker in workers:
            worker.terminate()
            worker.join()
