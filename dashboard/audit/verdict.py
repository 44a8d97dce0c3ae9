"""What an audit reveals after the prediction, step by step, and the verdict on it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import plotly.graph_objects as go
import streamlit as st

from dashboard import charts
from dashboard.audit.item import Item
from dashboard.audit.log import LONGEST_COMMENT, VERDICTS, AuditLog, Entry, packed
from dashboard.audit.parts import attempt, heading, shares
from dashboard.charts import style
from dashboard.text import markdown_escaped, plain, signed
from dashboard.widgets import figures
from dashboard.widgets.parts import provenance, small_print

HELP = {
    "current": "The explanation says what the current model does.",
    "target": "The explanation recites the target, whose effects it was trained on.",
    "neither": "The explanation says something else than both.",
    "undecidable": "Target and current lie too near to each other to be told apart, or nothing was explained.",
}


def explanation(item: Item, revealed: bool) -> None:
    """What was predicted, and what the explanation says."""
    said, mine = item.answer["explanation"], item.prediction
    assert mine is not None and mine.predicted is not None
    heading("The explanation")
    with st.container(horizontal=True):
        st.metric(
            "You predicted Δ, nats",
            signed(mine.predicted),
            help=f"Record {mine.id}, of {mine.created[:16].replace('T', ' ')} UTC. It can't be changed.",
            width=190,
        )
        help_line = "What the explainer says of the current checkpoint's effect, having seen x only."
        st.metric("Explanation says Δ, nats", signed(said), help=help_line, width=210)
    if item.answer["text"]:
        st.html(plain(item.answer["text"]))
    if item.seen_before:
        small_print("Predicted in an earlier queue, where f(x′) of this example was seen: that prediction stands.")
    if not revealed:
        st.button(
            "Reveal f(x′)",
            type="primary",
            shortcut="F",
            key="audit_reveal",
            on_click=lambda: st.session_state["audit_revealed"].add(item.key),
        )


def behavior(item: Item) -> None:
    """f(x′), and how far off everybody was."""
    a, q = item.answer, item.question
    mine = item.prediction.predicted if item.prediction else None
    heading("What the model does")
    with st.container(horizontal=True):
        help_line = f"Behavior of the current checkpoint after the edit: {shares_of(item)}."
        st.metric("f(x′), nats", signed(a["f_edited_current"]), help=markdown_escaped(help_line), width=130)
        st.metric("Δ current, nats", signed(a["effect_current"]), help="f(x′) − f(x) now.", width=140)
        st.metric("Δ target, nats", signed(a["effect_target"]), help="What the explainer was trained on.", width=140)
    with st.container(horizontal=True):
        for name, said, help_line in (
            ("You", mine, "Your prediction of Δ, and its distance from Δ current."),
            ("Explanation", a["explanation"], "The explanation, and its distance from Δ current."),
            ("−f(x), scaled", a["output"], output_help(a)),
        ):
            off = None if said is None else f"off by {abs(said - a['effect_current']):.2f} nats"
            st.metric(
                f"{name}, nats",
                signed(said),
                off,
                delta_color="off",
                delta_arrow="off",
                help=help_line,
                width=160,
            )
    figures.draw(
        picture(q, a, mine),
        key=f"audit_picture_{item.key}",
        name=f"audit-{item.entry['example_id']}",
        path=item.path,
        alt=f"Δ current {signed(a['effect_current'])}, Δ target {signed(a['effect_target'])}, you {signed(mine)}, "
        f"explanation {signed(a['explanation'])}, output alone {signed(a['output'])} nats",
    )
    provenance(item.path, extra=f"example {item.entry['example_id']} at {item.entry['checkpoint']}")


def shares_of(item: Item) -> str:
    return shares(item.answer["f_edited_current"], item.question["answer_a"], item.question["answer_b"])


def output_help(answer: Mapping[str, Any]) -> str:
    """How the control `output` came to a number of nats."""
    if answer["output"] is None:
        return "The run has no train split for this kind of edit to put the present output on the scale of Δ."
    return (
        "What f(x) alone would have said, knowing no edit: "
        f"{signed(answer['output_intercept'])} {'+' if answer['output_slope'] >= 0 else '−'} "
        f"{abs(answer['output_slope']):.2f} · f(x), a line fitted to Δ target on the {answer['output_n']:,} train "
        "examples of this kind of edit. The bare control, −f(x), has no scale."
    )


def picture(question: Mapping[str, Any], answer: Mapping[str, Any], mine: float | None) -> go.Figure:
    """Both models' effects, the explanation, the auditor and the output as moves of f, in nats."""
    f = question["f_current"]
    target, current = (answer["f_target"], answer["f_edited_target"]), (f, answer["f_edited_current"])
    others = (("you", mine, style.PURPLE, "triangle-up"), ("−f(x), scaled", answer["output"], style.GREY, "x"))
    return charts.example_effects(target, current, answer["explanation"], others)


