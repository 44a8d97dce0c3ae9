"""Start the dashboard as a subprocess, on this machine only."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from engine import ROOT, child_environment
from engine.config import InputError

APP = ROOT / "dashboard" / "app.py"
ADDRESS = "127.0.0.1"
PORTS_TRIED = 20
GRACE = 10
"""Seconds from asking the server to stop until it is killed. It writes no file, so nothing is lost."""
GIVES_MEMORY_BACK = {"MALLOC_ARENA_MAX": "2", "MALLOC_MMAP_THRESHOLD_": "1000000"}
"""Settings of glibc: large arrays that were freed go back to the system at once. Other systems ignore them."""


def free_port(port: int) -> int:
    """`port`, or the next free one; raises InputError where PORTS_TRIED in a row are busy."""
    for candidate in range(port, min(port + PORTS_TRIED, 65536)):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((ADDRESS, candidate))
            except OSError:
                continue
            return candidate
    raise InputError(f"port {port} and the next {PORTS_TRIED - 1} are busy: give another one with --port")


def serve(folders: Sequence[Path], port: int, first: Path | None = None) -> None:
    """Serve until interrupted. `first` is the run that the printed address opens."""
    missing = [f for f in folders if not f.exists() and f.name != "runs"]
    if missing:
        raise InputError(f"{missing[0]}: no such folder: give a folder that holds runs")
    chosen = free_port(port)
    if chosen != port:
        print(f"Port {port} is busy; using {chosen}.")
    query = f"/?run={quote(first.name)}" if first else ""
    print(f"Dashboard: http://{ADDRESS}:{chosen}{query}   (Ctrl-C ends it)", flush=True)
    runs = os.pathsep.join(str(f.resolve()) for f in folders)
    environment = GIVES_MEMORY_BACK | child_environment(COUPLING_RUNS=runs, COUPLING_PARENT=str(os.getpid()))
    command = [sys.executable, "-m", "streamlit", "run", str(APP), "--server.headless", "true"]
    command += ["--server.address", ADDRESS, "--server.port", str(chosen)]
    process = subprocess.Popen(command, env=environment, cwd=APP.parent)
    try:
        code = process.wait()
    except KeyboardInterrupt:
        process.terminate()
        try:
            process.wait(GRACE)
        except subprocess.TimeoutExpired:  # Streamlit forgets a signal that comes while it starts
            process.kill()
            process.wait()
        print("\nDashboard stopped.")
        return
    if code:
        raise InputError(f"the dashboard ended with exit code {code}; see its own message above")
