"""The sidebar's links to the pages, each with the run and the choices that the session remembers of it.

They are one piece of HTML: as twelve elements of Streamlit they would make every page slower. `page_style.SCRIPT` opens
them without loading the document anew.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

import streamlit as st

from dashboard.selection import remembered
from dashboard.text import escaped

PURPOSE = "Do a model's explanations of itself follow what it does now?"


def draw_around(chosen: Any, pages: Mapping[str, Any], sections: Mapping[str, Sequence[str]]) -> None:
    """Draw the chosen one of `pages` (name → page), and the links beside it; once more after it, if it changed them.

    sections: title → names of the pages under it.
    """
    name = st.session_state["page"] = next(name for name, page in pages.items() if page == chosen)
    place = st.sidebar.container(key="pages").empty()
    before = links(name, pages, sections)
    place.html(before)
    chosen.run()
    after = links(name, pages, sections)
    if after != before:
        place.html(after)


def links(current: str, pages: Mapping[str, Any], sections: Mapping[str, Sequence[str]]) -> str:
    """HTML of the links to all pages, under their sections."""
    parts = []
    for title, names in sections.items():
        parts.append(f"<h2>{escaped(title)}</h2>")
        parts += [_link(name, pages[name], name == current) for name in names]
    return f'<nav aria-label="Pages">{"".join(parts)}<p>{escaped(PURPOSE)}</p></nav>'


def _link(name: str, page: Any, is_current: bool) -> str:
    query = urlencode(remembered.link(name))
    icon = page.icon.removeprefix(":material/").removesuffix(":")
    return (
        f'<a href="{escaped(f"{name}?{query}" if query else name)}"{" aria-current=page" if is_current else ""}>'
        f'<span class="icon" aria-hidden="true">{icon}</span><span>{escaped(page.title)}</span></a>'
    )
