"""Start the dashboard as a subprocess: on this machine only, or elsewhere with sign-in."""

from __future__ import annotations

import importlib
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


def free_port(port: int, address: str = ADDRESS, tried: int = PORTS_TRIED) -> int:
    """`port`, or the next free one; raises InputError where as many as `tried` in a row are busy."""
    for candidate in range(port, min(port + tried, 65536)):
        with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address, candidate))
            except OSError:
                continue
            return candidate
    following = f" and the next {tried - 1} are" if tried > 1 else " is"
    raise InputError(f"port {port} of {address}{following} busy: give another one with --port")


def serve(
    folders: Sequence[Path],
    port: int,
    first: Path | None = None,
    address: str = ADDRESS,
    secrets: Path | None = None,
    roles: Path | None = None,
) -> None:
    """Serve until interrupted. `first` is the run that the printed address opens.

    secrets, roles: files for sign-in, without which only this machine's own addresses are served. Raises InputError.
    """
    missing = [f for f in folders if not f.exists() and f.name != "runs"]
    if missing:
        raise InputError(f"{missing[0]}: no such folder: give a folder that holds runs")
    sign_in = importlib.import_module("dashboard.serving.sign_in").checked(address, secrets, roles)
    # The provider, or a proxy, knows the port of a server with sign-in: it may not be another one.
    chosen = free_port(port, address, tried=1 if sign_in else PORTS_TRIED)
    if chosen != port:
        print(f"Port {port} is busy; using {chosen}.")
    query = f"/?run={quote(first.name)}" if first else ""
    origin = sign_in.origin if sign_in else f"http://{address}:{chosen}"
    print(f"Dashboard: {origin}{query}   (Ctrl-C ends it)", flush=True)
    runs = os.pathsep.join(str(f.resolve()) for f in folders)
    environment = GIVES_MEMORY_BACK | child_environment(COUPLING_RUNS=runs, COUPLING_PARENT=str(os.getpid()))
    command = [sys.executable, "-m", "streamlit", "run", str(APP), "--server.headless", "true"]
    command += ["--server.address", address, "--server.port", str(chosen)]
    if sign_in and secrets and roles:
        environment |= {"COUPLING_ROLES": str(roles.resolve())}
        command += ["--secrets.files", str(secrets.resolve()), "--browser.serverAddress", sign_in.host]
        for host in dict.fromkeys((sign_in.host, ADDRESS, "localhost")):  # the latter two: to ask for its health
            command += ["--server.allowedHosts", host]
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
