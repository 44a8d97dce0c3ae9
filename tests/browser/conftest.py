"""One dashboard, one Chromium and one window for all browser tests.

Every page is watched for foreign requests and dialogs. Opening a page by its address gives it a new session, and what
the browser itself keeps is cleared.
"""

from __future__ import annotations

import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.chromium import MISSING, find, launched
from tests.browser.server import PATIENCE, WATCH, serving, settled, watch
from tests.synthetic_run import write_run

__all__ = ["Serve", "Visit", "Window", "settled"]
Visit = Callable[..., Page]
Serve = Callable[[Path], AbstractContextManager[str]]
expect.set_options(timeout=PATIENCE)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    if find() is None:
        pytest.skip(MISSING)
    with launched() as started:
        yield started


class Window:
    """A window of the browser that is kept from test to test, so that Streamlit's own code is loaded once. It asks for
    less motion: drawing Streamlit's fades is a fifth of the work of opening a page."""

    def __init__(self, browser: Browser) -> None:
        self.address = ""
        self.trouble: list[str] = []
        """Foreign requests and dialogs."""
        self.errors: list[str] = []
        """Errors of the page's own code."""
        self.context = browser.new_context(viewport={"width": 1280, "height": 900}, reduced_motion="reduce")
        self.context.add_init_script(f"({WATCH})()")
        self.context.set_default_timeout(PATIENCE)
        self.page = page = self.context.new_page()
        watch(page, lambda url: url.startswith((self.address, "data:", "blob:", "about:")), self.trouble)
        page.on("pageerror", lambda error: self.errors.append(f"error: {error}"))
        page.on("console", lambda message: self.errors.append(message.text) if message.type == "error" else None)

    def open(self, address: str, name: str, *, width: int = 1280, theme: str = "light", **parameters: str) -> Page:
        """Open a page of a dashboard as for the first time and wait until it is drawn."""
        if address != self.address:
            self.leave()
            self.address = address
        else:
            self.page.evaluate("localStorage.clear(); sessionStorage.clear()")
        self.context.clear_cookies()
        self.page.set_viewport_size({"width": width, "height": 900})
        self.page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]
        self.page.goto(f"{address}/{name}?{urllib.parse.urlencode(parameters)}")
        settled(self.page)
        return self.page

    def leave(self) -> None:
        """Close the page, so that its server can be ended."""
        if self.address:
            self.page.goto("about:blank")
            self.address = ""


@pytest.fixture(scope="session")
def window(browser: Browser) -> Iterator[Window]:
    kept = Window(browser)
    yield kept
    kept.context.close()


@pytest.fixture(scope="session")
def serve(window: Window) -> Serve:
    """A dashboard over a folder; the kept window leaves it before it ends: `with serve(folder) as address`."""

    @contextmanager
    def over(folder: Path) -> Iterator[str]:
        with serving(folder) as address:
            yield address
            if window.address == address:
                window.leave()

    return over


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The server's folder: `alpha` is complete, `alpha-twin` has the same examples, `bare` lacks hidden states,
    `hostile` has hostile text, and `stopped` is unfinished."""
    folder = tmp_path_factory.mktemp("runs")
    write_run(folder / "alpha", prompts=120, checkpoints=4)
    write_run(folder / "alpha-twin", prompts=120, checkpoints=3)
    write_run(folder / "bare", prompts=80, checkpoints=2, hidden=False)
    write_run(folder / "hostile", prompts=40, checkpoints=2, hostile=True)
    write_run(folder / "stopped", prompts=20, checkpoints=2, finish=False)
    return folder


@pytest.fixture(scope="session")
def server(runs: Path, serve: Serve) -> Iterator[str]:
    """Address of a dashboard over `runs`, as `coupling dashboard` starts it."""
    with serve(runs) as address:
        yield address


@pytest.fixture
def visit(window: Window, server: str) -> Iterator[Visit]:
    """Open a page, wait until it is drawn, and watch it: `visit("examples", run="alpha", width=390, theme="dark")`.

    A second visit replaces the first.
    """
    window.trouble.clear()
    yield lambda name, **given: window.open(server, name, **given)
    assert not window.trouble, f"foreign requests or dialogs: {window.trouble}"
