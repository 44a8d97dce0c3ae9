"""One example in a few lines: its edit, both effects, the explanation, and a link to its page."""

from __future__ import annotations

import streamlit as st

from dashboard import PAGES, charts
from dashboard.reading.example_rows import example
from dashboard.selection.resolve import Selection, with_changes
from dashboard.text import diff, markdown_escaped
from dashboard.widgets.example_view import effects_figure, origin
from dashboard.widgets.parts import provenance, small_print

PAGE = PAGES / "examples.py"


def example_card(selection: Selection, identity: str) -> None:
    """Draw the card, or say that the run has no such example."""
    row = example(selection.path, selection.setting, identity)
    if row is None:
        st.info(f"This run has no explained example {markdown_escaped(identity)} in this setting.")
        return
    st.caption(" · ".join(markdown_escaped(row[name]) for name in ("edit", "group", "split")))
    st.html(diff(row["prompt"], row["edited"]))
    effects_figure(selection, row, key=f"card_{identity}")
    output = charts.number(-row["f_current"], sign=True)
    small_print(f"Error of the explanation {charts.number(row['error'])} nats; −f(x) alone would have said {output}.")
    provenance(selection.path, extra=origin(selection, row))
    if PAGE.exists():
        link = with_changes(selection, example=identity)
        st.page_link(PAGE, label="Open on the page Examples", icon=":material/open_in_new:", query_params=link)
