"""A small table as HTML: a table of Streamlit is made for a million rows and costs the browser more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dashboard.reading.glossary import explained
from dashboard.text import escaped

STYLE = """<style>
.numbers { overflow: auto; max-height: 24rem; border: 1px solid color-mix(in srgb, currentColor 18%, transparent);
  border-radius: 6px; }
.numbers table { border-collapse: collapse; font-size: 0.88rem; width: 100%; font-variant-numeric: tabular-nums; }
.numbers :is(th, td) { padding: 0.3rem 0.55rem; text-align: left; white-space: nowrap; font-weight: 400;
  border-bottom: 1px solid color-mix(in srgb, currentColor 12%, transparent); }
.numbers thead th { position: sticky; top: 0; white-space: normal; vertical-align: bottom; font-weight: 600;
  background: light-dark(#F4F5F7, #20252B); }
</style>"""


def html_table(columns: Mapping[str, str], lines: Sequence[Sequence[object]], *, label: str) -> str:
    """HTML. columns: name → meaning, which may be empty. lines: cells in the order of the columns; the first is the
    line's name. label: of the table, for screen readers."""
    head = "".join(
        f"<th scope=col>{explained(meaning, name) if meaning else escaped(name)}</th>"
        for name, meaning in columns.items()
    )
    body = "".join(
        f"<tr><th scope=row>{escaped(first)}</th>{''.join(f'<td>{escaped(cell)}</td>' for cell in rest)}</tr>"
        for first, *rest in lines
    )
    return (
        f'{STYLE}<div class="numbers" tabindex="0" role="region" aria-label="{escaped(label)}">'
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )
