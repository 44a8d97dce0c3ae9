"""Open the dashboard."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from engine import SAMPLES
from engine.command.options import Port
from engine.command.runs import make


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


def demo(
    port: Port = 8501, out: Annotated[Path, typer.Option(help="folder of the new run")] = Path("runs/demo")
) -> None:
    """Make a small run from the sample checkpoints, then open it beside the sample runs."""
    from engine.serve import serve

    make(SAMPLES / "specs" / "demo.yaml", out)
    serve([out.parent, SAMPLES], port, first=out)
