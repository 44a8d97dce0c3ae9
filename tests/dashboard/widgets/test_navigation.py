"""The sidebar's links carry what the session remembers, as text."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from dashboard.widgets import navigation


def test_links_carry_the_run_and_mark_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {"lab": {}, "overview": {"run": '"><script>alert(1)</script>'}}
    monkeypatch.setattr(navigation.remembered, "link", known.__getitem__)
    pages = {name: SimpleNamespace(title=name.title(), icon=":material/star:") for name in known}
    html = navigation.links("lab", pages, {"<Try>": ["overview", "lab"]})
    assert "<script" not in html and 'href="overview?run=%22%3E%3Cscript' in html and "&lt;Try&gt;" in html
    assert '<a href="lab" aria-current=page>' in html and html.count("aria-current") == 1
