"""A few large numbers side by side, as one piece of HTML: Streamlit's own metrics would make the page slower."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dashboard.reading.glossary import explained
from dashboard.text import escaped

STYLE = """<style>
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(6.6rem, 1fr)); gap: 0.6rem;
  margin: 0 !important; padding: 0 !important; }
.tiles > div { border: 1px solid color-mix(in srgb, currentColor 18%, transparent); border-radius: 6px;
  padding: 0.5rem 0.7rem; }
.tiles :is(dt, dd) { margin: 0; }
.tiles dt { font-size: 0.9rem; }
.tiles .value { font-size: 1.75rem; line-height: 1.35; font-variant-numeric: tabular-nums; }
.tiles .note { font-size: 0.88rem; opacity: 0.85; }
</style>"""


@dataclass(frozen=True)
class Tile:
    label: str
    meaning: str
    """Shown on hover and on focus of the label."""
    value: str
    note: str = ""
    """Below the value."""


def number_tiles(tiles: Sequence[Tile]) -> str:
    """HTML of the tiles, in rows as wide as the page."""
    return f'{STYLE}<dl class="tiles">{"".join(map(_tile, tiles))}</dl>'


def _tile(tile: Tile) -> str:
    note = f'<dd class="note">{escaped(tile.note)}</dd>' if tile.note else ""
    return (
        f'<div><dt>{explained(tile.meaning, tile.label)}</dt><dd class="value">{escaped(tile.value)}</dd>{note}</div>'
    )
