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
from playwright.sync_api import TimeoutError as NotInTime

from engine.serve import GIVES_MEMORY_BACK

ROOT = Path(__file__).parent.parent.parent


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
            process.wait(10)
    errors = [line for line in log.read_text().splitlines() if "Traceback" in line or "Uncaught" in line]
    assert not errors, log.read_text()[-4000:]


def _wait_for(address: str, process: subprocess.Popen, log: Path) -> None:
    for _ in range(200):
        if process.poll() is not None:
            break
        try:
            urllib.request.urlopen(f"{address}/_stcore/health", timeout=1)
            return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError(f"the dashboard did not start:\n{log.read_text()[-4000:]}")


def settled(page: Page) -> None:
    """Wait until the script has run and its elements are drawn."""
    page.locator("[data-testid=stMain] h1").first.wait_for()
    page.wait_for_load_state("networkidle")  # parts of Streamlit's own script come late
    page.wait_for_function(
        "document.querySelector('[data-testid=stApp]')?.dataset.testScriptState === 'notRunning'"
        " && !document.querySelector('[data-stale=true]')"
    )
    page.wait_for_timeout(150)


def choose_option(page: Page, box: str, option: str) -> None:
    """Choose from a select box; a list that a redraw closed while it opened is opened again."""
    wanted = page.get_by_role("option", name=option).first
    for attempt in range(5):
        page.get_by_role("combobox", name=box).first.click()
        try:
            wanted.click(timeout=4_000)
            break
        except NotInTime:
            page.keyboard.press("Escape")
            if attempt == 4:
                raise
    settled(page)


def choose_first_row(page: Page) -> None:
    """Tick the first row of the table of examples: a canvas, so by its place."""
    table = page.locator('[data-testid="stDataFrame"]').last
    table.scroll_into_view_if_needed()
    page.wait_for_timeout(400)
    box = table.bounding_box()
    page.mouse.click(box["x"] + 18, box["y"] + 52)
    settled(page)


def link_samples(folder: Path, pattern: str = "*") -> Path:
    """Links to the sample runs of that name in a folder, which is returned."""
    for manifest in (ROOT / "sample_runs").glob(f"{pattern}/run.json"):
        (folder / manifest.parent.name).symlink_to(manifest.parent, target_is_directory=True)
    return folder
