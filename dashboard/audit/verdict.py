"""What an audit reveals after the prediction, step by step, and the verdict on it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import plotly.graph_objects as go
import streamlit as st

from dashboard import charts
from dashboard.audit.item import Item
from dashboard.audit.log import LONGEST_COMMENT, VERDICTS, AuditLog, Entry, Record, canonical_json
from dashboard.audit.parts import attempt, heading, shares
from dashboard.charts import style
from dashboard.text import markdown_escaped, plain, signed
from dashboard.widgets import figures
from dashboard.widgets.parts import provenance, small_print

HELP = {
    "current": "The explanation says what the current model does.",
    "target": "The explanation repeats the target, whose effects it was trained on.",
    "neither": "The explanation says something else than both.",
    "undecidable": "Target and current lie too near to each other to be told apart, or nothing was explained.",
}


def show_explanation(item: Item, mine: Record, revealed: bool) -> None:
    """The prediction as recorded, and what the explanation says."""
    heading("The explanation")
    with st.container(horizontal=True):
        help_line = f"Record {mine.id}, of {mine.created[:16].replace('T', ' ')} UTC. It can't be changed."
        st.metric("You predicted Δ, nats", signed(mine.predicted), help=help_line, width=190)
        help_line = "What the explainer says of the current checkpoint's effect, having seen x only."
        st.metric("Explanation says Δ, nats", signed(item.answer["explanation"]), help=help_line, width=210)
    if item.answer["text"]:
        st.html(plain(item.answer["text"]))
    if item.seen_before:
        small_print("Predicted in an earlier queue, where f(x′) of this example was seen: that prediction stands.")
    if not revealed:
        act = {"key": "audit_reveal", "on_click": st.session_state["audit_revealed"].add, "args": (item.key,)}
        st.button("Reveal f(x′)", type="primary", shortcut="F", **act)


def show_behavior(item: Item, prediction: Record) -> None:
    """f(x′), and how far off everybody was."""
    a, mine = item.answer, prediction.predicted
    heading("What the model does")
    with st.container(horizontal=True):
        answers = markdown_escaped(f"Behavior of the current checkpoint after the edit: {shares_after(item)}.")
        st.metric("f(x′), nats", signed(a["f_edited_current"]), help=answers, width=130)
        st.metric("Δ current, nats", signed(a["effect_current"]), help="f(x′) − f(x) now.", width=140)
        st.metric("Δ target, nats", signed(a["effect_target"]), help="What the explainer was trained on.", width=140)
    sayings = (
        ("You", mine, "Your prediction of Δ, and its distance from Δ current."),
        ("Explanation", a["explanation"], "The explanation, and its distance from Δ current."),
        ("−f(x), scaled", a["output"], output_help(a)),
    )
    with st.container(horizontal=True):
        for name, said, help_line in sayings:
            off = None if said is None else f"off by {abs(said - a['effect_current']):.2f} nats"
            look = {"delta_color": "off", "delta_arrow": "off", "help": help_line, "width": 160}
            st.metric(f"{name}, nats", signed(said), off, **look)
    figures.draw(
        picture(item.question["f_current"], a, mine),
        key=f"audit_picture_{item.key}",
        name=f"audit-{item.entry['example_id']}",
        path=item.path,
        alt=f"Δ current {signed(a['effect_current'])}, Δ target {signed(a['effect_target'])}, you {signed(mine)}, "
        f"explanation {signed(a['explanation'])}, output alone {signed(a['output'])} nats",
    )
    provenance(item.path, extra=f"example {item.entry['example_id']} at {item.entry['checkpoint']}")


def shares_after(item: Item) -> str:
    return shares(item.answer["f_edited_current"], item.question)


def output_help(answer: Mapping[str, Any]) -> str:
    """How the control `output` came to a number of nats."""
    if answer["output"] is None:
        return "The run has no train split for this kind of edit to put the present output on the scale of Δ."
    sign = "+" if answer["output_slope"] >= 0 else "−"
    line = f"{signed(answer['output_intercept'])} {sign} {abs(answer['output_slope']):.2f} · f(x)"
    return (
        f"What f(x) alone would have said, knowing no edit: {line}, a line fitted to Δ target on the "
        f"{answer['output_n']:,} train examples of this kind of edit. The bare control, −f(x), has no scale."
    )


def picture(f: float, answer: Mapping[str, Any], mine: float | None) -> go.Figure:
    """Both models' effects, the explanation, the auditor and the output as moves of f, in nats."""
    target, current = (answer["f_target"], answer["f_edited_target"]), (f, answer["f_edited_current"])
    figure = charts.example_effects(target, current, answer["explanation"])
    names = [trace.name for trace in figure.data]
    others = (("you", mine, style.PURPLE, "triangle-up"), ("−f(x), scaled", answer["output"], style.GREY, "x"))
    for name, effect, colour, symbol in others:
        if effect is None:
            continue
        names.append(name)
        x, y, end = [f, f + effect], [name, name], f"Δ {style.number(effect, sign=True)}"
        look = {"line": {"color": colour, "width": 3}, "marker": {"symbol": [f"{symbol}-open", symbol], "size": 12}}
        hover = "%{x:.2f} nats<extra>" + name + "</extra>"
        figure.add_trace(go.Scatter(x=x, y=y, mode="lines+markers", name=name, hovertemplate=hover, **look))
        figure.add_annotation(x=x[1], y=name, text=end, showarrow=False, yshift=16, font={"color": colour})
    figure.update_layout(height=70 + 56 * len(names))
    figure.update_yaxes(categoryorder="array", categoryarray=names[::-1])
    return figure


