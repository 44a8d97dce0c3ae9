"""The sidebar's links to the pages, each with the run and the choices that the session remembers of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from dashboard.selection import remembered

PURPOSE = "Do a model's explanations of itself follow what it does now?"
CURRENT = """<script>
(function mark() {
  const links = document.querySelectorAll('.st-key-pages a');
  if (links.length < LINKS) return requestAnimationFrame(mark);  // they come a moment later
  links.forEach((link, place) => link.setAttribute('aria-current', place === PLACE ? 'page' : 'false'));
})();
</script>"""
"""Streamlit marks the link of the page by its look alone."""


def draw_around(chosen: Any, pages: Mapping[str, Any], sections: Mapping[str, Sequence[str]]) -> None:
    """Draw the chosen one of `pages` (name → page), and the links beside it; once more after it, if it changed them.

    sections: title → names of the pages under it.
    """
    name = st.session_state["page"] = next(name for name, page in pages.items() if page == chosen)
    place = st.sidebar.container(key="pages").empty()
    before = {name: remembered.link(name) for name in pages}
    _links(place, pages, sections, before)
    mark = CURRENT.replace("LINKS", str(len(pages))).replace("PLACE", str(list(pages).index(name)))
    st.sidebar.html(mark, unsafe_allow_javascript=True)
    chosen.run()
    after = {name: remembered.link(name) for name in pages}
    if after != before:
        _links(place, pages, sections, after)


def _links(place: Any, pages: Mapping[str, Any], sections: Mapping[str, Sequence[str]], to: Mapping) -> None:
    with place.container(gap="xxsmall"):
        for title, names in sections.items():
            st.caption(title)
            for name in names:
                st.page_link(pages[name], query_params=to[name], width="stretch")
        st.caption(PURPOSE)
