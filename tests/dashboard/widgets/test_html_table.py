"""A small table as HTML: every cell is text."""

from __future__ import annotations

from dashboard.widgets.html_table import html_table


def test_names_meanings_and_cells_are_escaped() -> None:
    html = html_table({"<a>": '"<b>', "plain": ""}, [["<i>one", "<script>"], ["two", 2]], label='"<c>')
    assert "<script>" not in html and "<i>" not in html and "<b>" not in html and "<c>" not in html
    assert '<abbr title="&quot;&lt;b&gt;" tabindex="0">&lt;a&gt;</abbr>' in html and "<th scope=col>plain</th>" in html
    assert "<th scope=row>two</th><td>2</td>" in html
