"""Turn data into examples."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from engine.config import InputError
from engine.importing.options import FORMATS


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
    models: Annotated[
        list[str] | None,
        typer.Option(
            "--model", help="checkpoint for the spec, in order: MODEL, ID@REVISION or MODEL+ADAPTER; repeatable"
        ),
    ] = None,
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