def undecidable(answer: Mapping[str, Any]) -> str | None:
    """Why the verdict "undecidable" is advised; None where it is not."""
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
    label = "Comment (optional; write it before the verdict)"
    st.text_area(label, key=comment_key(item), max_chars=LONGEST_COMMENT, height=80)
    with st.container(horizontal=True):
        for place, (verdict, label) in enumerate(VERDICTS.items(), start=1):
            kind = "primary" if advice and verdict == "undecidable" else "secondary"
            act = {"key": f"audit_verdict_{verdict}", "on_click": record_verdict, "args": (log, item, verdict)}
            st.button(label.capitalize(), shortcut=str(place), help=HELP[verdict], type=kind, **act)


def comment_key(item: Item) -> str:
    return f"audit_comment_{item.key}"


def record_verdict(log: AuditLog, item: Item, verdict: str) -> None:
    comment, seen = st.session_state.get(comment_key(item)) or "", canonical_json({**item.question, **item.answer})
    prediction = item.prediction and item.prediction.id
    given = {"verdict": verdict, "comment": comment, "refers_to": prediction, "shown": seen}
    attempt(lambda: log.append(Entry(kind="verdict", **given, **item.entry)))


def done(log: AuditLog, item: Item, mine: Record, next_item: Callable[[], None]) -> None:
    """The verdict as recorded, a way on, and a way back."""
    st.success(f"Verdict: {VERDICTS[str(mine.verdict)]} (record {mine.id}).", icon=":material/verified:")
    if mine.comment:
        st.html(plain(mine.comment))
    with st.container(horizontal=True):
        st.button("Next open item", type="primary", shortcut="O", key="audit_next_open", on_click=next_item)
        look = {"help": "Adds a record that takes the verdict back; nothing is erased.", "shortcut": "Z"}
        st.button("Undo the verdict", key="audit_undo", on_click=undo, args=(log, item, mine), **look)


def undo(log: AuditLog, item: Item, mine: Record) -> None:
    """Takes the verdict back; its comment stands in the box again, and f(x′) stays in sight."""
    attempt(lambda: log.undo(mine))
    st.session_state[comment_key(item)] = mine.comment
    st.session_state["audit_revealed"].add(item.key)
