"""Make a run, report on it, and keep it in order."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from engine.command.options import OnCluster, Port, Quiet, ThenDashboard, workers_of
from engine.config import CheckpointSpec, InputError, PatchingSpec
from engine.spec_files import load_spec, parse_spec


def make(
    spec: Annotated[Path, typer.Argument(help="YAML spec; sample_runs/specs has some to start from")],
    out: Annotated[Path | None, typer.Option(help="the run's folder; default: runs/NAME, NAME from the spec")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="measure a few examples; say what each stage will take; write nothing")
    ] = False,
    cluster: OnCluster = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="processes of one thread each that measure; default: as suits the work")
    ] = None,
    dashboard: ThenDashboard = False,
    port: Port = 8501,
    quiet: Quiet = False,
) -> None:
    """Make a run: examples, behavior, explanations, metrics. A stopped run is resumed."""
    resolved = load_spec(spec)
    from engine import pipeline
    from engine.measuring import forecast
    from engine.progress import bars

    with bars(quiet) as progress:
        if dry_run:
            costs = forecast.forecast(resolved, pipeline.load_examples(resolved), progress)
            typer.echo(forecast.markdown(costs, out or Path("runs") / resolved.name))
            return
        finished = pipeline.make_run(
            resolved, out or Path("runs") / resolved.name, progress=progress, workers=workers_of(cluster, workers)
        )
    for why in finished.diverged.values():
        typer.echo(f"not testable: {why}", err=True)
    typer.echo(finished.path)
    if dashboard:
        from engine.serve import serve

        serve([finished.path.parent], port, first=finished.path)


def report(
    run: Annotated[Path | None, typer.Argument(help="folder of a run")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print every row as JSON, all splits")] = False,
    split: Annotated[str, typer.Option(help="split to show, without --json")] = "test_heldout",
    schema: Annotated[bool, typer.Option("--schema", help="print what each column means, as JSON; no run")] = False,
) -> None:
    """Print the metrics of a run, with their controls."""
    from engine.runs import report as reports

    if (run is None) != schema:
        raise InputError("report: give the folder of a run, or --schema")
    if run is None:
        typer.echo(json.dumps(reports.schema(), ensure_ascii=False, indent=1))
    elif as_json:
        typer.echo(json.dumps(reports.report(run), ensure_ascii=False, allow_nan=False, indent=1))
    else:
        reports.print_report(run, split)


def verify(runs: Annotated[list[Path], typer.Argument(help="folders of runs")]) -> None:
    """Check the hashes of runs, their columns, and what these hold. Each line names a damaged part.

    Exit code 1 if a run is damaged, 2 if a folder holds no run; the others are checked all the same.
    """
    from engine.runs.files import MANIFEST, is_file
    from engine.runs.verify import verify as problems_of

    there = [path for path in runs if is_file(path / MANIFEST)]
    problems = {path: problems_of(path) for path in there}
    for path, found in problems.items():
        for problem in found or ["sound"]:
            typer.echo(f"{path}: {problem}")
    if len(there) < len(runs):
        absent = ", ".join(str(path) for path in runs if path not in there)
        raise InputError(f"verify: no run here (no {MANIFEST}): {absent}")
    if any(problems.values()):
        raise typer.Exit(1)


def check(
    model: Annotated[str, typer.Argument(help="folder of a saved model, a .gguf file, or a hub id")],
    revision: Annotated[str | None, typer.Option(help="branch, tag or commit of the hub model")] = None,
    adapter: Annotated[str | None, typer.Option(help="peft adapter to put on the model")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, mps, cuda, or a numbered one: cuda:1")] = "auto",
    dtype: Annotated[str, typer.Option(help="float32, bfloat16 or float16")] = "float32",
) -> None:
    """Load a model as a run does, and say what it is, which path is taken, how fast it reads, and its memory."""
    given = {"name": "model--checked", "path": model, "revision": revision, "adapter": adapter}
    resolved = parse_spec(given, "check", CheckpointSpec)
    from engine.model.about import check as facts_of

    for name, fact in facts_of(resolved, device, dtype).items():
        typer.echo(f"{name}: {fact}")


def rescore(
    runs: Annotated[list[Path], typer.Argument(help="folders of finished runs")],
    quiet: Quiet = False,
) -> None:
    """Score stored runs anew with the measures of this version, from explanations and behavior; no model is loaded.

    Needed once for runs of an earlier version. The metrics as they were stay in the run, in metrics.before.parquet.
    """
    from engine.progress import bars
    from engine.rescore import rescore as score_anew

    for run in runs:
        with bars(quiet) as progress:
            finished = score_anew(run, progress)
        typer.echo(finished.path)


def patch(
    run: Annotated[Path, typer.Argument(help="folder of a finished run, to which the maps are added")],
    checkpoint: Annotated[list[str] | None, typer.Option(help="repeatable; default: first and last")] = None,
    edit: Annotated[list[str] | None, typer.Option(help="repeatable; default: that of the chosen explainer")] = None,
    examples: Annotated[int, typer.Option(min=2, help="patched examples of each kind of edit")] = 200,
    split: Annotated[str, typer.Option(help="split that the examples come from")] = "test_heldout",
    seed: Annotated[int, typer.Option(min=0, help="seed of the examples' draw, the shuffles and the bootstrap")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, mps, cuda, or a numbered one: cuda:1")] = "auto",
    trust: Annotated[
        list[str] | None, typer.Option(help="a checkpoint that gets what the run's spec allows it; repeatable")
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Patch x with hidden states of x': at which layers and positions are behavior and explanation restored?"""
    options = {"checkpoints": checkpoint or (), "edits": edit or (), "examples": examples, "split": split}
    resolved = parse_spec(options | {"seed": seed, "device": device}, "patch", PatchingSpec)
    from engine.patching import maps
    from engine.patching import stage as mechanism
    from engine.progress import bars

    with bars(quiet) as progress:
        finished = mechanism.patch_run(run, resolved, progress, trusted=trust or ())
    typer.echo(maps.markdown(mechanism.agreements(finished)))
    typer.echo(finished.path)