def undecidable(answer: Mapping[str, Any]) -> str | None:
    """Why "undecidable" is advised; None where it is not."""
    distance = abs(answer["effect_current"] - answer["effect_target"])
    if distance < answer["apart"]:
        return (
            f"Target and current can't be told apart here: their effects lie {distance:.2f} nats apart, less than "
            f"{answer['apart']:.2f}. “Undecidable” is advised."
        )
    if answer["explanation"] is None and not answer["text"]:
        return "Nothing was explained here. “Undecidable” is advised."
    return None


def judge(log: AuditLog, item: Item) -> None:
    """The verdict, by one button or key, with a comment."""
    heading("Your verdict on the explanation")
    if advice := undecidable(item.answer):
        st.info(markdown_escaped(advice), icon=":material/balance:")
    st.text_area(
        "Comment (optional; write it before the verdict)", key=comment_key(item), max_chars=LONGEST_COMMENT, height=80
    )
    with st.container(horizontal=True):
        for place, (verdict, label) in enumerate(VERDICTS.items(), start=1):
            st.button(
                label.capitalize(),
                shortcut=str(place),
                key=f"audit_verdict_{verdict}",
                help=HELP[verdict],
                type="primary" if advice and verdict == "undecidable" else "secondary",
                on_click=record_verdict,
                args=(log, item, verdict),
            )


def comment_key(item: Item) -> str:
    return f"audit_comment_{item.key}"


def record_verdict(log: AuditLog, item: Item, verdict: str) -> None:
    entry = Entry(
        kind="verdict",
        predicted=None,
        verdict=verdict,
        comment=st.session_state.get(comment_key(item)) or "",
        refers_to=item.prediction.id if item.prediction else None,
        shown=packed({**item.question, **item.answer}),
        **item.entry,
    )
    attempt(lambda: log.append(entry))


def done(log: AuditLog, item: Item, next_item: Callable[[], None]) -> None:
    """The verdict as recorded, a way on, and a way back."""
    mine = item.verdict
    assert mine is not None and mine.verdict is not None
    st.success(f"Verdict: {VERDICTS[mine.verdict]} (record {mine.id}).", icon=":material/verified:")
    if mine.comment:
        st.html(plain(mine.comment))
    with st.container(horizontal=True):
        st.button("Next open item", type="primary", shortcut="O", key="audit_next_open", on_click=next_item)
        st.button(
            "Undo the verdict",
            shortcut="Z",
            key="audit_undo",
            help="Adds a record that takes the verdict back; nothing is erased.",
            on_click=undo,
            args=(log, item),
        )


def undo(log: AuditLog, item: Item) -> None:
    """Takes the verdict back; its comment stands in the box again, and f(x′) stays in sight."""
    mine = item.verdict
    assert mine is not None
    attempt(lambda: log.undo(mine, mine.reviewer))
    st.session_state[comment_key(item)] = mine.comment
    st.session_state["audit_revealed"].add(item.key)
