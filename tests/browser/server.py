"""A dashboard served for a test or a benchmark, and a page of it that has been drawn."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Page

from engine.serve import GIVES_MEMORY_BACK

ROOT = Path(__file__).parent.parent.parent
PATIENCE = 40_000
"""Milliseconds that a page is given: both cores may be busy with something else."""

AT_REST = """() => {
  const now = () => performance.now();
  if (!window.lately) {
    const lately = window.lately = { at: now(), unanswered: false };
    const stirred = () => { lately.at = now(); };
    for (const kind of ['keydown', 'keyup', 'input', 'pointerdown', 'pointerup'])
      addEventListener(kind, stirred, true);
    new MutationObserver(stirred).observe(document, { childList: true, subtree: true, characterData: true });
    const send = WebSocket.prototype.send;
    const heard = () => { lately.unanswered = false; stirred(); };
    WebSocket.prototype.send = function (data) {
      this.addEventListener('message', heard);
      lately.unanswered = true;
      stirred();
      return send.call(this, data);
    };
  }
  return document.querySelector('[data-testid=stApp]')?.dataset.testScriptState === 'notRunning'
    && !document.querySelector('[data-stale=true], [data-testid^=stSkeleton], [data-testid=stAppSkeleton]')
    && document.fonts.status === 'loaded'
    && !window.lately.unanswered
    && now() - window.lately.at > 300;
}"""
"""Nothing runs, waits for an answer or is still to be drawn, and nothing has happened for a while. Streamlit says
"running" only when its server does, and a slider keeps what it is told to itself for 200 ms: a page that looks
finished right after a key may not have begun."""


@contextmanager
def serving(runs: Path) -> Iterator[str]:
    """Address of a dashboard over a folder of runs, as `coupling dashboard` starts it; its log is read at the end."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "streamlit", "run", "app.py", "--server.port", str(port)]
    environment = {**GIVES_MEMORY_BACK, **os.environ, "COUPLING_RUNS": str(runs)}
    log = runs / "server.log"
    with log.open("w") as out:
        process = subprocess.Popen(command, cwd=ROOT / "dashboard", env=environment, stdout=out, stderr=out)
        address = f"http://127.0.0.1:{port}"
        try:
            _wait_for(address, process, log)
            yield address
        finally:
            process.terminate()
            process.wait(60)
    errors = [line for line in log.read_text().splitlines() if "Traceback" in line or "Uncaught" in line]
    assert not errors, log.read_text()[-4000:]


def _wait_for(address: str, process: subprocess.Popen, log: Path) -> None:
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        try:
            urllib.request.urlopen(f"{address}/_stcore/health", timeout=5)
            return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError(f"the dashboard did not start:\n{log.read_text()[-4000:]}")


def settled(page: Page) -> None:
    """Wait until the page is at rest: the server has answered all that it was asked, and the answer is drawn."""
    page.locator("[data-testid=stMain] h1").first.wait_for()
    page.wait_for_function(AT_REST, polling=50, timeout=180_000)


def link_samples(folder: Path, pattern: str = "*") -> Path:
    """Links to the sample runs of that name in a folder, which is returned."""
    for manifest in (ROOT / "sample_runs").glob(f"{pattern}/run.json"):
        (folder / manifest.parent.name).symlink_to(manifest.parent, target_is_directory=True)
    return folder
