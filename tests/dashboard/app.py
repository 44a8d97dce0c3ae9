"""The dashboard in Streamlit's own test harness: open a page on a folder of runs, and read what it says."""

from __future__ import annotations

import re
from collections.abc import Callable
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from dashboard.reading.example_rows import Query, Setting, order, rows
from dashboard.selection import unfolded

ROOT = Path(__file__).parents[2]
PAGES = sorted(page.stem for page in (ROOT / "pages").glob("*.py"))
Open = Callable[..., AppTest]
NAVIGATION = "<nav "


def checked(app: AppTest) -> AppTest:
    """The page itself, after a check that its script raised nothing."""
    assert not app.exception, app.exception[0].stack_trace
    return app


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Open:
    """`opened(folder, page, **query_parameters)`: the page drawn once, without an exception, with all that is folded
    unfolded."""
    monkeypatch.setattr(unfolded, "is_open", lambda part: True)

    def open_page(folder: Path, page: str, **parameters: str) -> AppTest:
        monkeypatch.setenv("COUPLING_RUNS", str(folder))
        app = AppTest.from_file(str(ROOT / "dashboard" / "app.py"), default_timeout=60)
        app.query_params.update(parameters)
        app.switch_page(f"../pages/{page}.py")
        return checked(app.run())

    return open_page


def walk(app: AppTest, page: str) -> AppTest:
    """To another page, by its link in the sidebar: the address begins anew, the session goes on."""
    query = unescape(re.findall(rf'<a href="{page}[?]?([^"]*)"', links(app))[-1])
    app.query_params.clear()
    app.query_params.update({name: v[0] for name, v in parse_qs(query).items()})
    return checked(app.switch_page(f"../pages/{page}.py").run())


def address(app: AppTest) -> dict[str, str]:
    """The parameters in the address."""
    return {name: v if isinstance(v, str) else v[0] for name, v in app.query_params.items()}


def said(app: AppTest) -> str:
    """All text on the page, without Markdown's escapes."""
    kinds = ("title", "header", "subheader", "markdown", "text", "caption", "error", "warning", "info", "code")
    return "\n".join(str(e.value) for kind in kinds for e in app.get(kind)).replace("\\", "") + html(app)


def html(app: AppTest) -> str:
    """The bodies of all HTML elements, without the links to the pages."""
    return "\n".join(e.proto.body for e in app.get("html") if not e.proto.body.startswith(NAVIGATION))


def tiles(app: AppTest) -> dict[str, tuple[str, str]]:
    """The large numbers of a page: label → value and the note below it."""
    tile = r'<dt><abbr [^>]*>(.*?)</abbr></dt><dd class="value">(.*?)</dd>(?:<dd class="note">(.*?)</dd>)?'
    return {label: (value, note) for label, value, note in re.findall(tile, html(app))}


def links(app: AppTest) -> str:
    """The links to the pages, as HTML."""
    return next(e.proto.body for e in app.get("html") if e.proto.body.startswith(NAVIGATION))


def examples(path: Path, setting: Setting, **asked: Any) -> pd.DataFrame:
    """The explained examples of a query, with their texts. asked: fields of `Query`."""
    return rows(path, setting, order(path, Query(setting, **asked)).tolist())
