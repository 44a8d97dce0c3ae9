"""A dashboard served for a test or a benchmark, and how to wait until a page of it is drawn."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
from playwright.sync_api import Page

from engine import child_environment
from engine.serve import GIVES_MEMORY_BACK

ROOT = Path(__file__).parent.parent.parent
PAGES = sorted(page.stem for page in (ROOT / "pages").glob("*.py"))
PATIENCE = 180_000
"""Deadline of every wait, in milliseconds. A wait ends as soon as its state is reached, so a long one costs nothing."""
UNHEARD = 60_000
"""Milliseconds after which a request for a script run counts as dropped: Streamlit ignores a request for a fragment
that a later run has removed."""
FRAMES = 5
"""Frames in a row that the browser has to draw without any change. On a busy machine frames come late, so this is not
a wait by the clock."""

WATCH = """() => {
  if (window.watched) return;
  const watched = window.watched = { asked: 0, unanswered: false, stirred: true, frames: 0, at: 0 };
  const stirred = () => { watched.stirred = true; watched.at = performance.now(); };
  // The numbers of the fields at the top of a protobuf message: Streamlit's messages hold one of many, by its number.
  const fields = data => {
    const bytes = new Uint8Array(data.buffer ?? data, data.byteOffset ?? 0, data.byteLength), found = new Set();
    let at = 0;
    const varint = () => {
      let value = 0, scale = 1, byte;
      do { byte = bytes[at++]; value += (byte & 127) * scale; scale *= 128; } while (byte & 128);
      return value;
    };
    while (at < bytes.length) {
      const tag = varint(), wire = tag % 8;
      found.add(Math.floor(tag / 8));
      const length = { 1: 8, 5: 4 }[wire] ?? varint();
      if (wire) at += length;
    }
    return found;
  };
  const RERUN_SCRIPT = 11, NEW_SESSION = 4;
  const heard = event => { if (fields(event.data).has(NEW_SESSION)) watched.unanswered = false; stirred(); };
  const send = WebSocket.prototype.send;
  WebSocket.prototype.send = function (data) {
    this.addEventListener('message', heard);
    if (fields(data).has(RERUN_SCRIPT)) { watched.unanswered = true; watched.asked += 1; }
    stirred();
    return send.call(this, data);
  };
  for (const kind of ['keydown', 'keyup', 'input', 'change', 'pointerdown', 'pointerup', 'pointermove', 'scroll'])
    addEventListener(kind, stirred, true);
  new MutationObserver(stirred).observe(document, { childList: true, subtree: true, characterData: true });
}"""
"""Notes the page's requests to its server, whether a script run has begun since, and every change of the document."""

AT_REST = f"""() => {{
  const w = window.watched;
  const rests = document.querySelector('[data-testid=stApp]')?.dataset.testScriptState === 'notRunning'
    && !document.querySelector('[data-stale=true], [data-testid^=stSkeleton], [data-testid=stAppSkeleton]')
    && document.fonts.status === 'loaded'
    && (!w.unanswered || performance.now() - w.at > {UNHEARD});
  if (!rests || w.stirred) w.frames = 0;
  w.stirred = false;
  return rests && w.frames++ >= {FRAMES};
}}"""
"""Every request for a script run was followed by the start of one, none is running, and all of it has been drawn.
"notRunning" alone is not enough: the page says "running" only once the server does. The frames are for the page's own
work after the last message: React draws, a figure is laid out, a table finds its size. A page that was at rest and has
not been touched since is at rest at once."""


@contextmanager
def serving(runs: Path) -> Iterator[str]:
    """Address of a dashboard over a folder of runs, as `coupling dashboard` starts it.

    The caller closes its pages before the end; the server is ended once it is idle. Its log must hold no traceback.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "streamlit", "run", "app.py", "--server.port", str(port)]
    environment = GIVES_MEMORY_BACK | child_environment(COUPLING_RUNS=str(runs))
    log = runs / "server.log"
    with log.open("w") as out:
        process = subprocess.Popen(command, cwd=ROOT / "dashboard", env=environment, stdout=out, stderr=out)
        address = f"http://127.0.0.1:{port}"
        try:
            _wait_for(address, process, log)
            yield address
            _wait_until_idle(psutil.Process(process.pid))
        finally:
            process.terminate()
            process.wait(PATIENCE / 1000)
    errors = [line for line in log.read_text().splitlines() if "Traceback" in line or "Uncaught" in line]
    assert not errors, log.read_text()[-4000:]


def server_process() -> psutil.Process:
    """The process of the dashboard that this process serves."""
    return next(p for p in psutil.Process().children() if "streamlit" in p.cmdline())


def _wait_for(address: str, process: subprocess.Popen, log: Path) -> None:
    deadline = time.monotonic() + PATIENCE / 1000
    while process.poll() is None and time.monotonic() < deadline:
        with suppress(OSError):
            urllib.request.urlopen(f"{address}/_stcore/health", timeout=PATIENCE / 1000)
            return
        time.sleep(0.1)
    raise RuntimeError(f"the dashboard did not start:\n{log.read_text()[-4000:]}")


def _wait_until_idle(process: psutil.Process) -> None:
    """Until no page is connected and no thread works.

    A script run that outlives its server ends in a traceback, and a run goes on after its page is closed until its next
    call of Streamlit. A thread that waits for a core counts as working, so a busy machine does not look idle.
    """
    idle, deadline = 0, time.monotonic() + PATIENCE / 1000
    while idle < 3 and time.monotonic() < deadline:
        connected = any(c.status == psutil.CONN_ESTABLISHED for c in process.net_connections("tcp"))
        idle = 0 if connected or _works(process.pid) else idle + 1
        time.sleep(0.05)


def _works(pid: int) -> bool:
    """Whether a thread runs, or waits for a core or a disk."""
    states = set()
    for thread in Path(f"/proc/{pid}/task").glob("*/stat"):
        with suppress(OSError):  # it has just ended
            states.add(thread.read_text().rpartition(")")[2].split()[0])
    return bool({"R", "D"} & states)


def settled(page: Page) -> None:
    """Wait until the page is at rest: the server has answered all requests, and the answers are drawn."""
    page.locator("[data-testid=stMain] h1").first.wait_for(timeout=PATIENCE)
    page.evaluate(WATCH)  # where the page was not opened with it
    page.wait_for_function(AT_REST, polling="raf", timeout=PATIENCE)


def watch(page: Page, is_own: Callable[[str], bool], trouble: list[str]) -> None:
    """Note dialogs, and requests of the page to addresses that are not its own."""
    page.on("request", lambda request: None if is_own(request.url) else trouble.append(request.url))
    page.on("dialog", lambda dialog: (trouble.append(f"dialog: {dialog.message}"), dialog.dismiss()))


def link_samples(folder: Path, pattern: str = "*") -> Path:
    """Links to the sample runs whose names match, in a folder, which is returned."""
    for manifest in (ROOT / "sample_runs").glob(f"{pattern}/run.json"):
        (folder / manifest.parent.name).symlink_to(manifest.parent, target_is_directory=True)
    return folder
