"""One real example on the overview, in words: the prompt, its edit, what the model did, and what was said of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from dashboard import PAGES
from dashboard.reading.example_rows import Query, order, rows
from dashboard.reading.glossary import odds, term
from dashboard.selection.resolve import with_changes
from dashboard.selection.state import Selection
from dashboard.text import diff, escaped, shown, signed

READ = 60
"""Examples that are looked at."""
LONGEST = 400
"""Characters of a prompt that is shown whole; of longer ones, none is picked while there are shorter ones."""
STYLE = """<style>
.story { border-left: 3px solid #808890; padding: 0.1rem 0 0.1rem 0.9rem; line-height: 1.6; overflow-wrap: anywhere; }
.story p { margin: 0 0 0.35rem; } .story abbr { text-decoration: underline dotted; cursor: help; }
</style>"""


def one_example(selection: Selection, edit: str | None) -> None:
    """A typical example of the chosen edit, the way to it, and the way to the lesson."""
    row = typical(selection, edit)
    if row is not None:
        st.html(STYLE + in_words(row))
    with st.container(horizontal=True):
        if row is not None:
            carried = with_changes(selection, example=row["example_id"])
            st.page_link(PAGES / "examples.py", label="This example", icon=":material/article:", query_params=carried)
        label = "New here? A lesson in eight steps"
        st.page_link(PAGES / "learn.py", label=label, icon=":material/school:", query_params={"run": selection.run.key})


def typical(selection: Selection, edit: str | None) -> dict[Any, Any] | None:
    """Of READ examples from all over the split: the one with the clearest effect among those with a middling error.

    None if the run has no examples. Only these are read, so that a run of millions opens as fast.
    """
    every = order(selection.path, Query(selection.setting, selection.split, edit))
    some = every[np.unique(np.linspace(0, len(every) - 1, READ).astype(int))] if len(every) else every
    found = rows(selection.path, selection.setting, some.tolist()).sort_values("error", kind="stable")
    found = found.iloc[len(found) // 4 : max(1, 3 * len(found) // 4)]
    if found.empty:
        return None
    clear = found.assign(short=found["prompt"].str.len() <= LONGEST, size=found["effect_current"].abs())
    return clear.sort_values(["short", "size"], ascending=False, kind="stable").iloc[0].to_dict()


def in_words(row: Mapping[Any, Any]) -> str:
    """The story of an example as HTML: the edit in the prompt, then what happened."""
    before, after = (leaning(row[name], row) for name in ("f_current", "f_edited_current"))
    did = f"The model as it is now says {before}; after the edit, {after}."
    effect = f"So the edit's effect {term('Δ')} is {signed(row['effect_current'])} {term('nats')}."
    label = f" {term('target', 'The label')}, made at an earlier checkpoint, was {signed(row['effect_target'])}."
    if isinstance(row["text"], str):
        said, label = f"Of itself the model said: “{escaped(row['text'].strip())}”", ""
    elif pd.notna(row["explanation"]):
        said = f"{term('explanation', 'The explanation')}, without the edited run, said {signed(row['explanation'])}."
    else:
        said = "This run kept no explanation of it."
    return f'<div class="story"><p>{diff(row["prompt"], row["edited"])}</p><p>{did} {effect} {said}{label}</p></div>'


def leaning(f: float, row: Mapping[Any, Any]) -> str:
    """`“yes” (7 to 1)`: the likelier answer with its odds against the other one."""
    answer = row["answer_a"] if f >= 0 else row["answer_b"]
    return f"“{escaped(shown(answer).strip()[:80])}” ({term('f', odds(f))})"
