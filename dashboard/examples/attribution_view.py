"""Which words carry an example, computed on demand: token heat at both checkpoints, and whether attribution, the
measured effect of the edit and the explanation agree, span by span."""

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
from engine.config import InputError
from engine.records import Span, spans_of

if TYPE_CHECKING:
    from engine.model.attribution import TokenAttribution


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
        largest = max(abs(score) for one in found.values() for score in pieces(one)[1])
        parts.small_print(
            "Line above and blue: raises f; line below and orange: lowers f. One scale for both checkpoints: the "
            f"deepest shade is {largest:.2f} nats."
        )
        for who, name in names.items():
            draw(who, name, found[who], float(row[f"f_{who}"]), largest)
        warn_of_other_models(selection, names)
        token_table(found, f"words_{row['example_id']}")
        st.subheader("Do they agree?", anchor=False)
        agreement_table(selection, row, found)


def draw(who: str, name: str, found: TokenAttribution, f: float, largest: float) -> None:
    """One checkpoint's tokens; blue above the line raises f, orange below it lowers f."""
    st.markdown(f"**{who.capitalize()}**, {markdown_escaped(name)}")
    st.html(heat(*pieces(found), largest))
    parts.small_print(
        f"f(x) = {signed(found.f)} nats (recorded: {signed(f)}), baseline {signed(found.f_baseline)}; the scores miss "
        f"their difference by {found.completeness_error:.3f} nats."
    )


def token_table(found: Mapping[str, TokenAttribution], key: str) -> None:
    """The scores as numbers, for who can't hover or tell shades: a row a token, a column a checkpoint."""
    columns = []
    for who, one in found.items():
        tokens, scores = pieces(one)
        at = pd.MultiIndex.from_tuples([(*ends, shown(token)) for ends, token in zip(one.offsets, tokens, strict=True)])
        columns.append(pd.Series(scores, at, name=who.capitalize()).groupby(level=[0, 1, 2]).sum())
    table = pd.concat(columns, axis=1).rename_axis(["start", "end", "Token"]).sort_index().reset_index("Token")
    st.dataframe(
        table,
        hide_index=True,
        height=240,
        column_config={who.capitalize(): st.column_config.NumberColumn(format="%+.3f", help="Nats") for who in found},
        alt="Attribution of every token at both checkpoints, in nats",
    )
    parts.downloads(table, "token-attribution", key)


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


CLAIMS = ("attribution", "measured", "explained")


def agreement_table(selection: Selection, row: dict, found: Mapping[str, TokenAttribution]) -> None:
    """Every edit of this prompt at both checkpoints: by attribution, as measured, as explained; and who differs."""
    lines = []
    for who, one in found.items():
        name = selection.options.target if who == "target" else selection.checkpoint
        setting = replace(selection.setting, checkpoint=name)
        for edit in same_prompt(selection.path, setting, int(row["prompt_id"])).to_dict("records"):
            spans = spans_of(edit["spans"])
            claims = (span_score(one, spans), edit["effect_current"], edit["explanation"])
            words = " … ".join(edit["prompt"][a:b] for a, b in spans)
            lines.append((shown(words)[:80], who, *claims, agreement(claims), edit["edit"]))
    columns = ["Words", "At", *(claim.capitalize() for claim in CLAIMS), "Signs", "Edit"]
    number = st.column_config.NumberColumn(format="%+.2f", help="Nats", width=80)
    st.dataframe(  # the words are short, so that the numbers stand on a phone's screen, too
        pd.DataFrame(lines, columns=columns),
        hide_index=True,
        column_config={
            "Words": st.column_config.TextColumn(width=60, help="What the edit touches"),
            "At": st.column_config.TextColumn(width=58, help="The checkpoint"),
            **dict.fromkeys(columns[2:5], number),
            "Signs": st.column_config.TextColumn(width="medium"),
        },
        alt="Attribution, measured effect and explanation of every edit of this prompt at both checkpoints",
    )
    st.caption(
        "Attribution: minus the scores of the words that the edit touches. It is the whole effect only for a linear "
        "model, and says nothing of what was put in their place. Measured: Δ of that checkpoint. Explained: what the "
        "explainer says at it. Signs: of the three, where they are 0.05 nats or more."
    )


def agreement(claims: Sequence[float | None], least: float = 0.05) -> str:
    """Whether attribution, measured effect and explanation have one sign, and who differs; tiny and missing numbers
    have none."""
    there = {name: bool(c > 0) for name, c in zip(CLAIMS, claims, strict=True) if c is not None and abs(c) >= least}
    up, down = ([name for name, sign in there.items() if sign is way] for way in (True, False))
    if len(there) < 2:
        return "too small to tell"
    if not up or not down:
        return "agree"
    if len(there) == 2:
        return f"{up[0]} +, {down[0]} −"
    return f"{min(up, down, key=len)[0]} differs"


def warn_of_other_models(selection: Selection, names: dict[str, str]) -> None:
    for name in names.values():
        if models.is_as_measured(selection.path, name) is False:
            st.warning(
                f"The checkpoint {markdown_escaped(name)} on disk is not the one that this run measured: the words are "
                "of another model.",
                icon=":material/difference:",
            )
