"""Find a Chromium for the browser tests, or install one: `python -m tests.browser.chromium`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, BrowserContext, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
).split()
POSITIONS = "--js-flags=--no-enable-lazy-source-positions"
"""A browser that is watched, as Playwright watches it, notes at every exception where it was thrown. For that V8 parses
whole programs once more, unless it has kept the positions. A reader's browser is not watched and does neither."""
MISSING = "no Chromium: run python -m tests.browser.chromium"


def find() -> str | None:
    """Path of a Chromium: $CHROMIUM, one on the PATH, or Playwright's own; None if there is none."""
    named = os.environ.get("CHROMIUM")
    if named:
        return named if Path(named).exists() else None
    on_path = next((path for path in map(shutil.which, NAMES) if path), None)
    if on_path:
        return on_path
    with sync_playwright() as playwright:
        own = playwright.chromium.executable_path
    return own if Path(own).exists() else None


@contextmanager
def launched() -> Iterator[Browser]:
    """A Chromium without a window. Raises RuntimeError where there is none."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=_found(), args=FLAGS)
        yield browser
        browser.close()


@contextmanager
def with_profile(**options: Any) -> Iterator[BrowserContext]:
    """The same with a new profile, in which it keeps what its owner's keeps, and with the times of a reader's browser.

    options: of a context. Raises RuntimeError.
    """
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as profile:
        launch = playwright.chromium.launch_persistent_context
        context = launch(profile, executable_path=_found(), args=[*FLAGS, POSITIONS], **options)
        yield context
        context.close()


def _found() -> str:
    if (path := find()) is None:
        raise RuntimeError(MISSING)
    return path


def _try(*command: str) -> None:
    print("+", " ".join(command), flush=True)
    subprocess.run(command, check=False)


def ensure() -> str | None:
    """Path of an existing browser, else of Playwright's own, else of Debian's if we are root."""
    if found := find():
        return found
    _try(sys.executable, "-m", "playwright", "install", "chromium")
    if found := find():
        return found
    is_root = hasattr(os, "geteuid") and os.geteuid() == 0
    if is_root and shutil.which("apt-get"):
        _try("apt-get", "update", "-qq")
        _try("apt-get", "install", "-y", "-qq", "--no-install-recommends", "chromium", "fonts-dejavu-core")
    return find()


def main() -> int:
    found = ensure()
    if not found:
        print("No Chromium: install one (Debian: apt install chromium) or set CHROMIUM to its path.", file=sys.stderr)
        return 1
    print(f"browser tests use {found}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
