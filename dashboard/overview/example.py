"""One real example on the overview, in words: the prompt, its edit, what the model did, and what was said of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from dashboard import PAGES
from dashboard.reading.example_rows import Query, nearer, order, rows
from dashboard.reading.glossary import odds, term
from dashboard.selection.resolve import with_changes
from dashboard.selection.state import Selection
from dashboard.text import diff, escaped, shown, signed
from dashboard.widgets import sentences

READ = 60
"""Examples that are looked at."""
LONGEST = 400
"""Characters of a prompt that is shown whole; of longer ones, none is picked while there are shorter ones."""
STYLE = """<style>
.story { border-left: 3px solid #808890; padding: 0.1rem 0 0.1rem 0.9rem; line-height: 1.6; overflow-wrap: anywhere; }
.story p { margin: 0.35rem 0; }
</style>"""


def one_example(selection: Selection, edit: str | None) -> None:
    """A typical example of the chosen edit, the way to it, and the way to the lesson."""
    row = typical(selection, edit)
    if row is not None:
        st.html(STYLE + in_words(row))
    with st.container(horizontal=True):
        if row is not None:
            carried = with_changes(selection, example=row["example_id"])
            st.page_link(
                PAGES / "examples.py", label="Open this example", icon=":material/article:", query_params=carried
            )
        label = "New here? A lesson in eight steps"
        st.page_link(PAGES / "learn.py", label=label, icon=":material/school:", query_params={"run": selection.run.key})


def typical(selection: Selection, edit: str | None) -> dict[Any, Any] | None:
    """Of READ examples from all over the split: one with a middling error, and among those the one where the model has
    moved farthest from its label. Choosing by the error would flatter the explainer, or the opposite.

    None if the run has no examples. Only these are read, so that a run of millions opens as fast.
    """
    every = order(selection.path, Query(selection.setting, selection.split, edit))
    some = every[np.unique(np.linspace(0, len(every) - 1, READ).astype(int))] if len(every) else every
    found = rows(selection.path, selection.setting, some.tolist()).sort_values("error", kind="stable")
    found = found.iloc[len(found) // 4 : max(1, 3 * len(found) // 4)]
    if found.empty:
        return None
    clear = found.assign(
        short=found["prompt"].str.len() <= LONGEST, size=(found["effect_current"] - found["effect_target"]).abs()
    )
    return clear.sort_values(["short", "size"], ascending=False, kind="stable").iloc[0].to_dict()


def in_words(row: Mapping[Any, Any]) -> str:
    """The story of an example as HTML: the edit in the prompt, then what happened."""
    before, after = (leaning(row[name], row) for name in ("f_current", "f_edited_current"))
    did = f"<b>The model as it is now</b> answers {before}. With the edit it answers {after}."
    effect = f"The edit's effect {term('Δ')} is {signed(row['effect_current'])} {term('nats')}."
    label = f"<b>{term('label', 'The label')}</b>, measured at an earlier checkpoint: {signed(row['effect_target'])}."
    if isinstance(row["text"], str):
        said, label = f"<b>The model says of itself</b>: “{escaped(row['text'].strip())}” ", ""
        said += escaped(sentences.verdict(row))
    elif pd.notna(row["explanation"]):
        said = f"<b>{term('explanation', 'The explanation')}</b>, by an explainer for this kind of edit, which did "
        said += f"not see the edited prompt: {signed(row['explanation'])}, {apart(row)}."
    else:
        said = "This run kept no explanation of it."
    lines = "".join(f"<p>{line}</p>" for line in (f"{did} {effect}", label, said) if line)
    texts = diff(row["prompt"], row["edited"])
    return f'<div class="story"><p>One example, explained neither best nor worst:</p>{texts}{lines}</div>'


def apart(row: Mapping[Any, Any]) -> str:
    """How far the explanation is from the model and from its label, the nearer one first."""
    said, now, then = (float(row[name]) for name in ("explanation", "effect_current", "effect_target"))
    whom = nearer(said, then, now)
    if whom == "undecidable":
        return f"off by {abs(said - now):.2f}; the label and the model agree here"
    both = [f"the model as it is now (off by {abs(said - now):.2f})", f"the old label (off by {abs(said - then):.2f})"]
    return "nearer to {} than to {}".format(*(both if whom == "current" else both[::-1]))


def leaning(f: float, row: Mapping[Any, Any]) -> str:
    """`“yes” (7 to 1)`: the likelier answer with its odds against the other one."""
    answer = row["answer_a"] if f >= 0 else row["answer_b"]
    return f"“{escaped(shown(answer).strip()[:80])}” ({term('f', odds(f))})"
