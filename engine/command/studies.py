"""The zoo, the sample runs, the runs on a real model, and studies."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Annotated

import typer

from engine import SAMPLES
from engine.command.options import OnCluster, Port, Quiet, ThenDashboard, workers_of
from engine.config import InputError
from engine.spec_files import read_spec
from engine.workers.local import HERE, Growing


def zoo(
    run: Annotated[Path | None, typer.Argument(help="folder of a run, whose behavior the look-alikes read")] = None,
    worlds: Annotated[bool, typer.Option("--worlds", help="draw worlds instead, one for each draw")] = False,
    alike: Annotated[bool, typer.Option("--alike", help="worlds in which x' is the same for all of an entity")] = False,
    draws: Annotated[int, typer.Option(min=1, help="number of draws of worlds or noise")] = 200,
    edit: Annotated[str | None, typer.Option(help="kind of edit; default: the run's first headline edit")] = None,
    checkpoint: Annotated[str | None, typer.Option(help="current checkpoint; default: the last one")] = None,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    figure: Annotated[Path | None, typer.Option(help="HTML file to draw the table's picture into")] = None,
    quiet: Quiet = False,
) -> None:
    """Score hand-built look-alikes of an honest explainer, and print which claims are shown of them."""
    from engine.progress import bars
    from engine.runs.files import readable_errors, replace_file
    from engine.runs.observed import Observed
    from engine.runs.store import Run
    from engine.zoo import table

    if (run is None) != worlds or (worlds and (edit or checkpoint)) or (alike and not worlds):
        raise InputError("zoo: give the folder of a run, with --edit and --checkpoint, or --worlds, with --alike")
    if figure and not figure.parent.is_dir():
        raise InputError(f"{figure}: can't be written: there is no folder {figure.parent}")
    with bars(quiet) as progress:
        if run is None:
            scored = table.on_worlds(draws, seed, alike, progress)
        else:
            record = Run.open(run)
            observed = Observed(record, record.measured)
            scored = table.on_run(observed, draws, edit=edit, checkpoint=checkpoint, seed=seed, progress=progress)
    typer.echo(table.markdown(scored))
    if figure:
        drawn = importlib.import_module("dashboard.charts.zoo")
        page = drawn.zoo(drawn.of_table(scored)).to_html().encode()
        with readable_errors(figure):
            replace_file(figure, lambda file: file.write(page))


def samples(
    out: Annotated[Path, typer.Option(help="folder of the checkpoints and runs")] = SAMPLES,
    seed: Annotated[int, typer.Option(min=0, help="0: the committed samples; 3 and above: kept for reporting")] = 0,
    quiet: Quiet = False,
) -> None:
    """Build the sample checkpoints and runs from nothing. A stopped build is resumed."""
    from engine.progress import bars
    from engine.studies import samples as build

    with bars(quiet) as progress:
        for folder in build.build(out, seed=seed, progress=progress):
            typer.echo(folder)


def real(
    tasks: Annotated[list[str] | None, typer.Argument(help="hints, bbq, refusal; default: all, two hours")] = None,
    out: Annotated[Path, typer.Option(help="folder of the model, the data and the runs")] = Path("runs/real"),
    model: Annotated[
        str | None, typer.Option(help="folder, .gguf file or hub id; default: SmolLM2-135M-Instruct from a package")
    ] = None,
    dashboard: ThenDashboard = False,
    port: Port = 8501,
    quiet: Quiet = False,
) -> None:
    """Make the runs on a real chat model and public data, from nothing. What was stopped is resumed."""
    from engine.progress import bars
    from engine.serve import serve
    from engine.studies import real as runs

    with bars(quiet) as progress:
        for folder in runs.make(out, tasks or (), model=model, progress=progress, workers=Growing()):
            typer.echo(folder)
    if dashboard:
        serve([out, SAMPLES], port, first=folder)


def study(
    spec: Annotated[Path, typer.Argument(help="YAML file with a name and seeds")],
    out: Annotated[Path | None, typer.Option(help="folder of the results; default: runs/study-NAME")] = None,
    every: Annotated[bool, typer.Option("--every", help="print every checkpoint, not only the last")] = False,
    noise: Annotated[bool, typer.Option("--noise", help="sample worlds: print every level of label noise")] = False,
    done: Annotated[bool, typer.Option("--done", help="make nothing; print the tables of what is done")] = False,
    workers: Annotated[int, typer.Option(min=1, help="self-explanation: parallel runs, one thread each")] = 1,
    split: Annotated[str, typer.Option(help="self-explanation: split to show")] = "test_heldout",
    cluster: OnCluster = None,
    quiet: Quiet = False,
) -> None:
    """Make the sample worlds, or runs of self-explanation, for several seeds, and print tables of their metrics.

    A stopped study is resumed. The last line is the folder of the results.
    """
    from engine.progress import bars
    from engine.studies import study as studies
    from engine.studies import verbal_study, verbal_tables

    resolved = studies.load_study(spec)
    folder, verbal = out or Path("runs") / f"study-{resolved.name}", resolved.verbal
    who = workers_of(cluster, workers) if cluster or workers > 1 else HERE  # an item is a whole run
    with bars(quiet) as progress:
        if verbal:
            base = spec.resolve().parent
            rows = verbal_study.run_verbal_study(
                verbal, resolved.seeds, base, folder, progress, make=not done, workers=who
            )
            tables = verbal_tables.markdown(rows, verbal, split, every_checkpoint=every)
        else:
            found = studies.run_study(resolved, folder, SAMPLES, progress, make=not done, workers=who)
            tables = f"{studies.seeds_in_words(resolved, folder, found)}\n\n{studies.markdown(found, every, noise)}"
    typer.echo(tables)
    typer.echo(folder)


def stress(
    spec: Annotated[Path, typer.Argument(help="YAML spec; sample_runs/specs/stress.yml is one to start from")],
    out: Annotated[Path | None, typer.Option(help="folder of the results; default: runs/stress-NAME")] = None,
    tables: Annotated[Path | None, typer.Option(help="only print the results in this folder")] = None,
    quiet: Quiet = False,
) -> None:
    """Test the sample checkpoints under sharp drift and an adversary; measure monitoring and cost; print tables."""
    from engine.studies.stress_spec import StressSpec

    resolved = read_spec(spec, StressSpec)
    from engine.progress import bars
    from engine.studies import stress as stressing
    from engine.studies import stress_tables

    if tables is not None:
        typer.echo(stress_tables.markdown(stressing.read_tables(tables)))
        return
    folder = out or Path("runs") / f"stress-{resolved.name}"
    with bars(quiet) as progress:
        found = stressing.run_stress(resolved, folder, SAMPLES, progress)
    typer.echo(stress_tables.markdown(found))
    typer.echo(folder)
