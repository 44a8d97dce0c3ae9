"""One dashboard and one Chromium for all browser tests; every page is watched for foreign requests and dialogs."""

from __future__ import annotations

import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.browser.chromium import FLAGS, find
from tests.browser.server import PATIENCE, serving, settled
from tests.synthetic_run import write_run

__all__ = ["Visit", "settled"]
Visit = Callable[..., Page]
expect.set_options(timeout=PATIENCE)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    path = find()
    if path is None:
        pytest.skip("no Chromium: run python -m tests.browser.chromium")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        yield started
        started.close()


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of runs that the server shows: `alpha` with all there is, `bare` without hidden
    states, `hostile` with hostile text, `stopped` unfinished."""
    folder = tmp_path_factory.mktemp("runs")
    write_run(folder / "alpha", prompts=120, checkpoints=4)
    write_run(folder / "alpha-twin", prompts=120, checkpoints=3)  # the same examples as alpha
    write_run(folder / "bare", prompts=80, checkpoints=2, hidden=False)
    write_run(folder / "hostile", prompts=40, checkpoints=2, hostile=True)
    write_run(folder / "stopped", prompts=20, checkpoints=2, finish=False)
    return folder


@pytest.fixture(scope="session")
def server(runs: Path) -> Iterator[str]:
    """Address of a dashboard over `runs`, as `coupling dashboard` starts it."""
    with serving(runs) as address:
        yield address


@pytest.fixture
def visit(browser: Browser, server: str) -> Iterator[Visit]:
    """Open a page, wait until it is drawn, and watch it: `visit("examples", run="alpha", width=390, theme="dark")`."""
    contexts, trouble = [], []

    def open_page(name: str = "", *, width: int = 1280, theme: str = "light", **parameters: str) -> Page:
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=theme)  # type: ignore[arg-type]
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        page.on("request", lambda r: None if r.url.startswith((server, "data:", "blob:")) else trouble.append(r.url))
        page.on("dialog", lambda d: (trouble.append(f"dialog: {d.message}"), d.dismiss()))
        query = urllib.parse.urlencode(parameters)
        page.goto(f"{server}/{name}?{query}")
        settled(page)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not trouble, f"foreign requests or dialogs: {trouble}"
