"""One item of the audit on a page, in strict order: prompt, edit and f(x); a prediction; the explanation; f(x′); a
verdict. What is not yet revealed is in no element of the page: it never leaves the server."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import plotly.graph_objects as go
import streamlit as st

from dashboard import charts
from dashboard.audit import LONGEST_COMMENT, VERDICTS, AuditError, AuditLog, Entry, packed
from dashboard.audit_item import Item
from dashboard.charts import style
from dashboard.figures import choose, chosen
from dashboard.parts import small_print
from dashboard.text import diff, escaped, markdown_escaped, plain, shown, signed

STEPS = ("Read", "Predict", "Explanation", "f(x′)", "Verdict")
WAYS = {"effect": "Δ: direction and size", "f": "f(x′) itself"}
DIRECTIONS = {"up": ("▲ f rises", "U", 1.0), "down": ("▼ f falls", "D", -1.0), "same": ("▬ f stays", "S", 0.0)}
"""How Δ may go: label, key, sign."""
HELP = {
    "current": "The explanation says what the current model does.",
    "target": "The explanation recites the target, whose effects it was trained on.",
    "neither": "The explanation says something else than both.",
    "undecidable": "Target and current lie too near to each other to be told apart, or nothing was explained.",
}


def draw_item(log: AuditLog, item: Item, next_item: Callable[[], None]) -> None:
    """Everything that this reviewer may see of the item by now, and the one thing to do next."""
    revealed = item.verdict is not None or item.key in st.session_state.setdefault("audit_revealed", set())
    step = 1 if item.prediction is None else 2 if not revealed else 4 if item.verdict is None else 5
    stepper(step)
    complaint()
    read(item)
    if item.prediction is None:
        predict(log, item)
        return
    explanation(item, revealed)
    if not revealed:
        return
    behavior(item)
    if item.verdict is None:
        judge(log, item)
    else:
        done(log, item, next_item)


def stepper(current: int) -> None:
    """Where we are among STEPS, by weight and a mark as well as by colour."""
    pieces = []
    for place, name in enumerate(STEPS):
        look = "font-weight: 650" if place == current else "opacity: 0.65"
        mark = "✓" if place < current else "▸" if place == current else "·"
        here = ' aria-current="step"' if place == current else ""
        pieces.append(f'<li style="{look}"{here}>{mark} {escaped(name)}</li>')
    st.html(
        '<ol style="display: flex; flex-wrap: wrap; gap: 0 1.4rem; list-style: none; padding: 0; margin: 0">'
        f"{''.join(pieces)}</ol>"
    )


def attempt(act: Callable[[], object]) -> None:
    """Do something to the log from a callback; what goes wrong is said on the next run."""
    try:
        act()
    except AuditError as error:
        st.session_state["audit_complaint"] = str(error)


def complaint() -> None:
    if said := st.session_state.pop("audit_complaint", None):
        st.error(markdown_escaped(said), icon=":material/error:")


def heading(text: str) -> None:
    st.html(f'<h2 style="font-size: 1.1rem; padding: 0; margin: 0">{escaped(text)}</h2>')


def shares(f: float, a: str, b: str) -> str:
    """`“ yes” 96%, “ no” 4%`: f as how the two answers share their probability."""
    first = 1 / (1 + math.exp(-max(min(f, 500.0), -500.0)))
    return f"“{shown(a)}” {first:.0%}, “{shown(b)}” {1 - first:.0%}"


def read(item: Item) -> None:
    """Prompt, edit and present behavior."""
    q = item.question
    with st.container(border=True):
        heading(f"The prompt, and its edit: {q['edit']}")
        small_print("Struck through: removed in x′. Underlined: added in x′.")
        st.html(diff(q["prompt"], q["edited"]))
        st.html(
            f"<p style='margin: 0.4rem 0 0'>Before the edit, f(x) = <strong>{signed(q['f_current'])} nats</strong> · "
            f"of the two answers: {escaped(shares(q['f_current'], q['answer_a'], q['answer_b']))}</p>"
        )
        small_print(
            f"f is log p(“{shown(q['answer_a'])}”) − log p(“{shown(q['answer_b'])}”): above 0 the first is likelier. "
            "Δ = f(x′) − f(x), of the current checkpoint."
        )


def predict(log: AuditLog, item: Item) -> None:
    """Direction and size, or f(x′) itself; recorded before anything is revealed, and never again."""
    heading("What does the model do with x′? Predict before you see it")
    way = choose("Say it as", "predict", WAYS, "effect", widget="segments")
    if way == "effect":
        ask_effect(item)
    else:
        st.number_input("f(x′), nats", -100.0, 100.0, None, 0.25, key=f"audit_f_{item.key}", width=220)
    effect, f = predicted(item), item.question["f_current"]
    if effect is not None:
        split = shares(f + effect, item.question["answer_a"], item.question["answer_b"])
        says = f"Δ = {signed(effect)} nats: f goes from {signed(f)} to {signed(f + effect)}"
        st.html(f"<p>You predict {says} · {escaped(split)}</p>")
    st.button(
        "Record it, and see the explanation",
        type="primary",
        shortcut="Ctrl+Enter",
        key="audit_predict",
        on_click=record_prediction,
        args=(log, item),
    )


def ask_effect(item: Item) -> None:
    """Δ by a direction, which has keys, and a number of nats."""
    key = f"audit_direction_{item.key}"
    direction = st.session_state.get(key)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        for name, (label, shortcut, _) in DIRECTIONS.items():
            st.button(
                label,
                shortcut=shortcut,
                key=f"audit_{name}",
                type="primary" if name == direction else "secondary",
                on_click=lambda name=name: st.session_state.update({key: name}),
            )
        st.number_input(
            "By how many nats",
            0.0,
            100.0,
            None,
            0.25,
            key=f"audit_size_{item.key}",
            placeholder="0 or more",
            disabled=direction == "same",
            help="1 nat makes the odds of the two answers 2.7 times larger, 2 nats 7.4 times.",
            width=220,
        )


def predicted(item: Item) -> float | None:
    """Δ in nats as it stands in the boxes now; None while something is missing."""
    if chosen("predict", WAYS, "effect") == "f":
        value = st.session_state.get(f"audit_f_{item.key}")
        return None if value is None else float(value) - item.question["f_current"]
    direction = st.session_state.get(f"audit_direction_{item.key}")
    size = 0.0 if direction == "same" else st.session_state.get(f"audit_size_{item.key}")
    return None if direction is None or size is None else DIRECTIONS[direction][2] * float(size)


def record_prediction(log: AuditLog, item: Item) -> None:
    effect = predicted(item)
    if effect is None:
        st.session_state["audit_complaint"] = "Give a direction and a number of nats first, or f(x′) itself."
        return
    entry = Entry(kind="prediction", predicted=effect, shown=packed(item.question), **item.entry)
    attempt(lambda: log.append(entry))


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
    st.plotly_chart(
        picture(q, a, mine),
        config=charts.config(f"audit-{item.entry['example_id']}"),
        key=f"audit_picture_{item.key}",
        alt=f"Δ current {signed(a['effect_current'])}, Δ target {signed(a['effect_target'])}, you {signed(mine)}, "
        f"explanation {signed(a['explanation'])}, output alone {signed(a['output'])} nats",
    )


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
    figure = charts.example_effects(target, current, answer["explanation"])
    names = ["target", "current", *(["explanation"] if answer["explanation"] is not None else [])]
    others = (("you", mine, style.PURPLE, "triangle-up"), ("−f(x), scaled", answer["output"], style.GREY, "x"))
    for name, effect, colour, symbol in others:
        if effect is None:
            continue
        names.append(name)
        figure.add_trace(
            go.Scatter(
                x=[f, f + effect], y=[name, name], mode="lines+markers", name=name, line={"color": colour, "width": 3},
                marker={"symbol": [f"{symbol}-open", symbol], "size": 12},
                hovertemplate="%{x:.2f} nats<extra>" + name + "</extra>",
            )
        )  # fmt: skip
        figure.add_annotation(
            x=f + effect, y=name, text=f"Δ {style.number(effect, sign=True)}", showarrow=False, yshift=16,
            font={"color": colour},
        )  # fmt: skip
    figure.update_layout(height=70 + 56 * len(names))
    figure.update_yaxes(categoryorder="array", categoryarray=names[::-1])
    return figure


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
    key = f"audit_comment_{item.key}"
    st.text_area("Comment (optional; write it before the verdict)", key=key, max_chars=LONGEST_COMMENT, height=80)
    with st.container(horizontal=True):
        for place, (verdict, label) in enumerate(VERDICTS.items(), start=1):
            st.button(
                label.capitalize(),
                shortcut=str(place),
                key=f"audit_verdict_{verdict}",
                help=HELP[verdict],
                type="primary" if advice and verdict == "undecidable" else "secondary",
                on_click=record_verdict,
                args=(log, item, verdict, key),
            )


def record_verdict(log: AuditLog, item: Item, verdict: str, comment_key: str) -> None:
    entry = Entry(
        kind="verdict",
        predicted=None,
        verdict=verdict,
        comment=st.session_state.get(comment_key) or "",
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
            on_click=lambda: attempt(lambda: log.undo(mine, mine.reviewer)),
        )
