"""Picked examples over the checkpoints, and the edits of one prompt beside each other."""

from __future__ import annotations

import streamlit as st
from scipy.stats import kendalltau

from dashboard import charts, moves
from dashboard.figures import chosen, keep, show
from dashboard.selection import Selection


def single_examples(selection: Selection) -> None:
    """Both effects and the explanation of single examples, step by step."""
    st.subheader("Single examples", divider="grey")
    offered = moves.candidates(selection.path, selection.setting, selection.split, selection.edit)
    if offered.empty:
        st.info("No explanations were kept for this setting: choose label noise none.")
        return
    titles = dict(zip(offered["example_id"], offered["title"], strict=True))
    given = [i for i in st.query_params.get("examples", "").split(",") if i in titles][:6]
    start = ([selection.example] if selection.example in titles else []) + list(titles)[:3]
    st.session_state["option_examples"] = given or list(dict.fromkeys(start))[:3]
    picked = st.multiselect(
        "Examples",
        list(titles),
        key="option_examples",
        format_func=lambda i: titles[i],
        max_selections=6,
        on_change=lambda: keep("examples", ",".join(st.session_state["option_examples"]) or None),
        help="Offered: those whose effect moved most from the target to the current checkpoint. Type to search.",
    )
    if not picked:
        st.caption("Choose an example to see it move.")
        return
    path = moves.over_checkpoints(selection.path, selection.setting, picked)
    show(
        charts.example_moves(path, picked, [titles[i] for i in picked]),
        key="moves",
        path=selection.path,
        about=f"{selection.explainer}, {selection.regime}",
        alt=f"Effects of the current model and explanations of {len(picked)} examples over the checkpoints, in nats.",
        table=path,
    )
    within_prompt(selection, picked, titles)


def within_prompt(selection: Selection, picked: list[str], titles: dict[str, str]) -> None:
    """Which of a prompt's features mattered, by explanation and by measurement."""
    st.subheader("Within one prompt", divider="grey")
    st.session_state["option_prompt"] = chosen("prompt", picked, picked[0])
    identity = st.selectbox(
        "Prompt of", picked, key="option_prompt", format_func=lambda i: titles[i],
        on_change=lambda: keep("prompt", st.session_state["option_prompt"]),
    )  # fmt: skip
    rows = moves.of_prompt(selection.path, selection.setting, identity, selection.split)
    if len(rows) < 2:
        st.caption("This prompt has a single edit: there is nothing to rank.")
        return
    tau = kendalltau(rows["explanation"], rows["effect_current"]).statistic
    show(
        charts.prompt_features(rows), key="prompt", path=selection.path,
        about=f"{selection.checkpoint} · {selection.explainer}, {selection.regime} · one prompt, {len(rows)} edits",
        alt=f"Effects and explanations of {len(rows)} edits of one prompt; Kendall's tau {charts.number(tau)}.",
        table=rows[["example_id", "edit", "effect_current", "effect_target", "explanation"]],
    )  # fmt: skip
    st.markdown(f"**Kendall's τ of this prompt's {len(rows)} edits: {charts.number(tau)}**")
    st.caption("1: the explanation ranks the edits as the measurement does. Also measured has the mean over prompts.")
