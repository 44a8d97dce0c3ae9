"""The command `coupling`."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from engine import SAMPLES
from engine.config import InputError, load_spec, parse_patching

app = typer.Typer(
    help="Measure whether a language model's explanations of itself track what it does now.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

INTERRUPTED = 130


@app.command()
def run(
    spec: Annotated[Path, typer.Argument(help="a YAML spec; sample_runs/specs has some to start from")],
    out: Annotated[Path | None, typer.Option(help="the run's folder; default: runs/NAME of the spec")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="no progress bars")] = False,
) -> None:
    """Run it all: examples, behavior, explanations, metrics. A run that was stopped goes on where it was."""
    resolved = load_spec(spec)
    from engine import pipeline
    from engine.progress import bars

    folder = out or Path("runs") / resolved.name
    with bars(quiet) as progress:
        finished = pipeline.run(resolved, folder, progress=progress)
    typer.echo(finished.path)


@app.command()
def report(
    run: Annotated[Path, typer.Argument(help="the folder of a run")],
    as_json: Annotated[bool, typer.Option("--json", help="every row, as JSON")] = False,
    split: Annotated[str, typer.Option(help="the split that the table shows")] = "test_heldout",
) -> None:
    """Print the metrics of a run, with their controls."""
    from engine.runs.report import print_report
    from engine.runs.report import report as read

    if as_json:
        typer.echo(json.dumps(read(run), ensure_ascii=False, allow_nan=False, indent=1))
    else:
        print_report(run, split=split)


@app.command()
def verify(runs: Annotated[list[Path], typer.Argument(help="folders of runs")]) -> None:
    """Check hashes and schemas; exit 1 and say which part is damaged."""
    from engine.runs.store import verify as problems_of

    damaged = False
    for path in runs:
        problems = problems_of(path)
        damaged |= bool(problems)
        for problem in problems:
            typer.echo(f"{path}: {problem}")
        if not problems:
            typer.echo(f"{path}: sound")
    if damaged:
        raise typer.Exit(1)


@app.command()
def dashboard(
    folders: Annotated[
        list[Path] | None, typer.Argument(help="folders that hold runs; default: runs sample_runs")
    ] = None,
    port: Annotated[int, typer.Option(min=1, max=65535, help="the next free one is taken if it is busy")] = 8501,
) -> None:
    """Serve the dashboard on 127.0.0.1 until Ctrl-C."""
    from engine.serve import serve

    serve(folders or [Path("runs"), SAMPLES], port)


@app.command()
def demo(
    port: Annotated[int, typer.Option(min=1, max=65535, help="the next free one is taken if it is busy")] = 8501,
    out: Annotated[Path, typer.Option(help="where the fresh run goes")] = Path("runs/demo"),
) -> None:
    """Make a small fresh run from the sample checkpoints, then open it beside the sample runs."""
    from engine.serve import serve

    run(SAMPLES / "specs" / "demo.yaml", out)
    serve([out.parent, SAMPLES], port, first=out)


@app.command()
def samples(
    out: Annotated[Path, typer.Option(help="where checkpoints and runs go")] = SAMPLES,
    seed: Annotated[int, typer.Option(min=0, help="0 is the committed one; 3 and up are held back for reporting")] = 0,
    quiet: Annotated[bool, typer.Option("--quiet", help="no progress bars")] = False,
) -> None:
    """Rebuild the sample checkpoints and runs from nothing. Goes on where it was stopped."""
    from engine.progress import bars
    from engine.studies import samples as build

    with bars(quiet) as progress:
        for folder in build.build(out, seed=seed, progress=progress):
            typer.echo(folder)


@app.command()
def study(
    spec: Annotated[Path, typer.Argument(help="a YAML file with name and seeds")],
    out: Annotated[Path | None, typer.Option(help="default: runs/study-NAME")] = None,
    every: Annotated[bool, typer.Option("--every", help="the table at every checkpoint, not the last alone")] = False,
    done: Annotated[bool, typer.Option("--done", help="of self-explanation: read what is there, make nothing")] = False,
    workers: Annotated[int, typer.Option(min=1, help="of self-explanation: runs made at once, a thread each")] = 1,
    split: Annotated[str, typer.Option(help="of self-explanation: test_heldout or validation")] = "test_heldout",
    quiet: Annotated[bool, typer.Option("--quiet", help="no progress bars")] = False,
) -> None:
    """The sample worlds, or runs of self-explanation, over several seeds: metrics only, resumable. Prints the README's
    tables, the folder last."""
    from engine.progress import bars
    from engine.studies import study as studies
    from engine.studies import verbal_study, verbal_tables

    resolved = studies.load_study(spec)
    folder = out or Path("runs") / f"study-{resolved.name}"
    if resolved.verbal:
        with bars(quiet) as progress:
            base = spec.resolve().parent
            rows = verbal_study.run_verbal_study(
                resolved.verbal, resolved.seeds, base, folder, progress, make=not done, workers=workers
            )
        typer.echo(verbal_tables.markdown(rows, resolved.verbal, split, every_checkpoint=every))
        typer.echo(folder)
        return
    with bars(quiet) as progress:
        table = studies.run_study(resolved, folder, SAMPLES, progress)
    typer.echo(studies.markdown(table, every_checkpoint=every))
    typer.echo(folder)


@app.command()
def patch(
    run: Annotated[Path, typer.Argument(help="the folder of a finished run; the maps are added to it")],
    checkpoint: Annotated[
        list[str] | None, typer.Option(help="a current checkpoint by its name; default: the first and the last")
    ] = None,
    edit: Annotated[list[str] | None, typer.Option(help="a kind of edit; default: that of the chosen ridge")] = None,
    examples: Annotated[int, typer.Option(min=2, help="how many of each kind of edit")] = 200,
    split: Annotated[str, typer.Option(help="whose examples")] = "test_heldout",
    seed: Annotated[int, typer.Option(min=0, help="of the draw of examples, shuffles and bootstrap")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, mps, cuda, or one such as cuda:1")] = "auto",
    quiet: Annotated[bool, typer.Option("--quiet", help="no progress bars")] = False,
) -> None:
    """Patch x with states of x', by layer and position: are behavior and explanation restored at the same places?"""
    options = {"checkpoints": checkpoint or (), "edits": edit or (), "examples": examples, "split": split}
    resolved = parse_patching(options | {"seed": seed, "device": device})
    from engine.patching import maps
    from engine.patching import stage as mechanism
    from engine.progress import bars

    with bars(quiet) as progress:
        finished = mechanism.patch_run(run, resolved, progress)
    typer.echo(maps.markdown(mechanism.agreements(finished)))
    typer.echo(finished.path)


@app.command()
def stress(
    spec: Annotated[Path, typer.Argument(help="a YAML file; sample_runs/specs/stress.yml is one to start from")],
    out: Annotated[Path | None, typer.Option(help="default: runs/stress-NAME")] = None,
    tables: Annotated[
        Path | None,
        typer.Option(help="only print what stands in the tables of this folder, such as sample_runs/stress"),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="no progress bars")] = False,
) -> None:
    """Sharp drifts, an adversary, monitoring and cost, on the sample checkpoints. Prints the README's tables."""
    from engine.config import load_stress

    resolved = load_stress(spec)
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


def _fail(message: str, code: int) -> NoReturn:
    print(message, file=sys.stderr)
    sys.exit(code)


def main() -> None:
    """Entry point: bad input ends with one line and exit code 2, Ctrl-C with 130; nothing is lost by either."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        app()
    except InputError as error:
        _fail(f"coupling: {error}", 2)
    except (KeyboardInterrupt, SystemExit) as stop:
        if isinstance(stop, SystemExit) and stop.code != INTERRUPTED:  # typer turns Ctrl-C into an exit code
            raise
        _fail("coupling: stopped; the same command goes on from here", INTERRUPTED)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(0)


if __name__ == "__main__":
    main()
