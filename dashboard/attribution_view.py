"""Which words carry an example, computed on demand: token heat at both checkpoints, and whether attribution, the
measured effect of the edit and the explanation agree, span by span."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import streamlit as st

from dashboard import models, parts
from dashboard.examples import same_prompt
from dashboard.selection import Selection, problem
from dashboard.text import heat, markdown_escaped, shown, signed
from engine.config import InputError
from engine.records import Span, spans_of

if TYPE_CHECKING:
    from engine.attribution import TokenAttribution


def attribution(selection: Selection, row: dict) -> None:
    """An expander with a button; nothing is loaded before it is asked for."""
    with st.expander("Which words carry it", icon=":material/format_color_text:", key="words"):
        st.write(
            "Integrated gradients of f over the tokens of x, at both checkpoints, beside what was measured when the "
            "same words were edited, and what the explainer said of it."
        )
        key = f"words_{selection.run.key}_{row['example_id']}_{selection.checkpoint}"
        if st.button("Compute on both checkpoints", icon=":material/calculate:", key="compute_words"):
            st.session_state["words_asked"] = key
        if st.session_state.get("words_asked") != key:
            return
        answers = (row["answer_a"], row["answer_b"])
        names = {"target": selection.options.target, "current": selection.checkpoint}
        try:
            found = {
                who: models.token_attribution(selection.path, name, row["prompt"], answers)
                for who, name in names.items()
            }
        except InputError as error:
            problem(str(error))
            return
        for who, name in names.items():
            draw(who, name, found[who], float(row[f"f_{who}"]))
        warn_of_other_models(selection, names)
        st.subheader("Do they agree?", anchor=False)
        agreement_table(selection, row, found["current"])


def draw(who: str, name: str, found: TokenAttribution, f: float) -> None:
    """One checkpoint's tokens; blue above the line raises f, orange below it lowers f."""
    st.markdown(f"**{who.capitalize()}**, {markdown_escaped(name)}")
    tokens, scores = pieces(found)
    st.html(heat(tokens, scores))
    parts.small_print(
        f"Line above and blue: raises f; line below and orange: lowers f. f(x) = {signed(found.f)} nats (recorded: "
        f"{signed(f)}), baseline {signed(found.f_baseline)}; the scores miss their difference by "
        f"{found.completeness_error:.3f} nats."
    )


def pieces(found: TokenAttribution) -> tuple[list[str], list[float]]:
    """The prompt in pieces: its tokens with their scores, and what lies between tokens with none."""
    tokens, scores = list(found.tokens), [float(s) for s in found.scores]
    shares = [score if token.strip() else 0.0 for token, score in zip(tokens, scores, strict=True)]
    return tokens, shares


def span_score(found: TokenAttribution, spans: Sequence[Span]) -> float:
    """What attribution says that taking the spans out would do to f: minus their tokens' scores, in nats.

    A token that lies partly in a span counts by its share of characters.
    """
    total = 0.0
    for (start, end), score in zip(found.offsets, found.scores, strict=True):
        inside = sum(max(0, min(end, b) - max(start, a)) for a, b in spans)
        total += float(score) * inside / (end - start) if end > start else 0.0
    return -total


def agreement_table(selection: Selection, row: dict, found: TokenAttribution) -> None:
    """Every edit of this prompt: by attribution, as measured, as explained; and whether the signs agree."""
    edits = same_prompt(selection.path, selection.setting, int(row["prompt_id"]))
    lines = []
    for edit in edits.to_dict("records"):
        spans = spans_of(edit["spans"])
        claims = (span_score(found, spans), edit["effect_current"], edit["explanation"])
        words = " … ".join(edit["prompt"][a:b] for a, b in spans)
        lines.append((edit["edit"], shown(words)[:80], *claims, agreement(claims)))
    columns = ["Edit", "Words", "By attribution", "Measured Δ", "Explained", "Signs"]
    number = st.column_config.NumberColumn(format="%+.2f", help="Nats")
    st.dataframe(
        pd.DataFrame(lines, columns=columns),
        hide_index=True,
        column_config=dict.fromkeys(columns[2:5], number),
        alt="Attribution, measured effect and explanation of every edit of this prompt",
    )
    st.caption(
        "By attribution: minus the scores of the words that the edit touches. It is the whole effect only for a linear "
        "model, and says nothing of what was put in their place. Signs: of the three, where they are 0.05 nats or more."
    )


def agreement(claims: Sequence[float | None], least: float = 0.05) -> str:
    """Whether numbers that are not tiny have one sign: "agree", "disagree", or "too small to tell"."""
    values = np.array([c for c in claims if c is not None and c == c])
    signs = np.sign(values[np.abs(values) >= least])
    if len(signs) < 2:
        return "too small to tell"
    return "agree" if (signs == signs[0]).all() else "disagree"


def warn_of_other_models(selection: Selection, names: dict[str, str]) -> None:
    for name in names.values():
        if models.is_as_measured(selection.path, name) is False:
            st.warning(
                f"The checkpoint {markdown_escaped(name)} on disk is not the one that this run measured: the words are "
                "of another model.",
                icon=":material/difference:",
            )
