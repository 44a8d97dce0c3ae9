"""The command `coupling`."""

from __future__ import annotations

import importlib
import json
import signal
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from engine import SAMPLES
from engine.config import CheckpointSpec, InputError, PatchingSpec
from engine.importing.options import FORMATS
from engine.spec_files import load_spec, parse_spec, read_spec
from engine.workers.local import HERE, Growing, Processes, Workers

app = typer.Typer(
    help="Measure whether a language model's explanations of itself track what it does now.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
Quiet = Annotated[bool, typer.Option("--quiet", help="show no progress bars")]
OnCluster = Annotated[
    str | None,
    typer.Option("--cluster", help="Ray cluster to work on: auto, or an address; engine/workers/CLUSTER.md"),
]
Port = Annotated[int, typer.Option(min=1, max=65535, help="port to serve on; if it is busy, the next free one")]

INTERRUPTED, FAULT = 130, 70
"""Exit codes, beside 2 for bad input and 1 for a damaged run."""


@app.command("run")
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


def workers_of(cluster: str | None, processes: int | None) -> Workers:
    """The cluster, if there is an address; else so many processes of one thread each; None: as suits the work."""
    if cluster is not None:
        from engine.workers.cluster import Cluster

        return Cluster(cluster)
    return Growing() if processes is None else Processes(processes)


@app.command()
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


@app.command("import")
def import_data(
    context: typer.Context,
    format: Annotated[str | None, typer.Argument(help=" | ".join(FORMATS))] = None,
    file: Annotated[str | None, typer.Argument(help="file; hf: a folder in the hub's layout, or a hub id")] = None,
    name: Annotated[
        str | None, typer.Option("--task", help="name of the data and the run; default: the file's")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="folder to write; default: imported/NAME")] = None,
    edits: Annotated[list[str] | None, typer.Option("--edit", help="repeatable; default: the format's usual")] = None,
    hint: Annotated[str | None, typer.Option(help="sentence with {speaker} and {answer}")] = None,
    speakers: Annotated[Path | None, typer.Option(help="text file, one speaker a line; default: 48 people")] = None,
    hints: Annotated[
        int | None, typer.Option(help="hints for each question, by different speakers; default: 1")
    ] = None,
    replacement: Annotated[str | None, typer.Option(help="text in place of the speaker or the focus word")] = None,
    columns: Annotated[list[str] | None, typer.Option(help="tables: prompt=NAME,edited=NAME,answer_a=NAME,…")] = None,
    answer_a: Annotated[str | None, typer.Option(help="answer a of all rows (xstest: the refusal)")] = None,
    answer_b: Annotated[str | None, typer.Option(help="answer b of all rows (xstest: the compliance)")] = None,
    answers: Annotated[str | None, typer.Option(help="letters or words, for questions with choices")] = None,
    closing: Annotated[str | None, typer.Option(help=r"end of each prompt; default: \nAnswer:")] = None,
    chat: Annotated[
        bool, typer.Option("--chat", help="for chat models: messages, in which the closing begins the answer")
    ] = False,
    validation: Annotated[float, typer.Option(help="share of questions or groups held out for validation")] = 0.1,
    test_heldout: Annotated[float, typer.Option(help="share of questions or groups held out for the test")] = 0.3,
    test_iid: Annotated[float, typer.Option(help="share of prompts kept for test_iid")] = 0.1,
    seed: Annotated[int, typer.Option(help="seed of splits, speakers and hinted answers")] = 0,
    rows: Annotated[int | None, typer.Option(help="read only so many rows")] = None,
    licence: Annotated[str | None, typer.Option(help="licence of the data, for source.json")] = None,
    source: Annotated[str | None, typer.Option(help="where the data come from, for source.json")] = None,
    config: Annotated[str | None, typer.Option(help="hf: configuration (subset)")] = None,
    split: Annotated[str | None, typer.Option(help="hf: split to read; default: all")] = None,
    revision: Annotated[str | None, typer.Option(help="hf: branch, tag or commit of a hub id")] = None,
    show: Annotated[int, typer.Option(min=0, help="examples of each kind of edit in the preview")] = 1,
    dry_run: Annotated[bool, typer.Option("--dry-run", "--preview", help="write nothing")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="write without asking")] = False,
    overwrite: Annotated[bool, typer.Option("--replace", help="write over the folder's files")] = False,
    schema: Annotated[bool, typer.Option("--schema", help="print the JSON Schema of examples.jsonl; no file")] = False,
) -> None:
    """Turn public data, or a table, into examples and a spec to start from. Shows a preview first."""
    from engine.importing import folder as importing

    if schema:
        typer.echo(json.dumps(importing.schema(), ensure_ascii=False, indent=1))
        return
    if format is None or file is None:
        raise InputError(f"import: give FORMAT ({', '.join(FORMATS)}) and FILE, or --schema")
    spec = importing.spec_of(context.params)  # the parameters are called as the fields of ImportSpec
    folder = out or Path("imported") / spec.name
    if not dry_run:
        importing.check_folder(folder, overwrite)
    made = importing.read(spec)
    typer.echo(importing.preview(made, show))
    if dry_run:
        return
    if not yes and sys.stdin.isatty() and not typer.confirm(f"Write {folder}?", default=True):
        typer.echo("nothing written")
        raise typer.Exit(1)
    for path in importing.write(made, folder):
        typer.echo(path)


