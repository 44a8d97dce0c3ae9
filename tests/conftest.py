"""What holds for every test: in CI nothing is skipped; elsewhere what was not run is said, with the reason."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell starts jobs in the background with Ctrl-C ignored, and children inherit that: none could be interrupted.
    signal.signal(signal.SIGINT, signal.default_int_handler)


LONG = ("test_pipeline", "test_install", "engine/studies", "engine/verbal", "engine/patching", "engine/zoo", "browser")
"""Files that take longest, in parts of their names."""


MAIN = sys.modules["__main__"]


@pytest.fixture(autouse=True)
def own_main() -> Iterator[None]:
    """Streamlit's test harness leaves the app in place of `__main__`, and a process that is spawned runs that again."""
    sys.modules["__main__"] = MAIN
    yield
    sys.modules["__main__"] = MAIN


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first: what is left at the end is short, so that no worker waits minutes for another."""

    def rank(item: pytest.Item) -> int:
        return next((place for place, name in enumerate(LONG) if name in item.nodeid), len(LONG))

    items.sort(key=rank)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, exitstatus: int) -> None:
    for report in terminalreporter.stats.get("skipped", []):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        terminalreporter.write_line(f"not run: {report.nodeid}: {reason.removeprefix('Skipped: ')}")


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    skipped = reporter.stats.get("skipped", []) if reporter else []
    if os.environ.get("CI") and skipped and session.exitstatus == 0:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
