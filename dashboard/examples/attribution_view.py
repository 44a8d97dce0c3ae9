"""Token attribution of one example, computed on demand: heat over the tokens at both checkpoints, and for each span
whether attribution, the measured effect of the edit and the explanation agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import pandas as pd
import streamlit as st

from dashboard.reading import models
from dashboard.reading.example_rows import same_prompt
from dashboard.selection.state import Selection, problem
from dashboard.text import heat, markdown_escaped, shown, signed
from dashboard.widgets import parts
from dashboard.widgets.on_demand import requested, warn_if_replaced
from engine.config import InputError
from engine.records import Span, spans_of

if TYPE_CHECKING:
    from engine.model.attribution import TokenAttribution

CLAIMS = ("attribution", "measured", "explained")
TOO_SMALL = 0.05
"""Nats. The sign of a smaller number is not compared."""


def attribution(selection: Selection, row: dict) -> None:
    """An expander with a button; no model is loaded before the click. row: as of `example_rows.rows`."""
    with st.expander("Which words carry it", icon=":material/format_color_text:", key="words"):
        st.write(
            "Integrated gradients of f over the tokens of x, at both checkpoints. Beside them: the measured effect of "
            "editing the same words, and its explanation."
        )
        about = (selection.run.key, row["example_id"], selection.checkpoint)
        icon = ":material/calculate:"
        if not requested("Compute on both checkpoints", about, key="compute_words", icon=icon):
            return
        answers = (row["answer_a"], row["answer_b"])
        names = {"target": selection.options.target, "current": selection.checkpoint}
        path, prompt = selection.path, row["prompt"]
        try:
            found = {who: models.token_attribution(path, name, prompt, answers) for who, name in names.items()}
        except InputError as error:
            problem(str(error))
            return
        largest = max(abs(score) for one in found.values() for score in scores_of(one))
        parts.small_print(
            "Line above and blue: raises f; line below and orange: lowers f. One scale for both checkpoints: the "
            f"deepest shade is {largest:.2f} nats."
        )
        for who, one in found.items():
            st.markdown(f"**{who.capitalize()}**, {markdown_escaped(names[who])}")
            st.html(heat(list(one.tokens), scores_of(one), largest))
            parts.small_print(
                f"f(x) = {signed(one.f)} nats (recorded: {signed(float(row[f'f_{who}']))}), baseline "
                f"{signed(one.f_baseline)}; the scores miss their difference by {one.completeness_error:.3f} nats."
            )
        warn_if_replaced(path, names.values())
        token_table(found, f"words_{row['example_id']}")
        st.subheader("Do they agree?", anchor=False)
        agreement_table(selection, row, found)


def token_table(found: Mapping[str, TokenAttribution], key: str) -> None:
    """The scores as numbers: a row for each token, a column for each checkpoint."""
    columns = []
    for who, one in found.items():
        places = [(*ends, shown(token)) for ends, token in zip(one.offsets, one.tokens, strict=True)]
        scores = pd.Series(scores_of(one), pd.MultiIndex.from_tuples(places), name=who.capitalize())
        columns.append(scores.groupby(level=[0, 1, 2]).sum())
    table = pd.concat(columns, axis=1).rename_axis(["start", "end", "Token"]).sort_index().reset_index("Token")
    number = st.column_config.NumberColumn(format="%+.3f", help="Nats")
    look, alt = {who.capitalize(): number for who in found}, "Attribution of every token at both checkpoints, in nats"
    st.dataframe(table, hide_index=True, height=240, column_config=look, alt=alt)
    parts.downloads(table, "token-attribution", key)


def scores_of(found: TokenAttribution) -> list[float]:
    """The score of each token, in nats; 0 for white space."""
    return [float(score) if token.strip() else 0.0 for token, score in zip(found.tokens, found.scores, strict=True)]


def span_score(found: TokenAttribution, spans: Sequence[Span]) -> float:
    """The effect on f of removing the spans, as attribution predicts it: minus the scores of their tokens, in nats.

    A token that lies partly in a span counts by its share of characters.
    """
    total = 0.0
    for (start, end), score in zip(found.offsets, found.scores, strict=True):
        inside = sum(max(0, min(end, b) - max(start, a)) for a, b in spans)
        total += float(score) * inside / (end - start) if end > start else 0.0
    return -total


def agreement_table(selection: Selection, row: dict, found: Mapping[str, TokenAttribution]) -> None:
    """Every edit of this prompt at both checkpoints: the effect by attribution, as measured, and as explained."""
    lines = []
    for who, one in found.items():
        name = selection.options.target if who == "target" else selection.checkpoint
        setting = replace(selection.setting, checkpoint=name)
        for edit in same_prompt(selection.path, setting, int(row["prompt_id"])).to_dict("records"):
            spans = spans_of(edit["spans"])
            claims = (span_score(one, spans), edit["effect_current"], edit["explanation"])
            words = " … ".join(edit["prompt"][a:b] for a, b in spans)
            lines.append((shown(words)[:80], who, *claims, who_differs(claims), edit["edit"]))
    columns = ["Words", "At", *(claim.capitalize() for claim in CLAIMS), "Signs", "Edit"]
    number = st.column_config.NumberColumn(format="%+.2f", help="Nats", width=80)
    st.dataframe(  # narrow text columns, so that the numbers stand on a phone's screen, too
        pd.DataFrame(lines, columns=columns),
        hide_index=True,
        column_config={
            "Words": st.column_config.TextColumn(width=60, help="The words that the edit touches"),
            "At": st.column_config.TextColumn(width=58, help="The checkpoint"),
            **dict.fromkeys(columns[2:5], number),
            "Signs": st.column_config.TextColumn(width="medium"),
        },
        alt="Attribution, measured effect and explanation of every edit of this prompt at both checkpoints",
    )
    st.caption(
        "Attribution: minus the scores of the words that the edit touches. It is the whole effect only for a linear "
        "model, and leaves out the words that replace them. Measured: Δ of that checkpoint. Explained: the explanation "
        f"at that checkpoint. Signs: whether the three agree in sign; numbers below {TOO_SMALL:g} nats do not count."
    )


def who_differs(claims: Sequence[float | None]) -> str:
    """Whether the `CLAIMS` have one sign, and if not, which differs. Missing numbers and those below `TOO_SMALL` have
    no sign."""
    there = {name: bool(c > 0) for name, c in zip(CLAIMS, claims, strict=True) if c is not None and abs(c) >= TOO_SMALL}
    up, down = ([name for name, sign in there.items() if sign is way] for way in (True, False))
    if len(there) < 2:
        return "too small to tell"
    if not up or not down:
        return "agree"
    if len(there) == 2:
        return f"{up[0]} +, {down[0]} −"
    return f"{min(up, down, key=len)[0]} differs"