@app.command()
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


@app.command()
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


@app.command()
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


@app.command()
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


@app.command()
def dashboard(
    folders: Annotated[list[Path] | None, typer.Argument(help="with runs in them; default: runs sample_runs")] = None,
    port: Port = 8501,
    address: Annotated[str, typer.Option(help="where to listen; not on this machine only: with sign-in")] = "127.0.0.1",
    secrets: Annotated[Path | None, typer.Option(help="TOML file with Streamlit's table [auth], for sign-in")] = None,
    roles: Annotated[Path | None, typer.Option(help="TOML file: who is viewer, auditor or operator")] = None,
) -> None:
    """Serve the dashboard until Ctrl-C: on 127.0.0.1, or to others who sign in (dashboard/serving/README.md)."""
    from engine.serve import serve

    serve(folders or [Path("runs"), SAMPLES], port, address=address, secrets=secrets, roles=roles)


@app.command()
def demo(
    port: Port = 8501, out: Annotated[Path, typer.Option(help="folder of the new run")] = Path("runs/demo")
) -> None:
    """Make a small run from the sample checkpoints, then open it beside the sample runs."""
    from engine.serve import serve

    make(SAMPLES / "specs" / "demo.yaml", out)
    serve([out.parent, SAMPLES], port, first=out)


@app.command()
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


@app.command()
def real(
    tasks: Annotated[list[str] | None, typer.Argument(help="hints, bbq, refusal; default: all, two hours")] = None,
    out: Annotated[Path, typer.Option(help="folder of the model, the data and the runs")] = Path("runs/real"),
    model: Annotated[
        str | None, typer.Option(help="folder, .gguf file or hub id; default: SmolLM2-135M-Instruct from a package")
    ] = None,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="serve the dashboard there afterwards")] = None,
    quiet: Quiet = False,
) -> None:
    """Make the runs on a real chat model and public data, from nothing. What was stopped is resumed."""
    from engine.progress import bars
    from engine.serve import serve
    from engine.studies import real as runs

    with bars(quiet) as progress:
        for folder in runs.make(out, tasks or (), model=model, progress=progress, workers=Growing()):
            typer.echo(folder)
    if port:
        serve([out, SAMPLES], port, first=folder)


@app.command()
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


@app.command()
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


@app.command()
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


def _fail(message: str, code: int) -> NoReturn:
    print(message, file=sys.stderr)
    sys.exit(code)


def main() -> None:
    """Entry point. Bad input ends with one line and exit code 2, Ctrl-C with 130; both keep all finished work.

    A fault of the program ends with one line and 70; its traceback is in a log file.
    """
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
    except MemoryError as error:
        why = f"this machine has not enough memory for it ({str(error)[:200] or 'no more is given'})"
        _fail(f"coupling: {why}: finished work is kept; give smaller numbers, or fewer examples", 2)
    except Exception as error:  # the net below all checks: a fault of the program, not of its input
        if isinstance(error, OSError) and error.filename is not None:
            _fail(f"coupling: {str(error.filename)[:300]}: {error.strerror or error}: check this file or folder", 2)
        with tempfile.NamedTemporaryFile("w", prefix="coupling-", suffix=".log", delete=False) as log:
            log.write(traceback.format_exc())
        what = f"a fault of the program ({type(error).__name__}); finished work is kept"
        _fail(f"coupling: {what}. The details are in {log.name}: please report them", FAULT)


if __name__ == "__main__":
    main()
