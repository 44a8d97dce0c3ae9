"""One example in a few lines: what was changed, both effects, the explanation, and a way to its page."""

from __future__ import annotations

import streamlit as st

from dashboard import PAGES, charts
from dashboard.reading.example_rows import example
from dashboard.selection.resolve import Selection, with_changes
from dashboard.text import diff, markdown_escaped
from dashboard.widgets import figures
from dashboard.widgets.example_view import origin
from dashboard.widgets.parts import provenance, small_print

PAGE = PAGES / "examples.py"


def example_card(selection: Selection, identity: str) -> None:
    """Draw it; says so where the run has no such example."""
    row = example(selection.path, selection.setting, identity)
    if row is None:
        st.info(f"This run has no explained example {markdown_escaped(identity)} in this setting.")
        return
    st.caption(f"{markdown_escaped(row['edit'])} · {markdown_escaped(row['group'])} · {markdown_escaped(row['split'])}")
    st.html(diff(row["prompt"], row["edited"]))
    target = (float(row["f_target"]), float(row["f_edited_target"]))
    current = (float(row["f_current"]), float(row["f_edited_current"]))
    explanation = float(row["explanation"])
    figures.draw(
        charts.example_effects(target, current, explanation),
        key=f"card_{identity}",
        name=f"example-{row['example_id']}",
        path=selection.path,
        alt=f"Effects: target {target[1] - target[0]:+.2f}, current {current[1] - current[0]:+.2f}, explanation "
        f"{explanation:+.2f} nats",
    )
    error = charts.number(row["error"])
    output = charts.number(-current[0], sign=True)
    small_print(f"Error of the explanation {error} nats; −f(x) alone would have said {output}.")
    provenance(selection.path, extra=origin(selection, row))
    if PAGE.exists():
        st.page_link(
            PAGE,
            label="Open on the page Examples",
            icon=":material/open_in_new:",
            query_params=with_changes(selection, example=identity),
        )
