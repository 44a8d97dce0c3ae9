"""A dashboard ends when the command that started it was killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap

from engine import ROOT, child_environment

SERVER = f"""
import signal, sys, time
sys.path.insert(0, {str(ROOT)!r})
from dashboard.serving import parent
parent.LOOK = parent.GRACE = 0.05
parent.end_with_parent()
print("serving", flush=True)
signal.signal(signal.SIGTERM, {{how}})
while True:
    time.sleep(0.05)
"""
COMMAND = """
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", sys.argv[1]], env=os.environ | {"COUPLING_PARENT": str(os.getpid())})
time.sleep(600)
"""


def ended(how: str) -> None:
    """Start a command that starts a server, kill the command, and wait for the end of the server's output."""
    server = textwrap.dedent(SERVER).format(how=how)
    command = subprocess.Popen(
        [sys.executable, "-c", COMMAND, server], stdout=subprocess.PIPE, text=True, env=child_environment()
    )
    assert command.stdout and command.stdout.readline() == "serving\n"
    os.kill(command.pid, signal.SIGKILL)
    command.wait()
    assert command.stdout.read() == "", "the server holds this pipe for as long as it lives"


def test_it_ends_by_a_signal_or_by_force() -> None:
    ended("signal.SIG_DFL")
    ended("signal.SIG_IGN")
